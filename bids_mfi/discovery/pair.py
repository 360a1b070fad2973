"""From a participant's images to scans: in-phase and out-of-phase joined, or a reason why not.

Must not know how files are listed or metadata are read. Nothing is guessed: where sources
disagree, a partner is missing or there are two candidates, the scan becomes an
:class:`UnusableScan` whose problem names the files and says what to do.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from bids_mfi.discovery.classify import (
    Image,
    Verdict,
    classify,
    echo_statement,
    echo_times_differ,
    told_by,
)
from bids_mfi.discovery.explain import (
    describe_candidates,
    describe_conflict,
    describe_missing,
    describe_missing_fractions,
    describe_mute_echoes,
    describe_no_phase,
    describe_recognition,
    list_shown,
    paths_of,
)
from bids_mfi.discovery.filters import FilterQueries
from bids_mfi.discovery.naming import in_bids_order
from bids_mfi.discovery.slopes import find_shared_slopes
from bids_mfi.dixon import Contrast, DixonPair, NamedByEntities
from bids_mfi.errors import PairError
from bids_mfi.grid import describe_difference, read_grid, same_grid

IN, OUT, WATER, FAT = Contrast.IN_PHASE, Contrast.OUT_PHASE, Contrast.WATER, Contrast.FAT
PHASES = frozenset({IN, OUT})
FRACTIONS = frozenset({WATER, FAT})
DEFAULT_ACQUISITION = "dixon"

Entities = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class UnusableScan(NamedByEntities):
    """A scan that was found but cannot be used.

    Attributes
    ----------
    entities : tuple of (str, str)
        As in :class:`bids_mfi.dixon.DixonPair`; ``sub`` comes first.
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


@dataclass(frozen=True, slots=True)
class ScanKey:
    """What the images of one scan share once everything that tells them apart is dropped."""

    entities: Entities
    words: tuple[str, ...]
    suffix: str
    datatype: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One scan before it has its final name."""

    key: ScanKey
    found: Mapping[Contrast, tuple[Verdict, ...]]
    involved: tuple[Verdict, ...]
    problems: tuple[str, ...]

    def only(self, contrast: Contrast) -> Verdict | None:
        """Give the one image of this contrast; None if there is none or more than one."""
        candidates = self.found[contrast]
        return candidates[0] if len(candidates) == 1 else None

    @property
    def phases(self) -> list[Verdict]:
        """The in-phase and the out-of-phase image, as far as there is one of each."""
        return [v for v in (self.only(IN), self.only(OUT)) if v is not None]


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
    groups: dict[ScanKey, list[Verdict]] = defaultdict(list)
    telling = queries.telling_keys()
    for image in images:
        verdict = classify(image, queries)
        groups[shared_key(verdict, telling)].append(verdict)
    judged = (judge(key, tuple(group), fat_water) for key, group in groups.items())
    findings = [finding for finding in judged if finding is not None]
    silenced = [v for group in groups.values() for v in group if _is_silenced(v)]
    findings = [_with_silenced(finding, silenced) for finding in findings]
    return [_finish(finding, name) for finding, name in name_scans(findings)]


def shared_key(verdict: Verdict, telling: frozenset[str]) -> ScanKey:
    """Find what this image shares with the others of its scan.

    ``echo`` and ``part`` are dropped, and every part of the name that tells the contrast; for an
    image that the filter file names also the entities by which its queries differ. Participant
    and session are those of the folders.
    """
    image = verdict.image
    dropped = {"sub", "ses", "echo", "part"} | (telling if verdict.by_filter else frozenset())
    entities = {key: _rest(key, value) for key, value in image.name.entities if key not in dropped}
    entities = {key: value for key, value in entities.items() if value} | dict(image.folders)
    suffix = "" if "suffix" in dropped else _rest("suffix", image.name.suffix)
    return ScanKey(
        entities=in_bids_order(entities),
        words=tuple(word for word in image.name.words if _rest("word", word)),
        suffix=suffix,
        datatype="" if "datatype" in dropped else image.datatype,
    )


def _rest(place: str, value: str) -> str:
    told = told_by(place, value)
    return told[0].rest.strip("-") if told else value


def judge(key: ScanKey, verdicts: tuple[Verdict, ...], fat_water: str) -> Finding | None:
    """Decide what a group of images is; None if it has nothing to do with Dixon imaging."""
    conflicts = tuple(v for v in verdicts if v.contradicts_about(PHASES))
    found = {c: tuple(v for v in verdicts if v.contrast is c) for c in Contrast}
    missing = frozenset(c for c in PHASES if not found[c])
    by_echo, echo_problems = ((), ()) if conflicts else _ask_echo_times(verdicts, missing)
    found |= {c: tuple(v for v in by_echo if v.contrast is c) for c in missing}
    phases = (*found[IN], *found[OUT])
    if not (conflicts or phases or echo_problems or all(found[c] for c in FRACTIONS)):
        return None
    hidden = _hidden_by_problems(found, verdicts, fat_water)
    involved = _unique((*conflicts, *phases, *hidden)) or _unique(_undecided(verdicts)) or verdicts
    finding = Finding(key, found, involved, ())
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
    """Images that may be one that is missing, were it not for a sidecar that cannot be read."""
    wanted = Contrast if fat_water == "scanner" else PHASES
    if all(found[contrast] for contrast in wanted):
        return ()
    return tuple(v for v in verdicts if v.image.problem and not v.statements)


def _is_silenced(verdict: Verdict) -> bool:
    """Whether an image has a problem, or a value that cannot be used, and nothing else is known."""
    return bool(verdict.image.problem or verdict.image.doubts) and not verdict.statements


def _with_silenced(finding: Finding, silenced: list[Verdict]) -> Finding:
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
    """Problems of the first check that has any; later checks presume that earlier ones pass."""
    for check in checks:
        problems = tuple(check())
        if problems:
            return problems
    return ()


def _unique(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    by_name = {verdict.image.shown: verdict for verdict in verdicts}
    return tuple(by_name[shown] for shown in sorted(by_name))


def _undecided(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Images of which no source says anything, and that may be told by their echo time."""
    return tuple(
        v
        for v in verdicts
        if not v.statements
        and v.allowed & PHASES
        and (v.image.called_dixon or "echo" in dict(v.image.name.entities))
    )


def _ask_echo_times(
    verdicts: tuple[Verdict, ...], missing: frozenset[Contrast]
) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """Let the echo time decide where nothing else does.

    Images that call themselves Dixon or MEGRE are judged one by one. Other multi-echo images,
    such as the echoes of an MPRAGE, count only if they give every phase that is missing.
    """
    undecided = _undecided(verdicts) if missing else ()
    told = [(v, echo_statement(v.image)) for v in undecided]
    by_echo = tuple(
        replace(v, statements=(statement,))
        for v, statement in told
        if statement is not None and statement.contrast in missing & v.allowed
    )
    called_dixon = [v for v in undecided if v.image.called_dixon]
    unfound = missing - {v.contrast for v in by_echo}
    if not called_dixon:
        broken = any(map(_is_silenced, undecided))
        return ((), ()) if unfound and not broken else (by_echo, ())
    mute = [v.image for v, statement in told if statement is None and v.image.called_dixon]
    return by_echo, describe_mute_echoes(mute) if unfound and mute else ()


def _count_problems(finding: Finding, verdicts: tuple[Verdict, ...]) -> list[str]:
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


def _contradicting_echo_times(finding: Finding) -> list[str]:
    """Echo times that say the opposite of what was recognised; only different ones speak."""
    pair = finding.phases
    if not echo_times_differ(verdict.image for verdict in pair):
        return []
    spoken = [(v, echo_statement(v.image)) for v in pair if not v.by_filter]
    return [
        describe_conflict(replace(verdict, statements=(verdict.statements[0], said)))
        for verdict, said in spoken
        if said is not None and said.contrast is not verdict.contrast
    ]


def _scanner_problems(finding: Finding, verdicts: tuple[Verdict, ...]) -> list[str]:
    """Doubts about the scanner's water and fat images."""
    conflicts = [v for v in verdicts if v.contradicts_about(FRACTIONS)]
    several = [
        describe_candidates(c, finding.found[c]) for c in (WATER, FAT) if len(finding.found[c]) > 1
    ]
    doubtful = {contrast for v in conflicts for contrast in v.contrasts}
    missing = tuple(c for c in (WATER, FAT) if not finding.found[c] and c not in doubtful)
    lacking = [describe_missing_fractions(missing, finding.phases, verdicts)] if missing else []
    return [*map(describe_conflict, conflicts), *several, *lacking]


def _geometry_problems(finding: Finding, fat_water: str) -> list[str]:
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


def name_scans(findings: list[Finding]) -> list[tuple[Finding, Entities]]:
    """Give every scan a name of its own.

    A name holds the shared entities. Where two scans would get the same name, both take the
    entities of their in-phase image, then also suffix, then the folder; if that does not help,
    they become problems.
    """
    names = [_named_by_shared(finding) for finding in findings]
    for scheme in (_named_by_in_phase, _named_by_suffix, _named_by_folder):
        counts = Counter(names)
        names = [
            scheme(finding) if counts[name] > 1 else name
            for finding, name in zip(findings, names, strict=True)
        ]
    counts = Counter(names)
    return [
        (_with_name_problem(finding) if counts[name] > 1 else finding, name)
        for finding, name in zip(findings, names, strict=True)
    ]


def _with_name_problem(finding: Finding) -> Finding:
    files = list_shown(v.image for v in finding.involved)
    problem = (
        f"{files}: another scan of this participant would get the same name in the results. "
        "Rename one of the two, for example by another acq- label."
    )
    return replace(finding, problems=(*finding.problems, problem))


def _with_acquisition(entities: Iterable[tuple[str, str]], addition: str = "") -> Entities:
    """Entities in BIDS order with an acquisition.

    >>> _with_acquisition((("sub", "01"), ("run", "1")), "vibe")
    (('sub', '01'), ('acq', 'dixonvibe'), ('run', '1'))
    """
    values = dict(entities)
    values["acq"] = values.get("acq", DEFAULT_ACQUISITION) + addition
    return in_bids_order(values)


def _named_by_shared(finding: Finding) -> Entities:
    return _with_acquisition(finding.key.entities)


def _named_by_in_phase(finding: Finding) -> Entities:
    image = (finding.only(IN) or finding.involved[0]).image
    own = {key: value for key, value in image.name.entities if key not in ("echo", "part")}
    return _with_acquisition((own | dict(image.folders)).items())


def _named_by_suffix(finding: Finding) -> Entities:
    key = finding.key
    return _with_acquisition(key.entities, _plain(*key.words, key.suffix))


def _named_by_folder(finding: Finding) -> Entities:
    key = finding.key
    return _with_acquisition(key.entities, _plain(*key.words, key.suffix, key.datatype))


def _plain(*parts: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", "".join(parts))


def _finish(finding: Finding, entities: Entities) -> DixonPair | UnusableScan:
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
