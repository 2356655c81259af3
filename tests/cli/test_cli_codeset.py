"""`volant codeset`: what a refused registration leaves, and what is told of a mirror."""

from __future__ import annotations

import subprocess

import pytest

from volant.adapters.system import SortableIds, SystemClock
from volant.cli import codeset_push
from volant.codesets.desk import CodesetDesk
from volant.codesets.mirrors import Mirrors
from volant.errors import InvalidInput, NotFound
from volant.web.api.app import create_app

NOWHERE = "http://127.0.0.1:1/team/code.git"


@pytest.fixture(autouse=True)
def own_git(monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")


@pytest.fixture
def desk(platform, serving, store, tmp_path):
    root = tmp_path / "codesets"
    made = CodesetDesk(
        store.codesets,
        root,
        SystemClock(),
        SortableIds(),
        url=lambda: serving.url,
        ensure_project=lambda _name: None,
    )
    made.recover()
    platform.workbench.codesets = made
    platform.workbench.mirrors = Mirrors(made, root, SystemClock())
    platform.decisions = store.decisions
    serving.app = create_app(platform)
    return made


@pytest.fixture
def register(volant, desk):
    return lambda *words: volant("codeset", "register", "-n", "code", "-p", "p", *words)


@pytest.fixture
def code(tmp_path):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "train.py").write_text("1\n")
    return folder


def git(*words, cwd):
    subprocess.run(["git", *words], cwd=cwd, check=True, capture_output=True)


@pytest.fixture
def empty(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def test_a_folder_is_registered_and_again(register, desk, code):
    assert register(code).code == 0
    head = desk.get("p", "code").head
    (code / "more.py").write_text("2\n")
    assert register(code).code == 0
    assert desk.get("p", "code").head not in (None, head)


@pytest.mark.parametrize("what", ["nothing in it", "no commit", "nothing there", "not reached"])
def test_what_is_refused_makes_no_codeset(register, desk, empty, what):
    location = empty
    if what == "no commit":
        git("init", "--quiet", cwd=empty)
    elif what == "nothing there":
        location = empty / "none"
    elif what == "not reached":
        location = NOWHERE
    refused = register(location)
    assert refused.code != 0
    assert "Setting" not in refused.err
    assert desk.list() == []


def test_an_address_without_a_commit_is_called_by_its_name(volant, desk, empty):
    git("init", "--quiet", "--bare", cwd=empty)
    refused = volant("codeset", "register", "-n", "c", "-p", "p", f"file://{empty}")
    assert f"The repository file://{empty} has no commit." in refused.err
    assert desk.list() == []


def test_what_git_says_of_a_repository_is_told(empty, monkeypatch):
    """A repository that git won't read isn't one without a commit."""
    git("init", "--quiet", cwd=empty)
    (empty / ".git" / "HEAD").write_text("neither\n")
    with pytest.raises(codeset_push._GitFailed, match="rev-parse"):
        codeset_push._with_commit(codeset_push.Source("x", empty), "Commit first.")


def test_what_the_server_refuses_later_takes_its_record_along(register, desk, code):
    desk.max_bytes = 1
    assert "all that it may have" in register(code).err
    assert desk.list() == []


def test_a_mirror_that_cant_be_set_takes_its_record_along(register, desk):
    assert "every 1 s" in register("--mirror", "--every", "1", NOWHERE).err
    assert desk.list() == []


def test_a_codeset_that_was_there_stays(register, desk, code):
    desk.register("p", "code", description="Mine")
    desk.max_bytes = 1
    assert register(code).code != 0
    assert desk.get("p", "code").description == "Mine"


def test_who_may_not_delete_is_told_what_stays(register, desk, code, monkeypatch):
    monkeypatch.setenv("VOLANT_TOKEN", "vol_developer")
    desk.max_bytes = 1
    refused = register(code)
    assert "all that it may have" in refused.err
    assert "p/code stays, without a version" in refused.err
    assert desk.get("p", "code").head is None


def test_what_somebody_filled_meanwhile_stays(desk):
    class Filled:
        def get(self, path):
            return {"head": "c0ffee", "origin": None}

    with pytest.raises(InvalidInput), codeset_push.undone(Filled(), None, _record()):
        raise InvalidInput("No.", "Yes.")


def test_a_record_that_is_gone_is_told_by_the_first_error_alone(desk, capsys):
    class Gone:
        def get(self, path):
            raise NotFound("It is gone.", "Leave it.")

    class Out:
        def note(self, text):
            self.told = text

    with pytest.raises(KeyboardInterrupt), codeset_push.undone(Gone(), Out(), _record()):
        raise KeyboardInterrupt


def _record():
    return {"project": "p", "name": "code"}


def test_a_mirror_that_failed_was_tried_not_fetched(volant, desk, platform, store):
    desk.register("p", "code")
    platform.workbench.mirrors.set("p", "code", NOWHERE)
    asked = ("codeset", "get", "-n", "code", "-p", "p")
    store.codesets.tried("p", "code", SystemClock().now(), "It can't be reached.")
    told = volant(*asked).out
    assert "tried" in told
    assert "fetched" not in told
    store.codesets.tried("p", "code", SystemClock().now(), None)
    assert "fetched" in volant(*asked).out
