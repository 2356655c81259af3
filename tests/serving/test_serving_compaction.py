"""Segments → the dataset, each request once, wherever a process dies."""

import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from volant.adapters.delta.tables import DeltaTables
from volant.adapters.system import SortableIds, SystemClock
from volant.app.predictions import PredictionLogs
from volant.domain.deployment import Settings
from volant.domain.loop import LogSpec
from volant.serving import log_folder
from volant.serving.compaction import compact, read_predictions
from volant.serving.prediction_log import LogOrder, PredictionLog
from volant.testing import samples

META = {
    "deployment": "wine",
    "model": "wine",
    "version": "1",
    "revision": 1,
    "columns": [
        {"name": "x", "type": "number"},
        {"name": "n", "type": "integer"},
        {"name": "time", "type": "string"},
        {"name": "flag", "type": "boolean"},
    ],
    "tensors": [[0, 1, 3], [2]],
    "inputs": [],
    "outputs": ["prediction", "probabilities"],
    "prediction": "string",
    "batchable": True,
}
DATASET = "predictions/wine"
COMPACT = """
import sys
from pathlib import Path
from volant.adapters.delta.tables import DeltaTables
from volant.serving.compaction import compact
folder, root, key = sys.argv[1:]
inputs = {"folder": folder, "dataset": "predictions/wine", "key": key, "max_bytes": 10**9}
compact(inputs, DeltaTables(Path(root)))
"""


@dataclass
class Asked:
    id: str | None
    rows: int
    caller: str = "10.0.0.1"
    asked: float = 0.0
    copy: bool = False


def write(folder: Path, ids: list[str | None], meta: dict | None = None, rows: int = 1) -> None:
    log = PredictionLog(LogOrder(folder), meta or META, print)
    for given in ids:
        now = time.perf_counter()
        log.answered(
            [Asked(given, rows, asked=now)],
            [
                np.array([[0.5, 3, 1], [np.nan, np.nan, 0]] * rows, np.float32)[:rows],
                np.array([["noon"]] * rows, dtype=object),
            ],
            [np.array(["good"] * rows, dtype=object), np.array([[0.25, 0.75]] * rows)],
        )
    log.close()


def run(folder: Path, tables: DeltaTables, key: str, max_bytes: int = 10**9) -> dict:
    inputs = {"folder": str(folder), "dataset": DATASET, "key": key, "max_bytes": max_bytes}
    outputs = compact(inputs, tables)
    if outputs["key"]:
        log_folder.finish(folder, outputs["key"])
    return outputs


@pytest.fixture
def tables(tmp_path):
    return DeltaTables(tmp_path / "tables")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "log"


def test_rows_have_features_by_name(folder, tables):
    write(folder, ["a", None], rows=2)
    outputs = run(folder, tables, "k")
    assert (outputs["rows"], outputs["rows_total"], outputs["segments"]) == (4, 4, 1)
    first, second, third, _ = tables.read(DATASET).to_pylist()
    assert first["request_id"] == second["request_id"] == "a"
    assert third["request_id"].endswith("-1")
    assert (first["row"], second["row"]) == (0, 1)
    assert (first["x"], first["n"], first["flag"], first["input_time"]) == (0.5, 3, True, "noon")
    assert (second["x"], second["n"], second["flag"]) == (None, None, False)
    assert (first["prediction"], first["probabilities"]) == ("good", [0.25, 0.75])
    assert (first["version"], first["revision"], first["status"]) == ("1", 1, 200)
    assert first["latency_ms"] >= 0
    assert first["caller"] == "10.0.0.1"
    assert not list(folder.iterdir())
    assert run(folder, tables, "k2")["key"] is None


def test_tensors_become_json(folder, tables):
    meta = META | {
        "columns": [],
        "tensors": [],
        "inputs": ["image"],
        "outputs": ["scores"],
        "prediction": None,
    }
    log = PredictionLog(LogOrder(folder), meta, print)
    image, scores = np.arange(8, dtype=np.uint8).reshape(2, 2, 2), np.ones((2, 3))
    log.answered([Asked("a", 2)], [image], [scores])
    log.close()
    run(folder, tables, "k")
    rows = tables.read(DATASET).to_pylist()
    assert [row["image"] for row in rows] == ["[[0,1],[2,3]]", "[[4,5],[6,7]]"]
    assert rows[0]["scores"] == "[1.0,1.0,1.0]"


def test_a_version_with_other_columns_and_types_fits_in(folder, tables):
    write(folder, ["a"])
    run(folder, tables, "k1")
    columns = [dict(c) for c in META["columns"]]
    columns[0]["type"] = "boolean"
    columns[1]["name"] = "added"
    write(folder, ["b"], META | {"columns": columns, "version": "2"})
    run(folder, tables, "k2")
    first, second = tables.read(DATASET).to_pylist()
    assert (first["x"], first["n"], first["added"], first["x_flag"]) == (0.5, 3, None, None)
    assert (second["x"], second["n"], second["added"], second["x_flag"]) == (None, None, 3, True)


@pytest.mark.parametrize("point", ["predictions.begun", "predictions.appended"])
def test_a_compaction_that_dies_is_done_again(folder, tables, tmp_path, point):
    write(folder, ["a", "b"])
    died = subprocess.run(
        [sys.executable, "-c", COMPACT, str(folder), str(tmp_path / "tables"), "k1"],
        env={**os.environ, "VOLANT_CRASH_AT": point},
        check=False,
    )
    assert died.returncode == -9
    write(folder, ["c"])  # more comes meanwhile
    seen = read_predictions({"folder": str(folder), "dataset": DATASET, "limit": 9}, tables)
    at = seen["columns"].index("request_id")
    assert [row[at] for row in seen["rows"]] == ["a", "b", "c"]
    assert run(folder, tables, "k2")["key"] == "k1"
    assert run(folder, tables, "k3")["key"] == "k3"
    ids = [row["request_id"] for row in tables.read(DATASET).to_pylist()]
    assert ids == ["a", "b", "c"]


def test_an_unreadable_segment_stops_nothing(folder, tables):
    write(folder, ["a"])
    (folder / "0-1-1.seg").write_bytes(b"not a segment")
    outputs = run(folder, tables, "k")
    assert (outputs["rows"], outputs["unreadable"]) == (1, 1)
    assert [path.name for path in folder.iterdir()] == ["0-1-1.bad"]


def test_versions_tell_what_was_added_though_more_is_forgotten(tmp_path, tables, store):
    settings = Settings(log=LogSpec(max_bytes=20_000))
    store.deployments.ensure(replace(samples.deployment("wine"), name="wine", settings=settings))
    folder = tmp_path / "predictions" / "wine"

    def work(_action, inputs, _timeout_s):
        return compact(inputs, tables)

    logs = PredictionLogs(folder.parent, store, SystemClock(), SortableIds(), work, every_s=0)
    for number in range(6):
        write(folder, [str(number)], rows=400)
        logs.look()
    versions, _ = store.versions.page(DATASET, 100)
    assert {version.rows_added for version in versions} == {400}
    left = tables.read(DATASET, columns=()).num_rows
    assert left < 2400
    assert store.datasets.get(DATASET).rows == versions[0].rows_total == left


def test_the_oldest_rows_go_when_it_is_too_large(folder, tables, tmp_path):
    for number in range(6):
        write(folder, [str(number)], rows=400)
        outputs = run(folder, tables, f"k{number}", max_bytes=20_000)
    table = tmp_path / "tables" / DATASET
    kept = sorted({int(row["request_id"]) for row in tables.read(DATASET).to_pylist()})
    assert kept == list(range(6 - len(kept), 6))
    assert 0 < len(kept) < 6
    assert outputs["rows_total"] == 400 * len(kept)
    for file in table.glob("*.parquet"):
        os.utime(file, (1, 1))
    run(folder, tables, "none", max_bytes=20_000)
    write(folder, ["last"])
    run(folder, tables, "last", max_bytes=20_000)
    assert sum(file.stat().st_size for file in table.glob("*.parquet")) < 30_000


def test_the_newest_rows_are_shown_before_they_are_compacted(folder, tables):
    write(folder, ["a", "b"])
    run(folder, tables, "k")
    write(folder, ["c"])
    inputs = {"folder": str(folder), "dataset": DATASET, "limit": 2, "since": None}
    seen = read_predictions(inputs, tables)
    ids = [row[seen["columns"].index("request_id")] for row in seen["rows"]]
    assert ids == ["b", "c"]
    later = {**inputs, "since": "2100-01-01T00:00:00+00:00"}
    assert read_predictions(later, tables)["rows"] == []
