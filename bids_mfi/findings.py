"""Findings about the data, made from names."""

from collections.abc import Iterable
from dataclasses import dataclass

GRADES = ("error", "warning", "note")


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """Something left out, doubtful or decided by a rule.

    Attributes
    ----------
    severity : str
        ``error``, ``warning`` or ``note``.
    text : str
        A sentence.
    names : tuple of str
        Scans or participants that it concerns.
    """

    severity: str
    text: str
    names: tuple[str, ...] = ()


def make_findings(severity: str, text: str, names: Iterable[str]) -> list[Finding]:
    """Make a finding of this severity, or none if there are no names.

    Parameters
    ----------
    severity : str
        ``error`` (something is missing that should be there), ``warning`` (numbers are
        doubtful) or ``note`` (decided by a rule, no action needed).
    text : str
        What was found, ``({n})``, which becomes the number of names, a colon, what was done, and
        what the user can do.
    names : iterable of str
        The participants, scans or files concerned; sorted and without repetition in the finding.

    Examples
    --------
    >>> make_findings("note", "Lost scans ({n}).", ["b", "a", "b"])[0].text
    'Lost scans (2).'
    """
    known = tuple(sorted(set(names)))
    return [Finding(severity, text.replace("{n}", f"{len(known):,}"), known)] if known else []


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Put the most serious first."""
    return tuple(sorted(findings, key=lambda finding: GRADES.index(finding.severity)))
