"""From a participant's images to scans: in-phase and out-of-phase joined, or a reason why not.

Nothing is guessed: where sources disagree, a partner is missing or there are two candidates, the
scan becomes an :class:`UnusableScan` whose problem names the files and says what to do.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bids_mfi.discovery.bystanders import leave_out_bystanders, leave_out_derived
from bids_mfi.discovery.classify import (
    PHASES,
    Image,
    Verdict,
    echo_statement,
    echo_times_differ,
)
from bids_mfi.discovery.echoes import is_silenced, recognise, undecided
from bids_mfi.discovery.explain import (
    describe_candidates,
    describe_conflict,
    describe_missing,
    describe_missing_fractions,
    describe_no_phase,
    describe_recognition,
    paths_of,
)
from bids_mfi.discovery.filters import FilterQueries
from bids_mfi.discovery.grouping import group_images
from bids_mfi.discovery.groups import Entities, FoundScan, Group, name_found_scans
from bids_mfi.discovery.slopes import find_shared_slopes
from bids_mfi.discovery.suggest import suggest_choice, suggest_partners
from bids_mfi.errors import PairError
from bids_mfi.grid import describe_difference, same_grid
from bids_mfi.images import read_grid
from bids_mfi.measure.pair import Contrast, DixonPair, NamedByEntities

IN, OUT, WATER, FAT = Contrast.IN_PHASE, Contrast.OUT_PHASE, Contrast.WATER, Contrast.FAT
FRACTIONS = frozenset({WATER, FAT})


@dataclass(frozen=True, slots=True)
class UnusableScan(NamedByEntities):
    """A scan that was found but cannot be used.

    Attributes
    ----------
    entities : tuple of (str, str)
        As in :class:`bids_mfi.measure.pair.DixonPair`; ``sub`` comes first.
    paths : tuple of Path
        Every image that the problem is about.
    problem : str
        What was found, what was expected and what to do, for a person to read.
    in_phase, out_phase, water, fat : Path or None
        Images that were recognised without doubt.
    recognised_by : str
        How; empty where nothing was recognised.
    """

    entities: Entities
    paths: tuple[Path, ...]
    problem: str
    in_phase: Path | None = None
    out_phase: Path | None = None
    water: Path | None = None
    fat: Path | None = None
    recognised_by: str = ""


def pair_images(
    images: Iterable[Image], queries: FilterQueries, fat_water: str
) -> list[DixonPair | UnusableScan]:
    """Join the images of one participant to scans.

    Parameters
    ----------
    images : iterable of Image
    queries : FilterQueries
    fat_water : str
        ``scanner`` makes doubtful water and fat images a problem, too.

    Returns
    -------
    list of DixonPair or UnusableScan
        Images that have nothing to do with Dixon imaging appear in none.
    """
    known = leave_out_bystanders(images, queries)
    groups = group_images(known, queries)
    judged = (judge(group, fat_water) for group in groups)
    findings = leave_out_derived([one for one in judged if one is not None])
    silenced = [v for group in groups for v in group.verdicts if is_silenced(v)]
    findings = [_with_silenced(finding, silenced) for finding in findings]
    if not queries.contrasts & PHASES:
        findings = [_with_suggestion(finding, groups, known) for finding in findings]
    return [_finish(finding, name) for finding, name in name_found_scans(findings)]


def _with_suggestion(finding: FoundScan, groups: list[Group], images: list[Image]) -> FoundScan:
    """Add the filter file that would help, where a phase is missing or has several candidates."""
    if not finding.problems or any(v.image.problem for v in finding.involved):
        return finding
    several = any(len(finding.found[c]) > 1 for c in PHASES)
    if finding.is_whole:
        text = suggest_choice(finding, images) if several else ""
    else:
        text = suggest_partners(finding, groups, images)
    return replace(finding, problems=(*finding.problems, text)) if text else finding


def judge(group: Group, fat_water: str) -> FoundScan | None:
    """Decide what a group of images is; None if it has nothing to do with Dixon imaging."""
    verdicts = group.verdicts
    known = recognise(verdicts)
    found, conflicts, phases = known.found, known.conflicts, known.phases
    echo_problems = known.echo_problems
    if not (conflicts or phases or echo_problems or all(found[c] for c in FRACTIONS)):
        return None
    hidden = _hidden_by_problems(found, verdicts, fat_water)
    involved = _unique((*conflicts, *phases, *hidden)) or _unique(undecided(verdicts)) or verdicts
    finding = FoundScan(group, found, involved, ())
    problems = _first_problems(
        lambda: [v.image.problem for v in involved if v.image.problem],
        lambda: [describe_conflict(v) for v in conflicts],
        lambda: echo_problems,
        lambda: _count_problems(finding, verdicts),
        lambda: _contradicting_echo_times(finding),
        lambda: _scanner_problems(finding, verdicts) if fat_water == "scanner" else (),
        lambda: _geometry_problems(finding, fat_water),
    )
    return replace(finding, problems=problems)


def _hidden_by_problems(
    found: Mapping[Contrast, tuple[Verdict, ...]], verdicts: tuple[Verdict, ...], fat_water: str
) -> tuple[Verdict, ...]:
    """Images that may be the missing one, but have a sidecar that cannot be read."""
    wanted = Contrast if fat_water == "scanner" else PHASES
    if all(found[contrast] for contrast in wanted):
        return ()
    return tuple(v for v in verdicts if v.image.problem and not v.statements)


def _with_silenced(finding: FoundScan, silenced: list[Verdict]) -> FoundScan:
    """Add the problems of images elsewhere in the session, one of which may be what is missing."""
    if all(finding.found[contrast] for contrast in PHASES):
        return finding
    told = " ".join(finding.problems)
    beside = [
        v.image
        for v in silenced
        if _why_silenced(v.image) not in told
        and v.image.name.suffix == finding.involved[0].image.name.suffix
        and set(v.image.folders) <= set(finding.key.entities)
    ]
    problems = [
        f"Its partner may be {image.shown}, but {_why_silenced(image)}." for image in beside
    ]
    return replace(finding, problems=(*finding.problems, *problems))


def _why_silenced(image: Image) -> str:
    return (image.problem or "; ".join(image.doubts)).rstrip(".")


def _first_problems(*checks: Callable[[], Iterable[str]]) -> tuple[str, ...]:
    """Problems of the first check that has any; later checks assume that earlier ones pass."""
    for check in checks:
        problems = tuple(check())
        if problems:
            return problems
    return ()


def _unique(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    by_name = {verdict.image.shown: verdict for verdict in verdicts}
    return tuple(by_name[shown] for shown in sorted(by_name))


def _count_problems(finding: FoundScan, verdicts: tuple[Verdict, ...]) -> list[str]:
    if not finding.found[IN] and not finding.found[OUT]:
        return [
            describe_no_phase(v.image for contrast in (WATER, FAT) for v in finding.found[contrast])
        ]
    problems = []
    for contrast, other in ((IN, OUT), (OUT, IN)):
        candidates = finding.found[contrast]
        if len(candidates) > 1:
            problems.append(describe_candidates(contrast, candidates))
        elif not candidates:
            problems.append(describe_missing(contrast, finding.found[other], verdicts))
    return problems


def _contradicting_echo_times(finding: FoundScan) -> list[str]:
    """Echo times that contradict what was recognised; only different ones count."""
    pair = finding.phases
    if not echo_times_differ(verdict.image for verdict in pair):
        return []
    spoken = [(v, echo_statement(v.image)) for v in pair if not v.by_filter]
    return [
        describe_conflict(replace(verdict, statements=(verdict.statements[0], said)))
        for verdict, said in spoken
        if said is not None and said.contrast is not verdict.contrast
    ]


def _scanner_problems(finding: FoundScan, verdicts: tuple[Verdict, ...]) -> list[str]:
    """Doubts about the scanner's water and fat images."""
    conflicts = [v for v in verdicts if v.contradicts_about(FRACTIONS)]
    several = [
        describe_candidates(c, finding.found[c]) for c in (WATER, FAT) if len(finding.found[c]) > 1
    ]
    doubtful = {contrast for v in conflicts for contrast in v.contrasts}
    missing = tuple(c for c in (WATER, FAT) if not finding.found[c] and c not in doubtful)
    lacking = [describe_missing_fractions(missing, finding.phases, verdicts)] if missing else []
    return [*map(describe_conflict, conflicts), *several, *lacking]


def _geometry_problems(finding: FoundScan, fat_water: str) -> list[str]:
    """Headers that cannot be read, and grids that differ from that of the in-phase image."""
    wanted = (IN, OUT, WATER, FAT) if fat_water == "scanner" else (IN, OUT)
    images = [v.image for v in map(finding.only, wanted) if v is not None]
    grids, problems = {}, []
    for image in images:
        try:
            grids[image.path] = read_grid(image.path, image.volume)
        except PairError as error:
            problems.append(str(error))
    if problems:
        return problems
    first = images[0]
    return [
        f"{first.shown} and {image.shown}: {describe_difference(grids[first.path], grid)}. "
        "Expected the two images on one grid, as the scanner makes them. Export or convert them "
        "again without resampling."
        for image in images[1:]
        if not same_grid(grids[first.path], (grid := grids[image.path]))
    ]


def _finish(finding: FoundScan, entities: Entities) -> DixonPair | UnusableScan:
    images = {c: v.image for c in Contrast if (v := finding.only(c)) is not None}
    paths = {c: image.path for c, image in images.items()}
    recognised_by = describe_recognition(finding.phases)
    if finding.problems or IN not in paths or OUT not in paths:
        return UnusableScan(
            entities=entities,
            paths=tuple(sorted(paths_of(finding.involved))),
            problem=" ".join(finding.problems),
            in_phase=paths.get(IN),
            out_phase=paths.get(OUT),
            water=paths.get(WATER),
            fat=paths.get(FAT),
            recognised_by=recognised_by,
        )
    return DixonPair(
        in_phase=paths[IN],
        out_phase=paths[OUT],
        entities=entities,
        recognised_by=recognised_by,
        water=paths.get(WATER),
        fat=paths.get(FAT),
        echo_times_ms=(_echo_time_ms(images[IN]), _echo_time_ms(images[OUT])),
        field_strength_t=images[IN].field_strength_t or images[OUT].field_strength_t,
        scale_slopes=find_shared_slopes(images[IN].metadata, images[OUT].metadata),
        in_phase_volume=images[IN].volume,
        out_phase_volume=images[OUT].volume,
        water_volume=images[WATER].volume if WATER in images else None,
        fat_volume=images[FAT].volume if FAT in images else None,
    )


def _echo_time_ms(image: Image) -> float | None:
    return None if image.echo_time_s is None else 1000 * image.echo_time_s
