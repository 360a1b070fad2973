"""What was found, left out or decided by rule, in words; must not know where it is shown."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One fact about the data that a reader of the statistics must know.

    Attributes
    ----------
    severity : str
        ``error`` (something is missing that should be there), ``warning`` (the numbers are to be
        doubted) or ``info`` (decided by rule, nothing to be done).
    text : str
        One sentence: what was found, what was done, what the user can do.
    names : tuple of str
        The participants, scans or files concerned.
    """

    severity: str
    text: str
    names: tuple[str, ...] = ()


def count_names(names: Iterable[str], one: str, many: str) -> str:
    """Count in words.

    >>> count_names(["a"], "scan", "scans"), count_names(["a", "b"], "scan", "scans")
    ('1 scan', '2 scans')
    """
    count = len(list(names))
    return f"{count:,} {one if count == 1 else many}"


def make_findings(severity: str, text: str, names: Iterable[str]) -> list[Finding]:
    """Make a finding of this severity, or none where there is no name.

    Parameters
    ----------
    text : str
        May hold ``{n}``, which becomes the number of names.
    names : iterable of str
        Sorted and without repetition in the finding.
    """
    known = tuple(sorted(set(names)))
    return [Finding(severity, text.replace("{n}", f"{len(known):,}"), known)] if known else []
