"""Projects of experiments and models: the migration that brings them, names, and who is whose."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import volant.store
from volant.domain.event import Event
from volant.domain.project import DEFAULT_PROJECT, Project
from volant.domain.query import Search
from volant.domain.registered import RegisteredModel
from volant.domain.tracking import Noun, TrackedRun, TrackingStatus
from volant.errors import Conflict, NotFound
from volant.store import Store, open_engine

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
COUNT = iter(range(10_000))
MIGRATIONS = Path(volant.store.__file__).parent / "migrations"


def event() -> Event:
    return Event(f"evt-{next(COUNT)}", "volant.test", "volant/test", "project/a", NOW)


def run(name: str, experiment: str) -> TrackedRun:
    return TrackedRun(name, experiment, name, TrackingStatus.RUNNING, NOW)


BEFORE = """
INSERT INTO experiments (id, name, created_at, lifecycle, artifact_location)
 VALUES ('7', 'wine', '2026-01-01 00:00:00', 'deleted', 'mlflow-artifacts:/7');
INSERT INTO experiment_tags VALUES ('7', 'k', 'v');
INSERT INTO tracked_runs (id, experiment_id, name, status, started_at, artifact_uri)
 VALUES ('r', '7', 'r', 'RUNNING', '2026-01-01 00:00:00', 'mlflow-artifacts:/7/r/artifacts');
INSERT INTO params VALUES ('r', 'p', '1');
INSERT INTO logged_models (id, experiment_id, name, status, artifact_uri, created_at, updated_at,
 model_type, status_message)
 VALUES ('m-1', '7', 'm', 'LOGGED_MODEL_READY', 'x', '2026-01-01 00:00:00',
 '2026-01-01 00:00:00', '', '');
INSERT INTO models VALUES ('net', '2026-01-01 00:00:00', 0)
"""


def test_what_was_there_is_the_default_projects(url: str) -> None:
    engine = open_engine(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0010")
        for statement in BEFORE.split(";"):
            connection.execute(sa.text(statement))
        connection.commit()
    engine.dispose()
    with Store(url) as store:
        store.migrate()
        found = store.experiments.by_name("wine")
        assert (found.id, found.project, found.tags) == ("7", DEFAULT_PROJECT, {"k": "v"})
        assert found.lifecycle == "deleted"
        assert store.tracked_runs.get("r").params == {"p": "1"}
        assert store.logged_models.get("m-1").experiment_id == "7"
        assert store.registered_models.get("net").project == DEFAULT_PROJECT
        assert store.experiments.get("0").name == "Default"
        # What points at an experiment still holds it.
        with pytest.raises(Conflict), store.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM experiments WHERE id = '7'")
        assert store.experiments.create("new").id  # its number follows those before


def test_a_name_is_free_in_each_project(store: Store) -> None:
    store.projects.create(Project("a", NOW), event())
    plain = store.experiments.create("wine")
    own = store.experiments.create("wine", project="a", tags={"k": "v"})
    assert (plain.project, own.project) == (DEFAULT_PROJECT, "a")
    assert own.artifact_location == f"mlflow-artifacts:/workspaces/a/{own.id}"
    assert store.experiments.by_name("wine") == plain
    assert store.experiments.by_name("wine", "a") == own
    assert store.experiments.create("wine", project="a", exist_ok=True) == own
    with pytest.raises(Conflict, match="wine"):
        store.experiments.create("wine", project="a")
    other = store.experiments.create("other", project="a")
    with pytest.raises(Conflict, match="wine"):
        store.experiments.change(other.id, name="wine")
    assert store.experiments.change(plain.id, name="other").name == "other"
    with pytest.raises(NotFound, match="no project 'b'"):
        store.experiments.create("wine", project="b")
    found, _ = store.experiments.search(Search(project="a"))
    assert {each.id for each in found} == {own.id, other.id}
    assert len(store.experiments.search(Search())[0]) == 4  # with the default one


def test_a_models_name_is_one_in_all(store: Store) -> None:
    store.projects.create(Project("a", NOW), event())
    store.registered_models.create(RegisteredModel("net", NOW, NOW, project="a"))
    with pytest.raises(Conflict, match="in the workspace 'a'") as caught:
        store.registered_models.create(RegisteredModel("net", NOW, NOW))
    assert caught.value.error_code == "already_exists"
    with pytest.raises(Conflict, match=r"already exists\."):
        store.registered_models.create(RegisteredModel("net", NOW, NOW, project="a"))
    with pytest.raises(NotFound, match="no project 'b'"):
        store.registered_models.create(RegisteredModel("x", NOW, NOW, project="b"))
    for project, names in (("a", ["net"]), ("b", []), (None, ["net"])):
        found, _ = store.registered_models.search(Search(project=project))
        assert [each.name for each in found] == names
    assert store.registered_models.change("net", new_name="net 2").project == "a"


def test_whose_what_is(store: Store) -> None:
    store.projects.create(Project("a", NOW), event())
    own = store.experiments.create("wine", project="a").id
    store.tracked_runs.create(run("r1", own))
    store.tracked_runs.create(run("r2", "0"))
    assert store.owners.projects(Noun.EXPERIMENT, [own, "0", "9"]) == {own: "a", "0": "default"}
    assert store.owners.projects(Noun.RUN, ["r1", "r2"]) == {"r1": "a", "r2": "default"}
    assert store.owners.projects(Noun.LOGGED_MODEL, ["m"]) == {}
    assert store.owners.projects(Noun.RUN, [f"x{n}" for n in range(1200)] + ["r1"]) == {"r1": "a"}


def test_what_is_tracked_holds_its_project(store: Store) -> None:
    for name in ("a", DEFAULT_PROJECT):
        store.projects.create(Project(name, NOW), event())
    own = store.experiments.create("wine", project="a").id
    store.tracked_runs.create(run("r1", own))
    store.registered_models.create(RegisteredModel("net", NOW, NOW, project="a"))
    assert store.projects.holds("a") == ["experiment wine", "model net"]
    with pytest.raises(Conflict, match="experiment wine, model net"):
        store.projects.delete("a", event())
    store.projects.delete(DEFAULT_PROJECT, event())  # what is there needs no row
    assert store.experiments.get("0").project == DEFAULT_PROJECT


def test_nothing_is_put_into_what_is_being_deleted(store: Store) -> None:
    """Creations and a deletion at once: whatever wins, no experiment is of no project."""
    for turn in range(8):
        name = f"p{turn}"
        store.projects.create(Project(name, NOW), event())

        def create(name: str = name) -> None:
            with suppress(NotFound):
                store.experiments.create("wine", project=name)

        def delete(name: str = name) -> None:
            with suppress(Conflict):
                store.projects.delete(name, event())

        threads = [threading.Thread(target=act) for act in (create, delete)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kept = {each.name for each in store.projects.list()}
        made = store.experiments.search(Search(project=name))[0]
        assert (name in kept) == bool(made)
