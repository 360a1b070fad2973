"""The card of a bundle that a user trains: name, licence and origin."""

from bids_mfi.errors import BundleError
from bids_mfi.network.bundle import LICENSE, ModelBundle
from bids_mfi.reading import read_regular_file
from bids_mfi.training.model_cards import REFERENCES, ModelCard

DEFAULT_NAME = "custom"


def custom_card(
    name: str, licence: str | None = None, start: ModelBundle | None = None
) -> ModelCard:
    """Make the card of a bundle that a user trains.

    Parameters
    ----------
    name : str
    licence : str, optional
        SPDX identifier. The default is the licence of ``start``, which binds its weights, or
        ``LicenseRef-unspecified``.
    start : ModelBundle, optional
        The bundle from which the training starts.

    Raises
    ------
    BundleError
        The licence of ``start`` cannot be read.
    """
    origin = f"Tuned from {start.name} {start.version}. " if start else ""
    chosen = licence or (start.licence if start else "LicenseRef-unspecified")
    text = (
        f"{chosen}\n\nThe person who trained these weights decides about their use. The licence of "
        "the scans\nor label maps that they learnt from may bind them too; see `training` in "
        "configs/metadata.json.\n"
    )
    if start:
        text = f"{chosen}\n\nMade from {start.name} {start.version}, whose licence follows.\n\n"
        text += _read_licence(start)
    return ModelCard(
        name=name,
        version="0.1.0",
        description=f"{origin}Trained by a user of bids_mfi; see `training` for data and recipe.",
        licence=chosen,
        licence_text=text,
        references=start.references if start else REFERENCES,
    )


UNNAMED_CARD = custom_card(DEFAULT_NAME)


def _read_licence(bundle: ModelBundle) -> str:
    path = bundle.folder / LICENSE
    try:
        return read_regular_file(path).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"{path}: cannot be read ({error}), but applies to weights tuned from this bundle. "
            "Expected the licence of the weights as text; restore the file."
        ) from error
