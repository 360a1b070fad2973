"""Sentences for what is missing in a table."""

from collections.abc import Iterable

from bids_mfi.muscles import rank_muscle


def order_muscles(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of the paper.

    Examples
    --------
    >>> order_muscles(["TR", "MFSS", "TR"])
    ['MFSS', 'TR']
    """
    return sorted(set(names), key=lambda name: rank_muscle(name, ""))


def gather_reasons(what: str, reasons: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """One sentence for each reason, with all muscles that it concerns.

    Parameters
    ----------
    what : str
        The analysis, for example ``Change``.
    reasons : iterable of (str, str)
        Muscle, and what follows its name and a colon.

    Examples
    --------
    >>> gather_reasons("Change", [("TR", "n/a, because ..."), ("LC", "n/a, because ...")])
    ('Change of TR, LC: n/a, because ....',)
    """
    found: dict[str, list[str]] = {}
    for muscle, reason in reasons:
        found.setdefault(reason, []).append(muscle)
    return tuple(f"{what} of {', '.join(names)}: {reason}." for reason, names in found.items())
