"""Label maps of necks that come with the package."""

from pathlib import Path

from bids_mfi.errors import InputError

ANATOMIES = Path(__file__).parents[1] / "data" / "anatomies"


def list_anatomies() -> tuple[str, ...]:
    """Names of the label maps that come with the package.

    >>> list_anatomies()
    ('neck-a',)
    """
    return tuple(sorted(path.name for path in ANATOMIES.iterdir() if path.is_dir()))


def find_anatomy(name: str) -> Path:
    """Path of the label map with a name; its licence and source are beside it.

    Raises
    ------
    InputError
        The package has none of this name.
    """
    found = sorted((ANATOMIES / name).glob("*dseg.nii.gz")) if name in list_anatomies() else []
    if len(found) != 1:
        raise InputError(
            f"{name}: no anatomy of the package, expected one of {', '.join(list_anatomies())}."
        )
    return found[0]
