"""A branch that moved is told of once, whoever sees it first, whatever died."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from volant.domain.event import CODESET_PUSHED
from volant.store import Store, sqlite_url


def heads(store):
    events = reversed(store.events.page(100)[0])
    return [event.data["after"] for event in events if event.type == CODESET_PUSHED]


@pytest.fixture
def work(desk, git, tmp_path):
    """A clone that can push straight into the repository, behind the platform's back."""
    desk.register("p", "code")
    folder = tmp_path / "work"
    git("clone", desk.repository("p", "code").path, folder, cwd=tmp_path)

    def commit(text, branch="main"):
        git("checkout", "-B", branch, cwd=folder)
        (folder / "file").write_text(text)
        git("add", ".", cwd=folder)
        git("commit", "-m", text, cwd=folder)
        git("push", "--force", "origin", branch, cwd=folder)
        return git("rev-parse", "HEAD", cwd=folder).stdout.strip()

    return commit


def test_a_push_is_told_of_once(desk, store, work):
    first = work("1")
    assert desk.pushes.settle("p", "code", "eva").head == first
    assert desk.pushes.settle("p", "code", "eva").head == first
    assert heads(store) == [first]
    other = desk.repository("p", "code")
    other.move("main", first, first)
    assert desk.pushes.changed() == []


def test_going_back_is_a_push_too_and_nothing_is_lost(desk, store, work, git, tmp_path):
    first, second = work("1"), None
    desk.pushes.settle("p", "code", "eva")
    second = work("2")
    desk.pushes.settle("p", "code", "eva")
    repository = desk.repository("p", "code")
    assert repository.move("main", first, second)
    assert desk.pushes.settle("p", "code", "eva").head == first
    assert heads(store) == [first, second, first]
    git("gc", "--prune=now", "--quiet", cwd=repository.path)
    desk.checkout("p", "code", second, tmp_path / "out")  # on no branch any more
    assert (tmp_path / "out" / "file").read_text() == "2"


def test_packed_branches_are_read_too(desk, store, work, git):
    first = work("1")
    repository = desk.repository("p", "code")
    git("pack-refs", "--all", cwd=repository.path)
    assert not (repository.path / "refs" / "heads" / "main").exists()
    assert repository.tip("main") == first
    assert repository.tip("mai") is None
    assert repository.tip("ain") is None


def test_another_branch_starts_nothing(desk, store, work):
    first = work("1")
    desk.pushes.settle("p", "code", "eva")
    aside = work("2", "try")
    assert desk.pushes.settle("p", "code", "eva").head == first
    assert heads(store) == [first]
    assert desk.resolve("p", "code", "try").version == aside


@pytest.mark.parametrize("branch", ["master", "trunk"])
def test_the_first_branch_that_comes_is_the_codesets(desk, store, work, branch):
    first = work("1", branch)
    assert [each.name for each in desk.pushes.changed()] == ["code"]
    codeset = desk.pushes.settle("p", "code", "eva")
    assert (codeset.branch, codeset.head) == (branch, first)
    assert (desk.repository("p", "code").path / "HEAD").read_text() == f"ref: refs/heads/{branch}\n"


def test_many_who_see_it_store_it_once(desk, store, work):
    first = work("1")
    barrier = threading.Barrier(6)
    failed = []

    def settle(n):
        barrier.wait()
        try:
            desk.pushes.settle("p", "code", f"by {n}")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=settle, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert heads(store) == [first]
    assert desk.get("p", "code").pushes == 1


DIES = """
import sys
from pathlib import Path
from volant.adapters.system import SortableIds, SystemClock
from volant.codesets.desk import CodesetDesk
from volant.store import Store, sqlite_url
store = Store(sqlite_url(Path(sys.argv[1])))
desk = CodesetDesk(store.codesets, Path(sys.argv[2]), SystemClock(), SortableIds(),
                   url=lambda: "http://x", ensure_project=lambda name: None)
exec(sys.argv[3])
"""


@pytest.fixture
def dies(tmp_path):
    """A process that dies at a point."""

    def run(point, code):
        words = [str(tmp_path / "volant.db"), str(tmp_path / "codesets"), code]
        done = subprocess.run(
            [sys.executable, "-c", DIES, *words],
            env={**os.environ, "VOLANT_CRASH_AT": point},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == -9, done.stderr

    return run


@pytest.mark.parametrize("point", ["codeset.received", "codeset.stored"])
def test_a_push_cut_off_is_told_of_once_after_a_restart(make_desk, store, work, dies, point):
    first = work("1")
    dies(point, "desk.pushes.settle('p', 'code', 'eva')")
    assert len(heads(store)) == (point == "codeset.stored")
    for _ in range(2):
        make_desk()
    assert heads(store) == [first]
    assert make_desk().get("p", "code").pushes == 1


def test_a_registration_cut_off_is_taken_up(make_desk, store, dies, tmp_path):
    (tmp_path / "codesets").mkdir()
    dies("codeset.made", "desk.register('p', 'code')")
    desk = make_desk()
    assert desk.list() == []
    assert desk.register("p", "code").head is None
    assert desk.repository("p", "code").exists


def test_a_deletion_cut_off_is_finished(make_desk, store, dies, put, tmp_path):
    put({"a": b"1"})
    dies("codeset.deleted", "desk.delete('p', 'code')")
    path = tmp_path / "codesets" / "p" / "code.git"
    assert path.exists()
    again = make_desk()
    assert not path.exists()
    assert again.register("p", "code").head is None


def test_a_deletion_that_never_happened_is_taken_back(make_desk, put, tmp_path):
    commit = put({"a": b"1"})
    desk = make_desk()
    desk.repository("p", "code").mark_deleting()
    again = make_desk()
    assert again.get("p", "code").head == commit
    assert not again.repository("p", "code").deleting


def test_what_dead_git_programs_left_goes(make_desk, desk, work, git, tmp_path):
    work("1")
    repository = desk.repository("p", "code").path
    old = [
        repository / "refs" / "heads" / "main.lock",
        repository / "packed-refs.lock",
        repository / "objects" / "tmp_objdir-incoming-x",
    ]
    for path in old[:2]:
        path.touch()
    old[2].mkdir()
    young = repository / "HEAD.lock"
    young.touch()
    for path in old:
        os.utime(path, (1, 1))
    make_desk()
    assert [path.exists() for path in old] == [False] * 3
    assert young.exists()  # it may be a living one's


def test_two_stores_see_one_push_once(desk, store, work, tmp_path):
    first = work("1")
    with Store(sqlite_url(tmp_path / "volant.db")) as second:
        before = second.codesets.get("p", "code")
        desk.pushes.settle("p", "code", "eva")
        from dataclasses import replace

        event = store.events.page(1)[0][0]
        after = replace(before, head="1" * 40, pushes=1)
        assert not second.codesets.pushed(before, after, replace(event, id="evt-other"))
    assert heads(store) == [first]
