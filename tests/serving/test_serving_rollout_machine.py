"""The rollout's records under any order of what may happen, with deaths in between."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from volant.domain.loop import RolloutSpec
from volant.errors import Conflict
from volant.store import Store, sqlite_url

loaded = importlib.util.spec_from_file_location(
    "rollout_world", Path(__file__).with_name("rollout_world.py")
)
rollout_world = importlib.util.module_from_spec(loaded)
loaded.loader.exec_module(rollout_world)
Died, World = rollout_world.Died, rollout_world.World

ROLLING = ("canary", "shadow")
OPEN = ("pending", "ready", *ROLLING)
ROLLOUTS = [
    "now",
    RolloutSpec(bake_s=60, min_requests=10),
    RolloutSpec(canary=(10.0, 50.0), bake_s=60, min_requests=10),
    RolloutSpec(shadow=100.0, canary=(25.0,), bake_s=60, min_requests=10),
    RolloutSpec(shadow=50.0, bake_s=60, min_requests=10),
]


class Mortal:
    """Records on which the caller dies before or after its `left`-th call from now."""

    def __init__(self, records) -> None:
        self._records = records
        self.left: int | None = None
        self.after = False
        self.calls = 0

    def __getattr__(self, name):
        call = getattr(self._records, name)

        def mortal(*args, **more):
            self.calls += 1
            if self.left is not None:
                self.left -= 1
            dies = self.left is not None and self.left <= 0
            if dies and not self.after:
                self.left = None
                raise Died
            answer = call(*args, **more)
            if dies:
                self.left = None
                raise Died
            return answer

        return mortal


def mortal(world) -> Mortal:
    """`world`, whose rollout's writes may be its last."""
    revisions = Mortal(world.store.revisions)

    def restart(restart=world.restart):
        restart()
        world.rollout._revisions = revisions

    world.restart = restart
    restart()
    return revisions


class RolloutMachine(RuleBasedStateMachine):
    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="volant-rollout-"))
        shutil.copyfile(self.template, self.folder / "volant.db")
        self.store = Store(sqlite_url(self.folder / "volant.db"))
        self.world = World(self.store)
        self.mortal = mortal(self.world)

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def rows(self):
        if not self.store.deployments.list():
            return []
        return list(reversed(self.store.revisions.page("m", 500)[0]))

    def waiting(self):
        return [r for r in self.rows() if r.status.value in ("pending", "ready")]

    @rule(rollout=st.sampled_from(ROLLOUTS), by=st.sampled_from([None, "ann"]))
    def ask(self, rollout, by) -> None:
        self.world.ask(rollout=rollout, by=by)

    @precondition(lambda self: self.rows())
    @rule(data=st.data(), rollout=st.sampled_from(ROLLOUTS))
    def ask_again(self, data, rollout) -> None:
        version = data.draw(st.sampled_from(sorted({r.model_version for r in self.rows()})))
        self.world.ask(version, rollout)

    @rule()
    def turn(self) -> None:
        self.world.rollout.turn()

    @rule(left=st.integers(1, 8), after=st.booleans())
    def die_in_a_turn(self, left, after) -> None:
        self.mortal.left, self.mortal.after = left, after
        try:
            self.world.rollout.turn()
        except Died:
            self.world.restart()
        self.mortal.left = None

    @precondition(lambda self: self.waiting())
    @rule(good=st.sampled_from([True, True, True, False]))
    def load(self, good) -> None:
        self.world.ready(self.waiting()[-1].number, None if good else "It is broken.")
        self.world.rollout.turn()

    @precondition(lambda self: self.rows())
    @rule(data=st.data(), failed=st.sampled_from([0, 0, 10]))
    def answer(self, data, failed) -> None:
        revision = data.draw(st.sampled_from(self.rows()))
        self.world.fleet.answers("m", revision.number, 20, failed=failed)

    @rule(seconds=st.sampled_from([1, 60]))
    def wait(self, seconds) -> None:
        self.world.clock.pass_(seconds)
        self.world.rollout.turn()

    @precondition(lambda self: self.rows())
    @rule(verb=st.sampled_from(["promote", "abort", "rollback"]))
    def steer(self, verb) -> None:
        with contextlib.suppress(Conflict):
            getattr(self.world.desk, verb)("m", by="ann")

    @invariant()
    def one_is_live_and_one_on_its_way(self) -> None:
        rows = self.rows()
        live = [r for r in rows if r.status.value == "live"]
        rolling = [r for r in rows if r.status.value in ROLLING]
        assert len(live) <= 1
        assert len(rolling) <= 1
        if not rows:
            return
        deployment = self.store.deployments.get("m")
        champion = self.store.models.champion("m")
        if live:
            assert deployment.live_revision == live[0].number
            assert deployment.live_version == live[0].model_version
            assert champion.version == live[0].model_version
        else:
            assert deployment.live_revision is None
            assert champion is None

    @invariant()
    def every_change_has_its_decision_once(self) -> None:
        told: dict[int, list] = {}
        for decision in self.world.decisions():
            told.setdefault(decision.details.get("revision"), []).append(decision)
        for row in self.rows():
            of_row = told.get(row.number, [])
            outcomes = [d.outcome.value for d in of_row]
            advanced = [d for d in of_row if d.outcome.value == "advanced"]
            assert [d.details["step"] for d in advanced] == list(range(len(advanced)))
            status = row.status.value
            assert outcomes.count("activated") == (status in ("live", "retired"))
            assert outcomes.count("aborted") == (status == "aborted")
            assert outcomes.count("failed") == (status == "failed")
            if status in ROLLING:
                assert (row.step, row.percent) == (
                    len(advanced) - 1,
                    advanced[-1].details["percent"],
                )
                assert row.since == advanced[-1].time
            else:
                assert row.percent is None
            if status not in (*ROLLING, "live"):
                assert row.since is None

    @invariant()
    def events_and_decisions_go_together(self) -> None:
        events, _ = self.store.events.page(500, subject="deployment/m")
        assert len(events) == len(self.world.decisions())

    @invariant()
    def the_fleet_follows(self) -> None:
        if not self.rows():
            return
        self.world.rollout._look()
        wanted = {
            r.number: (r.status.value, r.percent or 100.0)
            for r in self.rows()
            if r.status.value in ("live", *ROLLING)
        }
        assert self.world.fleet.table("m") == wanted


def test_rollout_holds_under_any_order(migrated):
    class Machine(RolloutMachine):
        template = migrated

    Machine.TestCase.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
    case = Machine.TestCase()
    case.runTest()


SPEC = RolloutSpec(shadow=100.0, canary=(10.0, 50.0), bake_s=60, min_requests=10)


def to_the_end(world) -> list:
    """A shadow, a canary, the promotion, and then it fails with all the traffic."""
    for _ in range(80):
        try:
            world.rollout.turn()
        except Died:
            world.restart()
            continue
        rows = {r.number: r for r in world.store.revisions.page("m", 9)[0]}
        for row in rows.values():
            if row.status.value in ("pending", "ready"):
                world.ready(row.number)
        if 3 in rows and rows[3].status.value == "live":
            break
        if rows[2].status.value in ROLLING:
            world.clock.pass_(61)
        elif rows[2].status.value == "live" and rows[2].since is not None:
            world.rollout._seen(rows[2])
            world.fleet.answers("m", 2, 100, failed=50)
    rows = reversed(world.store.revisions.page("m", 9)[0])
    told = [
        (d.id.rpartition("-")[0].rpartition("-")[0], d.outcome.value) for d in world.decisions()
    ]
    return [[(r.number, r.model_version, r.status.value, r.step) for r in rows], told]


def fresh(store):
    world = World(store)
    world.live()
    world.ask(rollout=SPEC)
    return world, mortal(world)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_rollout_dying_at_any_call_ends_the_same(migrated, tmp_path, after):
    ends = []
    for nth in range(100):
        path = tmp_path / f"{nth}.db"
        shutil.copyfile(migrated, path)
        with Store(sqlite_url(path)) as store:
            world, revisions = fresh(store)
            revisions.left, revisions.after = nth or None, after
            ends.append(to_the_end(world))
            if revisions.left is not None:
                break
    assert len(ends) > 20, "so many calls there are to die at"
    statuses, told = ends[0]
    assert statuses == [(1, 1, "retired", None), (2, 2, "retired", 2), (3, 1, "live", None)]
    assert [outcome for _, outcome in told][1:] == [
        *["advanced"] * 3,
        "activated",
        "reverted",
        "activated",
    ]
    for end in ends[1:]:
        assert end == ends[0]
