"""The error tree: each kind, its parent and the exit status that users' scripts rely on."""

import inspect

import pytest

from bids_mfi import errors

TREE = {
    "MFIError": (Exception, 1),
    "UsageError": (errors.MFIError, 2),
    "InputError": (errors.MFIError, 3),
    "DatasetError": (errors.InputError, 3),
    "PairError": (errors.InputError, 3),
    "BundleError": (errors.MFIError, 4),
    "ConversionError": (errors.BundleError, 4),
    "OutputError": (errors.MFIError, 5),
}


def test_tree_is_complete():
    found = {name for name, item in vars(errors).items() if inspect.isclass(item)}
    assert found == set(TREE)


@pytest.mark.parametrize("name", TREE)
def test_parent_and_exit_status(name):
    parent, exit_code = TREE[name]
    kind = getattr(errors, name)
    assert kind.__bases__ == (parent,)
    assert kind.exit_code == exit_code
    assert str(kind("a.nii: broken.")) == "a.nii: broken."


@pytest.mark.parametrize("name", TREE)
def test_tree_is_drawn_with_its_statuses(name):
    """The drawing at the top shows every class, with its own or its parent's status."""
    drawing = errors.__doc__.split("::", 1)[1].splitlines()
    lines = {line.split("- ")[-1].split()[0]: line.split() for line in drawing if "Error" in line}
    assert name in lines
    if "exit_code" in vars(getattr(errors, name)):
        assert str(TREE[name][1]) in lines[name]
