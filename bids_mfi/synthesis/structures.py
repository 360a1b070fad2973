"""Recognition of structures by name in label maps: tissue, muscle, vertebra."""

import re
from pathlib import Path

from bids_mfi.cells import read_cells, shorten_cell
from bids_mfi.errors import InputError
from bids_mfi.muscles import LONG_NAMES, WEBER2021
from bids_mfi.synthesis.tissues import N_MUSCLES, Tissue

# Tissue of a name in a label table; the first matching pattern counts.
NAME_PATTERNS: tuple[tuple[str, Tissue], ...] = (
    (r"disc", Tissue.DISC),
    (r"canal|csf|cerebrospinal", Tissue.CEREBROSPINAL_FLUID),
    (r"spinal_?cord|myelum|^cord", Tissue.CORD),
    (r"_vein|^vein|jugular", Tissue.VEIN),
    (r"vessel|arter|carotid|aorta", Tissue.ARTERY),
    (r"parotid|submandib|sublingual|saliva|gland(?!.*muscle)", Tissue.SALIVARY_GLAND),
    (r"muscle|scalen|splenius|longissimus|iliocostal|suboccipital|rhomboid|serratus|mastic"
     r"|platysma|interspinal|intertransvers|digastric|masseter|pterygoid|hyoid_|thyroid_|stern\w*hyoid"
     r"|sternothyroid|cricothyroid|constrictor|rotatores|levator|supraspin|deltoid|pector",
     Tissue.OTHER_MUSCLE),
    (r"cartilage|larynx|vocal|epiglott", Tissue.CARTILAGE),
    (r"(?:^|_)vertebra|skull|cranium|(?:^|_)mandib|maxill|teeth|tooth|hyoid|clavic|scapula"
     r"|(?:^|_)ribs?(?:_|$)|bone|sternum|manubrium|sacrum|coccyx", Tissue.MARROW),
    (r"trachea|airway|pharyn|sinus", Tissue.AIR),
    (r"o?esophag|mucosa", Tissue.MUCOSA),
    (r"thyroid", Tissue.THYROID),
    (r"tongue", Tissue.TONGUE),
    (r"brain|cerebell", Tissue.BRAIN),
    (r"ligament", Tissue.LIGAMENT),
    (r"subcutaneous", Tissue.SUBCUTANEOUS_FAT),
    (r"(?:^|_)fat(?:_|$)|intermuscular", Tissue.INTERMUSCULAR_FAT),
    (r"(?:^|_)skin(?:_|$)", Tissue.SKIN),
    (r"soft_tissue|(?:^|_)body|fill", Tissue.LOOSE_TISSUE),
)  # fmt: skip

CLASS_TISSUES = {
    "bone": Tissue.MARROW,
    "muscle": Tissue.OTHER_MUSCLE,
    "othermuscle": Tissue.OTHER_MUSCLE,
}

MUSCLE_PATTERNS = {
    "MFSS": r"multifid|semispinalis_cervicis",
    "LC": r"longus_(colli|capitis)",
    "SPCap": r"splenius_capitis",
    "SSCap": r"semispinalis_capitis",
    "SCM": r"sternocleidomastoid",
    "TR": r"trapezius",
    "LS": r"levator_scapul",
}

JAW = re.compile(r"teeth|tooth|(?:^|_)mandib|maxill")


def find_structure_table(path: Path) -> Path:
    """Find the table of a label map, see :func:`load_label_map`."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    own = path.with_name(f"{stem}.tsv")
    if own.exists():
        return own
    for folder in list(path.absolute().parents)[:5]:
        found = sorted(folder.glob("*dseg.tsv"))
        if len(found) == 1:
            return found[0]
        if found:
            break
    raise InputError(
        f"{path}: has no label table. Expected {own.name} beside it (tab-separated, columns index "
        "and name)."
    )


def read_structure_table(path: Path) -> list[dict[str, str]]:
    """Read a label table: rows with at least ``index`` and ``name``.

    Raises
    ------
    InputError
        The table cannot be read, lacks a column, or has a non-numeric or duplicate index.
    """
    table = read_cells(path, ("index", "name"))
    rows = [{str(k): str(v) for k, v in row.items()} for _, row in table.iterrows()]
    for line, row in zip(table.index, rows, strict=True):
        if not re.fullmatch(r"-?\d{1,9}", row["index"]):
            raise InputError(
                f"{path}: cannot be read as a label table: line {line} has the index "
                f"'{shorten_cell(row['index'])}', expected a whole number; correct it."
            )
    indices, names = [int(row["index"]) for row in rows], [row["name"] for row in rows]
    if len(set(indices)) != len(indices) or not all(names):
        raise InputError(f"{path}: an index occurs twice or a name is empty; correct it.")
    return rows


def identify(row: dict[str, str]) -> int | None:
    """Find the tissue of a label-table row, 1 to 14 for the paper's muscles; None if unknown.

    Examples
    --------
    >>> identify({"index": "5", "name": "left_trapezius"})
    12
    >>> identify({"index": "2", "name": "vertebra_C3"}) == Tissue.MARROW
    True
    >>> identify({"index": "2", "name": "left_splenius_cervicis"}) == Tissue.OTHER_MUSCLE
    True
    """
    name = re.sub(r"[^a-z0-9]+", "_", row["name"].lower())
    muscle, hemi = row.get("muscle") or "", (row.get("hemi") or "").upper()
    if muscle in LONG_NAMES and hemi in ("L", "R"):
        return WEBER2021.of(muscle, hemi).index
    side = re.search(r"(?:^|_)(left|right|l|r)(?:_|$)", name)
    for abbreviation, pattern in MUSCLE_PATTERNS.items():
        if side and re.search(pattern, name) and not re.search(r"thoracis", name):
            return WEBER2021.of(abbreviation, side.group(1)[0].upper()).index
    for pattern, tissue in NAME_PATTERNS:
        if re.search(pattern, name):
            return int(tissue)
    return CLASS_TISSUES.get((row.get("class") or "").lower())


def level_of(name: str) -> str | None:
    """Find the vertebral level in a name.

    >>> level_of("vertebra_C5"), level_of("vertebrae_T1"), level_of("left_clavicle")
    ('C5', 'T1', None)
    """
    found = re.search(r"vertebrae?[_ -]?(C[1-7]|T[1-3])(?:\b|_|$)", name, re.IGNORECASE)
    return found.group(1).upper() if found else None


def name_tissue(tissue: int | None) -> str:
    """Return the name of a tissue, or the abbreviation of a muscle."""
    if tissue is not None and 1 <= tissue <= N_MUSCLES:
        return next(m.abbreviation for m in WEBER2021 if m.index == tissue)
    kind = Tissue.LOOSE_TISSUE if tissue is None else Tissue(tissue)
    return kind.name.lower().replace("_", " ")
