"""Which stored outputs a step may take over, on the real store and a real home."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from volant.adapters.system import SystemClock
from volant.app.home import Home
from volant.app.reuse import StepReuse
from volant.domain.run import StepRequest, StepSpecRef
from volant.errors import NotFound
from volant.store import Store, sqlite_url

CODE = {"project": "p", "name": "c", "version": "gone", "url": "http://git/p/c", "path": "/project"}
REQUEST = StepRequest("run-1", StepSpecRef("a", uses="builder"), {"x": 1}, 1, Path("/w"))


def tree_hash(project: str, name: str, version: str) -> str:
    raise NotFound(f"There is no version {version}.", "Push it.")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(sqlite_url(tmp_path / "volant.db")) as opened:
        opened.migrate()
        yield opened


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def refused() -> set[str]:
    """Outputs that the executor doesn't stand by."""
    return set()


@pytest.fixture
def reuse(store: Store, home: Home, refused: set[str]) -> StepReuse:
    return StepReuse(
        store.step_cache,
        home,
        SystemClock(),
        tree_hash=tree_hash,
        holds=lambda _request, outputs: outputs["o"] not in refused,
    )


def kept(reuse: StepReuse, outputs: dict[str, object], request: StepRequest = REQUEST) -> str:
    key = reuse.key(request)
    assert key is not None
    reuse.keep(key, request, outputs, anew=False)
    return key


def test_what_was_kept_is_found(reuse: StepReuse) -> None:
    key = kept(reuse, {"o": "text"})
    found = reuse.find(key, REQUEST)
    assert found is not None
    assert (found.outputs, found.run_id, found.step) == ({"o": "text"}, "run-1", "a")


def test_the_first_stays_unless_it_is_made_anew(reuse: StepReuse) -> None:
    key = kept(reuse, {"o": "first"})
    later = replace(REQUEST, run_id="run-2")
    kept(reuse, {"o": "second"}, later)
    found = reuse.find(key, REQUEST)
    assert found is not None
    assert found.outputs["o"] == "first"
    reuse.keep(key, later, {"o": "third"}, anew=True)
    found = reuse.find(key, REQUEST)
    assert found is not None
    assert (found.outputs["o"], found.run_id) == ("third", "run-2")


def test_what_the_executor_refuses_is_forgotten(reuse: StepReuse, refused: set[str]) -> None:
    key = kept(reuse, {"o": "old"})
    refused.add("old")
    assert reuse.find(key, REQUEST) is None
    refused.clear()
    assert reuse.find(key, REQUEST) is None


def test_outputs_hold_while_their_files_are_there(reuse: StepReuse, home: Home) -> None:
    folder = home.runs / "run-1" / "a" / "model"
    folder.mkdir(parents=True)
    key = kept(reuse, {"o": "a model", "paths": [{"model": str(folder)}]})
    assert reuse.find(key, REQUEST) is not None
    folder.rmdir()
    assert reuse.find(key, REQUEST) is None


def test_an_environment_that_was_removed_is_built_again(reuse: StepReuse, home: Home) -> None:
    (home.environments / "abc").mkdir(parents=True)
    key = kept(reuse, {"o": "env://abc"})
    assert reuse.find(key, REQUEST) is not None
    (home.environments / "abc").rmdir()
    assert reuse.find(key, REQUEST) is None


def test_a_codeset_that_is_gone_has_no_key(reuse: StepReuse) -> None:
    assert reuse.key(replace(REQUEST, inputs={"code": CODE})) is None


def test_a_broken_cache_costs_nothing_but_the_work(
    reuse: StepReuse, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    key = kept(reuse, {"o": "text"})
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE step_cache")
    assert reuse.find(key, REQUEST) is None
    reuse.keep(key, REQUEST, {"o": "text"}, anew=False)
    assert len(caplog.records) == 2
