"""Files of users are read in bounded time and memory, whatever they are."""

import os
import socket
import threading
from pathlib import Path

import pytest

from bids_mfi.reading import (
    open_regular_file,
    parse_json,
    read_json,
    read_regular_file,
    read_toml,
)


def test_regular_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"0123456789")
    assert read_regular_file(path, 10) == b"0123456789"


def test_link_to_a_regular_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "b").symlink_to("a")
    assert read_regular_file(tmp_path / "b") == b"x"


def test_larger_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"0123456789")
    with pytest.raises(OSError, match="larger than 9 bytes"):
        read_regular_file(path, 9)


def test_named_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found: list[OSError] = []

    def read() -> None:
        try:
            read_regular_file(tmp_path / "pipe")
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(timeout=30)
    assert not thread.is_alive()
    assert "named pipe" in str(found[0].strerror)


def test_device_without_end_is_refused() -> None:
    with pytest.raises(OSError, match="device"):
        read_regular_file(Path("/dev/zero"))


def test_folder_and_socket_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IsADirectoryError, match="folder"):
        read_regular_file(tmp_path)
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("s")
        with pytest.raises(OSError, match="No such device"):
            read_regular_file(Path("s"))


def test_descriptor_is_closed_where_a_file_is_refused() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(OSError, match="device"), open_regular_file(Path("/dev/zero")):
            pass
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("1" * 5000, "4300 digits"),
        (b"\xff\xfe{", "utf-8"),
        ("", "Expecting value"),
    ],
)
def test_json_that_cannot_be_parsed_is_a_value_error(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_json_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json") == {"a": 1}


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "1" * 5000, "a =", "\x00"])
def test_toml_that_cannot_be_parsed_is_a_value_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ValueError, match=r"deep|digits|TOML|Invalid|invalid|Illegal"):
        read_toml(tmp_path / "a.toml")


def test_toml_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("a = 1\n")
    assert read_toml(tmp_path / "a.toml") == {"a": 1}
