from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

from volant.adapters.local.artifacts import LocalArtifacts
from volant.domain.event import MODEL_REGISTERED
from volant.domain.model import Field, Lineage, ModelVersion, Signature, Stage
from volant.errors import Conflict, InvalidInput, NotFound
from volant.registry.desk import ModelDesk
from volant.store.engine import sqlite_url
from volant.store.records import Store

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SIGNATURE = Signature((Field("x", "number"),), (Field("prediction", "number"),), "regression")


class Clock:
    def now(self) -> datetime:
        return NOW


def desk_on(store: Store, root: Path) -> ModelDesk:
    artifacts = LocalArtifacts(root / "artifacts")
    return ModelDesk(models=store.models, artifacts=artifacts, clock=Clock())


@pytest.fixture
def desk(store: Store, tmp_path: Path) -> ModelDesk:
    return desk_on(store, tmp_path)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "model.pkl").write_bytes(b"\x80")
    return folder


def register(
    desk: ModelDesk, folder: Path, run: str = "run-1", name: str = "wine", passed: bool = True
) -> ModelVersion:
    return desk.register(
        folder,
        name,
        passed=passed,
        signature=SIGNATURE,
        metrics={"rmse": 0.5, "r2": float("nan")},
        lineage=Lineage(run, "wine-data", 3, "h" * 64, "c" * 64, "e" * 64),
        params={"depth": 3},
        runtime={"kind": "onnx"},
        decision_id="dec-1",
    )


def test_a_version_has_everything(desk: ModelDesk, store: Store, model_dir: Path) -> None:
    version = register(desk, model_dir)
    assert (version.model, version.version, version.stage) == ("wine", 1, Stage.CANDIDATE)
    assert set(version.files) == {"MLmodel", "model.pkl"}
    assert version.metrics == {"rmse": 0.5}  # what isn't finite is left out
    assert version.signature == SIGNATURE
    assert version.params == {"depth": 3}
    assert version.aliases == ("challenger",)
    assert version.created_at == NOW
    assert (desk.folder(version) / "model.pkl").read_bytes() == b"\x80"
    (event,) = store.events.pending(10)
    assert (event.type, event.subject) == (MODEL_REGISTERED, "model/wine")
    assert event.data["version"] == 1
    assert event.data["decision_id"] == "dec-1"


def test_one_run_registers_one_version(desk: ModelDesk, store: Store, model_dir: Path) -> None:
    assert register(desk, model_dir) == register(desk, model_dir)
    assert len(store.events.pending(10)) == 1


def test_a_refused_model_is_kept_but_no_challenger(desk: ModelDesk, model_dir: Path) -> None:
    version = register(desk, model_dir, passed=False)
    assert version.stage is Stage.REFUSED
    assert version.aliases == ()
    with pytest.raises(NotFound, match="no version 'challenger'"):
        desk.get("wine", "challenger")


def test_finding_by_number_and_alias(desk: ModelDesk, model_dir: Path) -> None:
    first, second = register(desk, model_dir), register(desk, model_dir, "run-2")
    assert desk.get("wine", 1).lineage == first.lineage
    assert desk.get("wine", "v1").version == desk.get("wine", "1").version == 1
    assert desk.get("wine", "latest") == second
    assert desk.get("wine", "challenger") == second
    assert desk.champion("wine") is None
    with pytest.raises(NotFound, match="no version 'champion'"):
        desk.get("wine", "champion")


def test_what_is_not_there_is_told_with_the_nearest(desk: ModelDesk, model_dir: Path) -> None:
    with pytest.raises(NotFound) as caught:
        desk.get("wine", 1)
    assert caught.value.fix == "Run a loop to make one."
    register(desk, model_dir)
    with pytest.raises(NotFound) as caught:
        desk.get("wnie", 1)
    assert caught.value.fix == "Did you mean wine?"
    with pytest.raises(NotFound) as caught:
        desk.get("wine", 7)
    assert "newest is 1" in caught.value.fix
    with pytest.raises(NotFound):
        desk.page(10, name="beer")
    for version in ("champoin", "", "-1", "1.5", "9" * 30, "\u0661"):
        with pytest.raises(InvalidInput):
            desk.get("wine", version)


def test_pages(desk: ModelDesk, model_dir: Path) -> None:
    for i in range(5):
        register(desk, model_dir, f"run-{i}")
    register(desk, model_dir, "run-b", name="beer", passed=False)
    versions, cursor = desk.page(3, name="wine")
    assert [v.version for v in versions] == [5, 4, 3]
    versions, cursor = desk.page(3, cursor, name="wine")
    assert ([v.version for v in versions], cursor) == ([2, 1], None)
    assert [v.model for v in desk.page(2)[0]] == ["beer", "wine"]


def test_altered_files_are_found(desk: ModelDesk, model_dir: Path) -> None:
    version = register(desk, model_dir)
    assert desk.verify("wine", 1) == version
    file = desk.folder(version) / "model.pkl"
    file.chmod(0o644)
    file.write_bytes(b"other")
    with pytest.raises(Conflict, match=r"model\.pkl"):
        desk.verify("wine", "latest")


def test_a_folder_that_is_gone_is_told(desk: ModelDesk, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="isn't there"):
        register(desk, tmp_path / "nothing")


@pytest.mark.parametrize("point", ["register.copied", "register.stored"])
def test_killed_in_between_it_registers_once(
    point: str, store: Store, tmp_path: Path, model_dir: Path
) -> None:
    store.close()
    child = os.fork()
    if child == 0:
        os.environ["VOLANT_CRASH_AT"] = point
        with Store(sqlite_url(tmp_path / "volant.db")) as own:
            register(desk_on(own, tmp_path), model_dir)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    desk = desk_on(store, tmp_path)
    assert len(store.models.page(10)[0]) == (0 if point == "register.copied" else 1)
    assert register(desk, model_dir).version == 1
    assert len(store.models.page(10)[0]) == 1
    assert len(store.events.pending(10)) == 1
    desk.verify("wine", 1)
