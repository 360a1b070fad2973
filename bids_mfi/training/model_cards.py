"""Model cards: essential information about a bundle.

A card is a TOML file with the fields of :class:`ModelCard` as keys. The cards of the package's own
bundles are in ``data/cards``.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from bids_mfi.errors import InputError
from bids_mfi.reading import explain_failure, is_file, read_toml

CARDS = Path(__file__).parents[1] / "data" / "cards"
REFERENCES = (
    "Weber et al. 2021, Scientific Reports, doi:10.1038/s41598-021-95972-x",
    "Gibson et al. 2018, IEEE Transactions on Medical Imaging, doi:10.1109/TMI.2018.2806309",
)


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Essential information about a bundle, stored in the bundle.

    Attributes
    ----------
    name, version : str
    description : str
        Training data and limits of reliability.
    licence : str
        SPDX identifier.
    licence_text : str
        Content of the bundle's LICENSE file.
    references : tuple of str
        Works to cite, with DOI.
    """

    name: str
    version: str
    description: str
    licence: str
    licence_text: str
    references: tuple[str, ...] = REFERENCES


def read_card(name: str) -> ModelCard:
    """Read a card.

    Parameters
    ----------
    name : str
        Path of a TOML file, or the name of a card of the package.

    Raises
    ------
    InputError
        The card does not exist, is not TOML, or has a missing, unknown or non-text key.
    """
    path = _find_card(name)
    try:
        values = read_toml(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: cannot be read as TOML ({explain_failure(error)}). "
            'Expected lines such as `name = "x"`.'
        ) from error
    known = {field.name for field in fields(ModelCard)}
    wrong = sorted((set(values) - known) | (known - {"references"} - set(values)))
    if wrong:
        raise InputError(
            f"{path}: {wrong[0][:80]} is missing or not a card key, expected "
            f"{', '.join(sorted(known))}. Correct the card."
        )
    references = values.pop("references", list(REFERENCES))
    listed = list(references) if isinstance(references, list) else []
    texts = [*values.values(), *listed]
    if not listed or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(
            f"{path}: a value is empty or not text, expected text, or a list of text as references."
        )
    return ModelCard(**values, references=tuple(listed))


def _find_card(name: str) -> Path:
    for path in (Path(name), CARDS / f"{name}.toml"):
        if is_file(path):
            return path
    own = ", ".join(sorted(path.stem for path in CARDS.glob("*.toml")))
    raise InputError(
        f"--card {name}: neither a file nor a card of the package. Expected a TOML file or {own}."
    )
