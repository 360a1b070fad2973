"""Counts and lists as words."""

from collections.abc import Iterable


def count_noun(count: int, noun: str, plural: str | None = None) -> str:
    """Write a count with its noun in the singular or the plural.

    Parameters
    ----------
    count : int
    noun : str
        Singular; in a phrase, the counted word comes last.
    plural : str or None
        Only if it is not the singular with an s.

    Examples
    --------
    >>> count_noun(1, "scan"), count_noun(0, "scan"), count_noun(1200, "scan")
    ('1 scan', '0 scans', '1,200 scans')
    >>> count_noun(1, "vertebra", "vertebrae"), count_noun(2, "vertebra", "vertebrae")
    ('1 vertebra', '2 vertebrae')
    """
    return f"{count:,} {choose_form(count, noun, plural)}"


def choose_form(count: int, noun: str, plural: str | None = None) -> str:
    """Choose the singular or plural of a word that does not follow its count, a verb for example.

    Examples
    --------
    >>> choose_form(1, "agrees", "agree"), choose_form(2, "agrees", "agree")
    ('agrees', 'agree')
    """
    return noun if count == 1 else plural or f"{noun}s"


def list_names(names: Iterable[str], most: int) -> str:
    """Write the first names of a list, and how many more there are.

    Examples
    --------
    >>> list_names(["TR_L", "TR_R"], 2), list_names(["TR_L", "TR_R", "LS_L"], 2)
    ('TR_L, TR_R', 'TR_L, TR_R and 1 more')
    """
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
