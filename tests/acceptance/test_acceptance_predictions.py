"""What was answered is in the dataset once, and a batch is whole, whoever was killed."""

from __future__ import annotations

import csv
import os
import signal
import threading

import deltalake
import httpx
import pytest
from effects import stubborn
from platform_process import Platform, loop_file, own, question, table, wait_for, write_csv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
WINE = own("wine")
TALL = {"height": 2.0, "weight": 0.0, "age": 0.0}
MANY = 60_000


@pytest.fixture(scope="module")
def platform(platforms) -> Platform:
    first = platforms().start()
    first.apply(loop_file(WINE))
    first.turn(WINE, WINE, write_csv(first.folder / "1.csv", table(120, seed=1)))
    first.down()
    return first


def ask(url: str, prefix: str, enough: int, answered: list[str], done: threading.Event) -> None:
    with httpx.Client(timeout=30, trust_env=False) as http:
        for number in range(enough):
            given = f"{prefix}-{number}"
            try:
                answer = http.post(url, json={"id": given, **question(TALL)})
            except httpx.TransportError:
                continue
            assert answer.json()["id"] == given
            answered.append(given)
            if done.is_set():
                return


@pytest.mark.parametrize(
    "point",
    [
        "predictions.appended",
        pytest.param("predictions.begun", marks=pytest.mark.chaos),
        pytest.param("predictions.recorded", marks=pytest.mark.chaos),
    ],
)
def test_every_answered_request_is_logged_once(platform, point):
    crashed = platform.folder / point
    platform.start(VOLANT_CRASH_AT=point, VOLANT_CRASH_ONCE=str(crashed), VOLANT_COMPACT_S="1")
    url = platform.get(f"/deployments/{WINE}")["infer_url"]
    answered: list[str] = []
    done = threading.Event()
    clients = [
        threading.Thread(target=ask, args=(url, f"{point}-{n}", 100_000, answered, done))
        for n in range(3)
    ]
    for client in clients:
        client.start()
    for count in (100, 300):
        wait_for("answers", lambda count=count: len(answered) > count)
        for each in platform.family():
            if each.kind == "replica":
                os.kill(each.pid, signal.SIGKILL)
    wait_for("the crash", crashed.exists)
    done.set()
    for client in clients:
        client.join()

    def logged() -> list[str] | None:
        stubborn(platform, lambda: platform.get("/status"))
        if list((platform.home / "predictions" / WINE).glob("*.json")):
            return None
        rows = deltalake.DeltaTable(platform.home / "tables" / "predictions" / WINE)
        found = rows.to_pyarrow_table(columns=["request_id"]).column(0).to_pylist()
        return found if set(answered) <= set(found) else None

    found = wait_for("all that was answered", logged, 120)
    assert len(found) == len(set(found))
    dataset = stubborn(platform, lambda: platform.get(f"/datasets/predictions/{WINE}"))
    assert dataset["rows"] == len(found)
    versions = platform.items(f"/datasets/predictions/{WINE}/versions")
    assert sum(each["rows_added"] for each in versions) == len(found)
    shown = platform.cli("predictions", WINE, "--last", "3", "--json").json
    assert len(shown["predictions"]) == 3
    platform.down()


def test_a_batch_outlives_its_step_and_its_platform(platform):
    platform.start()
    source = write_csv(platform.folder / "many.csv", [row[:3] for row in table(MANY, 3)], COLUMNS)
    target = platform.folder / "scored.csv"
    command = ("batch", WINE, "--input", source, "--output", target, "--chunk-rows", "500")
    platform.cli(*command, "--no-wait")
    run = next(r for r in platform.items("/runs") if r["workflow"]["name"] == f"batch-{WINE}")
    state = platform.home / "runs" / run["id"] / "batch" / "batch" / "state.json"
    wait_for("the first chunks", state.exists)
    for each in platform.family():
        if each.kind.startswith("step"):
            os.kill(each.pid, signal.SIGKILL)
    wait_for("its going on", lambda: platform.get(f"/runs/{run['id']}")["state"])
    platform.process.kill()
    platform.process.wait()
    assert not target.exists()
    platform.start()
    told = platform.cli(*command)
    assert (told.json["rows"], told.json["predicted"]) == (MANY, MANY)
    with target.open() as file, source.open() as given:
        for row, expected in zip(csv.DictReader(file), csv.DictReader(given), strict=True):
            assert {name: row[name] for name in COLUMNS} == expected
            assert row["prediction"] in ("yes", "no")
    assert platform.cli(*command).json["state"] == "done"
    only = [r for r in platform.items("/runs") if r["workflow"]["name"] == f"batch-{WINE}"]
    assert len(only) == 1
    target.unlink()
    platform.cli(*command, "--only")
    assert target.read_text().startswith("prediction,")


COLUMNS = ("height", "weight", "age")
