"""What every implementation of the ports of models and serving must do; the checks are
part of `records_contract.RECORDS_CONTRACT`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from volant.domain.deployment import Revision, RevisionStatus
from volant.domain.loop import RolloutSpec, StickyKey
from volant.domain.model import Stage
from volant.errors import Conflict, InvalidInput, NotFound, VolantError
from volant.testing import samples
from volant.testing.records import Records, all_pages, at_once, raises
from volant.testing.samples import NOW


def check_models(records: Records) -> None:
    """Numbers by model, one version a run, the alias of the newest candidate."""
    model = samples.name("wine")
    event = samples.event(data={})
    first = samples.model_version(model, metrics={"rmse": 0.5, "worst": math.inf})
    stored = records.models.register(first, event)
    assert stored == replace(first, version=1, aliases=("challenger",))
    assert records.events.get(event.id).data == {"version": 1}
    again = replace(first, uri="artifacts:/elsewhere")
    assert records.models.register(again, samples.event()) == stored
    refused = samples.model_version(model, stage=Stage.REFUSED)
    assert records.models.register(refused, samples.event()).aliases == ()
    third = records.models.register(samples.model_version(model), samples.event())
    assert (third.version, third.aliases) == (3, ("challenger",))
    assert records.models.get(model, 1).aliases == ()
    assert records.models.by_alias(model, "challenger") == third
    assert records.models.champion(model) is None
    page = all_pages(lambda cursor: records.models.page(2, cursor, model=model))
    assert [version.version for version in page] == [3, 2, 1]
    made = samples.model_version(model, stage=Stage.CHAMPION)
    raises(InvalidInput, lambda: records.models.register(made, samples.event()))
    raises(NotFound, lambda: records.models.get(model, 4))
    raises(NotFound, lambda: records.models.by_alias(model, "champion"))


def check_models_at_once(records: Records) -> None:
    """Many register at once: one version a run, numbers without a gap."""
    model = samples.name("wine")
    versions = [samples.model_version(model) for _ in range(5)] * 2
    stored = at_once([lambda v=v: records.models.register(v, samples.event()) for v in versions])
    numbers = [version.version for version in stored]
    assert numbers[:5] == numbers[5:]
    assert sorted(numbers[:5]) == [1, 2, 3, 4, 5]
    with_alias = [one for one in records.models.page(9, model=model)[0] if one.aliases]
    assert [(one.version, one.aliases) for one in with_alias] == [(5, ("challenger",))]


def _ready(records: Records, model: str) -> Revision:
    version = records.models.register(samples.model_version(model), samples.event())
    revision = records.revisions.request(samples.revision(model, version.version))
    assert records.revisions.move(revision, "ready")
    return records.revisions.get(model, revision.number)


def check_activation(records: Records) -> None:
    """The switch: revision, model version, aliases, deployment, event and decision."""
    model = samples.name("wine")
    records.deployments.ensure(samples.deployment(model))
    old, new = _ready(records, model), _ready(records, model)
    assert records.revisions.activate(old, samples.event(), samples.decision())
    assert records.models.by_alias(model, "challenger").version == 2
    event, decision = samples.event(), samples.decision()
    assert records.revisions.activate(new, event, decision)
    assert records.revisions.activate(new, samples.event(), samples.decision()) is False
    live = records.revisions.get(model, new.number)
    assert (live.status, live.activated_at) == (RevisionStatus.LIVE, decision.time)
    assert records.revisions.get(model, old.number).status is RevisionStatus.RETIRED
    champion = records.models.champion(model)
    assert champion is not None
    assert (champion.version, champion.aliases) == (2, ("champion",))
    retired = records.models.get(model, 1)
    assert (retired.stage, retired.aliases) == (Stage.RETIRED, ())
    stored = records.deployments.get(model)
    assert (stored.live_revision, stored.live_version) == (new.number, 2)
    assert records.events.get(event.id) == event
    assert records.decisions.get(decision.id).sha256
    raises(Conflict, lambda: records.revisions.activate(old, samples.event(), samples.decision()))
    assert records.revisions.move(live, "retired")
    assert records.deployments.get(model).live_revision is None


def check_rollback(records: Records) -> None:
    """A retired version becomes champion again under a new revision; a version that is
    live already gets no second one."""
    model = samples.name("wine")
    records.deployments.ensure(samples.deployment(model))
    for _ in range(2):
        ready = _ready(records, model)
        assert records.revisions.activate(ready, samples.event(), samples.decision())
    back = records.revisions.request(samples.revision(model, 1))
    assert back.number == 3
    assert records.revisions.move(back, "ready")
    back = records.revisions.get(model, 3)
    assert records.revisions.activate(back, samples.event(), samples.decision())
    champion = records.models.champion(model)
    assert champion is not None
    assert (champion.version, champion.aliases) == (1, ("champion",))
    assert records.models.get(model, 2).stage is Stage.RETIRED
    assert records.deployments.get(model).live_revision == 3
    event, decision = samples.event(), samples.decision()
    same = records.revisions.request(samples.revision(model, 1), event, decision)
    assert same == records.revisions.get(model, 3)
    raises(NotFound, lambda: records.events.get(event.id))
    raises(NotFound, lambda: records.decisions.get(decision.id))


def check_activation_refused(records: Records) -> None:
    """A revision that isn't ready changes nothing at all."""
    model = samples.name("wine")
    records.deployments.ensure(samples.deployment(model))
    version = records.models.register(samples.model_version(model), samples.event())
    pending = records.revisions.request(samples.revision(model, version.version))
    event, decision = samples.event(), samples.decision()
    raises(Conflict, lambda: records.revisions.activate(pending, event, decision))
    unknown = records.revisions.request(samples.revision(model, 99))
    assert records.revisions.move(unknown, "ready")
    raises(NotFound, lambda: records.revisions.activate(unknown, event, decision))
    assert records.revisions.get(model, unknown.number).status is RevisionStatus.READY
    raises(NotFound, lambda: records.events.get(event.id))
    raises(NotFound, lambda: records.decisions.get(decision.id))
    assert records.models.champion(model) is None
    assert records.deployments.get(model).live_revision is None


def check_activation_at_once(records: Records) -> None:
    """Many activate many: each one once, at the end one live and one champion."""
    model = samples.name("wine")
    records.deployments.ensure(samples.deployment(model))
    revisions = [_ready(records, model) for _ in range(3)]
    events = [samples.event(subject=f"deployment/{model}") for _ in range(6)]

    def activate(index: int) -> bool | None:
        try:
            return records.revisions.activate(
                revisions[index % 3], events[index], samples.decision()
            )
        except Conflict:  # retired by another one meanwhile
            return None

    done = at_once([lambda i=i: activate(i) for i in range(6)])
    assert done.count(True) == 3
    stored, _ = records.revisions.page(model, 9)
    statuses = [revision.status for revision in stored]
    assert statuses.count(RevisionStatus.LIVE) == 1
    assert statuses.count(RevisionStatus.RETIRED) == 2
    live = stored[statuses.index(RevisionStatus.LIVE)]
    champion = records.models.champion(model)
    assert champion is not None
    assert champion.version == live.model_version
    assert records.deployments.get(model).live_revision == live.number
    assert len(records.events.page(9, subject=f"deployment/{model}")[0]) == 3


def check_revisions(records: Records) -> None:
    """One revision a key; moves are guarded by the status they start from."""
    model = samples.name("wine")
    records.deployments.ensure(samples.deployment(model))
    wanted = samples.revision(model, 1)
    asked = at_once([lambda: records.revisions.request(wanted) for _ in range(6)])
    assert set(asked) == {replace(wanted, number=1)}
    assert records.revisions.request(samples.revision(model, 1)) == asked[0]
    second = records.revisions.request(samples.revision(model, 2))
    assert second.number == 2
    assert [one.number for one in records.revisions.page(model, 5)[0]] == [2, 1]
    assert (
        at_once([lambda: records.revisions.move(second, "ready") for _ in range(4)]).count(True)
        == 1
    )
    ready = records.revisions.get(model, 2)
    assert records.revisions.move(ready, "failed", "out of memory")
    assert records.revisions.get(model, 2).reason == "out of memory"
    raises(InvalidInput, lambda: records.revisions.move(asked[0], "live"))
    raises(InvalidInput, lambda: records.revisions.move(asked[0], "canary"))
    raises(InvalidInput, lambda: records.revisions.move(asked[0], "gone"))
    raises(Conflict, lambda: records.revisions.move(asked[0], "retired"))
    raises(NotFound, lambda: records.revisions.get(model, 3))
    raises(NotFound, lambda: records.revisions.request(samples.revision("nothing", 1)))


def check_rolling(records: Records) -> None:
    """A share grows by guarded steps, each with its event and decision; one revision a
    deployment is rolled out at a time; a step that is taken isn't taken again."""
    model = samples.name("wine")
    records.deployments.ensure(samples.deployment(model))
    old = _ready(records, model)
    assert records.revisions.activate(old, samples.event(), samples.decision())
    spec = RolloutSpec(canary=(10.0, 50.0), sticky=StickyKey(parameter="user"))
    version = records.models.register(samples.model_version(model), samples.event())
    wanted = samples.revision(model, version.version, rollout=spec, asked_by="ann")
    event, decision = samples.event(data={"revision": 0}), samples.decision(details={"revision": 0})
    asked = records.revisions.request(wanted, event, decision)
    assert records.events.get(event.id).data == {"revision": 2}
    assert records.decisions.get(decision.id).details == {"revision": 2}
    assert (asked.rollout, asked.asked_by) == (spec, "ann")
    assert records.revisions.move(asked, "ready")
    ready = records.revisions.get(model, 2)
    first = replace(ready, status=RevisionStatus.CANARY, step=0, percent=10.0, since=NOW)
    steps = [(samples.event(), samples.decision()) for _ in range(4)]
    taken = at_once([lambda t=t: records.revisions.roll(ready, first, *t) for t in steps])
    assert taken.count(True) == 1
    for told, did in zip(steps, taken, strict=True):
        if did:
            records.decisions.get(told[1].id)
        else:
            raises(NotFound, lambda told=told: records.events.get(told[0].id))
    stored = records.revisions.get(model, 2)
    assert stored == first
    assert [r for r in records.revisions.active() if r.deployment == model] == [
        records.revisions.get(model, 1),
        stored,
    ]
    second = replace(stored, step=1, percent=50.0, since=NOW + timedelta(minutes=2))
    assert records.revisions.roll(stored, second, samples.event(), samples.decision())
    assert not records.revisions.roll(stored, second, samples.event(), samples.decision())
    assert not records.revisions.end(stored, "aborted", "late", samples.event(), samples.decision())
    rival = _ready(records, model)
    also = replace(rival, status=RevisionStatus.SHADOW, step=0, percent=100.0, since=NOW)
    raises(
        VolantError,
        lambda: records.revisions.roll(rival, also, samples.event(), samples.decision()),
    )
    assert records.revisions.get(model, rival.number).status is RevisionStatus.READY
    reason, told = "it is slow", samples.decision()
    assert records.revisions.end(second, "aborted", reason, samples.event(), told)
    ended = records.revisions.get(model, 2)
    assert (ended.status, ended.reason) == (RevisionStatus.ABORTED, reason)
    assert (ended.percent, ended.since, ended.step) == (None, None, 1)
    assert records.decisions.get(told.id).id == told.id
    raises(Conflict, lambda: records.revisions.activate(ended, samples.event(), samples.decision()))


def check_going_back(records: Records) -> None:
    """A live revision that bakes is settled, or taken back once for one that is asked for
    in the same transaction."""
    model = samples.name("wine")
    records.deployments.ensure(samples.deployment(model))
    decision = samples.decision()
    for told_by in (samples.decision(), decision):
        ready = _ready(records, model)
        assert records.revisions.activate(ready, samples.event(), told_by, bakes=True)
    live = records.revisions.get(model, 2)
    assert live.since == decision.time
    assert [r.number for r in records.revisions.retired(model, 5)] == [1]
    assert records.revisions.retired(model, 5, below=1) == []
    back = samples.revision(model, 1, key="revert-2", restores=1)
    told = [(samples.event(), samples.decision()) for _ in range(4)]
    made = at_once([lambda t=t: records.revisions.revert(live, back, *t) for t in told])
    assert len(set(made)) == 1
    assert made[0] is not None
    assert (made[0].number, made[0].restores) == (3, 1)
    left = records.revisions.get(model, 2)
    assert left.since is None
    assert left.reason in {one[1].reason for one in told}
    assert not records.revisions.settle(live, samples.event(), samples.decision())
    other = samples.revision(model, 1, key="revert-1", restores=1)
    retired = records.revisions.get(model, 1)
    assert records.revisions.revert(retired, other, samples.event(), samples.decision()) is None


def check_retiring(records: Records) -> None:
    """candidate and champion → retired, once, with aliases and event; never what serves."""
    model = samples.name("wine")
    records.deployments.ensure(samples.deployment(model))
    assert records.revisions.activate(_ready(records, model), samples.event(), samples.decision())
    event = samples.event(data={"model": model})
    raises(Conflict, lambda: records.models.retire(model, 1, event))
    raises(NotFound, lambda: records.events.get(event.id))
    raises(NotFound, lambda: records.models.retire(model, 9, event))
    other = records.models.register(samples.model_version(model), samples.event())
    told = [samples.event(data={"model": model}) for _ in range(5)]
    made = at_once([lambda e=e: records.models.retire(model, 2, e) for e in told])
    assert {(one.stage, one.aliases) for one in made} == {(Stage.RETIRED, ())}
    stored = [e for e in told if _known(records, e.id)]
    assert len(stored) == 1
    assert records.events.get(stored[0].id).data["was"] == "candidate"
    refused = samples.model_version(model, stage=Stage.REFUSED)
    records.models.register(refused, samples.event())
    raises(Conflict, lambda: records.models.retire(model, 3, samples.event()))
    assert records.models.holds(other.uri)
    assert not records.models.holds(f"{other.uri}-not")


def _known(records: Records, event_id: str) -> bool:
    try:
        records.events.get(event_id)
    except NotFound:
        return False
    return True


MODELS_CONTRACT: tuple[Callable[[Records], None], ...] = (
    check_models,
    check_models_at_once,
    check_activation,
    check_rollback,
    check_activation_refused,
    check_activation_at_once,
    check_revisions,
    check_rolling,
    check_going_back,
    check_retiring,
)
