"""Codesets as people use them: folders become commits, commits become folders."""

from __future__ import annotations

import os
import threading

import pytest
from code_archive import archive

from volant.domain.event import CODESET_DELETED, CODESET_PUSHED, CODESET_REGISTERED
from volant.errors import Conflict, InvalidInput, NotFound, ResourceExhausted, Unavailable


def told(store, kind):
    return [event for event in reversed(store.events.page(50)[0]) if event.type == kind]


def test_a_folder_is_a_version_and_changed_files_are_the_next(desk, store, put):
    first = put({"train.py": b"a", "data/x.csv": b"1,2\n"}, message="First one")
    second = put({"train.py": b"b"}, by="tom")
    codeset = desk.get("p", "code")
    assert (codeset.head, codeset.branch, codeset.pushes) == (second, "main", 2)
    commits, cursor = desk.versions("p", "code", 1)
    assert [(each.version, each.author) for each in commits] == [(second, "tom")]
    older, end = desk.versions("p", "code", 5, cursor)
    assert [(each.version, each.subject) for each in older] == [(first, "First one")]
    assert end is None
    assert [file.path for file in desk.files("p", "code", first)] == ["data/x.csv", "train.py"]
    assert [file.path for file in desk.files("p", "code")] == ["train.py"]
    pushed = told(store, CODESET_PUSHED)
    assert [event.data["after"] for event in pushed] == [first, second]
    assert pushed[1].data == {
        "project": "p",
        "name": "code",
        "branch": "main",
        "before": first,
        "after": second,
        "by": "tom",
    }


def test_the_same_files_again_change_nothing(desk, store, put):
    first = put({"train.py": b"a"})
    assert put({"train.py": b"a"}) == first
    assert len(told(store, CODESET_PUSHED)) == 1


def test_registering_again_tells_more_of_it_and_no_event(desk, store):
    desk.register("p", "code", description="old", labels=["a"])
    again = desk.register("p", "code", labels=["b", "c", "b"])
    assert (again.description, again.labels) == ("old", ("b", "c"))
    assert len(told(store, CODESET_REGISTERED)) == 1
    desk.register("p", "other", labels=["c"])
    desk.register("q", "code")
    assert [each.name for each in desk.list(project="p")] == ["code", "other"]
    assert [(each.project, each.name) for each in desk.list(label="c")] == [
        ("p", "code"),
        ("p", "other"),
    ]


def test_a_project_is_made_with_its_first_codeset(make_desk):
    made = []
    desk = make_desk()
    desk._ensure_project = made.append
    desk.register("new", "code")
    assert made == ["new"]


@pytest.mark.parametrize(
    ("project", "name"),
    [
        ("..", "code"),
        ("p", "../x"),
        ("p", ".git"),
        ("P", "code"),
        ("p", "a/b"),
        ("p", ""),
        ("p", "-x"),
    ],
)
def test_odd_names_are_refused(desk, project, name):
    with pytest.raises(InvalidInput):
        desk.register(project, name)
    with pytest.raises(InvalidInput):
        desk.repository(project, name)


def test_a_version_has_many_names(desk, put, git, tmp_path):
    first = put({"a": b"1"})
    second = put({"a": b"2"})
    repository = desk.repository("p", "code").path
    git("tag", "v1", first, cwd=repository)
    git("branch", "try/this", first, cwd=repository)
    for name in (first, first[:7], "v1", "try/this"):
        assert desk.resolve("p", "code", name).version == first, name
    for name in (None, "main", second):
        found = desk.resolve("p", "code", name)
        assert (found.version, found.url) == (second, "http://127.0.0.1:8400/git/p/code.git")
    for name in ("nothing", "0" * 40, "abcd"):
        with pytest.raises(NotFound, match="has no version"):
            desk.resolve("p", "code", name)
    for name in ("-x", "HEAD@{1}", "main~1", "a..b", ":/first", "", "x" * 300, "main^"):
        with pytest.raises(InvalidInput):
            desk.resolve("p", "code", name)


def test_an_empty_codeset_says_how_to_fill_it(desk):
    desk.register("p", "code")
    with pytest.raises(NotFound, match="empty") as failure:
        desk.resolve("p", "code")
    assert "git push http://127.0.0.1:8400/git/p/code.git" in failure.value.fix
    assert desk.versions("p", "code", 5) == ([], None)


def test_a_checkout_is_the_files_and_its_own_copy(desk, put, tmp_path):
    commit = put({"run.sh": b"#!/bin/sh\n", "a/b.txt": b"x"}, links=[("link", "a/b.txt")])
    one, two = tmp_path / "one", tmp_path / "deep" / "two"
    desk.checkout("p", "code", commit, one)
    (one / "a" / "b.txt").write_text("written by a step")
    (one / "new").write_text("too")
    desk.checkout("p", "code", "main", two)
    assert sorted(path.name for path in two.iterdir()) == ["a", "link", "run.sh"]
    assert (two / "link").read_text() == "x"
    assert (two / "link").is_symlink()
    desk.checkout("p", "code", commit, one)  # again: as new
    assert sorted(path.name for path in one.iterdir()) == ["a", "link", "run.sh"]
    assert (one / "a" / "b.txt").read_text() == "x"
    with pytest.raises(NotFound):
        desk.checkout("p", "code", "1" * 40, one)
    with pytest.raises(NotFound):
        desk.checkout("p", "nothing", commit, one)


def test_many_checkouts_at_once(desk, put, tmp_path):
    commit = put({f"{n}.txt": b"x" * n for n in range(40)})
    wrong = []

    def lay_out(n):
        desk.checkout("p", "code", commit, tmp_path / f"out{n}")
        found = {p.name: p.stat().st_size for p in (tmp_path / f"out{n}").iterdir()}
        if found != {f"{n}.txt": n for n in range(40)}:
            wrong.append(found)

    threads = [threading.Thread(target=lay_out, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_tree_has_the_same_hash_in_all_versions_that_have_it(desk, put):
    first = put({"a/x": b"1", "b": b"1"})
    second = put({"a/x": b"1", "b": b"2"})
    assert desk.tree_hash("p", "code", first, "a") == desk.tree_hash("p", "code", second, "./a/")
    assert desk.tree_hash("p", "code", first) != desk.tree_hash("p", "code", second, ".")
    assert desk.tree_hash("p", "code", first, "b") != desk.tree_hash("p", "code", second, "b")
    assert desk.tree_hash("p", "code", "main") == desk.tree_hash("p", "code", second)
    with pytest.raises(NotFound, match="nothing at 'c'"):
        desk.tree_hash("p", "code", first, "c")
    with pytest.raises(InvalidInput):
        desk.tree_hash("p", "code", first, "../x")


def test_a_file_is_read_at_a_version(desk, put):
    first = put({"volant.yaml": b"name: a\n", "d/e": b""})
    assert desk.read("p", "code", first, "volant.yaml", 100) == b"name: a\n"
    assert desk.read("p", "code", first, "d/e", 100) == b""
    assert desk.read("p", "code", first, "nothing", 100) is None
    assert desk.read("p", "code", first, "d", 100) is None
    with pytest.raises(InvalidInput, match="at most 3"):
        desk.read("p", "code", first, "volant.yaml", 3)


def test_deleting_is_refused_while_a_run_uses_it(desk, store, put, tmp_path):
    commit = put({"a": b"1"})
    desk.bind(lambda project, name: "run-1" if (project, name) == ("p", "code") else None)
    with pytest.raises(Conflict, match="run-1 uses"):
        desk.delete("p", "code")
    assert desk.get("p", "code").head == commit
    desk.bind(lambda project, name: None)
    desk.delete("p", "code")
    assert not (tmp_path / "codesets" / "p" / "code.git").exists()
    assert len(told(store, CODESET_DELETED)) == 1
    with pytest.raises(NotFound):
        desk.delete("p", "code")
    with pytest.raises(NotFound):  # its files may still be among the checkouts
        desk.checkout("p", "code", commit, tmp_path / "out")
    assert desk.register("p", "code").head is None


def test_a_mirror_takes_no_pushes(desk, store):
    from volant.domain.codeset import Mirror

    desk.register("p", "code")
    store.codesets.set_mirror(Mirror("p", "code", "https://example.com/x.git", 60, "salt"))
    with pytest.raises(Conflict, match=r"mirror of https://example\.com/x\.git"):
        desk.receive("p", "code", [b""], by="eva")


def test_a_repository_has_a_bound(make_desk):
    desk = make_desk(max_bytes=300_000)
    desk.register("p", "code")
    with pytest.raises(InvalidInput, match="larger than"):
        desk.receive("p", "code", [os.urandom(400_000)], by="eva")
    desk.receive("p", "code", [archive({"a": os.urandom(200_000)})], by="eva")
    desk.receive("p", "code", [archive({"a": os.urandom(60_000)})], by="eva")
    with pytest.raises((ResourceExhausted, InvalidInput)):
        desk.receive("p", "code", [archive({"a": os.urandom(200_000)})], by="eva")


def test_without_git_it_says_so(desk, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="git isn't on this machine's PATH") as failure:
        desk.register("p", "code")
    assert failure.value.error_code == "git_missing"


def test_nothing_of_a_users_git_gets_in(desk, put, monkeypatch, tmp_path):
    """A user's configuration, templates and hooks aren't the platform's."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "post-checkout", "pre-receive"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\nexit 1\n")
        (hooks / name).chmod(0o755)
    (tmp_path / ".gitconfig").write_text(
        f"[core]\n\thooksPath = {hooks}\n[init]\n\tdefaultBranch = x\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / ".gitconfig"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(tmp_path))
    commit = put({"a": b"1"})
    desk.checkout("p", "code", commit, tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == b"1"
    assert not (tmp_path / "ran").exists()
    assert desk.get("p", "code").branch == "main"
