"""Pictures and files of a cohort's page: those inside it and those beside it."""

import base64
from collections.abc import Iterable, Mapping

from bids_mfi.report.group_content import TableEntry
from bids_mfi.report.group_tables import VOLUME

LARGEST_EMBEDDED_BYTES = 2_000_000
TSV = "text/tab-separated-values"
# A picture belongs to the first of these that its name holds.
PLACES = (("5a", "figure5a"), ("5b", "figure5b"), ("pair", "pairplot"), ("6", "figure6"))
BESIDE = "others"


def arrange_pictures(figures: Iterable[tuple[str, str, bytes]]) -> dict[str, list[dict[str, str]]]:
    """Pictures by their place on the page.

    Those of ``others`` have no place on the page and are links to the file beside it.
    ``id`` is the element that holds an embedded picture, so that a link can take it from there.
    """
    places: dict[str, list[dict[str, str]]] = {}
    for number, (path, title, svg) in enumerate(figures):
        inside = _is_embedded(path, svg)
        places.setdefault(find_place(path), []).append(
            {
                "name": _file_name(path),
                "title": title,
                "id": name_picture(number),
                "uri": encode_uri(svg, "image/svg+xml") if inside else "",
                "path": check_link(path),
            }
        )
    return places


def name_picture(number: int) -> str:
    """Name the element that holds the picture of this number."""
    return f"picture-{number}"


def find_place(path: str) -> str:
    """Where a picture is shown.

    Examples
    --------
    >>> find_place("a/figure5A.svg"), find_place("a/volume_figure5a.svg"), find_place("b.svg")
    ('figure5a', 'others', 'others')
    """
    name = _file_name(path).lower()
    if "volume" in name:
        return BESIDE
    return next((place for part, place in PLACES if part in name), BESIDE)


def _file_name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _is_embedded(path: str, svg: bytes) -> bool:
    return find_place(path) != BESIDE and len(svg) <= LARGEST_EMBEDDED_BYTES


def list_downloads(
    tables: Mapping[str, TableEntry], figures: Iterable[tuple[str, str, bytes]]
) -> list[dict[str, str]]:
    """Every table and figure, with what a link to it needs.

    ``href`` holds a table, or names the file beside the page if it is large. A picture is held
    once, where it is shown: ``picture`` is the element, and ``href`` the file beside the page.
    """
    rows = []
    for key, entry in tables.items():
        inside = len(entry.data) <= LARGEST_EMBEDDED_BYTES
        href = encode_uri(entry.data, TSV) if inside else check_link(entry.name)
        rows.append(_make_row(entry.name, title_table(key, tables), entry.data) | {
            "rows": f"{len(entry.table):,}", "href": href, "saved": "yes" if inside else "",
        })  # fmt: skip
    for number, (path, title, svg) in enumerate(figures):
        picture = name_picture(number) if _is_embedded(path, svg) else ""
        rows.append(_make_row(path, title, svg) | {
            "rows": "", "href": check_link(path), "saved": picture, "picture": picture,
        })  # fmt: skip
    return rows


def _make_row(path: str, title: str, data: bytes) -> dict[str, str]:
    size = f"{max(1, round(len(data) / 1000)):,} kB"
    return {"name": _file_name(path), "title": title, "size": size, "picture": ""}


def title_table(key: str, tables: Mapping[str, TableEntry]) -> str:
    """Title of a table; for volume, the title of the same table of MFI, marked."""
    first = tables.get(key.removeprefix(VOLUME))
    if not key.startswith(VOLUME) or first is None:
        return tables[key].title
    return f"Volume: {first.title}"


def check_link(text: str) -> str:
    """Accept only links into the folder of the page.

    Examples
    --------
    >>> check_link("sub-01.html"), check_link("javascript:alert(1)"), check_link("//a.org/b")
    ('sub-01.html', '', '')
    """
    return "" if ":" in text or "\\" in text or text.startswith("/") else text


def encode_uri(data: bytes, media: str) -> str:
    """Encode a file as a data URL."""
    return f"data:{media};base64,{base64.b64encode(data).decode('ascii')}"
