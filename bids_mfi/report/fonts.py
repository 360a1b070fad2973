"""The fonts of the pictures, listed for matplotlib so that it does not search for all fonts."""

import json
from pathlib import Path
from typing import Any

FONT_LIST_VERSION = "3.11.0"  # of matplotlib.font_manager.FontManager
FAMILY = "DejaVu Sans"
WEIGHTS = {"DejaVuSans.ttf": 400, "DejaVuSans-Bold.ttf": 700}  # files that matplotlib brings


def write_font_list(folder: Path) -> None:
    """Write the list that matplotlib reads from its folder of settings (``MPLCONFIGDIR``).

    Without a list, matplotlib reads every font of the system and of its own, which takes 0.3 s. A
    version of matplotlib with another form of the list does that too, and writes its own.
    """
    fonts = {
        "_version": FONT_LIST_VERSION,
        "_FontManager__default_weight": "normal",
        "default_size": None,
        "defaultFamily": {"ttf": FAMILY, "afm": "Helvetica"},
        "afmlist": [],
        "ttflist": [_describe_font(file, weight) for file, weight in WEIGHTS.items()],
        "__class__": "FontManager",
    }
    (folder / f"fontlist-v{FONT_LIST_VERSION}.json").write_text(json.dumps(fonts))


def _describe_font(file: str, weight: int) -> dict[str, Any]:
    return {
        "fname": f"fonts/ttf/{file}",
        "index": 0,
        "name": FAMILY,
        "style": "normal",
        "variant": "normal",
        "weight": weight,
        "stretch": "normal",
        "size": "scalable",
        "__class__": "FontEntry",
    }
