"""The filter file that would pair two images, tried before it is shown."""

import json
from collections.abc import Iterable, Iterator

from bids_mfi.discovery.acquisition import Kinship
from bids_mfi.discovery.classify import Image, Verdict
from bids_mfi.discovery.echoes import recognise
from bids_mfi.discovery.filters import FilterQueries, queries_of
from bids_mfi.discovery.grouping import group_images
from bids_mfi.discovery.groups import FoundScan, Group
from bids_mfi.discovery.naming import ImageName
from bids_mfi.discovery.reunion import Lone, find_lone, list_possible_partners
from bids_mfi.measure.pair import Contrast

IN, OUT = Contrast.IN_PHASE, Contrast.OUT_PHASE

SHOWN_PARTNERS = 5


def suggest_partners(finding: FoundScan, groups: Iterable[Group], images: list[Image]) -> str:
    """Name the images that may be the missing partner, and print the filter file for the nearest.

    Parameters
    ----------
    finding : FoundScan
        One that has one phase only.
    groups : iterable of Group
        All of the participant.
    images : list of Image
        All of the participant.

    Returns
    -------
    str
        Sentences; empty where there is no such image.
    """
    lone = find_lone(groups)
    own = next((one for one in lone if one.key == finding.key), None)
    partners = [] if own is None else list_possible_partners(own, lone)
    if own is None or not partners:
        return ""
    shown = ", ".join(one.verdict.image.shown for one in partners[:SHOWN_PARTNERS])
    which = "A possible partner is" if len(partners) == 1 else "Possible partners are"
    in_phase, out_phase = sorted((own, partners[0]), key=lambda one: one.contrast is OUT)
    content = write_filter(in_phase.verdict.image, out_phase.verdict.image, images)
    return f"{which} {shown}, but {_doubt(own, partners)}. {_advice(content, partners[0])}"


def _doubt(own: Lone, partners: list[Lone]) -> str:
    if len(partners) > 1:
        return "more than one fits"
    if own.kinship(partners[0]) is Kinship.DIFFERENT:
        return "the sidecars give another acquisition time or other settings"
    return "nothing in the sidecars proves that both come from one acquisition"


def _advice(content: str | None, partner: Lone) -> str:
    if content is None:
        return "If the two are a pair, give them names that differ in the contrast only."
    return (
        f"If it is {partner.verdict.image.shown}, this --bids-filter-file pairs them: {content}. "
        "It applies to all participants, and other images are then left out."
    )


def suggest_choice(finding: FoundScan, images: list[Image]) -> str:
    """Print a filter file that chooses among several candidates: the earliest that fit."""
    out_phase = min(finding.found[OUT], key=_by_echo)
    later = [v for v in finding.found[IN] if _by_echo(v) > _by_echo(out_phase)]
    in_phase = min(later or finding.found[IN], key=_by_echo)
    content = write_filter(in_phase.image, out_phase.image, images)
    if content is None:
        return ""
    names = f"{in_phase.image.shown} and {out_phase.image.shown}"
    return f"For {names} it would be {content}."


def _by_echo(verdict: Verdict) -> tuple[float, str]:
    return verdict.image.echo_time_s or 0.0, verdict.image.shown


def write_filter(in_phase: Image, out_phase: Image, images: Iterable[Image]) -> str | None:
    """JSON of a filter file that pairs two images; None if no file can.

    The fewest conditions are tried first. A file is best that makes no phase image of another one
    of this participant and session.
    """
    beside = [image for image in images if image.folders == in_phase.folders]
    second_best = None
    for keys in _choices_of_keys(in_phase.name, out_phase.name, beside):
        content = {
            "ip": _conditions(in_phase.name, out_phase.name, keys),
            "oop": _conditions(out_phase.name, in_phase.name, keys),
        }
        found = _find_phases(queries_of(content), beside)
        if (in_phase.shown, out_phase.shown) in found:
            if len(found) == 1:
                return json.dumps(content)
            second_best = second_best or json.dumps(content)
    return second_best


def _choices_of_keys(
    first: ImageName, second: ImageName, images: Iterable[Image]
) -> Iterator[tuple[str, ...]]:
    """Parts of the names to ask for: one that differs, all that differ, all, and all there are."""
    own, theirs = _parts(first, second), _parts(second, first)
    known = sorted(own.keys() | theirs.keys())
    differing = tuple(key for key in known if own.get(key) != theirs.get(key))
    anywhere = {key for image in images for key, _ in image.name.entities} | set(known)
    yield from ((key,) for key in differing)
    yield from (
        keys for keys in (differing, tuple(known), tuple(sorted(anywhere - {"sub", "ses"}))) if keys
    )


def _conditions(name: ImageName, other: ImageName, keys: Iterable[str]) -> dict[str, str | None]:
    parts = _parts(name, other)
    return {key: parts.get(key) for key in keys}


def _parts(name: ImageName, other: ImageName) -> dict[str, str]:
    """Parts of a name as a filter names them; of its words one that the other name has not."""
    parts = {key: value for key, value in name.entities if key not in ("sub", "ses")}
    own_words = [word for word in name.words if word not in other.words]
    parts |= {"suffix": name.suffix} if name.suffix else {}
    return parts | ({"word": own_words[0]} if own_words else {})


def _find_phases(queries: FilterQueries, images: list[Image]) -> list[tuple[str, ...]]:
    """List the in-phase and out-of-phase images of every group that has any."""
    found = (recognise(group.verdicts) for group in group_images(images, queries))
    phases = (tuple(verdict.image.shown for verdict in one.phases) for one in found)
    return [shown for shown in phases if shown]
