"""What must be true of a loop's effects, however often its processes were killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import deltalake
import httpx
from platform_process import ENDED, Died, Platform, Refused, outputs, question, statuses

T = TypeVar("T")
TRY_S = 240.0


def stubborn(platform: Platform, call: Callable[[], T]) -> T:
    """Call until it works, as a patient client does; start the platform when it died."""
    deadline = time.monotonic() + TRY_S
    while True:
        try:
            if platform.ended():
                platform.start()
            return call()
        except (httpx.TransportError, Died) as error:
            problem: Exception = error
        except Refused as error:
            if error.status != 503:
                raise
            problem = error
        if time.monotonic() > deadline:
            raise AssertionError(f"It didn't work within {TRY_S:g} s.") from problem
        time.sleep(0.05)


def push_until_settled(platform: Platform, dataset: str, file: Path, key: str) -> dict[str, Any]:
    """One delivery under one key, tried until its verdict is known."""
    push = stubborn(platform, lambda: platform.push(dataset, file, key))
    path = f"/pushes/{push['id']}"
    while push["status"] == "received":
        time.sleep(0.05)
        push = stubborn(platform, lambda: platform.get(path))
    assert push["status"] == "committed", push
    return push


def run_until_ended(platform: Platform, loop: str, version: int) -> dict[str, Any]:
    """The run of `loop` on a dataset's version, tried until it ended."""
    deadline = time.monotonic() + TRY_S
    while time.monotonic() < deadline:
        if (run := ended_run(platform, loop, version)) is not None:
            return run
        time.sleep(0.05)
    raise AssertionError(f"No run of {loop} on version {version} ended within {TRY_S:g} s.")


def ended_run(platform: Platform, loop: str, version: int) -> dict[str, Any] | None:
    """The run of `loop` on a dataset's version, if it ended; it must have succeeded."""
    for run in stubborn(platform, lambda: platform.get("/runs", loop=loop)["items"]):
        state = run["state"]
        if run["workflow"]["inputs"]["dataset_version"] == version and state["status"] in ENDED:
            assert state["status"] == "succeeded", state["error"]
            return run
    return None


def check(platform: Platform, loop: str, pushes: int, rows: int, broken: int) -> None:
    """`pushes` deliveries to the dataset named as its loop, of `rows` good and `broken`
    broken rows together, had every effect exactly once."""
    _data(platform, loop, pushes, rows, broken)
    runs = _runs(platform, loop, pushes)
    accepted = [run for run in runs if outputs(run, "evaluate")["passed"]]
    _decisions(platform, loop, runs, accepted)
    _models(platform, loop, runs, accepted)
    _events(platform, loop, pushes, len(accepted))
    _serving(platform, loop, len(accepted))


def _data(platform: Platform, name: str, pushes: int, rows: int, broken: int) -> None:
    found = platform.items(f"/datasets/{name}/pushes")
    assert [each["status"] for each in found] == ["committed"] * pushes
    versions = platform.items(f"/datasets/{name}/versions")
    assert [each["version"] for each in versions] == [*range(pushes, 0, -1)]
    assert len({each["push_id"] for each in versions}) == pushes
    assert sum(each["rows_added"] for each in versions) == rows
    dataset = platform.get(f"/datasets/{name}")
    assert (dataset["rows"], dataset["quarantined"]) == (rows, broken)
    table = deltalake.DeltaTable(platform.home / "tables" / name)
    assert table.version() == versions[0]["table_version"]
    content = table.to_pyarrow_table()
    assert content.num_rows == rows
    held = platform.get(f"/datasets/{name}/quarantine", limit=500)["items"]
    assert len(held) == len({each["id"] for each in held}) == broken


def _runs(platform: Platform, loop: str, pushes: int) -> list[dict[str, Any]]:
    runs = platform.items("/runs", loop=loop)
    assert [run["state"]["status"] for run in runs] == ["succeeded"] * pushes
    versions = sorted(run["workflow"]["inputs"]["dataset_version"] for run in runs)
    assert versions == [*range(1, pushes + 1)]
    assert len({run["event_id"] for run in runs}) == pushes
    for run in runs:
        said = statuses(run)
        deployed = "succeeded" if outputs(run, "evaluate")["passed"] else "skipped"
        assert said.pop("deploy") == deployed
        assert set(said.values()) == {"succeeded"}
    ingests = [run for run in platform.items("/runs") if run["queue_key"] == f"dataset/{loop}"]
    assert [run["state"]["status"] for run in ingests] == ["succeeded"] * pushes
    return runs


def _decisions(
    platform: Platform, loop: str, runs: list[dict[str, Any]], accepted: list[dict[str, Any]]
) -> None:
    found = platform.items(f"/loops/{loop}/decisions")
    told = Counter((each["kind"], each["outcome"]) for each in found)
    told.pop(("run", "resumed"), None)  # a killed training may have a checkpoint, or none yet
    expected = {
        ("trigger", "fired"): len(runs),
        ("gate", "accepted"): len(accepted),
        ("gate", "refused"): len(runs) - len(accepted),
        ("deploy", "activated"): len(accepted),
    }
    assert told == Counter(expected)
    gates = {each["run_id"]: each["outcome"] for each in found if each["kind"] == "gate"}
    assert gates == {
        run["id"]: "accepted" if outputs(run, "evaluate")["passed"] else "refused" for run in runs
    }


def _models(
    platform: Platform, loop: str, runs: list[dict[str, Any]], accepted: list[dict[str, Any]]
) -> None:
    versions = platform.items(f"/models/{loop}/versions")
    assert len(versions) == len(runs)
    assert {each["lineage"]["run_id"] for each in versions} == {run["id"] for run in runs}
    stages = Counter(each["stage"] for each in versions)
    assert stages["champion"] == 1
    assert stages["refused"] == len(runs) - len(accepted)
    for version in versions:
        folder = platform.home / "artifacts" / version["uri"].removeprefix("artifacts:/")
        files = {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*")
            if path.is_file()
        }
        assert files == version["files"]
    with contextlib.closing(sqlite3.connect(platform.home / "volant.db")) as db:
        tracked = db.execute(
            "SELECT tracked_runs.id FROM tracked_runs JOIN experiments"
            " ON experiments.id = tracked_runs.experiment_id WHERE experiments.name = ?",
            (loop,),
        ).fetchall()
    assert len(tracked) == len(runs)


def _events(platform: Platform, loop: str, pushes: int, accepted: int) -> None:
    subjects = (f"dataset/{loop}", f"loop/{loop}", f"model/{loop}", f"deployment/{loop}")
    told = Counter(
        event["type"].removeprefix("volant.")
        for subject in subjects
        for event in platform.items("/events", subject=subject)
        if event["type"] != "volant.loop.applied"
    )
    assert told == Counter(
        {
            "dataset.committed": pushes,
            "gate.decided": pushes,
            "model.registered": pushes,
            "model.promoted": accepted,
            "model.retired": accepted - 1,
            "deployment.activated": accepted,
        }
    )


def _serving(platform: Platform, loop: str, accepted: int) -> None:
    view = platform.get(f"/deployments/{loop}")
    revisions = Counter(each["status"] for each in view["revisions"])
    assert revisions["live"] == 1
    assert revisions["retired"] == min(accepted, 20) - 1
    champion = platform.get(f"/models/{loop}/versions/champion")
    assert view["live_version"] == champion["version"]
    newest = max(
        each["version"]
        for each in platform.items(f"/models/{loop}/versions")
        if each["stage"] != "refused"
    )
    assert champion["version"] == newest
    row = {"height": 2.0, "weight": 0.0, "age": 0.0}
    answer = httpx.post(view["infer_url"], json=question(row), timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert answer.json()["model_version"] == str(champion["version"])


def seed_of() -> int:
    """VOLANT_CHAOS_SEED, else a new one."""
    given = os.environ.get("VOLANT_CHAOS_SEED")
    return int(given) if given else int.from_bytes(os.urandom(4))
