"""Stages of life: every transition there is, no other, each with its event."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from registry_world import World

from volant.domain.event import (
    MODEL_DELETED,
    MODEL_PREPARED,
    MODEL_PROMOTED,
    MODEL_REGISTERED,
    MODEL_RETIRED,
)
from volant.domain.model import STAGE_TRANSITIONS, Stage
from volant.errors import Conflict, NotFound
from volant.store import Store, sqlite_url

TABLE = [(a, b) for a in Stage for b in (Stage.CANDIDATE, Stage.CHAMPION, Stage.RETIRED)]
TOLD = {
    Stage.CANDIDATE: MODEL_PREPARED,
    Stage.CHAMPION: MODEL_PROMOTED,
    Stage.RETIRED: MODEL_RETIRED,
}


def move(world: World, name: str, version: int, to: Stage) -> None:
    if to is Stage.CANDIDATE:
        world.prepare(world.models.get(name, version))
    elif to is Stage.RETIRED:
        world.models.retire(name, version, "ann")
    else:
        world.deployment(name)
        world.activate(name, version)


def told(world: World, name: str, kind: str, version: int) -> int:
    events, _ = world.store.events.page(500, subject=f"model/{name}")
    return sum(e.type == kind and e.data.get("version") == version for e in events)


@pytest.mark.parametrize(("start", "to"), TABLE)
def test_a_version_moves_where_the_table_says(world: World, start: Stage, to: Stage) -> None:
    version = world.at("wine", start).version
    before = told(world, "wine", TOLD[to], version)
    if to in STAGE_TRANSITIONS[start]:
        move(world, "wine", version, to)
        assert world.models.get("wine", version).stage is to
        assert told(world, "wine", TOLD[to], version) == before + 1
        return
    if start is to:  # asked for twice is done once
        if to is not Stage.CANDIDATE:
            move(world, "wine", version, to)
    else:
        with pytest.raises(Conflict) as refused:
            move(world, "wine", version, to)
        assert refused.value.fix
    assert world.models.get("wine", version).stage is start
    assert told(world, "wine", TOLD[to], version) == before


def test_a_champion_that_is_served_is_not_retired(world: World) -> None:
    version = world.register("wine").version
    world.deployment("wine")
    world.activate("wine", version)
    with pytest.raises(Conflict, match="served by the deployment 'wine'"):
        world.models.retire("wine", version, "ann")
    world.store.deployments.delete("wine")
    retired = world.models.retire("wine", version, "ann")
    assert (retired.stage, retired.aliases) == (Stage.RETIRED, ())
    assert world.models.champion("wine") is None
    events, _ = world.store.events.page(1, subject="model/wine")
    assert (events[0].type, events[0].data["by"]) == (MODEL_RETIRED, "ann")
    assert events[0].data["was"] == "champion"


def test_one_champion_follows_another_with_an_event_each(world: World) -> None:
    world.deployment("wine")
    for _ in range(2):
        world.activate("wine", world.register("wine").version)
    events, _ = world.store.events.page(10, subject="model/wine")
    moved = [(e.type, e.data["version"], e.data["was"]) for e in events if "was" in e.data]
    assert moved == [
        (MODEL_PROMOTED, 2, "candidate"),
        (MODEL_RETIRED, 1, "champion"),
        (MODEL_PROMOTED, 1, "candidate"),
    ]
    assert len({e.data["because"] for e in events if "because" in e.data}) == 2


@pytest.mark.parametrize("point", ["prepare.copied", "prepare.stored"])
def test_killed_while_it_prepares_it_is_prepared_once(
    world: World, store: Store, tmp_path: Path, point: str
) -> None:
    version = world.only_registered("wine")
    store.close()
    child = os.fork()
    if child == 0:
        os.environ["VOLANT_CRASH_AT"] = point
        with Store(sqlite_url(tmp_path / "volant.db")) as own:
            World(own, tmp_path).prepare(version)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    stage = world.models.get("wine", 1).stage
    assert stage is (Stage.REGISTERED if point == "prepare.copied" else Stage.CANDIDATE)
    made = world.prepare(version)
    assert (made.stage, made.aliases) == (Stage.CANDIDATE, ("challenger",))
    assert told(world, "wine", MODEL_PREPARED, 1) == 1
    world.models.verify("wine", 1)


@cache
def _migrated() -> Path:
    """A migrated file to copy: migrating takes longer than living."""
    path = Path(tempfile.mkdtemp(prefix="life-")) / "volant.db"
    with Store(sqlite_url(path)) as store:
        store.migrate()
    return path


class Life(RuleBasedStateMachine):
    """Any order of what people, runs and the serving controller do with one model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="life-"))
        shutil.copyfile(_migrated(), self.folder / "volant.db")
        self.store = Store(sqlite_url(self.folder / "volant.db"))
        self.world = World(self.store, self.folder)
        self.world.registered.create("wine")
        self.world.deployment("wine")
        self.stages: dict[int, Stage] = {}
        self.parent: dict[int, int | None] = {}
        self.gone: dict[int, str] = {}
        self.lived: list[tuple[int, int]] = []  # (place, version), as it was live
        self.live: int | None = None  # an index of `lived`
        self.moves = 0

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)

    def some(self, data: st.DataObject) -> int:
        return data.draw(st.integers(1, max(self.stages, default=0) + 1), "version")

    def champion(self) -> int | None:
        return next((v for v, s in self.stages.items() if s is Stage.CHAMPION), None)

    def go_live(self, version: int, place: int | None = None) -> None:
        if (old := self.champion()) is not None and old != version:
            self.stages[old] = Stage.RETIRED
            self.moves += 1
        if self.stages[version] is not Stage.CHAMPION:
            self.moves += 1
        self.stages[version] = Stage.CHAMPION
        self.lived.append((place or len(self.lived) + 1, version))
        self.live = len(self.lived) - 1

    def goes_back_to(self) -> int | None:
        """Where a rollback goes, by the words of `volant rollback`."""
        if self.live is None:
            return None
        place, version = self.lived[self.live]
        before = [v for _, v in self.lived[: place - 1] if v != version]
        return before[-1] if before else None

    @rule(passed=st.booleans())
    def register(self, passed: bool) -> None:
        made = self.world.register("wine", passed=passed, parent=self.champion())
        assert made.version not in self.stages
        self.stages[made.version] = Stage.CANDIDATE if passed else Stage.REFUSED
        self.parent[made.version] = self.champion()

    @rule()
    def log(self) -> None:
        made = self.world.only_registered("wine")
        self.stages[made.version] = Stage.REGISTERED
        self.parent[made.version] = None

    @rule(data=st.data())
    def prepare(self, data: st.DataObject) -> None:
        version = self.some(data)
        if self.stages.get(version) is Stage.REGISTERED:
            self.world.prepare(self.world.models.get("wine", version))
            self.stages[version] = Stage.CANDIDATE
            self.parent[version] = self.champion()
            self.moves += 1

    @rule(data=st.data())
    def deploy(self, data: st.DataObject) -> None:
        version = self.some(data)
        serving = self.live is not None and self.lived[self.live][1] == version
        if self.stages.get(version) in (None, Stage.REGISTERED) or serving:
            return
        self.world.activate("wine", version)
        self.go_live(version)

    @rule()
    def roll_back(self) -> None:
        to = self.goes_back_to()
        if to is None or self.live is None:
            return
        place = self.lived[self.live][0]
        back = max(p for p, (_, v) in enumerate(self.lived[: place - 1], 1) if v == to)
        back = self.lived[back - 1][0]
        self.world.activate("wine", to, restores=back)
        self.go_live(to, back)

    @rule(data=st.data())
    def retire(self, data: st.DataObject) -> None:
        version = self.some(data)
        stage = self.stages.get(version)
        served = self.live is not None and self.lived[self.live][1] == version
        if stage is None:
            with pytest.raises(NotFound):
                self.world.models.retire("wine", version, "ann")
        elif stage is Stage.RETIRED:
            self.world.models.retire("wine", version, "ann")
        elif served or Stage.RETIRED not in STAGE_TRANSITIONS[stage]:
            with pytest.raises(Conflict):
                self.world.models.retire("wine", version, "ann")
        else:
            self.world.models.retire("wine", version, "ann")
            self.stages[version] = Stage.RETIRED
            self.moves += 1

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        version = self.some(data)
        if version not in self.stages:
            with pytest.raises(NotFound):
                self.world.delete("wine", version)
            return
        needed = (
            self.stages[version] is Stage.CHAMPION
            or version == self.goes_back_to()
            or any(p == version for c, p in self.parent.items() if c != version)
            or (self.live is not None and self.lived[self.live][1] == version)
        )
        uri = self.world.models.get("wine", version).uri
        if needed:
            with pytest.raises(Conflict):
                self.world.delete("wine", version)
            assert self.world.artifacts.local_path(uri)
            return
        self.world.delete("wine", version)
        self.gone[version] = uri
        del self.stages[version], self.parent[version]

    @rule(data=st.data())
    def name_one(self, data: st.DataObject) -> None:
        version = self.some(data)
        if version in self.stages:
            self.world.registered.set_alias("wine", "mine", version)
            assert self.world.models.get("wine", "mine").version == version

    @invariant()
    def the_records_say_the_same(self) -> None:
        found, _ = self.store.models.page(500, model="wine")
        assert {v.version: v.stage for v in found} == self.stages
        champion = [v.version for v in found if "champion" in v.aliases]
        assert champion == [v for v in [self.champion()] if v is not None]
        live = self.store.deployments.get("wine").live_version
        assert live == (None if self.live is None else self.lived[self.live][1])
        for version in found:
            if "challenger" in version.aliases:
                assert version.stage is Stage.CANDIDATE

    @invariant()
    def every_step_was_told_once(self) -> None:
        events, _ = self.store.events.page(500, subject="model/wine")
        kinds = [event.type for event in events]
        assert kinds.count(MODEL_REGISTERED) == len(self.stages) + len(self.gone)
        assert kinds.count(MODEL_DELETED) == len(self.gone)
        moved = (MODEL_PREPARED, MODEL_PROMOTED, MODEL_RETIRED)
        assert sum(kinds.count(kind) for kind in moved) == self.moves

    @invariant()
    def files_are_there_exactly_of_what_is(self) -> None:
        for version in self.stages:
            found = self.world.models.get("wine", version)
            self.world.artifacts.verify(found.uri, found.files)
        for uri in self.gone.values():
            with pytest.raises(NotFound):
                self.world.artifacts.local_path(uri)


Life.TestCase.settings = settings(
    settings.get_profile("calm"), max_examples=12, stateful_step_count=25
)
TestLife = Life.TestCase
