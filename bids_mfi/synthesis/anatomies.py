"""Label maps of necks included in the package."""

from pathlib import Path

from bids_mfi.errors import InputError

ANATOMIES = Path(__file__).parents[1] / "data" / "anatomies"


def list_anatomies() -> tuple[str, ...]:
    """List the names of the label maps in the package.

    >>> list_anatomies()
    ('neck-a',)
    """
    return tuple(sorted(path.name for path in ANATOMIES.iterdir() if path.is_dir()))


def find_anatomy(name: str) -> Path:
    """Find the path of a named label map; its licence and source are beside it.

    Raises
    ------
    InputError
        The package has no label map with this name.
    """
    found = sorted((ANATOMIES / name).glob("*dseg.nii.gz")) if name in list_anatomies() else []
    if len(found) != 1:
        raise InputError(
            f"{name}: not an anatomy of the package, expected one of {', '.join(list_anatomies())}."
        )
    return found[0]
