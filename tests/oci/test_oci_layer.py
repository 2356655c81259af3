from __future__ import annotations

import gzip
import hashlib
import os
import tarfile

import pytest

from volant.errors import InvalidInput
from volant.oci.layer import check_path, files_under, unpack, write_layer

LONG = "a" * 90 + "/" + "ü" * 60 + "/" + "b" * 120


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "files"
    for name in ("b.txt", "a/deep/c.bin", LONG):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode() * 1000)
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o700)
    (root / "empty").touch()
    return root


def test_the_same_files_are_the_same_bytes_whoever_wrote_them_when(folder, tmp_path):
    first = write_layer(tmp_path / "1.tar.gz", files_under(folder, "opt"), "test")
    for place, path in enumerate(sorted(folder.rglob("*"))):
        os.utime(path, (place * 1000, place * 1000))
    (folder / "b.txt").chmod(0o600)
    backwards = dict(reversed(files_under(folder, "opt").items()))
    second = write_layer(tmp_path / "2.tar.gz", backwards, "test")
    assert (tmp_path / "1.tar.gz").read_bytes() == (tmp_path / "2.tar.gz").read_bytes()
    assert (first.blob.digest, first.diff_id) == (second.blob.digest, second.diff_id)
    (folder / "b.txt").write_text("other")
    third = write_layer(tmp_path / "3.tar.gz", files_under(folder, "opt"), "test")
    assert third.diff_id != first.diff_id


def test_digests_and_sizes_are_true(folder, tmp_path):
    layer = write_layer(tmp_path / "1.tar.gz", files_under(folder, "opt"), "test")
    packed = (tmp_path / "1.tar.gz").read_bytes()
    plain = gzip.decompress(packed)
    assert layer.blob.digest == f"sha256:{hashlib.sha256(packed).hexdigest()}"
    assert layer.blob.size == len(packed)
    assert layer.diff_id == f"sha256:{hashlib.sha256(plain).hexdigest()}"
    assert layer.unpacked == len(plain)


def test_what_is_in_it(folder, tmp_path):
    layer = write_layer(tmp_path / "1.tar.gz", files_under(folder, "opt/x"), "test")
    with tarfile.open(layer.blob.path) as tar:
        entries = tar.getmembers()
    names = [entry.name for entry in entries]
    assert names[:3] == ["opt", "opt/x", "opt/x/a"]
    assert f"opt/x/{LONG}" in names
    assert len(names) == len(set(names))
    assert {(e.uid, e.gid, e.uname, e.gname, e.mtime) for e in entries} == {(0, 0, "", "", 0)}
    modes = {entry.name: entry.mode for entry in entries}
    assert (modes["opt"], modes["opt/x/run.sh"], modes["opt/x/b.txt"]) == (0o755, 0o755, 0o644)
    assert unpack(layer, "opt/x", tmp_path / "back") == tmp_path / "back" / "opt/x"
    for path in folder.rglob("*"):
        if path.is_file():
            back = tmp_path / "back" / "opt/x" / path.relative_to(folder)
            assert back.read_bytes() == path.read_bytes()


def test_links_are_no_files(folder, tmp_path):
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="no plain file"):
        write_layer(tmp_path / "1.tar.gz", files_under(folder, "opt"), "test")


@pytest.mark.parametrize(
    "name",
    ["", "/etc/passwd", "../x", "a/../../x", "a/./b", "a//b", "a/", "a\\b", "a\0b", "a\nb", ".."],
)
def test_paths_that_lead_out(name):
    with pytest.raises(InvalidInput, match="leads out"):
        check_path(name)


def test_a_file_that_grows_while_it_is_packed_keeps_its_place(tmp_path):
    """Its size is taken once: what is added later isn't in the layer."""
    path = tmp_path / "log"
    path.write_bytes(b"x" * 100)
    layer = write_layer(tmp_path / "1.tar.gz", {"log": path}, "test")
    with tarfile.open(layer.blob.path) as tar:
        assert tar.getmember("log").size == 100
    assert layer.unpacked % 512 == 0
