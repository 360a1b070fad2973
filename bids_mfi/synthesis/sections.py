"""The hand-drawn neck: cross-sections of every structure by level; must not know voxels or chance.

Millimetres. The origin of each cross-section is the centre of the spinal canal; x points to the
subject's right, y to anterior, and heights count from the middle of C4 upwards. Right-sided and
midline structures are written down here, left-sided ones are their mirror images. All numbers
were drawn by hand for this package from general anatomical knowledge (an adult of average size).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bids_mfi.muscles import WEBER2021
from bids_mfi.synthesis.tissues import Tissue

LEVEL_HEIGHT_MM = {
    "O": 62.0, "C1": 47.0, "C2": 32.0, "C3": 15.0, "C4": 0.0, "C5": -15.0, "C6": -31.0,
    "C7": -48.0, "T1": -66.0, "T2": -87.0, "T3": -109.0,
}  # fmt: skip
CANAL_Y_MM = {
    "O": 4.0, "C1": 4.0, "C2": 4.0, "C3": 3.5, "C4": 2.0, "C5": 0.0, "C6": -2.5,
    "C7": -6.0, "T1": -11.0, "T2": -18.0, "T3": -26.0,
}  # fmt: skip

Nodes = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One structure.

    Attributes
    ----------
    name : str
    kind : str
        ``ribbon`` (nodes x, y, half-thickness), ``oval`` (one node: x, y, semi-axes and perhaps
        degrees) or ``outline`` (x, y of the right half, from behind to the front).
    sections : tuple of (height_mm, nodes)
        Descending heights.
    layers : tuple of (tissue, margin_mm)
        Painted in this order, each time with the outline moved outwards by the margin.
    paired : bool
        Whether there is one on either side.
    group : str
        Structures of one group grow together; the muscles' abbreviations are groups.
    joined : str
        Neighbours in the order of painting that carry the same name here are painted layer by
        layer, so that no outline runs where they meet.
    """

    name: str
    kind: str
    sections: tuple[tuple[float, Nodes], ...]
    layers: tuple[tuple[int, float], ...]
    paired: bool = True
    group: str = ""
    joined: str = ""


MUSCLE_NODES: dict[str, dict[str, Nodes]] = {
    "TR": {
        "O": ((4, -48.0, 1.8), (10, -48.4, 2.1), (17, -47.6, 2.1), (24, -45.5, 1.6)),
        "C1": ((3, -45.3, 2.0), (11, -45.8, 2.2), (19, -44.8, 2.2), (27, -41.5, 1.7)),
        "C2": ((3, -43.0, 2.2), (12, -43.5, 2.4), (21, -42.2, 2.4), (30, -38.3, 1.9)),
        "C3": ((3, -42.2, 2.2), (13, -42.6, 2.5), (23, -40.8, 2.6), (33, -35.6, 2.0)),
        "C4": ((3, -43.0, 2.3), (14, -43.4, 2.6), (25, -41.2, 2.8), (36, -34.8, 2.3)),
        "C5": ((3, -44.6, 2.5), (15, -44.9, 2.9), (28, -41.8, 3.2), (41, -33.6, 2.8)),
        "C6": ((3, -47.5, 2.7), (18, -47.4, 3.3), (34, -42.6, 4.0), (50, -30.0, 3.5)),
        "C7": ((3, -51.5, 2.8), (24, -51.0, 3.8), (47, -44.0, 5.2), (68, -24.0, 4.8)),
        "T1": ((3, -55.5, 2.8), (30, -55.0, 4.3), (60, -48.5, 6.0), (90, -26.0, 5.5)),
        "T2": ((3, -59.0, 2.8), (36, -58.5, 4.2), (75, -52.5, 6.0), (112, -29.0, 5.8)),
        "T3": ((3, -61.0, 2.8), (38, -60.5, 4.2), (82, -54.5, 6.0), (130, -30.0, 5.8)),
    },
    "SPCap": {
        "O": ((33, -36.0, 2.6), (39, -31.0, 3.4), (44, -24.5, 3.2), (47, -18.0, 2.4)),
        "C1": ((25, -37.5, 2.6), (32, -33.0, 3.8), (38.5, -26.0, 4.0), (42, -17.5, 3.0)),
        "C2": ((17, -37.0, 2.6), (25, -33.5, 4.0), (32.5, -26.5, 4.4), (37, -16.5, 3.2)),
        "C3": ((11, -37.6, 2.6), (20, -34.8, 4.0), (28.5, -28.0, 4.6), (34, -17.5, 3.4)),
        "C4": ((7, -38.6, 2.5), (17, -36.6, 3.9), (26.5, -30.3, 4.6), (33, -20.0, 3.6)),
        "C5": ((4.5, -40.0, 2.4), (15, -38.6, 3.7), (25.0, -33.2, 4.4), (32.5, -24.0, 3.6)),
        "C6": ((4, -42.4, 2.4), (13, -41.3, 3.4), (22.5, -37.0, 4.0), (30.5, -29.5, 3.4)),
        "C7": ((3.8, -45.8, 2.3), (11.5, -45.0, 3.0), (19.5, -41.6, 3.5), (27, -36.0, 3.0)),
        "T1": ((3.8, -48.5, 2.0), (9.5, -47.8, 2.6), (15.5, -45.5, 2.9), (21.5, -42.0, 2.4)),
        "T2": ((3.8, -50.3, 1.7), (8, -49.8, 2.1), (12, -48.4, 2.2), (16, -46.4, 1.8)),
    },
    "SSCap": {
        "O": ((4.5, -41.0, 3.0), (11, -41.2, 4.2), (18, -40.0, 4.2), (24, -37.6, 3.0)),
        "C1": ((4.5, -36.8, 3.6), (11, -36.6, 5.0), (17.5, -34.4, 5.0), (22.5, -30.5, 3.6)),
        "C2": ((4.5, -32.6, 4.0), (11.5, -31.8, 5.4), (18.2, -28.6, 5.3), (23, -23.5, 3.8)),
        "C3": ((4.5, -32.0, 4.0), (12, -30.6, 5.2), (19, -26.4, 5.2), (23.8, -19.5, 3.8)),
        "C4": ((4.5, -32.8, 3.6), (12.5, -31.2, 4.8), (20, -26.6, 5.0), (25, -19.2, 3.8)),
        "C5": ((4.8, -34.4, 3.0), (13, -32.8, 4.4), (21, -28.0, 4.8), (26.5, -20.5, 3.8)),
        "C6": ((6.5, -37.0, 2.5), (14.5, -35.0, 3.8), (22.5, -30.0, 4.4), (28, -22.5, 3.6)),
        "C7": ((10, -39.2, 2.2), (17, -36.8, 3.3), (24, -32.0, 3.9), (29, -25.5, 3.2)),
        "T1": ((14, -40.0, 2.0), (20, -37.0, 2.9), (26, -32.6, 3.3), (30.5, -27.5, 2.8)),
        "T2": ((18, -40.0, 1.8), (23, -37.0, 2.4), (28, -33.4, 2.8), (32, -29.5, 2.4)),
        "T3": ((20, -40.5, 1.6), (25, -37.8, 2.1), (29.5, -34.6, 2.4), (33, -31.5, 2.0)),
    },
    "LS": {
        "C1": ((38.5, 3.0, 2.4), (40.5, -0.5, 2.8), (41.5, -4.0, 2.8), (41.5, -7.5, 2.2)),
        "C2": ((36.5, 5.0, 2.6), (39.5, 1.0, 3.2), (41, -3.5, 3.3), (41, -8.0, 2.6)),
        "C3": ((35.0, 5.0, 2.8), (38.5, 0.5, 3.8), (40, -4.5, 3.9), (39.5, -10, 3.0)),
        "C4": ((35.0, 3.0, 2.9), (39.0, -2.0, 4.2), (40, -7.5, 4.3), (38.8, -13.5, 3.2)),
        "C5": ((36.0, 0.0, 3.0), (40.0, -6.0, 4.5), (40.8, -12, 4.6), (38.8, -18.5, 3.4)),
        "C6": ((38.5, -6.5, 3.0), (42.0, -12.5, 4.5), (42, -18.5, 4.6), (39, -25, 3.4)),
        "C7": ((43.0, -15.0, 3.0), (45.5, -21.0, 4.4), (44.5, -27, 4.4), (40.5, -33, 3.2)),
        "T1": ((49.5, -25.0, 2.8), (50.5, -30.5, 4.0), (48.0, -36, 4.0), (43, -40, 2.8)),
        "T2": ((57.5, -34.0, 2.5), (56.5, -38.5, 3.4), (52.5, -42, 3.4), (47, -44.5, 2.5)),
        "T3": ((62.5, -39.0, 2.2), (60.5, -42.5, 3.0), (56, -45, 3.0), (51, -47, 2.2)),
    },
    "SCM": {
        "O": ((53, -17, 3.0), (57, -11, 4.2), (58.5, -4, 4.2), (58, 3, 3.0)),
        "C1": ((49, -12.5, 3.6), (53.5, -6.0, 5.2), (55.5, 1.5, 5.2), (55, 9.5, 3.8)),
        "C2": ((47, -7.0, 4.0), (51, 0.0, 5.6), (52.8, 8.0, 5.6), (51.5, 16.5, 4.2)),
        "C3": ((46.2, -1.0, 4.2), (49.5, 6.0, 5.8), (50.5, 14, 5.8), (48.0, 22.5, 4.4)),
        "C4": ((46.0, 4.0, 4.2), (48.5, 11, 5.9), (48.0, 19, 5.9), (44.0, 27, 4.4)),
        "C5": ((45.5, 8.5, 4.2), (47.0, 16, 5.9), (45.0, 24, 5.9), (39.5, 31, 4.4)),
        "C6": ((44.5, 14, 4.0), (44.5, 22, 5.7), (41.0, 29, 5.7), (34, 35, 4.2)),
        "C7": ((42.0, 23, 3.6), (40.5, 30, 5.2), (35.5, 36.0, 5.2), (28, 41.0, 3.8)),
        "T1": ((37.0, 34, 3.0), (33.5, 39.0, 4.4), (28.0, 43.0, 4.4), (21, 46.5, 3.4)),
        "T2": ((29.0, 44, 2.4), (25.5, 47, 3.2), (21.0, 49.4, 3.2), (15, 51, 2.4)),
    },
    "MFSS": {
        "C2": ((4.5, -21.0, 1.8), (7.5, -20.0, 2.6), (11, -18.0, 2.6), (14, -16.0, 1.8)),
        "C3": ((4.3, -23.0, 3.4), (8.2, -20.6, 4.6), (12.6, -17.4, 4.5), (16.5, -14.5, 3.0)),
        "C4": ((4.6, -24.0, 4.0), (9.0, -21.0, 5.4), (14.0, -17.2, 5.2), (18.5, -14.2, 3.4)),
        "C5": ((5.0, -25.2, 4.4), (9.8, -21.8, 5.9), (15.0, -17.6, 5.6), (20, -14.6, 3.6)),
        "C6": ((5.2, -28.0, 4.8), (10.2, -24.0, 6.3), (15.8, -19.0, 6.0), (21, -15.8, 3.8)),
        "C7": ((5.6, -32.0, 5.0), (10.8, -27.5, 6.5), (16.6, -21.8, 6.2), (22, -18.4, 3.8)),
        "T1": ((5.6, -35.0, 4.8), (10.8, -30.5, 6.2), (16.8, -25.0, 5.8), (22, -21.8, 3.6)),
        "T2": ((5.6, -36.5, 4.4), (10.4, -32.5, 5.6), (16.0, -27.6, 5.2), (21, -24.6, 3.2)),
        "T3": ((5.6, -37.5, 4.0), (10.0, -34.0, 5.0), (15.2, -29.6, 4.6), (20, -27.0, 3.0)),
    },
    "LC": {
        "O": ((4.5, 27.0, 2.4), (8, 27.0, 3.4), (12, 26.2, 3.5), (15.5, 25.0, 2.6)),
        "C1": ((4.5, 28.0, 2.2), (8.5, 27.4, 3.2), (13, 25.8, 3.5), (17, 23.6, 2.8)),
        "C2": ((4.4, 25.6, 2.4), (9.0, 25.0, 3.4), (14, 23.0, 3.8), (18.5, 20.0, 3.0)),
        "C3": ((4.4, 26.4, 2.5), (9.4, 25.8, 3.6), (14.8, 23.4, 4.0), (19.2, 19.6, 3.2)),
        "C4": ((4.6, 27.2, 2.6), (10, 26.4, 3.7), (15.4, 23.6, 4.0), (19.5, 19.8, 3.2)),
        "C5": ((4.8, 27.8, 2.6), (10.2, 26.8, 3.7), (15.4, 23.8, 3.8), (19.2, 20.2, 3.0)),
        "C6": ((5.2, 28.2, 2.5), (10.4, 27.2, 3.5), (15.2, 24.4, 3.5), (18.8, 21.0, 2.8)),
        "C7": ((5.6, 28.6, 2.3), (10.2, 27.8, 3.1), (14.4, 25.6, 3.1), (17.6, 22.8, 2.4)),
        "T1": ((5.6, 29.2, 2.0), (9.4, 28.6, 2.6), (13.0, 27.0, 2.6), (15.6, 24.8, 2.0)),
        "T2": ((5.4, 29.8, 1.7), (8.4, 29.4, 2.1), (11.2, 28.2, 2.1), (13.4, 26.8, 1.7)),
    },
}  # fmt: skip
# Where each muscle ends, above its highest and below its lowest cross-section.
MUSCLE_ENDS_MM = {
    "TR": (66.0, -112.0), "SPCap": (66.0, -98.0), "SSCap": (64.0, -112.0), "LS": (52.0, -112.0),
    "SCM": (64.0, -98.0), "MFSS": (35.0, -112.0), "LC": (64.0, -100.0),
}  # fmt: skip
FASCIA_MM = 0.6
# Muscles fill their compartments by this factor more than the nodes above say.
FULLNESS = {
    "TR": 1.16,
    "SPCap": 1.18,
    "SSCap": 1.22,
    "LS": 1.18,
    "SCM": 1.08,
    "MFSS": 1.12,
    "LC": 1.14,
    "other": 1.25,
}

OUTLINES: dict[str, dict[str, Nodes]] = {
    # The fascia below the skin: the skin lies outside it by the subject's subcutaneous fat.
    "body": {
        "O": ((0, -51), (22, -50), (46, -38), (61, -16), (66, 10), (64, 40), (56, 68), (36, 88),
              (0, 98)),
        "C1": ((0, -48), (22, -48), (43, -38), (54.5, -18), (62, 8), (61, 40), (53, 68), (34, 89),
               (0, 98)),
        "C2": ((0, -45.8), (21, -46), (40, -37.5), (50.5, -19), (58, 5), (58, 36), (51, 64),
               (33, 87), (0, 97)),
        "C3": ((0, -45), (20, -45.5), (39, -37), (48, -20), (55.5, 4), (56, 30), (48, 55),
               (31, 77), (0, 87)),
        "C4": ((0, -46), (20, -46.6), (40, -38), (47.5, -22), (53.5, 2), (54, 25), (45, 43),
               (26, 58), (0, 65)),
        "C5": ((0, -47.6), (21, -48.4), (41, -38.5), (50, -22), (53.5, -1), (52, 20), (43, 38),
               (24, 53), (0, 59)),
        "C6": ((0, -50.7), (24, -51.6), (47, -40), (56, -23), (57.5, -3), (54, 17), (44, 35),
               (25, 51), (0, 57)),
        "C7": ((0, -55), (28, -56), (58, -45), (75, -24), (73, -2), (63, 16), (48, 34), (27, 50),
               (0, 56)),
        "T1": ((0, -59), (34, -60), (72, -51), (98, -26), (96, -4), (83, 13), (60, 33), (31, 51),
               (0, 57)),
        "T2": ((0, -62.5), (40, -63.5), (88, -56), (122, -29), (124, -4), (108, 15), (76, 36),
               (37, 53), (0, 59)),
        "T3": ((0, -64.5), (44, -65.5), (98, -58), (140, -30), (145, 0), (126, 21), (88, 41),
               (43, 57), (0, 62)),
    },
}  # fmt: skip

# Ovals: x, y, semi-axes x and y, and perhaps degrees.
VISCERA_OVALS: dict[str, dict[str, tuple[float, ...]]] = {
    "tongue": {"O": (0, 66, 25, 24), "C1": (0, 66, 27, 25), "C2": (0, 65, 29, 25),
               "C3": (0, 62, 27, 18), "C3.5": (0, 60, 18, 10)},
    "brain": {"O": (0, -6, 34, 24), "above": (0, -8, 46, 30)},
    "parotid": {"O": (55, 22, 7, 11, 10), "C1": (54, 24, 8, 12, 10), "C2": (52, 27, 6, 9, 10)},
    "submandibular": {"C2": (37, 45, 5, 8), "C3": (33, 48, 7, 11), "C4": (30, 46, 6, 7)},
    "masseter": {"O": (55, 48, 5, 14, 8), "C1": (53, 50, 6, 14, 12), "C2": (48, 53, 5, 10, 14)},
    "pterygoid": {"O": (38, 46, 6, 13, -8), "C1": (38, 47, 6, 13, -4), "C2": (37, 48, 5, 9, 8)},
    "scalene_anterior": {"C3": (23, 15, 2.5, 2.5), "C4": (24.5, 16, 3.2, 3.4),
                         "C5": (26.5, 16.5, 4, 4), "C6": (29, 16, 5, 4.4, -20),
                         "C7": (32, 15, 6, 4.6, -20), "T1": (36, 14, 6.5, 4.6, -20),
                         "T2": (41, 13, 6, 4)},
    "scalene_middle": {"C2": (31, 10, 3, 4), "C3": (30.5, 9.5, 3.4, 5), "C4": (30.5, 8.5, 4, 6),
                       "C5": (32, 7, 5, 7, -15), "C6": (35, 3.5, 6, 8, -20),
                       "C7": (38.5, -1, 7, 9, -30), "T1": (42, -6, 8, 10, -30),
                       "T2": (46, -10, 8, 10, -30)},
    "longissimus": {"C1": (34, -8, 4.4, 5), "C2": (31.5, -7, 4.6, 5.4), "C3": (30.5, -8, 4.8, 5.4),
                    "C4": (31, -10, 4.6, 5.4), "C5": (32.3, -13.5, 4.4, 6),
                    "C6": (34, -18, 4.4, 6.6, -15), "C7": (34.5, -24, 4.6, 7, -25),
                    "T1": (35, -30, 5, 7, -30), "T2": (36, -33, 5.4, 7.4, -30),
                    "T3": (37, -35, 5.6, 7.6, -30)},
    "inferior_oblique": {"O": (17, -29, 8, 4.6, 15), "C1": (15, -25.5, 9, 4.6, 25),
                         "C2": (13, -22, 8.5, 3.4, 30), "C2.5": (11, -20, 5, 2, 30)},
    "splenius_cervicis": {"C3": (33, -12.5, 2.5, 3), "C4": (33.5, -15, 2.8, 3.6, -20),
                          "C5": (33, -19.5, 3, 5, -20), "C6": (33, -26, 3.2, 6, -35),
                          "C7": (29, -32, 3.2, 7, -45), "T1": (24, -37.5, 3, 8, -60),
                          "T2": (18, -43, 2.6, 8, -70), "T3": (12, -47, 2.2, 7, -75)},
    "serratus": {"C7": (22, -41, 1.2, 5, -65), "T1": (36, -43.5, 1.6, 8, -65),
                 "T2": (40, -43, 1.8, 10, -70), "T3": (44, -44, 2, 10, -75)},
    "iliocostalis": {"C6": (37, -22, 2, 3), "C7": (39, -29, 3, 4.6, -30),
                     "T1": (42, -33, 4, 6, -30), "T2": (44, -37, 4, 6, -40),
                     "T3": (46, -40, 4, 6, -40)},
    "rectus_major": {"O": (6, -33.5, 4.2, 4), "C1": (5, -29, 3.4, 3.4), "C2": (4.2, -25, 2, 2.4)},
    "supraspinatus": {"T1": (76, -28, 8, 6, 15), "T2": (80, -31, 15, 9, 15),
                      "T3": (86, -32, 20, 12, 10)},
    "carotid": {"O": (25, 27, 2.5, 2.5), "C1": (25, 28, 2.6, 2.6), "C2": (26, 29, 2.7, 2.7),
                "C3": (27.5, 31, 3.1, 3.1), "C4": (28, 32, 3.8, 3.4), "C5": (26.5, 31.5, 3.3, 3.3),
                "C6": (24.5, 31, 3.3, 3.3), "C7": (22.5, 31, 3.4, 3.4), "T1": (20, 30, 3.6, 3.6),
                "T2": (16, 30, 4, 4)},
    "jugular": {"O": (31, 20, 3.4, 3), "C1": (31.5, 21, 3.6, 3), "C2": (32.5, 24, 4, 3.2),
                "C3": (34.5, 27, 4.4, 3.4, 20), "C4": (35.5, 28.5, 4.8, 3.4, 25),
                "C5": (34.5, 28, 5, 3.6, 25), "C6": (32.5, 27.5, 5.2, 3.8, 20),
                "C7": (30.5, 27.5, 5.2, 4), "T1": (28.5, 28, 5.4, 4.2), "T2": (26, 30, 5.6, 4.4)},
    "external_jugular": {"C2": (58, 14, 1.5, 1.5), "C4": (55, 8, 1.6, 1.6),
                         "C6": (53, 6, 1.7, 1.7), "C7": (47, 10, 1.8, 1.8)},
    "vertebral_artery": {"C2": (17.5, 11.5, 1.8, 1.8), "C4": (17, 12, 1.8, 1.8),
                         "C6": (17.5, 12, 1.8, 1.8), "C7": (20, 18, 1.8, 1.8)},
    "thyroid": {"C5": (15, 38, 3, 5), "C6": (14.5, 37, 5.5, 8, -12),
                "C7": (13.5, 34.5, 5.5, 8, -10),
                "T1": (12, 33, 3.5, 5)},
    "oesophagus": {"C5": (-1, 33.5, 7, 2), "C6": (-2, 33.4, 6.5, 2.6), "C7": (-3, 33.4, 5.5, 3.2),
                   "T1": (-3.5, 33, 5.5, 3.4), "T2": (-4, 32.5, 5.5, 3.6),
                   "T3": (-4, 31, 5.5, 3.6)},
    "airway": {"O": (0, 36, 11, 4.6), "C1": (0, 38, 11, 4.4), "C2": (0, 37.5, 11, 4.6),
               "C3": (0, 39, 12, 5.4), "C4": (0, 43, 10, 6.4), "C5": (0, 44.5, 5, 8.6),
               "C6": (0, 42.5, 7, 7.6), "C7": (0, 41, 7.6, 7.2), "T1": (0, 40.5, 8, 7.2),
               "T2": (0, 40.5, 8.2, 7.4), "T3": (0, 40, 8.4, 7.4)},
    "lung": {"T2": (36, 2, 8, 10), "T3": (38, 4, 17, 22)},
    "canal": {"O": (0, 0, 14.5, 14), "C1": (0, 0, 13.5, 11.5), "C2": (0, 0, 12, 9.2),
              "C3": (0, 0, 11.5, 7.8), "C4": (0, 0, 11.8, 7.4), "C5": (0, 0, 12, 7.4),
              "C6": (0, 0, 12, 7.4), "C7": (0, 0, 11.5, 7.5), "T1": (0, 0, 10.5, 7.6),
              "T2": (0, 0, 9.2, 7.6), "T3": (0, 0, 8.8, 7.6)},
    "cord": {"O": (0, 1, 6.4, 5.4), "C1": (0, .5, 6, 4.4), "C2": (0, .3, 6, 4),
             "C3": (0, 0, 6.3, 3.9),
             "C4": (0, 0, 6.7, 3.8), "C5": (0, 0, 6.9, 3.8), "C6": (0, 0, 6.6, 3.7),
             "C7": (0, 0, 6, 3.7), "T1": (0, 0, 5.2, 3.7), "T2": (0, 0, 4.8, 3.5),
             "T3": (0, 0, 4.6, 3.4)},
    "vertebral_bodies": {"C2": (0, 15.8, 9.4, 7.4), "C3": (0, 16, 9.6, 7.4), "C4": (0, 16, 10, 7.7),
                         "C5": (0, 16, 10.4, 7.8), "C6": (0, 16, 11.2, 8), "C7": (0, 16.4, 12, 8.2),
                         "T1": (0, 16.8, 12.6, 8.5), "T2": (0, 17.2, 12.6, 9),
                         "T3": (0, 17.6, 12.4, 9.6)},
}  # fmt: skip
VISCERA_RIBBONS: dict[str, dict[str, Nodes]] = {
    "mandible": {
        "O": ((48.5, 32, 2.6), (48, 38, 3), (46.5, 46, 2.4), (46, 48, 2)),
        "C1": ((46.5, 34, 3), (45.5, 44, 3), (43.5, 54, 3), (38, 66, 3)),
        "C2": ((43.5, 44, 3), (39, 62, 4), (25, 82, 5), (0, 89.5, 6)),
        "C3": ((36.5, 58, 2.6), (31, 68, 3.6), (20, 78, 4.4), (0, 83, 5.2)),
    },
    "pharynx_wall": {
        "O": ((18, 34, 2), (15, 30.6, 2), (8, 31, 1.6), (0, 31.6, 1.4)),
        "C2": ((17, 40, 2), (15, 33.6, 2), (8, 31, 1.7), (0, 31.2, 1.5)),
        "C4": ((16, 46, 2), (14, 36, 2.2), (8, 32.4, 1.8), (0, 32.2, 1.6)),
        "C5": ((14, 44, 2), (12, 36, 2.2), (7, 33.2, 1.8), (0, 33, 1.6)),
    },
    "infrahyoid": {
        "C3": ((3, 71, 2), (9, 70, 2.4), (15, 67, 2.4), (20, 62, 1.8)),
        "C4": ((2.5, 59.5, 1.6), (8, 58.5, 1.9), (14, 55, 1.9), (20, 49, 1.6)),
        "C5": ((2.5, 55.0, 1.6), (8, 53.0, 1.9), (14, 48.5, 2), (19, 43, 1.8)),
        "C6": ((2.5, 52.6, 1.5), (8, 51.6, 2.0), (15, 48.4, 2.2), (21.5, 43.5, 2.1)),
        "C7": ((2.5, 50.0, 1.4), (8, 49.4, 1.9), (15, 47.0, 2.2), (22, 43, 2.1)),
        "T1": ((2.5, 50.0, 1.3), (8, 49.4, 1.8), (14, 47.4, 2.0), (20, 44, 1.9)),
        "T2": ((2.5, 51.0, 1.3), (8, 50.4, 1.6), (14, 49.0, 1.8), (19, 46, 1.6)),
    },
    "hyoid": {
        "C3.2": ((25, 47, 1.4), (20, 57, 1.8), (10, 63, 2.2), (0, 64.5, 2.4)),
        "C3.6": ((25, 44, 1.4), (20, 54, 1.8), (10, 60, 2.2), (0, 61.5, 2.4)),
    },
    "larynx": {
        "C4": ((17, 38, 1.2), (14, 45, 1.5), (8, 52, 1.6), (0, 56.5, 1.6)),
        "C5": ((15, 36, 1.2), (12, 44, 1.6), (7, 51, 1.7), (0, 54.5, 1.7)),
    },
    "cricoid": {
        "C5.5": ((0, 36, 2.4), (9, 39, 2), (9, 47, 1.6), (0, 51.2, 1.4)),
        "C6": ((0, 35.8, 2.0), (9, 38, 1.8), (9, 46, 1.4), (0, 50.4, 1.2)),
    },
    "nuchal_ligament": {
        "C1": ((0, -28, .5), (0, -34, .6), (0, -40, .6), (0, -48, .7)),
        "C4": ((0, -29, .5), (0, -34, .6), (0, -40, .7), (0, -46, .8)),
        "C6": ((0, -36, .6), (0, -41, .7), (0, -46, .8), (0, -51, .9)),
        "C7": ((0, -46, .8), (0, -49, .9), (0, -52, 1), (0, -55, 1)),
    },
    "rhomboid": {
        "C7": ((4, -48.8, .8), (9, -48.6, 1), (14, -47.6, 1), (19, -46, .8)),
        "T1": ((3.8, -51.6, 1.4), (14, -50.8, 1.8), (25, -48, 2), (36, -44.4, 1.6)),
        "T2": ((3.8, -54.4, 1.7), (17, -53.4, 2.2), (31, -50.4, 2.4), (45, -47.4, 1.9)),
        "T3": ((3.8, -56.2, 1.8), (19, -55.4, 2.4), (35, -52.6, 2.6), (51, -50, 2)),
    },
    "platysma": {
        "C3": ((53, 38, .9), (48, 52, 1), (40, 66, 1), (28, 77, .9)),
        "C4": ((53, 30, .9), (47, 41, 1), (38, 50, 1), (26, 58, .9)),
        "C6": ((57, 20, .9), (49, 32, 1), (39, 42, 1), (27, 49, .9)),
        "C7": ((64, 16, .9), (53, 28, 1), (41, 39, 1), (28, 46, .9)),
    },
    "clavicle": {
        "T1.6": ((40, 40, 1.6), (50, 33, 2.4), (62, 25, 2.6), (74, 16, 1.8)),
        "T2": ((24, 42, 3), (42, 38, 4), (62, 26, 4), (86, 8, 3.6)),
        "T3": ((14, 43, 4), (34, 40, 4.4), (58, 28, 4), (90, 6, 4)),
    },
    "first_rib": {
        "T1.5": ((30, -14, 2.4), (38, -8, 2.8), (46, 0, 3), (50, 8, 2.4)),
        "T3": ((26, -18, 3), (44, -14, 3), (58, 2, 3), (56, 22, 3)),
    },
    "visceral_space": {
        "O": ((0, 40, 8), (14, 44, 14), (26, 52, 14), (34, 62, 12)),
        "C2": ((0, 50, 16), (14, 52, 17), (24, 54, 15), (32, 60, 10)),
        "C3": ((0, 52, 20), (10, 53, 19), (20, 52, 16), (28, 50, 11)),
        "C4": ((0, 46, 15), (8, 46, 14), (16, 44, 11), (22, 42, 7)),
        "C6": ((0, 42, 10), (6, 42, 10), (12, 41, 9), (17, 40, 6)),
        "T2": ((0, 39, 8), (6, 39, 8), (12, 37, 7), (17, 36, 5)),
    },
}  # fmt: skip

FAT = Tissue.INTERMUSCULAR_FAT
MARGIN_MM = 0.6
# Layers, group and ends (top, bottom) of the structures above, in the order of painting.
_OTHER = ((Tissue.FASCIA, MARGIN_MM), (Tissue.OTHER_MUSCLE, 0.0))
_BONE = ((Tissue.CORTICAL_BONE, 0.0), (Tissue.MARROW, -1.2))
_MUCOSA = ((Tissue.MUCOSA, 1.3), (Tissue.AIR, 0.0))
_STYLE: dict[str, tuple[tuple[tuple[int, float], ...], float, float]] = {
    "visceral_space": (((Tissue.LOOSE_TISSUE, 0.0),), 80.0, -112.0),
    "tongue": (((Tissue.TONGUE, 0.0),), 80.0, 5.0),
    "submandibular": (((FAT, MARGIN_MM), (Tissue.SALIVARY_GLAND, 0.0)), 36.0, -4.0),
    "parotid": (((FAT, MARGIN_MM), (Tissue.SALIVARY_GLAND, 0.0)), 70.0, 24.0),
    "pterygoid": (_OTHER, 80.0, 22.0),
    "masseter": (_OTHER, 80.0, 22.0),
    "platysma": (((Tissue.OTHER_MUSCLE, 0.0),), 22.0, -55.0),
    "pharynx_wall": (_OTHER, 80.0, -18.0),
    "infrahyoid": (_OTHER, 16.0, -98.0),
    "rhomboid": (_OTHER, -46.0, -112.0),
    "supraspinatus": (_OTHER, -56.0, -112.0),
    "scalene_middle": (_OTHER, 34.0, -95.0),
    "scalene_anterior": (_OTHER, 18.0, -90.0),
    "longissimus": (_OTHER, 52.0, -112.0),
    "splenius_cervicis": (_OTHER, 16.0, -112.0),
    "iliocostalis": (_OTHER, -30.0, -112.0),
    "serratus": (_OTHER, -47.0, -112.0),
    "inferior_oblique": (_OTHER, 64.0, 24.0),
    "rectus_major": (_OTHER, 66.0, 29.0),
    "nuchal_ligament": (((Tissue.LIGAMENT, 0.0),), 60.0, -52.0),
    "lung": (((Tissue.AIR, 0.0),), -82.0, -112.0),
    "first_rib": (_BONE, -72.0, -112.0),
    "clavicle": (_BONE, -76.0, -112.0),
    "mandible": (_BONE, 80.0, 14.0),
    "hyoid": (_BONE, 11.0, 5.0),
    "larynx": (((Tissue.CARTILAGE, 0.0),), 3.0, -20.0),
    "thyroid": (((FAT, 0.4), (Tissue.THYROID, 0.0)), -16.0, -68.0),
    "oesophagus": (((FAT, 0.4), (Tissue.OTHER_MUSCLE, 0.0)), -20.0, -112.0),
    "cricoid": (((Tissue.CARTILAGE, 0.0),), -21.0, -31.0),
    "airway": (_MUCOSA, 80.0, -112.0),
    "jugular": (((FAT, 0.5), (Tissue.VEIN, 0.0)), 70.0, -95.0),
    "carotid": (((FAT, 0.5), (Tissue.ARTERY, 0.0)), 70.0, -95.0),
    "external_jugular": (((Tissue.VEIN, 0.0),), 34.0, -52.0),
    "brain": (((Tissue.CORTICAL_BONE, 5.0), (Tissue.MARROW, 3.8), (Tissue.CORTICAL_BONE, 2.0),
               (Tissue.CEREBROSPINAL_FLUID, 0.8), (Tissue.BRAIN, 0.0)), 80.0, 60.0),
}  # fmt: skip
_MIDLINE = {"tongue", "oesophagus", "airway", "brain", "nuchal_ligament"}
_GROWING = {"scalene_middle", "scalene_anterior", "longissimus", "splenius_cervicis",
            "iliocostalis", "serratus", "inferior_oblique", "rectus_major", "rhomboid",
            "supraspinatus", "masseter", "pterygoid"}  # fmt: skip
_BEFORE_MUSCLES = ("visceral_space", "tongue", "submandibular", "parotid", "pterygoid", "masseter",
                   "platysma", "rhomboid", "serratus", "supraspinatus", "pharynx_wall")  # fmt: skip
_MUSCLE_ORDER = ("TR", "SPCap", "LS", "SSCap", "SCM", "MFSS", "LC")

# Vertebrae: spinous process (length from the canal's centre, half-width, drop of its tip),
# articular pillar (x, y, semi-axes), tip of the transverse process (x, y).
_VERTEBRAE: dict[str, tuple[tuple[float, float, float], tuple[float, ...], tuple[float, float]]] = {
    "C2": ((27.0, 3.0, 5.0), (17.5, 1.5, 6.5, 7.0), (26.0, 6.0)),
    "C3": ((25.0, 1.9, 6.0), (17.5, -1.0, 6.2, 6.6), (26.5, 9.0)),
    "C4": ((25.5, 1.9, 6.0), (18.0, -1.5, 6.2, 6.6), (27.0, 9.5)),
    "C5": ((28.0, 2.0, 6.5), (18.5, -1.8, 6.4, 6.6), (27.5, 9.5)),
    "C6": ((34.0, 2.1, 7.0), (19.0, -2.2, 6.6, 6.6), (28.5, 8.5)),
    "C7": ((45.0, 2.4, 8.0), (19.5, -3.5, 6.6, 6.4), (32.0, 3.5)),
    "T1": ((46.5, 2.6, 11.0), (18.0, -6.0, 6.6, 6.4), (37.0, -9.0)),
    "T2": ((46.5, 2.5, 14.0), (16.0, -8.0, 6.2, 6.2), (35.0, -15.0)),
    "T3": ((47.0, 2.4, 15.0), (15.0, -9.0, 6.0, 6.0), (33.0, -18.0)),
}
_ORDER = ("C2", "C3", "C4", "C5", "C6", "C7", "T1", "T2", "T3")
DISC_MM = 4.6


def height_mm(level: str) -> float:
    """Height of a level, or of a point between two: ``C3.5`` is halfway from C3 to C4.

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
    """Every structure of the neck in the order of painting; later ones lie on top."""
    before = [_viscus(name) for name in _BEFORE_MUSCLES]
    after = [_viscus(name) for name in _STYLE if name not in _BEFORE_MUSCLES]
    others = [part for part in after if part.group == "other"]
    rest = [part for part in after if part.group != "other"]
    muscles = [_muscle(name) for name in _MUSCLE_ORDER]
    return (*_skin(), *before, *others, *muscles, *_bones(), *rest, *_canal())


def _between(
    sections: Mapping[str, Nodes], top: float, bottom: float
) -> tuple[tuple[float, Nodes], ...]:
    """Sections by height, the outermost ones repeated at the ends."""
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
    layers, top, bottom = _STYLE[name]
    group = "other" if name in _GROWING else ""
    paired = name not in _MIDLINE
    if name in VISCERA_RIBBONS:
        sections = _between(VISCERA_RIBBONS[name], top, bottom)
        return Part(name, "ribbon", sections, layers, paired, group, joined=name)
    ovals = {level: (oval,) for level, oval in VISCERA_OVALS[name].items()}
    return Part(name, "oval", _between(ovals, top, bottom), layers, paired, group)


def _bones() -> list[Part]:
    arches = [part for name in _ORDER for part in _arch(name)]
    return [*_column(), *_atlas_and_dens(), *arches]


def _column() -> list[Part]:
    """Vertebral bodies with discs between them, each body a part of its own."""
    bodies = VISCERA_OVALS["vertebral_bodies"]
    ovals = {level: (oval,) for level, oval in bodies.items()}
    everywhere = _between(ovals, 38.0, -112.0)
    parts = [Part("discs", "oval", everywhere, ((Tissue.DISC, -0.4),), paired=False)]
    for upper, level, lower in zip((None, *_ORDER[:-1]), _ORDER, (*_ORDER[1:], None), strict=True):
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
    return Part(name, kind, sections, _BONE, paired, joined="column")


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
    (length, width, drop), pillar, (tip_x, tip_y) = _VERTEBRAE[level]
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
