"""Which images of a group are which contrast, the echo time included.

The echo time is read last, and only where a phase is missing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from bids_mfi.discovery.classify import PHASES, Verdict, echo_statement
from bids_mfi.discovery.explain import describe_mute_echoes
from bids_mfi.measure.pair import Contrast


@dataclass(frozen=True, slots=True)
class Recognised:
    """What is known about a group of images.

    Attributes
    ----------
    found : mapping of Contrast to tuple of Verdict
    conflicts : tuple of Verdict
        Images whose sources disagree, one of them about a phase.
    echo_problems : tuple of str
        Why echo times cannot identify what nothing else identifies.
    """

    found: Mapping[Contrast, tuple[Verdict, ...]]
    conflicts: tuple[Verdict, ...]
    echo_problems: tuple[str, ...]

    @property
    def phases(self) -> tuple[Verdict, ...]:
        """In-phase, then out-of-phase images."""
        return (*self.found[Contrast.IN_PHASE], *self.found[Contrast.OUT_PHASE])


def recognise(verdicts: tuple[Verdict, ...]) -> Recognised:
    """Sort the images of a group by contrast."""
    conflicts = tuple(
        v for v in verdicts if v.contradicts_about(PHASES) and not _is_put_aside(v, verdicts)
    )
    found = {c: tuple(v for v in verdicts if v.contrast is c) for c in Contrast}
    missing = frozenset(c for c in PHASES if not found[c])
    by_echo, problems = ((), ()) if conflicts else _ask_echo_times(verdicts, missing)
    found |= {c: tuple(v for v in by_echo if v.contrast is c) for c in missing}
    return Recognised(found, conflicts, problems)


def _is_put_aside(verdict: Verdict, verdicts: tuple[Verdict, ...]) -> bool:
    """Whether a source sets an image aside, and others have the phase that it claims.

    The phase part of the in-phase image is such a file, where its ImageType says IN_PHASE only.
    """
    claimed = verdict.contrasts & PHASES
    return None in verdict.contrasts and claimed <= {
        v.contrast for v in verdicts if v is not verdict
    }


def is_silenced(verdict: Verdict) -> bool:
    """Whether an image has a problem, or a value that cannot be used, and nothing else is known."""
    return not verdict.statements and bool(verdict.image.problem or verdict.image.doubts)


def undecided(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Images without any other source, which the echo time may classify."""
    return tuple(
        v
        for v in verdicts
        if not v.statements
        and v.allowed & PHASES
        and (v.image.called_dixon or v.image.name.has_echo)
    )


def _ask_echo_times(
    verdicts: tuple[Verdict, ...], missing: frozenset[Contrast]
) -> tuple[tuple[Verdict, ...], tuple[str, ...]]:
    """Let the echo time decide where nothing else does.

    Images that call themselves Dixon or MEGRE are judged one by one. Other multi-echo images,
    such as the echoes of an MPRAGE, count only if they give every phase that is missing.
    """
    mute_so_far = undecided(verdicts) if missing else ()
    told = [(v, echo_statement(v.image)) for v in mute_so_far]
    by_echo = tuple(
        replace(v, statements=(statement,))
        for v, statement in told
        if statement is not None and statement.contrast in missing & v.allowed
    )
    called_dixon = [v for v in mute_so_far if v.image.called_dixon]
    unfound = missing - {v.contrast for v in by_echo}
    if not called_dixon:
        broken = any(map(is_silenced, mute_so_far))
        return ((), ()) if unfound and not broken else (by_echo, ())
    mute = [v.image for v, statement in told if statement is None and v.image.called_dixon]
    return by_echo, describe_mute_echoes(mute) if unfound and mute else ()
