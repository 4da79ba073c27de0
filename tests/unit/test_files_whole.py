"""Files that two scans write at once."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from collateral.files import write_whole


def test_two_writers_of_one_file_leave_one_of_their_contents_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "evidence.geojson"
    contents, failed = [bytes([65 + n]) * 50_000 for n in range(4)], []

    def write(content: bytes) -> None:
        try:
            for _ in range(100):
                write_whole(path, content)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed
    assert path.read_bytes() in contents and list(tmp_path.iterdir()) == [path]


def test_an_attempt_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a" / "evidence.geojson"
    with pytest.raises(FileNotFoundError):
        write_whole(path, b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "folder", b"x")
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
