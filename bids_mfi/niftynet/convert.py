"""Conversion of the model that Weber et al. 2021 published for NiftyNet into a bundle."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from bids_mfi.errors import ConversionError, OutputError
from bids_mfi.muscles import WEBER2021
from bids_mfi.network.bundle import NIFTYNET, ModelBundle
from bids_mfi.network.bundle_files import write_bundle
from bids_mfi.network.niftynet_pipeline import LANDMARK_PROBABILITIES
from bids_mfi.niftynet.landmarks import Landmarks, find_landmarks, read_landmarks
from bids_mfi.niftynet.settings import (
    PUBLISHED,
    SETTINGS_NAME,
    Settings,
    find_settings,
    own_folder,
    read_settings,
)
from bids_mfi.niftynet.tensor_bundle import Checkpoint, find_checkpoints, open_checkpoint, read_file
from bids_mfi.niftynet.variables import read_state

WEBER2021_INDEX_SHA256 = "4a3bc5b81d37f0b2f1b5381c6fe53c9bb7b8be4e577aaac6f08a42746d61bf8d"

WEBER2021_LICENCE = """\
The weights in models/model.pt were converted, unchanged in value, from the model that
K. A. Weber II and colleagues published at
https://github.com/kennethaweberii/Neck_Muscle_Segmentation under the GNU General Public License,
version 3: https://www.gnu.org/licenses/gpl-3.0.txt. Whoever passes them on does so under that
licence.
"""

UNKNOWN_LICENCE = """\
The weights in models/model.pt were converted from a NiftyNet model. Its licence is not known to the
program that converted it; ask those who made the model.
"""


def convert(model_dir: Path, bundle_dir: Path) -> ModelBundle:
    """Write a bundle from a published NiftyNet model; after a failure nothing remains.

    Parameters
    ----------
    model_dir : Path
        The authors' repository as published, or a folder with its files side by side.
    bundle_dir : Path
        A new or empty folder.

    Raises
    ------
    ConversionError
        The model is incomplete, damaged, or of an unknown kind.
    OutputError
        ``bundle_dir`` is not empty or cannot be written.
    """
    temporary = bundle_dir.with_name(f".{bundle_dir.name}.{os.getpid()}")
    try:
        _check_target(bundle_dir)
        bundle, state, licence_text = read_model(model_dir)
        written = write_bundle(replace(bundle, folder=temporary), state, licence_text)
        temporary.replace(bundle_dir)
    except OSError as error:
        raise OutputError(
            f"{bundle_dir}: cannot be written ({error.strerror}). Choose another folder."
        ) from error
    except OutputError as error:
        named = str(error).replace(str(temporary), str(bundle_dir))
        raise OutputError(named) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return replace(written, folder=bundle_dir)


def _check_target(bundle_dir: Path) -> None:
    if bundle_dir.is_symlink() or (bundle_dir.exists() and not bundle_dir.is_dir()):
        raise OutputError(f"{bundle_dir}: is not a folder. Name a new or empty folder for it.")
    if bundle_dir.is_dir() and any(bundle_dir.iterdir()):
        raise OutputError(
            f"{bundle_dir}: is not empty, expected a new or empty folder. Name another one, or "
            "remove it."
        )


def read_model(model_dir: Path) -> tuple[ModelBundle, dict[str, Tensor], str]:
    """Read and check all files of a model.

    Returns
    -------
    bundle : ModelBundle
        Without folder and sha256.
    state : dict of str to Tensor
        Of ``DenseVNet``.
    licence_text : str

    Raises
    ------
    ConversionError
        See :func:`convert`.
    """
    if not os.path.isdir(model_dir):
        raise ConversionError(
            f"{model_dir}: no such folder. Expected the published model: {SETTINGS_NAME}, its "
            "landmarks and its checkpoint."
        )
    settings_file = find_settings(model_dir)
    settings = read_settings(settings_file)
    landmarks_file = find_landmarks(model_dir, settings)
    landmarks = read_landmarks(landmarks_file)
    checkpoint = open_checkpoint(_find_checkpoint(model_dir, settings))
    state = read_state(checkpoint)
    origin = {
        f"{path.name} sha256": hashlib.sha256(read_file(path)).hexdigest()
        for path in (settings_file, landmarks_file, checkpoint.index, checkpoint.data)
    }
    bundle = _describe(settings, landmarks, checkpoint, origin)
    return bundle, state, _choose_licence(model_dir, bundle)


def _find_checkpoint(model_dir: Path, settings: Settings) -> Path:
    """Prefix of the checkpoint of the iteration in the settings, otherwise of the last one."""
    own = own_folder(model_dir, settings)
    below = [*sorted(model_dir.glob("*/models")), *sorted(model_dir.glob("*/"))]
    folders = [own / "models", own, model_dir / "models", model_dir, *below]
    found = next((f for folder in folders if (f := find_checkpoints(folder))), {})
    if not found:
        raise ConversionError(
            f"{own / 'models'}: no model.ckpt-N.index there, in {model_dir} or in a folder beside. "
            "Expected the published TensorFlow checkpoint."
        )
    wanted = settings.iteration if settings.iteration >= 0 else max(found)
    if wanted not in found:
        raise ConversionError(
            f"{next(iter(found.values())).parent}: has the checkpoints {sorted(found)}, expected "
            f"{wanted} as inference_iter in the settings says. Fetch it, or correct the settings."
        )
    return found[wanted]


def _describe(
    settings: Settings, landmarks: Landmarks, checkpoint: Checkpoint, origin: Mapping[str, str]
) -> ModelBundle:
    digest = origin[f"{checkpoint.index.name} sha256"]
    known = digest == WEBER2021_INDEX_SHA256
    iteration = checkpoint.prefix.name.rpartition("-")[2]
    inner = tuple(100 * probability for probability in LANDMARK_PROBABILITIES)
    return ModelBundle(
        folder=Path(),
        name="weber2021" if known else f"niftynet-{digest[:8]}",
        version=f"ckpt-{iteration}",
        sha256="",
        spacing_mm=settings.spacing_mm,
        axcodes=settings.axcodes,
        landmarks=landmarks,
        landmark_percentiles=(100 * settings.cutoff[0], *inner, 100 * settings.cutoff[1]),
        table=WEBER2021,
        description=_description(settings, known),
        licence="GPL-3.0-only" if known else "NOASSERTION",
        inference=NIFTYNET,
        window=settings.window,
        border=settings.border,
        padding=settings.padding,
        normalization="batch",
        training=(("iterations", iteration), ("made by", "NiftyNet (TensorFlow 1)")),
        references=("doi:10.1038/s41598-021-95972-x", "doi:10.1109/TMI.2018.2806309")
        if known
        else ("doi:10.1109/TMI.2018.2806309",),
        origin=tuple(origin.items()),
    )


def _description(settings: Settings, known: bool) -> str:
    if not known:
        return "Converted from a NiftyNet dense_vnet; who trained it, and on what, is not known."
    text = "The model that Weber et al. 2021 published, converted from NiftyNet"
    used = replace(
        PUBLISHED,
        iteration=settings.iteration,
        landmarks_file=settings.landmarks_file,
        model_dir=settings.model_dir,
    )
    return f"{text}." if settings == used else f"{text}; its settings are not the published ones."


def _choose_licence(model_dir: Path, bundle: ModelBundle) -> str:
    """Text that comes with the model, after a sentence on where it comes from."""
    notice = WEBER2021_LICENCE if bundle.name == "weber2021" else UNKNOWN_LICENCE
    texts = [path for path in sorted(model_dir.glob("LICEN[CS]E*")) if path.is_file()]
    return "\n".join([notice, *(read_file(path).decode(errors="replace") for path in texts)])
