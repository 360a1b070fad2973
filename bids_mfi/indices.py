"""Numbers in BIDS names: ``run-01`` and ``run-1`` are the same run."""

# Entities whose values are numbers.
INDEX_ENTITIES = frozenset({"run", "echo", "flip", "inv", "split", "chunk", "dup"})


def strip_zeros(digits: str) -> str:
    """Whole number without leading zeros, however long; not through int(), which has a limit.

    >>> strip_zeros("007"), strip_zeros("000")
    ('7', '0')
    """
    return digits.lstrip("0") or "0"


def is_index(label: str) -> bool:
    """Whether a label is a number in digits from 0 to 9; a superscript two is not.

    >>> is_index("01"), is_index("\u00b2"), is_index("\u0661")
    (True, False, False)
    """
    return label.isascii() and label.isdigit()


def plain_index(entity: str, label: str) -> str:
    """Write the label of an entity so that ``run-01`` and ``run-1`` are the same.

    >>> plain_index("run", "01"), plain_index("run", "a01"), plain_index("acq", "01")
    ('1', 'a01', '01')
    """
    return strip_zeros(label) if entity in INDEX_ENTITIES and is_index(label) else label
