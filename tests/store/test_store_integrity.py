from __future__ import annotations

import math
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.domain.codec import from_plain
from volant.domain.dataset import Dataset, DatasetVersion, Push, PushStatus
from volant.domain.decision import Decision
from volant.domain.deployment import Deployment, Revision
from volant.domain.event import Event
from volant.domain.loop import Loop
from volant.domain.model import ModelVersion
from volant.domain.principal import AuditEntry, Token
from volant.domain.run import Run
from volant.domain.tracking import Experiment, Metric, TrackedRun
from volant.domain.trigger import Firing, Trigger
from volant.errors import Conflict, NotFound
from volant.store import Store, sqlite_url
from volant.store.decisions import decision_sha256
from volant.store.schema import metadata
from volant.store.types import canonical
from volant.testing import samples

samples_of_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


def _execute(store: Store, statement: str) -> None:
    with store.engine.connect() as connection:
        connection.exec_driver_sql(statement)
        connection.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE decisions SET reason = 'another'",
        "DELETE FROM decisions",
        "UPDATE audit SET outcome = 'another'",
        "DELETE FROM audit",
    ],
)
def test_records_refuse_change(store: Store, statement: str) -> None:
    decision = store.decisions.record(samples.decision())
    entry = samples.audit_entry()
    store.audit.append(entry)
    with pytest.raises(Conflict, match="append-only"):
        _execute(store, statement)
    assert store.decisions.get(decision.id) == decision
    assert store.audit.page(9)[0] == [entry]


@pytest.mark.parametrize("columns", ["*", "NULL, id"])
def test_records_refuse_replacement_on_sqlite(tmp_path: Path, columns: str) -> None:
    with Store(sqlite_url(tmp_path / "volant.db")) as store:
        store.migrate()
        store.decisions.record(samples.decision())
        rest = ", kind, subject, outcome, 'new', time, loop, run_id, event_id, rules, details, 'x'"
        chosen = "*" if columns == "*" else columns + rest
        with pytest.raises(Conflict, match="append-only"):
            _execute(store, f"INSERT OR REPLACE INTO decisions SELECT {chosen} FROM decisions")


@pytest.mark.service
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_records_refuse_truncation_on_postgres(store: Store) -> None:
    with pytest.raises(Conflict, match="append-only"):
        _execute(store, "TRUNCATE decisions")


def test_an_altered_decision_is_found(store: Store) -> None:
    decision = store.decisions.record(samples.decision(loop="wine"))
    assert decision.sha256 == decision_sha256(decision)
    if store.engine.dialect.name == "sqlite":
        _execute(store, "DROP TRIGGER decisions_no_update")
    else:
        _execute(store, "ALTER TABLE decisions DISABLE TRIGGER USER")
    _execute(store, "UPDATE decisions SET outcome = 'refused'")
    with pytest.raises(Conflict, match=decision.id) as caught:
        store.decisions.get(decision.id)
    assert caught.value.error_code == "decision_altered"
    with pytest.raises(Conflict):
        store.decisions.page(5, loop="wine")


def test_the_database_allows_one_champion_and_one_live_revision(store: Store) -> None:
    store.deployments.ensure(samples.deployment("wine"))
    for _ in range(2):
        version = store.models.register(samples.model_version("wine"), samples.event())
        store.revisions.request(samples.revision("wine", version.version))
    with pytest.raises(Conflict, match="refused a row"):
        _execute(store, "UPDATE model_versions SET stage = 'champion'")
    with pytest.raises(Conflict, match="refused a row"):
        _execute(store, "UPDATE revisions SET status = 'live'")


def test_events_are_told_after_their_commit(store: Store) -> None:
    seen: list[tuple[str, bool]] = []

    def listener(event: Event) -> None:
        seen.append((event.id, store.events.get(event.id).id == event.id))

    store.on_event(listener)
    event = samples.event()
    store.events.append(event)
    store.events.append(event)
    assert seen == [(event.id, True)]
    with pytest.raises(NotFound):
        store.loops.delete("nothing", samples.event())
    assert len(seen) == 1


def test_a_failing_listener_harms_nobody(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    def broken(event: Event) -> None:
        raise RuntimeError("broken listener")

    store.on_event(broken)
    store.on_event(lambda event: seen.append(event.id))
    event = samples.event()
    assert store.events.append(event)
    assert seen == [event.id]
    assert "broken listener" in caplog.text


KILLED = """
import os, signal, sys
from volant.store import Store, records, pushes
from volant.testing import samples
store = Store(sys.argv[1])
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
pushes.emit = die  # everything is written but the event and the commit
push = store.pushes.get(sys.argv[2])
store.pushes.commit(push.id, samples.dataset_version(push), samples.CONTRACT, samples.event())
"""


def test_killed_in_a_transaction_leaves_nothing(url: str, store: Store) -> None:
    dataset = store.datasets.create(samples.dataset())
    push = store.pushes.create(samples.push(dataset.name))
    killed = subprocess.run([sys.executable, "-c", KILLED, url, push.id], timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert store.pushes.get(push.id).status is PushStatus.RECEIVED
    assert store.datasets.get(dataset.name) == dataset
    assert store.versions.page(dataset.name, 5) == ([], None)
    version = samples.dataset_version(push)
    assert store.pushes.commit(push.id, version, None, samples.event()).version == 1


WRITER = """
import sys
from volant.store import Store
from volant.testing import samples
store = Store(sys.argv[1])
for number in range(15):
    store.models.register(samples.model_version("wine", run_id=f"run-{number}"), samples.event())
    decision = samples.decision(id=f"dec-{number}", details={"by": sys.argv[2]})
    store.decisions.record(decision, samples.event(id=f"evt-{number}"))
"""


def test_processes_write_the_same_things_at_once(url: str, store: Store) -> None:
    """Three processes do the same fifteen things: each happens once."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, url, str(number)]) for number in range(3)
    ]
    assert [writer.wait(90) for writer in writers] == [0, 0, 0]
    versions, _ = store.models.page(100, model="wine")
    assert sorted(version.version for version in versions) == list(range(1, 16))
    assert {version.lineage.run_id for version in versions} == {f"run-{n}" for n in range(15)}
    assert len(store.decisions.page(100)[0]) == 15
    told = [event for event in store.events.pending(1000) if event.id.startswith("evt-")]
    assert len({event.id for event in told}) == len(told)
    assert len(told) == 15 + 15


@given(details=st.dictionaries(st.text(max_size=5), samples_of_json, max_size=4))
def test_the_seal_survives_storage(details: dict[str, object]) -> None:
    decision = samples.decision(details=details, rules=({"rule": "r", "p": math.nan},))
    read = from_plain(Decision, orjson.loads(canonical(decision)))
    assert decision_sha256(read) == decision_sha256(decision)


IN_OTHER_TABLES = ("latest", "inputs", "models_read", "models_made")


@pytest.mark.parametrize(
    ("kind", "table", "elsewhere"),
    [
        (AuditEntry, "audit", set()),
        (Dataset, "datasets", set()),
        (DatasetVersion, "dataset_versions", set()),
        (Decision, "decisions", set()),
        (Deployment, "deployments", set()),
        (Event, "events", set()),
        (Experiment, "experiments", {"tags"}),
        (Firing, "firings", set()),
        (Loop, "loops", set()),
        (ModelVersion, "model_versions", {"aliases"}),
        (Metric, "metrics", set()),
        (Push, "pushes", set()),
        (Revision, "revisions", set()),
        (Run, "runs", set()),
        (Token, "tokens", set()),
        (TrackedRun, "tracked_runs", {*IN_OTHER_TABLES, "params", "metrics", "tags"}),
        (Trigger, "triggers", set()),
    ],
)
def test_every_field_is_stored(kind: type[Any], table: str, elsewhere: set[str]) -> None:
    """A field without a column would be lost without a word."""
    assert {field.name for field in fields(kind)} <= set(
        metadata.tables[table].c.keys()
    ) | elsewhere
