"""Archives from outside: what may come in, and what may not."""

from __future__ import annotations

import io
import tarfile

import pytest
from code_archive import archive
from hypothesis import given, settings
from hypothesis import strategies as st

from volant.codesets import importing
from volant.errors import InvalidInput

MEAN = [
    "../x",
    "/etc/passwd",
    "a/../../x",
    ".git/config",
    "a/.GIT/hooks/x",
    "git~1/x",
    ".git ./x",
    ".git::$INDEX_ALLOCATION/x",
    "a\nb",
    "a\x00b",
]


@pytest.mark.parametrize("name", MEAN)
def test_a_mean_name_is_refused_and_nothing_stays(desk, name):
    desk.register("p", "code")
    if "\0" in name:
        name = "a\x01b"
    with pytest.raises(InvalidInput):
        desk.receive("p", "code", [archive({"good": b"1", name: b"2"})], by="eva")
    assert desk.get("p", "code").head is None
    assert desk.repository("p", "code").branches() == []


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "a/../../x", ""])
def test_a_link_that_leaves_is_refused(desk, target):
    desk.register("p", "code")
    with pytest.raises(InvalidInput, match="leaves its folder"):
        desk.receive("p", "code", [archive({"good": b"1"}, [("link", target)])], by="eva")


def test_a_link_that_stays_is_kept(desk):
    desk.register("p", "code")
    sent = archive({"a/b": b"1"}, [("c/up", "../a/b"), ("a/same", "b")])
    head = desk.receive("p", "code", [sent], by="eva").head
    links = [file.path for file in desk.files("p", "code", head) if file.link]
    assert links == ["a/same", "c/up"]


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_file_is_refused(desk, kind):
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as packed:
        entry = tarfile.TarInfo("odd")
        entry.type, entry.linkname = kind, "good"
        packed.addfile(entry)
    desk.register("p", "code")
    with pytest.raises(InvalidInput, match="no plain file"):
        desk.receive("p", "code", [raw.getvalue()], by="eva")


@pytest.mark.parametrize(
    "body",
    [b"", b"no archive", archive({"a": b"1" * 9000})[:60], archive({})],
    ids=["empty", "other", "cut", "of nothing"],
)
def test_what_is_no_archive_is_refused(desk, body):
    desk.register("p", "code")
    with pytest.raises(InvalidInput):
        desk.receive("p", "code", [body], by="eva")
    assert desk.get("p", "code").head is None


def test_there_is_a_bound_on_files_and_bytes(desk, monkeypatch):
    monkeypatch.setattr(importing, "MAX_FILES", 2)
    desk.register("p", "code")
    with pytest.raises(InvalidInput, match="more than 2 files"):
        desk.receive("p", "code", [archive({"a": b"", "b": b"", "c": b""})], by="eva")
    monkeypatch.setattr(importing, "MAX_BYTES", 100)
    with pytest.raises(InvalidInput, match="100 bytes"):
        desk.receive("p", "code", [archive({"a": b"x" * 101})], by="eva")


PART = st.text(
    st.characters(categories=("L", "N", "P", "S", "Zs"), exclude_characters="/"), min_size=1
).filter(lambda part: part not in (".", "..") and not importing._is_git(part))
PATHS = st.lists(PART.filter(lambda part: len(part.encode()) < 60), min_size=1, max_size=3)


@settings(max_examples=12)
@given(path=PATHS.map("/".join), content=st.binary(max_size=200))
def test_whatever_goes_in_comes_out(tmp_path_factory, path, content):
    from volant.codesets.git import Git
    from volant.codesets.repository import Repository

    home = tmp_path_factory.mktemp("any")
    repository = Repository(Git(home), home / "p" / "x.git")
    repository.create()
    sent = home / "sent.tar.gz"
    sent.write_bytes(archive({path: content}))
    from datetime import UTC, datetime

    try:
        commit = importing.commit_archive(
            repository,
            sent,
            branch="main",
            upload="up-1",
            by="eva <x>",
            message="any",
            time=datetime.now(UTC),
        )
    except InvalidInput:
        assert not path.isprintable()
        return
    [file] = repository.files(commit)
    assert (file.path, file.bytes) == (path, len(content))
    assert repository.read(commit, path, 1000) == content
