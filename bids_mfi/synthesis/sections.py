"""Parts of the phantom's neck between its cross-sections."""

from collections.abc import Mapping
from dataclasses import dataclass

from bids_mfi.muscles import WEBER2021
from bids_mfi.synthesis.section_tables import (
    BEFORE_MUSCLES,
    BONE,
    DISC_MM,
    FASCIA_MM,
    FAT,
    GROWING,
    LEVEL_HEIGHT_MM,
    MIDLINE,
    MUSCLE_ENDS_MM,
    MUSCLE_NODES,
    MUSCLE_ORDER,
    ORDER,
    OUTLINES,
    STYLE,
    VERTEBRA_SHAPES,
    VISCERA_OVALS,
    VISCERA_RIBBONS,
    Nodes,
)
from bids_mfi.synthesis.tissues import Tissue


@dataclass(frozen=True, slots=True)
class Part:
    """One structure.

    Attributes
    ----------
    name : str
    kind : str
        ``ribbon`` (nodes x, y, half-thickness), ``oval`` (one node: x, y, semi-axes and optionally
        degrees) or ``outline`` (x, y of the right half, from back to front).
    sections : tuple of (height_mm, nodes)
        Cross-sections in order of descending height.
    layers : tuple of (tissue, margin_mm)
        Layers in painting order; the margin moves the outline outwards.
    paired : bool
        Whether the structure exists on both sides.
    group : str
        Structures of one group grow together; the muscles' abbreviations are groups.
    joined : str
        Neighbours in painting order with the same name here are painted layer by layer, so that
        no outline separates them.
    """

    name: str
    kind: str
    sections: tuple[tuple[float, Nodes], ...]
    layers: tuple[tuple[int, float], ...]
    paired: bool = True
    group: str = ""
    joined: str = ""


def height_mm(level: str) -> float:
    """Return the height of a level, or of a point between two: ``C3.5`` is halfway to C4.

    Examples
    --------
    >>> height_mm("C4"), height_mm("C3.2")
    (0.0, 12.0)
    """
    if level == "above":
        return LEVEL_HEIGHT_MM["O"] + 18.0
    name, _, part = level.partition(".")
    if not part:
        return LEVEL_HEIGHT_MM[name]
    names = list(LEVEL_HEIGHT_MM)
    below = LEVEL_HEIGHT_MM[names[names.index(name) + 1]]
    return LEVEL_HEIGHT_MM[name] + float(f"0.{part}") * (below - LEVEL_HEIGHT_MM[name])


def neck_parts() -> tuple[Part, ...]:
    """List every structure of the neck in painting order; later ones cover earlier ones."""
    before = [_viscus(name) for name in BEFORE_MUSCLES]
    after = [_viscus(name) for name in STYLE if name not in BEFORE_MUSCLES]
    others = [part for part in after if part.group == "other"]
    rest = [part for part in after if part.group != "other"]
    muscles = [_muscle(name) for name in MUSCLE_ORDER]
    return (*_skin(), *before, *others, *muscles, *_bones(), *rest, *_canal())


def _between(
    sections: Mapping[str, Nodes], top: float, bottom: float
) -> tuple[tuple[float, Nodes], ...]:
    """Sort sections by descending height and repeat the outermost ones at the ends."""
    placed = sorted(((height_mm(level), nodes) for level, nodes in sections.items()), reverse=True)
    if placed[0][0] < top:
        placed.insert(0, (top, placed[0][1]))
    if placed[-1][0] > bottom:
        placed.append((bottom, placed[-1][1]))
    return tuple(placed)


def _skin() -> list[Part]:
    sections = _between(OUTLINES["body"], 80.0, -112.0)
    layers = ((Tissue.SKIN, 0.0), (Tissue.SUBCUTANEOUS_FAT, -1.7))
    return [
        Part("skin", "outline", sections, layers, paired=False, group="skin"),
        Part("fascia", "outline", sections, ((FAT, 0.0),), paired=False, group="fascia"),
    ]


def _muscle(name: str) -> Part:
    sections = _between(MUSCLE_NODES[name], *MUSCLE_ENDS_MM[name])
    layers = ((Tissue.FASCIA, FASCIA_MM), (WEBER2021.of(name, "R").index, 0.0))
    return Part(name, "ribbon", sections, layers, group=name)


def _viscus(name: str) -> Part:
    layers, top, bottom = STYLE[name]
    group = "other" if name in GROWING else ""
    paired = name not in MIDLINE
    if name in VISCERA_RIBBONS:
        sections = _between(VISCERA_RIBBONS[name], top, bottom)
        return Part(name, "ribbon", sections, layers, paired, group, joined=name)
    ovals = {level: (oval,) for level, oval in VISCERA_OVALS[name].items()}
    return Part(name, "oval", _between(ovals, top, bottom), layers, paired, group)


def _bones() -> list[Part]:
    arches = [part for name in ORDER for part in _arch(name)]
    return [*_column(), *_atlas_and_dens(), *arches]


def _column() -> list[Part]:
    """Make vertebral bodies with discs between them; each body is a separate part."""
    bodies = VISCERA_OVALS["vertebral_bodies"]
    ovals = {level: (oval,) for level, oval in bodies.items()}
    everywhere = _between(ovals, 38.0, -112.0)
    parts = [Part("discs", "oval", everywhere, ((Tissue.DISC, -0.4),), paired=False)]
    for upper, level, lower in zip((None, *ORDER[:-1]), ORDER, (*ORDER[1:], None), strict=True):
        centre = height_mm(level)
        top = 38.0 if upper is None else (centre + height_mm(upper)) / 2 - DISC_MM / 2
        bottom = -112.0 if lower is None else (centre + height_mm(lower)) / 2 + DISC_MM / 2
        if upper == "C2":
            top += 1.0
        sections = ((top, ovals[level]), (centre, ovals[level]), (bottom, ovals[level]))
        parts.append(_bone(f"body_{level}", "oval", sections, paired=False))
    return parts


def _bone(
    name: str, kind: str, sections: tuple[tuple[float, Nodes], ...], paired: bool = True
) -> Part:
    return Part(name, kind, sections, BONE, paired, joined="column")


def _atlas_and_dens() -> list[Part]:
    c1 = height_mm("C1")
    mass = ((21.0, 5.0, 7.5, 9.0),)
    arch = ((0.0, 22.6, 3.0), (8.0, 21.0, 2.6), (14.0, 15.0, 2.6), (18, 10, 3))
    back = ((0.0, -16.5, 2.6), (9.0, -14.5, 2.4), (16.0, -8.0, 2.6), (20, -1, 3))
    process = ((25.0, 4.0, 4.0), (30.0, 3.5, 3.4), (34.0, 2.5, 3.2), (37, 1.5, 3))
    dens = ((0.0, 14.0, 5.2, 5.4),)
    condyle = ((19.0, 7.0, 6.0, 9.0, -20.0),)
    return [
        _bone("C1_mass", "oval", ((c1 + 8, mass), (c1 - 8, mass))),
        _bone("C1_front", "ribbon", ((c1 + 5, arch), (c1 - 5, arch))),
        _bone("C1_back", "ribbon", ((c1 + 4, back), (c1 - 4, back))),
        _bone("C1_process", "ribbon", ((c1 + 4, process), (c1 - 4, process))),
        _bone("dens", "oval", ((c1 + 7, dens), (c1 - 14, dens)), paired=False),
        _bone("condyle", "oval", ((c1 + 17, condyle), (c1 + 8, condyle))),
    ]


def _arch(level: str) -> list[Part]:
    (length, width, drop), pillar, (tip_x, tip_y) = VERTEBRA_SHAPES[level]
    z = height_mm(level)
    x, y = pillar[:2]
    lamina = ((0.0, -11.0, 3.2), (6.0, -10.6, 3.0), (12.0, -7.5, 2.8), (x - 2, y - 1, 3.2))
    process = ((x - 5, 10.0, 3.0), (x, 9.5 if tip_y > 0 else y, 3.4),
               ((x + tip_x) / 2, (tip_y + 9.0) / 2 if tip_y > 0 else (y + tip_y) / 2, 3.4),
               (tip_x, tip_y, 2.8))  # fmt: skip
    base = ((0.0, -10.0, width + 0.8), (0.0, -14.0, width),
            (0.0, -17.0, width), (0.0, -19.0, width))  # fmt: skip
    full = ((0.0, -10.0, width + 0.8), (0.0, -10.0 - (length - 10) / 3, width),
            (0.0, -10.0 - (length - 10) / 1.5, width), (0.0, -length, width + 0.6))  # fmt: skip
    tip = ((0.0, -length * 0.8, width), (0.0, -length * 0.87, width),
           (0.0, -length * 0.94, width), (0.0, -length, width + 0.6))  # fmt: skip
    spine = ((z + 1.0, base), (z - drop / 2 - 1, full), (z - drop - 3.0, tip))
    return [
        _bone(f"{level}_pillar", "oval", ((z + 8.0, (pillar,)), (z - 8.0, (pillar,)))),
        _bone(f"{level}_lamina", "ribbon", ((z + 4.0, lamina), (z - 7.0, lamina))),
        _bone(f"{level}_process", "ribbon", ((z + 4.0, process), (z - 3.5, process))),
        _bone(f"{level}_spine", "ribbon", spine, paired=False),
    ]


def _canal() -> list[Part]:
    canal = {level: (oval,) for level, oval in VISCERA_OVALS["canal"].items()}
    cord = {level: (oval,) for level, oval in VISCERA_OVALS["cord"].items()}
    artery = {level: (oval,) for level, oval in VISCERA_OVALS["vertebral_artery"].items()}
    layers = ((FAT, 0.3), (Tissue.CEREBROSPINAL_FLUID, -0.4))
    blood = ((Tissue.ARTERY, 0.0),)
    cord_layers = ((Tissue.CORD, 0.0),)
    return [
        Part("canal", "oval", _between(canal, 70.0, -112.0), layers, paired=False),
        Part("cord", "oval", _between(cord, 80.0, -112.0), cord_layers, paired=False),
        Part("vertebral_artery", "oval", _between(artery, 36.0, -52.0), blood),
    ]
