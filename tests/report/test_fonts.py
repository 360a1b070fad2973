"""The list of fonts that keeps matplotlib from reading all of them."""

import os
import subprocess
import sys

from bids_mfi.report.fonts import FAMILY, FONT_LIST_VERSION, write_font_list

CODE = """
import matplotlib.font_manager as fonts
found = [fonts.findfont(fonts.FontProperties(family="{family}", weight=weight), **{keywords})
         for weight in ("normal", "bold")]
print(fonts.FontManager.__version__, len(fonts.fontManager.ttflist), *found, sep="\\n")
"""


def find_fonts(folder):
    """Version of the list, number of fonts and the files of the normal and the bold one."""
    code = CODE.format(family=FAMILY, keywords={"fallback_to_default": False})
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | {"MPLCONFIGDIR": str(folder)},
    )  # fmt: skip
    version, count, *files = done.stdout.splitlines()
    return version, int(count), files


def test_matplotlib_takes_the_list_and_finds_the_fonts_it_would_have_found(tmp_path):
    listed, searched = tmp_path / "listed", tmp_path / "searched"
    listed.mkdir()
    write_font_list(listed)
    version, count, files = find_fonts(listed)
    assert (version, count) == (FONT_LIST_VERSION, 2)
    assert files == find_fonts(searched)[2]
    assert [path.rpartition(os.sep)[2] for path in files] == [
        "DejaVuSans.ttf",
        "DejaVuSans-Bold.ttf",
    ]
