"""What is printed can be printed: by any terminal, in any locale, whatever the files are called."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bids_datasets import add_image, make_pair, start_dataset, write_sidecar

from bids_mfi.cli.app import main
from bids_mfi.participant.graph import STEPS
from bids_mfi.participant.progress import show_progress
from bids_mfi.printing import PrintableStream, escape_text, printable_output, unwrap

ROOT = Path(__file__).parents[1]
ANAT = "sub-01/anat/sub-01_"
LOCALES = [
    {"PYTHONIOENCODING": "ascii"},
    {"LANG": "C", "LC_ALL": "C"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {
        "LC_ALL": "POSIX",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "latin1",
    },
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sub-01_é √ ü 中", "sub-01_é √ ü 中"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\nb\tc\rd\x00\x7f", r"a\nb\tc\rd\x00\x7f"),
        ("a\u202eb\u2066\u200f", r"a\u202eb\u2066\u200f"),
        ("a\u2028b", r"a\u2028b"),
        ("a\udce9b", r"a\xe9b"),
        ("a\ud800b", r"a\ud800b"),
        ("", ""),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert escape_text(text) == shown
    escape_text(text).encode("utf-8")


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", r"\xe9 \u221a"), ("latin-1", r"é \u221a"), ("utf-8", "é √")]
)
def test_what_an_encoding_lacks_is_escaped(encoding: str, shown: str) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding, write_through=True)
    print("é √", file=PrintableStream(stream))
    assert raw.getvalue().decode(encoding) == f"{shown}\n"


def test_streams_are_wrapped_once_and_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with printable_output(), printable_output():
        print("a\x1bb")
        assert unwrap(sys.stdout) is before[0]
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "a\\x1bb\n"


def test_the_board_of_a_terminal_shows_no_escape_sequence_of_a_name() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with show_progress(stream) as on_status:
        for status in ("queued", "start", "exception"):
            on_status("sub-01_acq-\x1b[41mx", STEPS[0], status)
    assert r"acq-\x1b[41mx" in stream.getvalue()
    assert "\x1b[41m" not in stream.getvalue()


# --- in a process of its own ---------------------------------------------------------------------


def run(arguments: list[str], environment: dict[str, str], cwd: Path) -> "subprocess.Popen[bytes]":
    """Run a command with no locale but the given one."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, *arguments],
        env=kept | environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=cwd,
        capture_output=True,
        timeout=300,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    return done  # type: ignore[return-value]


@pytest.fixture
def odd_dataset(tmp_path: Path) -> Path:
    """Names and texts that not every terminal can show, or should."""
    dataset = start_dataset(tmp_path / "étude √", Name="Étude")
    make_pair(dataset, "01")
    add_image(dataset, "sub-02/anat/sub-02_acq-ü_MEGRE.nii.gz", {"EchoTime": "√"})
    add_image(dataset, "sub-03/anat/sub-03_acq-\x1b[31m_MEGRE.nii.gz", {"EchoTime": 0})
    odd = os.fsdecode(os.fsencode(str(dataset / "sub-04" / "anat")) + b"/sub-04_\xe9_T1w.nii")
    (dataset / "sub-04" / "anat").mkdir(parents=True)
    Path(odd).write_bytes(b"x")
    write_sidecar(
        dataset / f"{ANAT}acq-inphase_T1w.nii.gz", {"SeriesDescription": "tête\x1b[31m in phase"}
    )
    return dataset


@pytest.mark.parametrize(
    "environment", LOCALES, ids=lambda env: " ".join(map("=".join, env.items()))
)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_dry_run_in_any_locale(
    odd_dataset: Path, environment: dict[str, str], more: list[str]
) -> None:
    words = [str(ROOT / "run.py"), odd_dataset.name, "out", "participant", "--dry-run", *more]
    done = run(words, environment, odd_dataset.parent)
    assert b"sub-01_acq-inphase_T1w.nii.gz" in done.stdout  # type: ignore[operator]
    assert b"\x1b" not in done.stdout + done.stderr  # type: ignore[operator]


@pytest.mark.parametrize(
    "environment", LOCALES, ids=lambda env: " ".join(map("=".join, env.items()))
)
@pytest.mark.parametrize(
    "words",
    [
        [str(ROOT / "run.py"), "non √ là", "out", "participant"],
        [str(ROOT / "run.py"), "é", "out", "participant", "--é√"],
        ["-m", "bids_mfi", "evaluate", "é√", "à", "sortie"],
        ["-m", "bids_mfi", "é√"],
        ["-m", "bids_mfi", "train", "--label-map", "\x1b[31mé√.nii", "sortie"],
        ["-m", "bids_mfi", "convert", "modèle√", "paquet"],
        [str(ROOT / "run.py"), os.fsdecode(b"\xe9\xff"), "out", "participant"],
    ],
    ids=lambda words: " ".join(words).replace(str(ROOT), "").encode("unicode_escape").decode(),
)
def test_errors_in_any_locale(
    tmp_path: Path, environment: dict[str, str], words: list[str]
) -> None:
    done = run(words, environment, tmp_path)
    assert done.returncode in (2, 3, 4)
    assert done.stderr
    assert b"\x1b" not in done.stderr  # type: ignore[operator]


def test_a_failed_scan_is_printed_without_escape_sequences(
    odd_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also a name with a line break stays on its line."""
    add_image(odd_dataset, "sub-05/anat/sub-05_acq-a\nb\x1b[31m_MEGRE.nii.gz", {"EchoTime": 0})
    arguments = [str(odd_dataset), str(tmp_path / "out"), "participant", "--participant-label"]
    assert main([*arguments, "03", "05"]) == 1
    shown = capsys.readouterr().err
    assert "\x1b" not in shown
    assert r"sub-05_acq-a\nb\x1b[31m" in shown


def test_a_page_and_a_log_hold_no_escape_sequences(odd_dataset: Path, tmp_path: Path) -> None:
    arguments = [str(odd_dataset), str(tmp_path / "out"), "participant", "--participant-label"]
    assert main([*arguments, "03"]) == 1
    texts = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert texts
    assert not any(b"\x1b[31m" in text for text in texts)
