"""Files in a local folder: whole or not at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from volant.adapters.local.files import LocalFiles
from volant.errors import Conflict, InvalidInput, NotFound


def write(files: LocalFiles, path: str, content: bytes) -> None:
    draft = files.draft()
    draft.add(content[:1])
    draft.add(content[1:])
    draft.keep(path)


def test_a_writer_that_dies_leaves_the_old_file_whole(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    write(files, "model/weights", b"old")
    child = os.fork()
    if child == 0:
        os.environ["VOLANT_CRASH_AT"] = "artifact.written"
        write(files, "model/weights", b"new and longer")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -9
    assert files.find("model/weights").read_bytes() == b"old"
    assert [entry.name for entry in files.list("")] == ["model"]
    (left,) = (tmp_path / ".incoming").iterdir()
    files.sweep()
    assert left.exists()  # its writer may still be at it
    long_ago = time.time() - 25 * 3600
    os.utime(left, (long_ago, long_ago))
    files.sweep()
    assert not left.exists()
    assert files.find("model/weights").read_bytes() == b"old"


def test_a_dropped_draft_leaves_nothing(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    draft = files.draft()
    draft.add(b"half")
    draft.drop()
    draft.drop()
    assert list((tmp_path / ".incoming").iterdir()) == []


@pytest.mark.parametrize(
    "path",
    ["", "/a", "../a", "a/../b", "a//b", "a\\b", "a\0b", ".incoming/a", ".", "./", "./.", "./a"],
)
def test_paths_that_are_not_plain(tmp_path: Path, path: str) -> None:
    files = LocalFiles(tmp_path)
    write(files, "kept", b"xy")
    with pytest.raises(InvalidInput):
        write(files, path, b"xy")
    for verb in (files.find, files.folder, files.delete):
        with pytest.raises(InvalidInput):
            verb(path)
    assert list((tmp_path / ".incoming").iterdir()) == []
    assert files.find("kept").read_bytes() == b"xy"


def test_a_file_where_a_folder_is_needed(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    write(files, "a", b"xy")
    with pytest.raises(Conflict):
        write(files, "a/b", b"xy")
    write(files, "folder/b", b"xy")
    with pytest.raises(Conflict):
        write(files, "folder", b"xy")
    with pytest.raises(NotFound):
        files.find("folder")
    files.delete("folder")
    with pytest.raises(NotFound):
        files.delete("folder")
