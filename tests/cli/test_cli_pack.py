"""The user's folder as an archive: small, repeatable, and without what doesn't belong."""

from __future__ import annotations

import io
import os
import tarfile

import pytest

from volant.cli import pack as packing
from volant.cli.pack import pack
from volant.errors import InvalidInput


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "project"
    (root / "lib").mkdir(parents=True)
    (root / "train.py").write_text("def fit(): ...\n")
    (root / "lib" / "features.py").write_text("X = 1\n")
    return root


def names(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return opened.getnames()


def test_the_same_files_give_the_same_bytes(folder):
    before = pack(folder)
    os.utime(folder / "train.py", (1, 1))
    assert pack(folder) == before
    (folder / "train.py").write_text("def fit(): return 1\n")
    assert pack(folder) != before


def test_what_does_not_belong_stays_out(folder):
    for name in (".git/config", ".venv/bin/python", "lib/__pycache__/a.pyc", ".env", "a.pyc"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    assert names(pack(folder)) == ["lib/features.py", "train.py"]


def test_large_files_are_data(folder, monkeypatch):
    monkeypatch.setattr(packing, "MAX_FILE", 100)
    (folder / "data.csv").write_bytes(b"x" * 101)
    assert "data.csv" not in names(pack(folder))


def test_volantignore(folder):
    (folder / "notes.txt").write_text("x")
    (folder / "out").mkdir()
    (folder / "out" / "a.txt").write_text("x")
    (folder / ".volantignore").write_text("# mine\n*.txt\nout/\nlib/features.py\n\n")
    assert names(pack(folder)) == [".volantignore", "train.py"]


def test_links_out_of_the_folder_are_not_followed(folder, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "loop").symlink_to(folder)
    (folder / "inside.py").symlink_to(folder / "train.py")
    assert names(pack(folder)) == ["inside.py", "lib/features.py", "train.py"]


def test_too_much(folder, monkeypatch):
    monkeypatch.setattr(packing, "MAX_TOTAL", 10)
    with pytest.raises(InvalidInput, match=r"volantignore"):
        pack(folder)
    monkeypatch.setattr(packing, "MAX_FILES", 1)
    with pytest.raises(InvalidInput, match="2 files"):
        pack(folder)


def test_only_the_right_to_run_is_kept(folder):
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    with tarfile.open(fileobj=io.BytesIO(pack(folder))) as opened:
        modes = {entry.name: entry.mode for entry in opened}
        owners = {(entry.uid, entry.uname, entry.mtime) for entry in opened}
    assert modes == {"lib/features.py": 0o644, "run.sh": 0o755, "train.py": 0o644}
    assert owners == {(0, "", 0)}


def test_a_volants_home_stays_at_home(tmp_path):
    (tmp_path / "train.py").write_text("")
    home = tmp_path / "home"
    home.mkdir()
    for name in ("server.lock", "token", "volant.db"):
        (home / name).write_text("secret")
    assert names(pack(tmp_path)) == ["train.py"]


def test_a_long_path_is_no_obstacle(tmp_path):
    deep = tmp_path.joinpath(*["folder-of-some-length"] * 8)
    deep.mkdir(parents=True)
    (deep / ("x" * 120 + ".py")).write_text("")
    assert len(names(pack(tmp_path))) == 1


def test_a_codeset_takes_files_of_any_size_and_links_that_stay(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(packing, "MAX_FILE", 100)
    (folder / "data.csv").write_bytes(b"x" * 101)
    (folder / "again.csv").symlink_to("data.csv")
    (folder / "out.csv").symlink_to("/etc/passwd")
    for name in ("one.tar.gz", "two.tar.gz"):
        packing.pack_into(folder, packing.chosen(folder), tmp_path / name)
    packed = (tmp_path / "one.tar.gz").read_bytes()
    assert packed == (tmp_path / "two.tar.gz").read_bytes()
    found = names(packed)
    assert "data.csv" in found
    assert "again.csv" in found
    assert "out.csv" not in found
    assert not any(name.startswith(".git/") for name in found)
