"""What every implementation of the records ports must do.

Each check is a function of one argument, an empty or used set of records; run them all:

    @pytest.mark.parametrize("check", RECORDS_CONTRACT, ids=lambda check: check.__name__)
    def test_records(check, records):
        check(records)

They need no test framework, make their own names, and leave the records usable.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from volant.domain.dataset import PushStatus
from volant.domain.deployment import Settings
from volant.domain.loop import ReplicaSpec
from volant.domain.principal import AuditEntry, Role, Token
from volant.domain.tracking import Metric, TrackingStatus
from volant.domain.trigger import Firing
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.errors import Conflict, InvalidInput, NotFound
from volant.testing import samples
from volant.testing.models_contract import MODELS_CONTRACT
from volant.testing.records import Records, all_pages, at_once, raises
from volant.testing.samples import NOW

# data


def check_datasets(records: Records) -> None:
    """Create once, get, list, set the contract."""
    new = samples.dataset()
    assert records.datasets.create(new) == new
    again = replace(new, created_at=NOW + timedelta(days=1))
    assert records.datasets.create(again) == new
    records.datasets.set_contract(new.name, samples.CONTRACT)
    assert records.datasets.get(new.name).contract == samples.CONTRACT
    assert new.name in [stored.name for stored in records.datasets.list()]
    raises(NotFound, lambda: records.datasets.get("nothing"))
    raises(NotFound, lambda: records.datasets.set_contract("nothing", samples.CONTRACT))


def check_push_commits_once(records: Records) -> None:
    """The second commit returns the first one's version and stores nothing."""
    dataset = records.datasets.create(samples.dataset())
    push = records.pushes.create(samples.push(dataset.name, run_id="run-1"))
    assert records.pushes.create(replace(push, source="other")) == push
    event = samples.event()
    version = samples.dataset_version(push)
    stored = records.pushes.commit(push.id, version, samples.CONTRACT, event)
    assert stored == replace(version, version=1)
    again = replace(version, rows_added=99)
    assert records.pushes.commit(push.id, again, None, samples.event()) == stored
    total = records.datasets.get(dataset.name)
    assert (total.latest_version, total.rows, total.quarantined) == (1, 10, 2)
    assert total.contract == samples.CONTRACT
    committed = records.pushes.get(push.id)
    assert (committed.status, committed.version) == (PushStatus.COMMITTED, 1)
    assert (committed.rows_added, committed.rows_quarantined) == (10, 2)
    assert records.events.get(event.id).data == {"rows": 3, "version": 1}
    assert records.versions.get(dataset.name, 1) == stored
    second = records.pushes.create(samples.push(dataset.name))
    later = samples.dataset_version(second)
    records.pushes.commit(second.id, later, None, samples.event(), forgotten=7)
    assert records.datasets.get(dataset.name).rows == 13
    assert records.versions.get(dataset.name, 2).rows_added == 10
    raises(Conflict, lambda: records.pushes.reject(push.id, "late", 0, samples.event()))
    raises(NotFound, lambda: records.versions.get(dataset.name, 3))
    raises(NotFound, lambda: records.pushes.commit("nothing", version, None, event))
    raises(NotFound, lambda: records.pushes.create(samples.push("nothing")))


def check_push_rejects_once(records: Records) -> None:
    """received → rejected, with its reason; then it can't be committed."""
    dataset = records.datasets.create(samples.dataset())
    push = records.pushes.create(samples.push(dataset.name))
    event, second = samples.event(), samples.event()
    records.pushes.reject(push.id, "all 5 rows are broken", 5, event)
    records.pushes.reject(push.id, "again", 5, second)
    stored = records.pushes.get(push.id)
    assert (stored.status, stored.reason) == (PushStatus.REJECTED, "all 5 rows are broken")
    assert stored.rows_quarantined == 5
    assert records.datasets.get(dataset.name).quarantined == 5
    assert records.events.get(event.id) == event
    raises(NotFound, lambda: records.events.get(second.id))
    version = samples.dataset_version(push)
    raises(Conflict, lambda: records.pushes.commit(push.id, version, None, samples.event()))


def check_pushes_at_once(records: Records) -> None:
    """Many pushes of one dataset commit at once: numbers 1…n, each one once; the same
    push twice: one version. A contract that is set stays."""
    declared = replace(samples.CONTRACT, inferred=False)
    dataset = records.datasets.create(samples.dataset(contract=declared))
    pushes = [records.pushes.create(samples.push(dataset.name)) for _ in range(6)]

    def commit(index: int) -> int:
        push = pushes[index % len(pushes)]
        version = samples.dataset_version(push)
        return records.pushes.commit(push.id, version, samples.CONTRACT, samples.event()).version

    numbers = at_once([lambda i=i: commit(i) for i in range(12)])
    assert numbers[:6] == numbers[6:]
    assert sorted(numbers[:6]) == [1, 2, 3, 4, 5, 6]
    stored = records.datasets.get(dataset.name)
    assert (stored.latest_version, stored.rows, stored.quarantined) == (6, 60, 12)
    assert stored.contract == declared


def check_pages(records: Records) -> None:
    """Newest first, whole, without overlap; a bad cursor is refused."""
    dataset = records.datasets.create(samples.dataset())
    pushes = [records.pushes.create(samples.push(dataset.name)) for _ in range(7)]
    for push in pushes:
        records.pushes.commit(push.id, samples.dataset_version(push), None, samples.event())
    pages = all_pages(lambda cursor: records.pushes.page(dataset.name, 3, cursor))
    assert [push.id for push in pages] == [push.id for push in reversed(pushes)]
    versions = all_pages(lambda cursor: records.versions.page(dataset.name, 2, cursor))
    assert [version.version for version in versions] == [7, 6, 5, 4, 3, 2, 1]
    first, cursor = records.pushes.page(dataset.name, 7)
    assert len(first) == 7
    assert cursor is None
    assert records.pushes.page("nothing", 5) == ([], None)
    raises(InvalidInput, lambda: records.pushes.page(dataset.name, 3, "x'; --"))
    raises(InvalidInput, lambda: records.pushes.page(dataset.name, 0))


# loops


def check_loops(records: Records) -> None:
    """A generation for each change of source or code, triggers replaced with it."""
    loop = samples.loop()
    cron = samples.trigger(loop.name, kind="cron", dataset=None, cron="0 2 * * *", next_at=NOW)
    event = samples.event(data={})
    first = records.loops.apply(loop, [samples.trigger(loop.name), cron], event)
    assert first == loop
    assert records.events.get(event.id).data == {"generation": 1}
    unchanged = samples.event()
    assert records.loops.apply(replace(loop, code_dir="x"), [], unchanged) == first
    raises(NotFound, lambda: records.events.get(unchanged.id))
    assert len(records.triggers.list(loop.name)) == 2
    later = replace(loop, source="kind: Loop # new\n", updated_at=NOW + timedelta(hours=1))
    later = replace(later, created_at=later.updated_at)
    second = records.loops.apply(later, [cron], samples.event())
    assert second == replace(later, generation=2, created_at=NOW)
    assert records.triggers.list(loop.name) == [cron]
    third = records.loops.apply(replace(later, code_hash="f" * 64), [cron], samples.event())
    assert third.generation == 3
    assert loop.name in [stored.name for stored in records.loops.list()]
    records.loops.delete(loop.name, samples.event())
    assert records.triggers.list(loop.name) == []
    raises(NotFound, lambda: records.loops.get(loop.name))
    raises(NotFound, lambda: records.loops.delete(loop.name, samples.event()))


def check_loops_at_once(records: Records) -> None:
    """The same file applied by many at once is one generation."""
    loop = samples.loop()
    trigger = samples.trigger(loop.name)
    stored = at_once(
        [lambda: records.loops.apply(loop, [trigger], samples.event()) for _ in range(6)]
    )
    assert {one.generation for one in stored} == {1}
    assert records.triggers.list(loop.name) == [trigger]


def check_triggers(records: Records) -> None:
    """Looked up by dataset or by time, moved on once, fired once for each event."""
    loop, dataset = samples.loop(), samples.name("wine")
    data = samples.trigger(loop.name, dataset=dataset)
    cron = samples.trigger(loop.name, kind="cron", dataset=None, cron="* * * * *", next_at=NOW)
    records.loops.apply(loop, [data, cron], samples.event())
    assert records.triggers.for_dataset(dataset) == [data]
    assert cron in records.triggers.due(NOW)
    assert cron not in records.triggers.due(NOW - timedelta(microseconds=1))
    later = NOW + timedelta(minutes=1)
    events = [samples.event() for _ in range(6)]
    moved = at_once([lambda e=e: records.triggers.advance(cron.id, NOW, later, e) for e in events])
    assert sorted(moved) == [False] * 5 + [True]
    records.events.get(events[moved.index(True)].id)
    raises(NotFound, lambda: records.events.get(events[moved.index(False)].id))
    assert records.triggers.list(loop.name) == sorted(
        [data, replace(cron, next_at=later)], key=lambda trigger: trigger.id
    )
    firing = Firing(events[0].id, data.id, "run-1", "new data", NOW)
    decisions = [samples.decision(loop=loop.name) for _ in range(6)]
    fired = at_once([lambda d=d: records.triggers.fire(firing, d) for d in decisions])
    assert sorted(fired) == [False] * 5 + [True]
    stored, _ = records.decisions.page(9, loop=loop.name)
    assert [decision.id for decision in stored] == [decisions[fired.index(True)].id]


def check_runs(records: Records) -> None:
    """Stored once, with its event; its workflow comes back whole."""
    loop = samples.name("loop")
    event = samples.event()
    run = samples.run(loop=loop, generation=4, event_id="e", trigger="t", queue_key="q")
    assert records.runs.create(run, event) == run
    second = samples.event()
    assert records.runs.create(replace(run, loop="other"), second) == run
    raises(NotFound, lambda: records.events.get(second.id))
    assert records.events.get(event.id) == event
    newer = records.runs.create(samples.run(loop=loop, retry_of=run.id, from_step="train"))
    assert records.runs.page(5, loop=loop) == ([newer, run], None)
    assert records.runs.page(1)[0] == [newer]
    raises(NotFound, lambda: records.runs.get("nothing"))
    spec = StepSpec("s", run="true", inputs={"z": 1, "a": {"y": 1, "b": 2}})
    ordered = records.runs.create(samples.run(workflow=WorkflowSpec("w", (spec,))))
    [found] = ordered.workflow.steps
    assert [*found.inputs, *found.inputs["a"]] == ["z", "a", "y", "b"]  # as it was written


def check_events(records: Records) -> None:
    """Stored once, pending in order until dispatched."""
    subject = samples.name("dataset/wine")
    events = [samples.event(subject=subject) for _ in range(3)]
    assert [records.events.append(event) for event in events] == [True] * 3
    assert records.events.append(replace(events[0], data={"other": 1})) is False
    pending = [e for e in records.events.pending(10_000) if e.subject == subject]
    assert pending == events
    records.events.mark_dispatched(events[1].id)
    records.events.mark_dispatched(events[1].id)
    pending = [e for e in records.events.pending(10_000) if e.subject == subject]
    assert pending == [events[0], events[2]]
    assert len(records.events.pending(1)) == 1
    listed = all_pages(lambda cursor: records.events.page(2, cursor, subject=subject))
    assert listed == list(reversed(events))
    raises(NotFound, lambda: records.events.mark_dispatched("nothing"))


def check_decisions(records: Records) -> None:
    """Stored once, sealed; the same id again is the same decision."""
    loop = samples.name("loop")
    decision = samples.decision(loop=loop, details={"p": math.nan, "q": [1e-7, -math.inf]})
    stored = records.decisions.record(decision, samples.event())
    assert len(stored.sha256) == 64
    assert stored.reason == decision.reason
    late = samples.event()
    assert records.decisions.record(replace(decision, reason="other"), late) == stored
    raises(NotFound, lambda: records.events.get(late.id))
    assert records.decisions.get(decision.id) == stored
    assert records.decisions.page(5, loop=loop) == ([stored], None)
    same = samples.name("dec")
    many = at_once([lambda: records.decisions.record(samples.decision(id=same)) for _ in range(6)])
    assert len({one.sha256 for one in many}) == 1
    raises(NotFound, lambda: records.decisions.get("nothing"))


# tracking

AT = int(NOW.timestamp() * 1000)


def check_tracking(records: Records) -> None:
    """Runs, params of any length, metrics of any float64, steps of 64 bits."""
    name = samples.name("wine")
    experiments = at_once([lambda: records.tracking.experiment(name) for _ in range(6)])
    assert len({one.id for one in experiments}) == 1
    told = records.tracking.experiment(name, {"a": "1"})
    assert (told.id, told.tags) == (experiments[0].id, {"a": "1"})
    assert records.tracking.experiment(name, {"a": "2"}).tags == {"a": "2"}
    assert not records.tracking.revive(name)
    assert not records.tracking.revive(samples.name("nobody"))
    values = [0.5, math.inf, -math.inf, 5e-324, -0.0, sys.float_info.max]
    history = [Metric("loss", value, 2**63 - 10 + step, AT) for step, value in enumerate(values)]
    bad = [Metric("nan", 1.0, 0, AT), Metric("nan", math.nan, -(2**63), AT)]
    run = samples.tracked_run(
        experiments[0].id,
        params={"long": "ä" * 20_000, "empty": ""},
        tags={"mlflow.note": "line\nline"},
        metrics={"rmse": 0.25},
    )
    stored = records.tracking.record_run(run, [*history, *bad])
    latest = (history[-1], bad[0], Metric("rmse", 0.25, 0, AT))
    assert stored == replace(run, metrics={p.key: p.value for p in latest}, latest=latest)
    assert records.tracking.history(run.id, "loss") == history
    first = records.tracking.history(run.id, "nan")[0]
    assert math.isnan(first.value)
    assert first.step == -(2**63)
    assert records.tracking.history(run.id, "rmse") == [Metric("rmse", 0.25, 0, AT)]
    assert records.tracking.record_run(replace(run, name="other"), history) == stored
    ended = NOW + timedelta(seconds=5)
    records.tracking.finish_run(run.id, TrackingStatus.FINISHED, ended)
    records.tracking.finish_run(run.id, TrackingStatus.FINISHED, ended + timedelta(days=1))
    finished = records.tracking.get_run(run.id)
    assert finished == replace(stored, status=TrackingStatus.FINISHED, ended_at=ended)
    raises(Conflict, lambda: records.tracking.finish_run(run.id, TrackingStatus.FAILED, ended))
    raises(NotFound, lambda: records.tracking.get_run("nothing"))
    raises(NotFound, lambda: records.tracking.history("nothing", "loss"))


# access


def check_tokens_and_audit(records: Records) -> None:
    """Tokens by the hash of their secret; the log newest first."""
    token = Token(samples.name("tok"), "ann", Role.OPERATOR, samples.name("hash"), NOW)
    records.tokens.create(token)
    assert records.tokens.find(token.sha256) == token
    assert records.tokens.find("nothing") is None
    assert token in records.tokens.list()
    later = token.created_at + timedelta(hours=1)
    records.tokens.touch(token.id, later)
    assert records.tokens.find(token.sha256) == replace(token, last_used_at=later)
    records.tokens.touch("nothing", later)
    raises(Conflict, lambda: records.tokens.create(token))
    raises(Conflict, lambda: records.tokens.create(replace(token, id="other")))
    records.tokens.delete(token.id)
    assert records.tokens.find(token.sha256) is None
    raises(NotFound, lambda: records.tokens.delete(token.id))
    entries = [AuditEntry(NOW, "ann", f"push-{i}", "dataset/wine", "ok") for i in range(3)]
    for entry in entries:
        records.audit.append(entry)
    assert records.audit.page(3)[0] == list(reversed(entries))


def check_times(records: Records) -> None:
    """Every moment comes back exact, in UTC; one without a zone is refused."""
    moments = [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1900, 2, 28, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2030, 6, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=-7, minutes=-30))),
        datetime(9998, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ]
    for moment in moments:
        event = samples.event(time=moment)
        records.events.append(event)
        stored = records.events.get(event.id).time
        assert stored == moment
        assert stored.utcoffset() == timedelta(0)
    naive = samples.event(time=NOW.replace(tzinfo=None))
    raises(InvalidInput, lambda: records.events.append(naive))


def check_replicas_of_deployments(records: Records) -> None:
    """A stored port wins; replicas and host are updated."""
    first = samples.deployment(samples.name("wine"))
    assert records.deployments.ensure(first) == first
    wanted = replace(first, port=9999, host="0.0.0.0", replicas=ReplicaSpec(1, 3))  # noqa: S104
    stored = records.deployments.ensure(wanted)
    assert stored == replace(wanted, port=first.port)
    found = records.deployments.get(first.name)
    scaled = replace(found, replicas=ReplicaSpec(0, 9))
    assert records.deployments.change(found, scaled)
    assert not records.deployments.change(found, replace(found, settings=Settings(keep=9)))
    assert records.deployments.get(first.name).replicas == ReplicaSpec(0, 9)
    assert first.name in [one.name for one in records.deployments.list()]
    records.deployments.delete(first.name)
    raises(NotFound, lambda: records.deployments.get(first.name))
    raises(NotFound, lambda: records.deployments.delete(first.name))
    raises(NotFound, lambda: records.deployments.change(scaled, found))


def check_loading_of_deployments(records: Records) -> None:
    """What was unloaded stays so when it is deployed again; each change has one event."""
    first = samples.deployment(samples.name("wine"))
    records.deployments.ensure(first)
    event = samples.event()
    for changed in (True, False):
        assert records.deployments.set_loaded(first.name, event, loaded=False) is changed
    assert records.events.get(event.id) == event
    again = records.deployments.ensure(replace(first, settings=Settings(keep=3)))
    assert again.settings == Settings(keep=3, loaded=False)
    assert records.deployments.set_loaded(first.name, samples.event(), loaded=True)
    assert records.deployments.get(first.name).settings == Settings(keep=3)
    other = replace(again, settings=Settings(keep=4))
    assert not records.deployments.change(again, other)  # it was loaded meanwhile
    unknown = samples.name("none")
    raises(NotFound, lambda: records.deployments.set_loaded(unknown, event, loaded=True))


RECORDS_CONTRACT: tuple[Callable[[Records], None], ...] = (
    check_datasets,
    check_push_commits_once,
    check_push_rejects_once,
    check_pushes_at_once,
    check_pages,
    check_loops,
    check_loops_at_once,
    check_triggers,
    check_runs,
    check_events,
    check_decisions,
    check_tracking,
    check_tokens_and_audit,
    check_times,
    check_replicas_of_deployments,
    check_loading_of_deployments,
    *MODELS_CONTRACT,
)
