"""Output folders as the participant level leaves them, made from a table of muscles, no image read.

Other tests and the benchmark import from here: ``from group_folder import make_group_folder``.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bids_mfi.bids.formats import encode_table
from bids_mfi.bids.markers import SEAL
from bids_mfi.bids.names import page_path, scan_paths
from bids_mfi.bids.output_folder import BundleFacts, write_dataset_files
from bids_mfi.bids.saved_scans import save_scan
from bids_mfi.bids.scan_files import ScanRecord, ScanResults, encode_scan, identify_scan
from bids_mfi.measure.pair import DixonPair
from bids_mfi.measure.quality import QCFlag, check_measure
from bids_mfi.measure.quantify import MuscleMeasure
from bids_mfi.muscles import WEBER2021, Muscle

BUNDLE = BundleFacts("made_up", "1.0", "ab" * 32, "Made up for tests.")
OTHER_BUNDLE = BundleFacts("made_up", "2.0", "cd" * 32, "Made up for tests, later.")
VOXEL_VOLUME_ML = 0.7 * 0.7 * 3.0 / 1000
TYPICAL_SIGNAL = 500.0
MINIMAL_COLUMNS = ["muscle", "hemi", "volume_ml", "mfi_percent"]
VALUES = {"mfi": "mfi_percent", "volume": "volume_ml"}
TINY_IMAGE = b"a label map or a fat-fraction map"
PAGE = "<!DOCTYPE html><html lang='en'><title>{0}</title><h1>{0}</h1></html>\n"


def make_group_folder(
    root: Path,
    muscles: pd.DataFrame,
    participants: pd.DataFrame | None,
    sessions: pd.DataFrame | None = None,
    bundles: Sequence[BundleFacts] = (BUNDLE,),
    minimal: bool = False,
) -> tuple[Path, Path]:
    """Lay out BIDS_DIR and OUTPUT_DIR below ``root`` and return both.

    Parameters
    ----------
    root : Path
    muscles : DataFrame
        One row a scan, muscle and side: ``participant_id``, ``muscle``, ``hemi``, ``mfi`` and
        ``volume`` (or ``mfi_percent`` and ``volume_ml``); where there are several scans of a
        participant also ``session_id`` and ``run_id``. Identifiers with their prefix or without.
        NaN becomes ``n/a``, and a row that is not here is not in the scan's table.
    participants : DataFrame or None
        Becomes ``participants.tsv`` as it is; None: there is no such file.
    sessions : DataFrame or None
        ``participant_id``, ``session_id`` and more; becomes the ``sub-*_sessions.tsv`` files.
    bundles : sequence of BundleFacts
        The scans take turns; as long as the scans, it gives each its own.
    minimal : bool
        Tables of four columns without sidecars, and nothing else.
    """
    bids_dir, output_dir = root / "bids", root / "out"
    write_raw(bids_dir, participants, sessions)
    if not minimal:
        write_dataset_files(output_dir, bids_dir, WEBER2021, bundles[-1])
    scans = split_scans(muscles)
    visits = pd.Series({name[:2]: name[0] for name in scans}).value_counts()
    for number, ((participant, session, run), rows) in enumerate(scans.items()):
        entities = [("sub", participant), ("ses", session), ("acq", "dixon"), ("run", run)]
        named = tuple((key, value) for key, value in entities if value)
        if minimal:
            write_minimal(output_dir, named, rows)
            continue
        write_scan(output_dir, make_record(bids_dir, named, bundles[number % len(bundles)]), rows)
        page = page_path(output_dir, participant, session if visits[participant] > 1 else None)
        page.write_text(PAGE.format(page.stem), encoding="utf-8")
    return bids_dir, output_dir


def repeat_runs(muscles: pd.DataFrame, runs: int, sd_percent: float, seed: int) -> pd.DataFrame:
    """Give each scan further runs: the first as it is, the others with noise of this much MFI."""
    rng = np.random.default_rng(seed)
    copies = []
    for run in range(1, runs + 1):
        copy = muscles.assign(run_id=f"run-{run}")
        if run > 1:
            copy["mfi"] = copy["mfi"] + rng.normal(0, sd_percent, len(copy))
        copies.append(copy)
    return pd.concat(copies, ignore_index=True)


def split_scans(muscles: pd.DataFrame) -> dict[tuple[str, str, str], pd.DataFrame]:
    """Rows of each scan by participant, session and run, without prefix; empty if there is none."""
    table = muscles.rename(columns=VALUES)
    for column in ("participant_id", "session_id", "run_id"):
        cells = table[column] if column in table else pd.Series("", index=table.index)
        table[column] = [str(cell).split("-", 1)[-1] for cell in cells]
    keys = ["participant_id", "session_id", "run_id"]
    return {tuple(name): rows for name, rows in table.groupby(keys, sort=True)}  # type: ignore[misc]


# --- BIDS_DIR ----------------------------------------------------------------------------------


def write_raw(
    bids_dir: Path, participants: pd.DataFrame | None, sessions: pd.DataFrame | None
) -> None:
    """Write description and tables of the raw dataset."""
    bids_dir.mkdir(parents=True, exist_ok=True)
    description = {"Name": "test", "BIDSVersion": "1.11.1", "DatasetType": "raw"}
    (bids_dir / "dataset_description.json").write_text(json.dumps(description))
    if participants is not None:
        write_tsv(participants, bids_dir / "participants.tsv")
    if sessions is not None:
        for name, rows in sessions.groupby("participant_id"):
            folder = bids_dir / str(name)
            folder.mkdir(parents=True, exist_ok=True)
            write_tsv(rows.drop(columns="participant_id"), folder / f"{name}_sessions.tsv")


def write_tsv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as BIDS has it: tabs, ``n/a``, every digit."""
    table.to_csv(path, sep="\t", index=False, na_rep="n/a", lineterminator="\n")


def make_record(
    bids_dir: Path, entities: tuple[tuple[str, str], ...], bundle: BundleFacts
) -> ScanRecord:
    """Write the two images of a scan, a few bytes each, and say where its results come from."""
    known = dict(entities)
    home = bids_dir / f"sub-{known['sub']}"
    folder = (home / f"ses-{known['ses']}" if "ses" in known else home) / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    stem = "_".join(f"{key}-{value}" for key, value in entities)
    images = [folder / f"{stem}_echo-{echo}_MEGRE.nii.gz" for echo in (1, 2)]
    for image in images:
        image.write_bytes(image.name.encode())
    pair = DixonPair(
        *images, entities, "names", echo_times_ms=(2.46, 1.23), field_strength_t=3.0
    )  # fmt: skip
    return identify_scan(ScanRecord(pair, bids_dir, bundle, "computed"))


# --- OUTPUT_DIR --------------------------------------------------------------------------------


def write_scan(output_dir: Path, record: ScanRecord, rows: pd.DataFrame) -> None:
    """Write all files of a scan by the writer of the participant level."""
    measures = make_measures(rows)
    flags: list[QCFlag] = [flag for one in measures for flag in check_measure(one, computed=True)]
    figures = (("labels", b"png"), ("fat", b"png"))
    save_scan(
        output_dir, record, ScanResults(TINY_IMAGE, TINY_IMAGE, measures, tuple(flags), figures)
    )


def make_measures(rows: pd.DataFrame) -> tuple[MuscleMeasure, ...]:
    """Measures of a scan in the order of the labels."""
    found = [
        make_measure(WEBER2021.of(muscle, hemi), float(mfi), float(volume))
        for muscle, hemi, mfi, volume in zip(
            rows["muscle"], rows["hemi"], rows["mfi_percent"], rows["volume_ml"], strict=True
        )
    ]
    return tuple(sorted(found, key=lambda measure: measure.index))


def make_measure(muscle: Muscle, mfi_percent: float, volume_ml: float) -> MuscleMeasure:
    """One muscle with this MFI and volume; the other numbers are plausible, NaN where these are."""
    voxels = 0 if math.isnan(volume_ml) else max(1, round(volume_ml / VOXEL_VOLUME_ML))
    measured = not math.isnan(mfi_percent)
    fat_mean = TYPICAL_SIGNAL * mfi_percent / 100
    return MuscleMeasure(
        index=muscle.index,
        name=muscle.name,
        muscle=muscle.muscle,
        hemi=muscle.hemi,
        voxels=voxels,
        volume_ml=volume_ml,
        fat_mean=fat_mean,
        water_mean=TYPICAL_SIGNAL - fat_mean,
        mfi_percent=mfi_percent,
        mfi_voxelwise_percent=1.02 * mfi_percent,
        mfi_median_percent=0.9 * mfi_percent,
        near_fold_percent=0.5 if measured else math.nan,
        swapped_percent=0.0 if measured else math.nan,
        signal_voxels=voxels if measured else 0,
        extent="complete" if voxels else "absent",
        levels=muscle.levels,
    )


def write_minimal(
    output_dir: Path, entities: tuple[tuple[str, str], ...], rows: pd.DataFrame
) -> None:
    """Write a table with what the group level needs and no more."""
    path = scan_paths(output_dir, DixonPair(Path(), Path(), entities, "")).mfi_tsv
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tsv(rows[MINIMAL_COLUMNS], path)


# --- many sessions -----------------------------------------------------------------------------

ID_WIDTH = 6
WOMAN_PERCENT = 1.5
MEAN_MFI_PERCENT = {"MFSS": 17, "LC": 13, "SSCap": 15, "SPCap": 11, "LS": 7, "SCM": 9, "TR": 8.5}


def make_large_folder(
    root: Path, sessions: int, seed: int, sessions_each: int = 2
) -> tuple[Path, Path]:
    """Lay out a study with this many sessions, one scan each, within seconds.

    Tables and sidecars are those of the participant level but for identifiers and numbers; images
    are empty. The last participant has fewer sessions if ``sessions`` is no multiple.
    """
    rng = np.random.default_rng(seed)
    people = draw_people(rng, math.ceil(sessions / sessions_each))
    bids_dir, output_dir = root / "bids", root / "out"
    write_raw(bids_dir, people, None)
    write_dataset_files(output_dir, bids_dir, WEBER2021, BUNDLE)
    template = make_template(bids_dir)
    values = draw_values(rng, people, sessions, sessions_each)
    for number in range(sessions):
        participant = f"{number // sessions_each + 1:0{ID_WIDTH}d}"
        write_from_template(
            output_dir, template, participant, f"{number % sessions_each + 1:02d}", values[number]
        )
    return bids_dir, output_dir


def draw_people(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """``participants.tsv`` of this many people."""
    return pd.DataFrame(
        {
            "participant_id": [f"sub-{number:0{ID_WIDTH}d}" for number in range(1, count + 1)],
            "sex": rng.choice(["F", "M"], count),
            "age": np.round(rng.uniform(20, 75, count), 1),
            "bmi": np.round(rng.normal(26, 4, count).clip(16, 45), 2),
        }
    )


def draw_values(
    rng: np.random.Generator, people: pd.DataFrame, sessions: int, sessions_each: int
) -> np.ndarray:
    """MFI (percent) and volume (ml) of each session and label, float64 (sessions, labels, 2)."""
    labels = list(WEBER2021)
    owner = np.arange(sessions) // sessions_each
    own = rng.normal(0, 1.5, len(people)) + 0.06 * (people["age"].to_numpy() - 47)
    own += WOMAN_PERCENT * (people["sex"].to_numpy() == "F")
    means = np.array([MEAN_MFI_PERCENT[muscle.muscle] for muscle in labels])
    habit = rng.normal(0, 1.2, (len(people), len(labels)))
    mfi = means + own[owner, None] + habit[owner] + rng.normal(0, 0.6, (sessions, len(labels)))
    volume = rng.uniform(8, 30, len(labels)) * np.exp(rng.normal(0, 0.2, mfi.shape))
    return np.stack([mfi.clip(0.2), volume], axis=-1)


CANONICAL = "no file"
PLACES = ("@PARTICIPANT", "@SESSION")


def make_template(bids_dir: Path) -> dict[str, tuple[str, str]]:
    """Text and sha256 of each file of a scan, by its name and in the order of writing.

    Images are empty. The table has ``%d`` and ``%.4f`` for numbers; its sha256 is that which the
    marker names. Under CANONICAL is the text of which the marker holds the checksum.
    """
    entities = (("sub", PLACES[0]), ("ses", PLACES[1]), ("acq", "dixon"))
    pair = DixonPair(
        bids_dir / "in.nii.gz", bids_dir / "out.nii.gz", entities, "names",
        echo_times_ms=(2.46, 1.23), field_strength_t=3.0,
    )  # fmt: skip
    record = ScanRecord(pair, bids_dir, BUNDLE, "computed", "ef" * 32)
    measures = tuple(make_measure(muscle, 10.0, 20.0) for muscle in WEBER2021)
    files = encode_scan(scan_paths(Path(), pair), record, ScanResults(b"", b"", measures, ()))
    texts = {
        path.name: (data.decode(), hashlib.sha256(data).hexdigest()) for path, data in files.items()
    }
    marker = next(name for name in texts if name.endswith("_mfi.json"))
    content = json.loads(texts[marker][0])
    mark = content.pop(SEAL)
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    sidecar = texts.pop(marker)
    texts |= {CANONICAL: (canonical, mark), marker: sidecar}
    table = next(name for name in texts if name.endswith("_mfi.tsv"))
    return texts | {table: (table_template(measures), texts[table][1])}


def table_template(measures: Sequence[MuscleMeasure]) -> str:
    """The table with ``%d`` and ``%.4f`` in place of voxels, volume, MFI and signal."""
    columns = list(MuscleMeasure.__dataclass_fields__)
    holes = {
        "voxels": "%d", "volume_ml": "%.4f", "fat_mean": "%.4f", "water_mean": "%.4f",
        "mfi_percent": "%.6f", "mfi_voxelwise_percent": "%.6f", "mfi_median_percent": "%.6f",
        "signal_voxels": "%d",
    }  # fmt: skip
    rows = [{name: getattr(one, name) for name in columns} | holes for one in measures]
    return encode_table(columns, rows).decode()


def write_from_template(
    output_dir: Path,
    template: dict[str, tuple[str, str]],
    participant: str,
    session: str,
    values: np.ndarray,
) -> None:
    """Write the files of one session, with checksums that are right, and its page."""
    folder = output_dir / f"sub-{participant}" / f"ses-{session}" / "anat"
    folder.mkdir(parents=True)
    numbers: list[float] = []
    for mfi, volume in values.tolist():
        voxels, fat = int(volume / VOXEL_VOLUME_ML), TYPICAL_SIGNAL * mfi / 100
        numbers += [voxels, volume, fat, TYPICAL_SIGNAL - fat, mfi, 1.02 * mfi, 0.9 * mfi, voxels]
    exchange = dict(zip(PLACES, (participant, session), strict=True))
    for name, (text, mark) in template.items():
        own = replace_all(text % tuple(numbers) if name.endswith("_mfi.tsv") else text, exchange)
        exchange[mark] = hashlib.sha256(own.encode()).hexdigest()
        if name == CANONICAL:
            continue
        with open(f"{folder}/{replace_all(name, exchange)}", "w", encoding="utf-8") as file:
            file.write(own)
    page = f"sub-{participant}_ses-{session}"
    with open(f"{output_dir}/{page}.html", "w", encoding="utf-8") as file:
        file.write(PAGE.format(page))


def replace_all(text: str, exchange: dict[str, str]) -> str:
    """Exchange each key for its value."""
    for old, new in exchange.items():
        text = text.replace(old, new)
    return text
