"""The user's --bids-filter-file.

The file is a JSON object ``{query: {entity: value}}`` with the queries ``ip``, ``oop``, ``fat`` and
``water``. An entity is one of the name, or ``suffix``, ``extension``, ``datatype`` or ``word`` (any
part of the name without a hyphen but the suffix). A value is text or a number, ``null`` (the entity
is absent), ``"*"`` (any value), or a list with at least one match.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bids_mfi.discovery.naming import (
    ENTITY_NAMES,
    ImageName,
    short_entity,
)
from bids_mfi.errors import DatasetError
from bids_mfi.indices import plain_index
from bids_mfi.measure.pair import Contrast
from bids_mfi.printing import show_value
from bids_mfi.reading import read_json

QUERY_CONTRASTS: Mapping[str, Contrast] = {
    "ip": Contrast.IN_PHASE,
    "oop": Contrast.OUT_PHASE,
    "fat": Contrast.FAT,
    "water": Contrast.WATER,
}
NAME_PARTS = ("suffix", "extension", "datatype", "word")
CONVERTER_KEYS = frozenset({"dup"})  # HeuDiConv writes __dup-01
MOST_BYTES = 2**20
_SHOWN = 60

# The values of which one must match; None stands for an absent entity, "*" for any.
Allowed = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class FilterQueries:
    """The queries of a filter file; none where the user gave no file.

    Attributes
    ----------
    queries : tuple of (Contrast, tuple of (str, Allowed))
        For each contrast the conditions, by short key.
    """

    queries: tuple[tuple[Contrast, tuple[tuple[str, Allowed], ...]], ...] = ()

    @property
    def contrasts(self) -> frozenset[Contrast]:
        """Contrasts that have a query."""
        return frozenset(contrast for contrast, _ in self.queries)

    @property
    def keys(self) -> frozenset[str]:
        """Every entity that a query names."""
        return frozenset(key for _, conditions in self.queries for key, _ in conditions)

    def matching(
        self, name: ImageName, datatype: str, folders: tuple[tuple[str, str], ...]
    ) -> frozenset[Contrast]:
        """Contrasts whose query the image meets."""
        parts = {"suffix": name.suffix, "extension": name.extension, "datatype": datatype}
        values: dict[str, tuple[str, ...]] = {
            key: (value,) for key, value in parts.items() if value
        }
        values.update((key, (value,)) for key, value in (*name.entities, *folders))
        values["word"] = name.words
        return frozenset(
            contrast
            for contrast, conditions in self.queries
            if all(_meets(key, values.get(key, ()), allowed) for key, allowed in conditions)
        )

    def telling_keys(self) -> frozenset[str]:
        """Entities by which the queries distinguish the images of one scan.

        These have different values in different queries, or are in only one of ``ip`` and
        ``oop``. Participant and session never distinguish images of one scan.

        Examples
        --------
        >>> ip = (("acq", ("a",)), ("run", ("1",)))
        >>> oop = (("acq", ("b",)), ("run", ("1",)))
        >>> queries = FilterQueries(((Contrast.IN_PHASE, ip), (Contrast.OUT_PHASE, oop)))
        >>> sorted(queries.telling_keys())
        ['acq']
        """
        conditions = [dict(pairs) for _, pairs in self.queries]
        by_contrast = {contrast: dict(pairs) for contrast, pairs in self.queries}
        telling = {key for key in self.keys if len({c[key] for c in conditions if key in c}) > 1}
        if Contrast.IN_PHASE in by_contrast and Contrast.OUT_PHASE in by_contrast:
            telling |= set(by_contrast[Contrast.IN_PHASE]) ^ set(by_contrast[Contrast.OUT_PHASE])
        return frozenset(telling - {"sub", "ses"})

    @staticmethod
    def query_name(contrast: Contrast) -> str:
        """Give a query's name in the file.

        >>> FilterQueries.query_name(Contrast.OUT_PHASE)
        'oop'
        """
        return next(name for name, value in QUERY_CONTRASTS.items() if value is contrast)


def read_filter_file(path: Path | None) -> FilterQueries:
    """Read a filter file; no path gives no queries.

    Raises
    ------
    DatasetError
        The file cannot be read, is not JSON, or has an unknown query or a value of another kind.
    """
    if path is None:
        return FilterQueries()
    try:
        content = read_json(path, MOST_BYTES)
    except OSError as error:
        raise DatasetError(
            f"--bids-filter-file {path}: cannot be read ({error.strerror or error}). "
            "Expected a regular file, JSON."
        ) from error
    except ValueError as error:
        raise DatasetError(
            f"--bids-filter-file {path}: is not valid JSON ({error}). {_EXPECTED}"
        ) from error
    return queries_of(content, path)


def queries_of(content: object, path: Path = Path()) -> FilterQueries:
    """Check the content of a filter file; ``path`` is for messages.

    Raises
    ------
    DatasetError
        It has no query, an unknown one, or a value of another kind.
    """
    if not isinstance(content, dict) or not content:
        raise DatasetError(f"--bids-filter-file {path}: holds no query. {_EXPECTED}")
    return FilterQueries(tuple(_query(path, *item) for item in content.items()))


_EXPECTED = (
    'Expected a JSON object such as {"ip": {"acquisition": "inphase"}, "oop": {"acquisition": '
    '"outphase"}}, with the queries ip, oop, fat or water.'
)


def _query(
    path: Path, name: str, conditions: object
) -> tuple[Contrast, tuple[tuple[str, Allowed], ...]]:
    if name not in QUERY_CONTRASTS:
        raise DatasetError(f"--bids-filter-file {path}: unknown query {_shown(name)}. {_EXPECTED}")
    if not isinstance(conditions, dict) or not conditions:
        raise DatasetError(
            f"--bids-filter-file {path}: query {name!r} names no entity. {_EXPECTED}"
        )
    allowed = {
        short_entity(str(key)): _allowed(path, name, str(key), value)
        for key, value in conditions.items()
    }
    return QUERY_CONTRASTS[name], tuple(sorted(allowed.items()))


def _allowed(path: Path, query: str, key: str, value: object) -> Allowed:
    values = value if isinstance(value, list) else [value]
    plain = all(
        one is None or (isinstance(one, str | int) and not isinstance(one, bool)) for one in values
    )
    if not plain or not values:
        raise DatasetError(
            f"--bids-filter-file {path}: {_shown(key)} of query {query!r} is {_shown(value)}, "
            'expected text, a whole number, null (absent), "*" (any), or a list of these.'
        )
    prefix = f"{short_entity(key)}-"
    return tuple(None if one is None else str(one).removeprefix(prefix) for one in values)


def _shown(value: object) -> str:
    """Write a value of the file for a message, short: it may be large or deeply nested.

    >>> _shown({"a": []}), _shown(["x", 1]), _shown("x" * 100)[-3:]
    ('an object', 'a list', '...')
    """
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return show_value(value, repr if isinstance(value, str) else json.dumps, _SHOWN)


def _meets(key: str, values: tuple[str, ...], allowed: Allowed) -> bool:
    if not values:
        return None in allowed
    return any(one is not None and _fits(key, value, one) for value in values for one in allowed)


def _fits(key: str, value: str, wanted: str) -> bool:
    if wanted == "*":
        return True
    if key == "extension":
        return value.lstrip(".") == wanted.lstrip(".")
    return plain_index(key, value) == plain_index(key, wanted)


def check_filter_keys(queries: FilterQueries, seen: frozenset[str]) -> None:
    """Raise DatasetError when a query names an entity that neither BIDS nor any image knows.

    Parameters
    ----------
    queries : FilterQueries
    seen : frozenset of str
        Short keys in the names of all images that were found.
    """
    unknown = sorted(
        queries.keys - set(ENTITY_NAMES.values()) - {*NAME_PARTS, *CONVERTER_KEYS} - seen
    )
    if unknown:
        raise DatasetError(
            f"--bids-filter-file names the entity {_shown(unknown[0])}, which is neither a BIDS "
            f"entity nor part of any image's name. Expected a long or short name such as "
            f"{', '.join(list(ENTITY_NAMES)[5:14:2])} or acq, or {', '.join(NAME_PARTS)}."
        )
