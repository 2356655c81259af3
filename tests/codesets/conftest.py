from __future__ import annotations

import subprocess

import pytest
from code_archive import archive

from volant.adapters.system import SortableIds, SystemClock
from volant.codesets.desk import CodesetDesk
from volant.store import Store


@pytest.fixture
def make_desk(store: Store, tmp_path):
    """Desks on one home and one store, as after a restart."""

    def make(**more):
        made = CodesetDesk(
            store.codesets,
            tmp_path / "codesets",
            SystemClock(),
            SortableIds(),
            url=lambda: "http://127.0.0.1:8400",
            ensure_project=lambda _name: None,
            **more,
        )
        made.recover()
        return made

    return make


@pytest.fixture
def desk(make_desk):
    return make_desk()


@pytest.fixture
def git(tmp_path):
    """A user's git, in folders of the test's own."""

    def run(*words, cwd, ok=True):
        done = subprocess.run(
            ["git", "-c", "user.name=Eva", "-c", "user.email=eva@example.com", *map(str, words)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "HOME": str(tmp_path),
                "GIT_CONFIG_GLOBAL": "/dev/null",
                "GIT_TERMINAL_PROMPT": "0",
            },
        )
        assert not ok or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def put(desk):
    """Sends files to a codeset `p/code`, made at first; returns its head."""

    def send(files, links=(), by="eva", message=""):
        desk.register("p", "code")
        return desk.receive("p", "code", [archive(files, links)], by=by, message=message).head

    return send
