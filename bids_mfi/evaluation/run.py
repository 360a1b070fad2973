"""Order of an evaluation from input to files.

A scan that fails does not affect the others. Scans without a partner are counted and named.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bids_mfi.bids.formats import encode_json
from bids_mfi.counts import count_noun
from bids_mfi.discovery.field_strength import read_field_strengths
from bids_mfi.errors import InputError, MFIError
from bids_mfi.evaluation import outputs
from bids_mfi.evaluation.groups import Groups, read_scan_traits, summarise_groups
from bids_mfi.evaluation.mismatch import describe_doubts
from bids_mfi.evaluation.pairing import (
    MEASURES,
    ScanImages,
    ScanPair,
    find_by_scan,
    find_images,
    pair_label_maps,
    read_labels_of_both,
)
from bids_mfi.evaluation.scans import MAPS, MuscleRow, ScanResult, choose_sources, evaluate_scan
from bids_mfi.evaluation.summary import agree_on_scans, agree_on_tables, summarise_segmentation
from bids_mfi.muscles import MuscleTable
from bids_mfi.paired_tables import pair_tables
from bids_mfi.report.agreement_figures import draw_agreement
from bids_mfi.report.agreement_page import (
    AgreementPage,
    Lists,
    ScanScore,
    find_lowest_dice,
    mean_dice,
    render_agreement_page,
)
from bids_mfi.statistics.summaries import MuscleAgreement, SegmentationSummary
from bids_mfi.tables import read_long_table

Source = ScanImages | tuple[Path, Path] | None
HOW = {
    "images": "measured with both label maps on the same images",
    "tables": "taken from the *_mfi.tsv of both folders",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Result of a comparison, for the person who ran it.

    Attributes
    ----------
    sentence : str
        What was compared, and the main result.
    page : Path
        The report.
    failed : tuple of (str, str)
        Each scan that could not be compared, and why.
    reference_only, compared_only : tuple of str
        Scans that only one input has.
    unknown_labels : tuple of str
        Labels of the maps that the label table does not name.
    findings : tuple of str
        What makes the figures doubtful, as full sentences.
    nothing_compared : bool
        Truth or prediction holds no muscle by which they could be compared.
    """

    sentence: str
    page: Path
    failed: tuple[tuple[str, str], ...] = ()
    reference_only: tuple[str, ...] = ()
    compared_only: tuple[str, ...] = ()
    unknown_labels: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    nothing_compared: bool = False

    @property
    def exit_code(self) -> int:
        """0, 1 if a scan failed, or 3 if nothing could be compared."""
        if self.nothing_compared:
            return InputError.exit_code
        return MFIError.exit_code if self.failed else 0


# --- two tables --------------------------------------------------------------------------------


def compare_tables(reference: Path, compared: Path, out_dir: Path) -> Comparison:
    """Agreement of two tables in the format of ``group_mfi.tsv``.

    Parameters
    ----------
    reference, compared : Path
    out_dir : Path
        Receives ``agreement.tsv``, ``.json`` and ``.html`` and two figures.

    Raises
    ------
    InputError
        A table cannot be used, or they have no row in common.
    OutputError
        The folder holds something else, or cannot be written.
    """
    outputs.check_out_dir(out_dir, "agreement")
    tables = (read_long_table(reference), read_long_table(compared))
    paired = pair_tables(*tables, (reference, compared))
    found = agree_on_tables(paired)
    alone = paired.list_unpaired("reference"), paired.list_unpaired("compared")
    pairs = int((paired.rows["found_in"] == "both").sum())
    page = AgreementPage(
        title="Agreement of two tables",
        names=("reference", "compared"),
        facts=(
            ("Reference", str(reference)),
            ("Compared", str(compared)),
            ("Rows paired", str(pairs)),
            ("Rows paired by", _name_keys(paired.ignored_keys)),
        ),
        agreement=found,
        figures=_draw(found, ("reference", "compared")),
        lists=Lists(reference_only=alone[0], compared_only=alone[1]),
    )
    facts = {
        "Reference": str(reference),
        "Compared": str(compared),
        "IgnoredKeys": list(paired.ignored_keys),
        "ReferenceOnly": list(alone[0]),
        "ComparedOnly": list(alone[1]),
    }
    files = {
        "agreement.json": outputs.describe_agreement("agreement", facts),
        **_common_files(found, page),
        outputs.PAGES["agreement"]: render_agreement_page(page).encode(),
    }
    outputs.write_outputs(out_dir, files)
    return Comparison(
        f"{count_noun(pairs, 'row')} compared; results in {out_dir}",
        out_dir / outputs.PAGES["agreement"],
        reference_only=alone[0],
        compared_only=alone[1],
    )


def _name_keys(ignored: Sequence[str]) -> str:
    without = f"; not by {' or '.join(ignored)}, which one table lacks" if ignored else ""
    return f"participant, session, run, muscle and side{without}"


def _draw(
    found: Sequence[MuscleAgreement], names: tuple[str, str]
) -> tuple[tuple[str, bytes], ...]:
    return tuple((measure, draw_agreement(found, measure, names)) for measure in outputs.FIGURES)


def _common_files(found: Sequence[MuscleAgreement], page: AgreementPage) -> dict[str, bytes]:
    figures = {outputs.FIGURES[measure]: svg for measure, svg in page.figures}
    return {"agreement.tsv": outputs.encode_agreement(found), **figures}


# --- two folders -------------------------------------------------------------------------------


def evaluate_folders(
    truth: Path,
    prediction: Path,
    out_dir: Path,
    measure: str = "auto",
    bids_dir: Path | None = None,
) -> Comparison:
    """Compare the label maps, MFI and volume of two derivative folders.

    Parameters
    ----------
    truth, prediction : Path
    out_dir : Path
        New or empty, or an earlier output of this function.
    measure : str
        Where MFI and volume come from: ``images``, ``tables`` or ``auto``.
    bids_dir : Path, optional
        Dataset of the images, if it is not where the sidecars say; with it, values are measured on
        images and never taken from tables.

    Raises
    ------
    InputError
        The folders cannot be compared, every scan failed, or ``bids_dir`` has no image of them.
    OutputError
        The folder holds something else, or cannot be written.
    """
    outputs.check_out_dir(out_dir, "evaluate")
    measure = _settle_measure(measure, bids_dir)
    scans = pair_label_maps(truth, prediction)
    table, labels_from = read_labels_of_both(truth, prediction, scans.pairs)
    measure, sources = _find_sources(scans.pairs, truth, prediction, measure, bids_dir)
    results, failed = _evaluate_all(scans.pairs, table, sources, measure)
    facts = (
        ("Truth", str(truth)),
        ("Prediction", str(prediction)),
        ("Scans compared", str(len(results))),
        ("MFI and volume", _describe_measure(measure, sources)),
        ("Labels named by", labels_from),
    )
    unknown = _name_unknown(results, labels_from)
    lists = Lists(failed, scans.truth_only, scans.prediction_only, unknown)
    images = {pair.scan: find_images(pair, truth, prediction, bids_dir) for pair in scans.pairs}
    groups = _group_scans(results, images)
    findings = describe_doubts({scan: result.doubts for scan, result in results.items()})
    page = replace(_make_page(results, groups, lists, facts), findings=findings)
    marker = _describe_run(page, measure)
    outputs.write_outputs(out_dir, _encode_evaluation(results, groups, page, marker))
    sentence = (
        f"{count_noun(len(results), 'scan')} compared, {len(failed)} failed; "
        f"MFI and volume {HOW[measure]}; "
        f"{_describe_dice(page.segmentation)}; results in {out_dir}"
    )
    written = out_dir / outputs.PAGES["evaluate"]
    return Comparison(
        sentence,
        written,
        failed,
        scans.truth_only,
        scans.prediction_only,
        unknown,
        findings,
        _has_nothing_in_common(results),
    )


def _has_nothing_in_common(results: dict[str, ScanResult]) -> bool:
    """Whether no truth has a muscle, or all predictions have only labels without a name."""
    counts = [row.counts for row in _all_rows(results)]
    if not any(count.tp + count.fn for count in counts):
        return True
    unnamed = any(name == MAPS[1] for result in results.values() for name, _ in result.unknown)
    return unnamed and not any(count.tp + count.fp for count in counts)


def _group_scans(results: dict[str, ScanResult], images: Mapping[str, ScanImages | None]) -> Groups:
    """Summarise groups of scans by the grid of the truth and the sidecars of the images."""
    in_phase = {scan: found.pair.in_phase for scan in results if (found := images[scan])}
    strengths = read_field_strengths(in_phase.values())
    scans = {
        scan: read_scan_traits(result.grid, strengths[in_phase[scan]] if scan in in_phase else None)
        for scan, result in results.items()
    }
    return summarise_groups(_all_rows(results), scans)


def _make_page(
    results: dict[str, ScanResult],
    groups: Groups,
    lists: Lists,
    facts: tuple[tuple[str, str], ...],
) -> AgreementPage:
    """Summarise all scans and draw them."""
    rows = _all_rows(results)
    found = agree_on_scans(rows, len(lists.reference_only) + len(lists.compared_only))
    names = ("truth", "prediction")
    return AgreementPage(
        title="Evaluation of a segmentation",
        names=names,
        facts=facts,
        agreement=found,
        figures=_draw(found, names),
        segmentation=summarise_segmentation(rows),
        scans=tuple(_score_scan(name, result.rows) for name, result in results.items()),
        groups=groups.found,
        group_notes=groups.notes,
        lists=lists,
    )


def _all_rows(results: dict[str, ScanResult]) -> list[MuscleRow]:
    return [row for result in results.values() for row in result.rows]


def _encode_evaluation(
    results: dict[str, ScanResult], groups: Groups, page: AgreementPage, marker: dict[str, Any]
) -> dict[str, bytes]:
    """Encode all files of an evaluation, the marker first."""
    return {
        outputs.MARKERS["evaluate"]: encode_json(outputs.describe_inputs("evaluate", marker)),
        "agreement.json": outputs.describe_agreement("evaluate", {}),
        **_common_files(page.agreement, page),
        "segmentation.tsv": outputs.encode_segmentation(page.segmentation),
        "segmentation.json": outputs.describe_segmentation(),
        "segmentation_scans.tsv": outputs.encode_scans(_all_rows(results)),
        "segmentation_scans.json": outputs.describe_scans(),
        "groups.tsv": outputs.encode_groups(groups.found),
        "groups.json": outputs.describe_groups(groups),
        outputs.PAGES["evaluate"]: render_agreement_page(page).encode(),
    }


def _settle_measure(measure: str, bids_dir: Path | None) -> str:
    """If a dataset is named, measure on its images."""
    if bids_dir is None:
        return measure
    if not bids_dir.is_dir():
        raise InputError(
            f"{bids_dir}: is not a folder. Expected the dataset of the images; correct --bids-dir."
        )
    if measure == "tables":
        raise InputError(
            "--bids-dir names the dataset of images, but --measure tables uses none. Leave one of "
            "them out."
        )
    return "images"


def _check_images(images: Mapping[str, ScanImages | None], bids_dir: Path | None) -> None:
    """Refuse a dataset that was named but has no images of the scans."""
    if bids_dir is not None and not any(images.values()):
        raise InputError(
            f"{bids_dir}: holds no image of the {count_noun(len(images), 'scan')}. Expected the "
            "dataset to which "
            "bids:raw: in the Sources of their *_mfi.json or *_dseg.json leads; correct --bids-dir."
        )


def _find_sources(
    pairs: tuple[ScanPair, ...],
    truth: Path,
    prediction: Path,
    measure: str,
    bids_dir: Path | None,
) -> tuple[str, dict[str, Source]]:
    """Find the source of MFI and volume of each scan; tables only if images cannot be used."""
    images: dict[str, ScanImages | None] = {}
    if measure != "tables":
        images = {pair.scan: find_images(pair, truth, prediction, bids_dir) for pair in pairs}
        _check_images(images, bids_dir)
    tables: tuple[dict[str, Path], dict[str, Path]] = ({}, {})
    if measure == "tables" or (measure == "auto" and None in images.values()):
        tables = (_find_tables(truth, pairs), _find_tables(prediction, pairs))
    return choose_sources(pairs, images, tables, measure)


def _find_tables(folder: Path, pairs: Iterable[ScanPair]) -> dict[str, Path]:
    found = find_by_scan(folder, MEASURES)
    return {pair.scan: found[pair.entities] for pair in pairs if pair.entities in found}


def _evaluate_all(
    pairs: Sequence[ScanPair], table: MuscleTable, sources: dict[str, Source], measure: str
) -> tuple[dict[str, ScanResult], tuple[tuple[str, str], ...]]:
    """Evaluate each scan; the second part of the result names those that failed, and why."""
    results: dict[str, ScanResult] = {}
    failed: list[tuple[str, str]] = []
    for pair in pairs:
        try:
            source = sources[pair.scan]
            if source is None:
                raise InputError(_explain_missing(pair, measure))
            results[pair.scan] = evaluate_scan(pair, table, source)
        except InputError as error:
            failed.append((pair.scan, str(error)))
    if not results:
        raise InputError(
            f"none of {count_noun(len(pairs), 'scan')} can be compared. {failed[0][1]}"
        )
    return results, tuple(failed)


def _explain_missing(pair: ScanPair, measure: str) -> str:
    if measure == "images":
        return (
            f"{pair.prediction}: the images it was made from were not found. Expected two Sources "
            "in its *_mfi.json or *_dseg.json that lead to files; name their dataset with "
            "--bids-dir, or use --measure tables."
        )
    return (
        f"{pair.prediction} and {pair.truth}: one of them has no *_mfi.tsv. Expected a table with "
        "muscle, hemi, volume_ml and mfi_percent beside both; add it, or use --measure images."
    )


def _describe_measure(measure: str, sources: dict[str, Source]) -> str:
    scanner = any(
        isinstance(source, ScanImages) and source.fat_water == "scanner"
        for source in sources.values()
    )
    return HOW[measure] + (" (the scanner's own fat and water, where used)" if scanner else "")


def _score_scan(name: str, rows: Iterable[MuscleRow]) -> ScanScore:
    held = [row for row in rows if row.counts.tp + row.counts.fn]
    return ScanScore(
        name,
        tuple((row.muscle.abbreviation, row.counts.dice) for row in held),
        tuple(row.muscle.abbreviation for row in held if row.counts.missed),
    )


def _name_unknown(results: dict[str, ScanResult], labels_from: str) -> tuple[str, ...]:
    """Name the labels that are not in the table, over all scans."""
    found: dict[tuple[str, int], list[int]] = {}
    for result in results.values():
        for key, voxels in result.unknown.items():
            found.setdefault(key, []).append(voxels)
    return tuple(
        f"{name}: label {label} in {count_noun(len(voxels), 'scan')} "
        f"({count_noun(sum(voxels), 'voxel')}) is not in "
        f"{labels_from}; it was not evaluated and counts as background"
        for (name, label), voxels in sorted(found.items())
    )


def _describe_run(page: AgreementPage, measure: str) -> dict[str, Any]:
    lowest, lists, facts = find_lowest_dice(page.segmentation), page.lists, dict(page.facts)
    return {
        "Truth": facts["Truth"],
        "Prediction": facts["Prediction"],
        "Measure": measure,
        "LabelTable": facts["Labels named by"],
        "Scans": [score.scan for score in page.scans],
        "Failed": [{"Scan": scan, "Problem": problem} for scan, problem in lists.failed],
        "TruthOnly": list(lists.reference_only),
        "PredictionOnly": list(lists.compared_only),
        "UnknownLabels": list(lists.unknown_labels),
        **({"Findings": list(page.findings)} if page.findings else {}),
        "MeanDice": mean_dice(page.segmentation),
        "LowestDice": lowest and {
            "Muscle": f"{lowest.muscle}_{lowest.hemi}", "Dice": lowest.metric("dice").mean
        },
    }  # fmt: skip


def _describe_dice(segmentation: Sequence[SegmentationSummary]) -> str:
    lowest = find_lowest_dice(segmentation)
    if lowest is None:
        return "the truth holds no muscle"
    return (
        f"mean Dice {mean_dice(segmentation):.3f}, lowest {lowest.muscle}_{lowest.hemi} "
        f"{lowest.metric('dice').mean:.3f}"
    )
