"""Sentences about scans that cannot be used, and about how images were recognised.

The decisions are made in :mod:`bids_mfi.discovery.pair`.
"""

from collections.abc import Iterable
from pathlib import Path

from bids_mfi.discovery.classify import (
    ECHO_TIME,
    Image,
    Statement,
    Verdict,
    echo_statement,
    echo_times_differ,
)
from bids_mfi.discovery.filters import FilterQueries
from bids_mfi.discovery.naming import CONTRAST_WORDS
from bids_mfi.discovery.sidecar_values import read_frequency_mhz
from bids_mfi.measure.pair import Contrast

_BY_FILTER = "name the images with --bids-filter-file"
_LOOKED_FOR = {
    Contrast.IN_PHASE: "ImageType IN_PHASE or IP, a name such as acq-inphase, part-inphase or "
    "_inphase, or an echo time",
    Contrast.OUT_PHASE: "ImageType OPP_PHASE, OUT_PHASE or OP, a name such as acq-outphase, "
    "part-outphase or _outphase, or an echo time",
    Contrast.WATER: "ImageType WATER or W, or a name such as acq-water, part-water or _water",
    Contrast.FAT: "ImageType FAT or F, or a name such as acq-fat, part-fat or _fat",
}


def describe_mute_echoes(images: list[Image]) -> tuple[str, ...]:
    """Say why echo times do not identify images that nothing else identifies."""
    without_time = [image for image in images if image.echo_time_s is None]
    without_field = [image for image in images if image.frequency_mhz is None]
    doubts = _list_doubts((*without_time, *without_field))
    if doubts:
        return (
            f"{list_shown((*without_time, *without_field))}: neither name nor ImageType "
            f"distinguishes in-phase from out-of-phase, and the echo time cannot: {doubts}. "
            f"Correct the sidecar, or {_BY_FILTER}.",
        )
    if without_time:
        return (
            f"{list_shown(without_time)}: called Dixon, but neither name nor ImageType nor echo "
            "time distinguishes in-phase from out-of-phase. Add EchoTime (seconds) and "
            f"MagneticFieldStrength to the sidecar, or {_BY_FILTER}.",
        )
    if without_field:
        times = ", ".join(f"{_milliseconds(image):.2f} ms" for image in without_field)
        why = read_frequency_mhz(without_field[0].metadata).problem
        return (
            f"{list_shown(without_field)}: echo time {times}, but no usable MagneticFieldStrength "
            f"or ImagingFrequency{f' ({why})' if why else ''}, without which an echo time means "
            "nothing (2.3 ms is out-of-phase at 1.5 T and in-phase at 3 T). Add "
            f"one to the sidecar, or {_BY_FILTER}.",
        )
    return (
        f"{list_shown(images)}: the echo times "
        + ", ".join(f"{_milliseconds(image):.2f} ms" for image in images)
        + f" at {images[0].field_strength_t:.3g} T lie between in-phase and out-of-phase, and "
        f"neither name nor ImageType decides. If they are a pair, {_BY_FILTER}.",
    )


def _list_doubts(images: Iterable[Image]) -> str:
    """List what is wrong with the sidecars' values, each once."""
    return "; ".join(dict.fromkeys(doubt for image in images for doubt in image.doubts))


def describe_conflict(verdict: Verdict) -> str:
    """Say which sources disagree about an image."""
    return (
        f"{verdict.image.shown}: {', but '.join(map(str, verdict.statements))}. Correct the name "
        f"or the sidecar, or {_BY_FILTER}, which overrules both."
    )


def describe_candidates(contrast: Contrast, candidates: tuple[Verdict, ...]) -> str:
    """Say that several images could be the one of this contrast."""
    return (
        f"{len(candidates)} candidates for the {CONTRAST_WORDS[contrast]} image: "
        f"{list_shown(v.image for v in candidates)} ({name_sources(candidates)}); expected one. "
        f"Choose one with --bids-filter-file, query {FilterQueries.query_name(contrast)!r}."
    )


def describe_missing(
    contrast: Contrast, partners: tuple[Verdict, ...], verdicts: tuple[Verdict, ...]
) -> str:
    """Say which partner is missing, what was looked for, and what else the scan has."""
    others = [v.image for v in verdicts if v.image.path not in paths_of(partners)]
    beside = f" Also found: {list_shown(others)}." if others else ""
    looked_for = _looked_for(contrast, partners[0])
    return (
        f"{list_shown(v.image for v in partners)}: {CONTRAST_WORDS[partners[0].contrast]} by "
        f"{name_sources(partners)}, but its {CONTRAST_WORDS[contrast]} image was not found. Looked "
        "for one of the same participant, session, acquisition, run, chunk and reconstruction: "
        f"{looked_for}.{beside} Add the image, or {_BY_FILTER}."
    )


def _looked_for(contrast: Contrast, partner: Verdict) -> str:
    """Say what identifies an image of this contrast; the filter file's query if there is one."""
    if contrast not in partner.allowed:
        return f"query {FilterQueries.query_name(contrast)!r} of --bids-filter-file"
    return _LOOKED_FOR[contrast]


def describe_missing_fractions(
    missing: tuple[Contrast, ...], phases: list[Verdict], verdicts: tuple[Verdict, ...]
) -> str:
    """Say which of the scanner's water and fat images is missing, and what was looked for."""
    others = [v.image for v in verdicts if v.image.path not in paths_of(phases)]
    beside = f" Also found: {list_shown(others)}." if others else ""
    words = " and ".join(CONTRAST_WORDS[contrast] for contrast in missing)
    looked_for = "; ".join(
        f"{CONTRAST_WORDS[contrast]}: {_looked_for(contrast, phases[0])}" for contrast in missing
    )
    return (
        f"{list_shown(v.image for v in phases)}: no {words} image of the scanner was found beside "
        "them, but --fat-water scanner needs it. Looked for one of the same participant, session, "
        f"acquisition, run, chunk and reconstruction ({looked_for}).{beside} Add the images, name "
        "them with --bids-filter-file (queries 'fat' and 'water'), or give --fat-water "
        "computed."
    )


def describe_no_phase(images: Iterable[Image]) -> str:
    """Say that there are water and fat images only."""
    return (
        f"Only water and fat images were found ({list_shown(images)}), but the segmentation needs "
        "the in-phase and the out-of-phase image. Export these two from the scanner as well, or "
        f"{_BY_FILTER}."
    )


def describe_recognition(phases: list[Verdict]) -> str:
    """Say how the in-phase and the out-of-phase image were recognised, and what else was said."""
    if not phases:
        return ""
    text = name_sources(phases)
    agreeing = sorted({statement.source for statement in _agreeing(phases)})
    if agreeing:
        text += f"; {' and '.join(agreeing)} agree{'s' if len(agreeing) == 1 else ''}"
    overruled = [f"{v.image.shown}: {s}" for v in phases for s in v.overruled]
    text += f"; overruled: {', '.join(overruled)}" if overruled else ""
    remarks = dict.fromkeys(remark for v in phases for remark in v.image.remarks)
    text += f"; {'; '.join(remarks)}" if remarks else ""
    doubts = _list_doubts(v.image for v in phases)
    return text + (f"; not used: {doubts}" if doubts else "")


def _agreeing(phases: list[Verdict]) -> list[Statement]:
    """Statements beyond the deciding ones that say the same."""
    further = [statement for v in phases for statement in v.statements[1:]]
    if len(phases) < 2 or phases[0].statements[0].source == ECHO_TIME:
        return further
    if not echo_times_differ(v.image for v in phases):
        return further
    spoken = [(v.contrast, echo_statement(v.image)) for v in phases]
    if any(said and said.contrast is not contrast for contrast, said in spoken):
        return further
    return [*further, *(said for _, said in spoken if said)]


def name_sources(verdicts: Iterable[Verdict]) -> str:
    """Name the deciding source of each image, with its evidence.

    The source is named once when it decided for all.
    """
    deciding = [verdict.statements[0] for verdict in verdicts]
    if len({statement.source for statement in deciding}) == 1:
        return f"{deciding[0].source}: {', '.join(s.evidence for s in deciding)}"
    return "; ".join(f"{CONTRAST_WORDS[s.contrast]} by {s.source}: {s.evidence}" for s in deciding)


def list_shown(images: Iterable[Image]) -> str:
    """List the images' paths relative to BIDS_DIR."""
    return ", ".join(sorted({image.shown for image in images}))


def paths_of(verdicts: Iterable[Verdict]) -> set[Path]:
    """Collect the images' paths."""
    return {verdict.image.path for verdict in verdicts}


def _milliseconds(image: Image) -> float:
    return 1000 * (image.echo_time_s or 0.0)
