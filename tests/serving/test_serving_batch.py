"""Whole files through a model: the same answers as online, whatever stops it."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from volant.actions import batch
from volant.adapters.delta.tables import DeltaTables
from volant.domain.run import StepContext
from volant.errors import Conflict, InvalidInput
from volant.serving.inference import load
from volant.serving.oip import parse

RUN = """
import json, sys
from pathlib import Path
from volant.actions import batch
from volant.domain.run import StepContext
inputs, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
print(json.dumps(batch(inputs, StepContext("r", "batch", 1, folder, folder))))
"""


@pytest.fixture
def work(tmp_path, models, sha256_of):
    """`work(kind, input, output, **more)`: inputs for the step, and its context."""

    def make(kind: str, source, target, **more) -> SimpleNamespace:
        folder = models(kind)
        step = tmp_path / "step"
        inputs = {
            "model_dir": str(folder),
            "files": sha256_of(folder),
            "model": kind,
            "version": 1,
            "input": str(source),
            "output": str(target),
            "chunk_rows": 7,
            "tables": "delta",
            "tables_root": str(tmp_path / "tables"),
            **more,
        }
        context = StepContext("r", "batch", 1, step, step)
        return SimpleNamespace(
            inputs=inputs, context=context, step=step, run=lambda: batch(inputs, context)
        )

    return make


def mixed_rows(count: int) -> list[dict]:
    rng = np.random.default_rng(3)
    return [
        {"colour": ["red", "blue", "green"][i % 3], "size": round(float(rng.random()), 3), "k": i}
        for i in range(count)
    ]


def write(path: Path, rows: list[dict]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict]:
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


def online(model, rows: list[dict]) -> list:
    """What a replica answers to the same rows."""
    kinds = {"string": "BYTES", "number": "FP64"}
    tensors = [
        {
            "name": c.name,
            "shape": [len(rows)],
            "datatype": kinds[c.type],
            "data": [row[c.name] for row in rows],
        }
        for c in model.description.columns
    ]
    query = parse(json.dumps({"inputs": tensors}).encode(), model.description)
    return [output.tolist() for output in model.predict(query.feeds).outputs]


@pytest.mark.parametrize("source", [".csv", ".parquet", ".jsonl"])
@pytest.mark.parametrize("target", [".csv", ".parquet", ".jsonl"])
def test_the_answers_are_those_of_the_deployment(tmp_path, work, models, source, target, sha256_of):
    rows = mixed_rows(40)
    made = work("mixed", write(tmp_path / f"in{source}", rows), tmp_path / f"out{target}")
    outputs = made.run()
    assert (outputs["rows"], outputs["predicted"], outputs["rejected"]) == (40, 40, 0)
    model = load(models("mixed"), sha256_of(models("mixed")))
    expected = online(model, rows)[0]
    found = read(tmp_path / f"out{target}")
    assert [np.float32(row["prediction"]) for row in found] == pytest.approx(expected)
    assert [int(row["k"]) for row in found] == list(range(40))
    assert not (tmp_path / f"out{target}.rejected").exists()
    assert [p.name for p in (made.step / "batch").iterdir()] == ["state.json"]


def test_probabilities_have_a_column_for_each_class(tmp_path, work, models, sha256_of):
    rows = [dict(zip("abcd", np.round(r, 2).tolist(), strict=True)) for r in np.random.rand(9, 4)]
    source = write(tmp_path / "in.csv", rows)
    work("numeric", source, tmp_path / "out.parquet", only=True).run()
    labels, probabilities = online(load(models("numeric"), sha256_of(models("numeric"))), rows)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == [
        "prediction", "probability_high", "probability_low", "probability_mid"
    ]  # fmt: skip
    assert found.column("prediction").to_pylist() == labels
    given = np.stack([found.column(i).to_numpy() for i in (1, 2, 3)], axis=1)
    np.testing.assert_allclose(given, probabilities, rtol=1e-5)


def test_rows_that_cant_be_used_are_set_aside_with_the_reason(tmp_path, work):
    source = tmp_path / "in.csv"
    source.write_text("colour,size\nred,1\nblue,large\nred,\nred,1,1\ngreen,1e300\nblue,2\n")
    made = work("mixed", source, tmp_path / "out.csv", chunk_rows=2)
    outputs = made.run()
    assert (outputs["rows"], outputs["predicted"], outputs["rejected"]) == (6, 2, 4)
    reasons = [each["reason"] for each in read_lines(tmp_path / "out.csv.rejected")]
    assert reasons == [
        "size: expected a number, got 'large'",
        "size: expected a number, got nothing",
        "size: expected a number within float32, got 1e+300",
        "3 values instead of 2",
    ]
    assert [row["size"] for row in read(tmp_path / "out.csv")] == ["1", "2"]
    strict = work("mixed", source, tmp_path / "other.csv", strict=True)
    strict.context.workdir.joinpath("batch/state.json").unlink()
    with pytest.raises(InvalidInput, match=r"row 2: size: expected a number, got 'large'"):
        strict.run()
    assert not (tmp_path / "other.csv").exists()


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_that_are_no_objects_are_set_aside(tmp_path, work):
    source = tmp_path / "in.jsonl"
    source.write_text('{"colour":"red","size":1}\n{"colour"\n[1]\n\n{"size":2,"colour":"blue"}\n')
    outputs = work("mixed", source, tmp_path / "out.jsonl").run()
    assert (outputs["predicted"], outputs["rejected"]) == (2, 2)
    assert [each["line"] for each in read_lines(tmp_path / "out.jsonl.rejected")] == [2, 3]


def test_a_column_that_is_missing_stops_it(tmp_path, work):
    source = write(tmp_path / "in.csv", [{"colour": "red"}])
    with pytest.raises(InvalidInput, match=r"lacks the column 'size'"):
        work("mixed", source, tmp_path / "out.csv").run()


def later(path: Path) -> Path:
    """Rows of the numeric model, of which the first two lack a column."""
    rows = [{"a": 0.0, "b": 0, "d": 0}] * 2 + [{"d": 0, "c": 9.5, "b": 0, "a": 2.0, "new": 1}] * 2
    return write(path, rows)


@pytest.mark.parametrize("target", [".csv", ".parquet", ".jsonl"])
def test_a_column_that_begins_after_the_first_chunk_is_predicted_with(tmp_path, work, target):
    source = later(tmp_path / "in.jsonl")
    (tmp_path / "whole").mkdir()
    whole = work("numeric", source, tmp_path / "whole" / f"out{target}", chunk_rows=10)
    whole.run()
    whole.step.joinpath("batch/state.json").unlink()
    parts = work("numeric", source, tmp_path / f"out{target}", chunk_rows=2)
    warnings = parts.run()["warnings"]
    found, expected = read(tmp_path / f"out{target}"), read(tmp_path / "whole" / f"out{target}")
    names = [name for name in expected[0] if name.startswith("pr")]
    assert [[str(row[n]) for n in names] for row in found] == [
        [str(row[n]) for n in names] for row in expected
    ]  # as text: a NaN equals none
    if target == ".csv":
        assert "aren't in the CSV: c, new." in warnings[0]
        assert "c" not in found[0]
    else:
        assert warnings == []
        assert [row.get("c") for row in found] == [None, None, 9.5, 9.5]
        assert [row["a"] for row in found] == [0, 0, 2, 2]


def test_columns_that_a_model_does_without_are_told(tmp_path, work):
    source = write(tmp_path / "in.csv", [{"a": 1, "b": 2, " C": 3}])
    outputs = work("numeric", source, tmp_path / "out.csv").run()
    assert outputs["warnings"] == ['Predicted without the columns: c, d. Did you mean "C"?']


@pytest.mark.parametrize("source", [".csv", ".parquet"])
def test_an_input_without_rows_has_its_columns_in_the_output(tmp_path, work, source):
    given = tmp_path / f"in{source}"
    if source == ".csv":
        given.write_text("k,size,colour\n")
    else:
        kinds = [("k", pa.int64()), ("size", pa.float64()), ("colour", pa.string())]
        pq.write_table(pa.schema(kinds).empty_table(), given)
    outputs = work("mixed", given, tmp_path / "out.parquet").run()
    assert (outputs["rows"], outputs["predicted"]) == (0, 0)
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert schema.names == ["k", "size", "colour", "prediction"]
    assert schema.field("prediction").type == pa.float32()
    assert schema.field("k").type == (pa.string() if source == ".csv" else pa.int64())


def test_an_input_without_rows_may_lack_a_column_too(tmp_path, work):
    (tmp_path / "in.csv").write_text("k,size\n")
    with pytest.raises(InvalidInput, match="lacks the column 'colour'"):
        work("mixed", tmp_path / "in.csv", tmp_path / "out.csv").run()


def test_the_rejected_rows_of_a_replaced_output_go_with_it(tmp_path, work):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    rejected = tmp_path / "out.csv.rejected"
    source.write_text("colour,size\nred,1\nred,large\n")
    made = work("mixed", source, target)
    made.run()
    assert rejected.exists()
    made.step.joinpath("batch/state.json").unlink()
    source.write_text("colour,size\nred,1\n")
    work("mixed", source, target, overwrite=True).run()
    assert not rejected.exists()


def test_a_file_where_the_rejected_rows_would_go_stays(tmp_path, work):
    source = write(tmp_path / "in.csv", mixed_rows(2))
    rejected = tmp_path / "out.csv.rejected"
    rejected.write_text("mine")
    with pytest.raises(Conflict, match=r"out\.csv\.rejected is there already"):
        work("mixed", source, tmp_path / "out.csv").run()
    assert rejected.read_text() == "mine"


def test_an_error_tells_how_many_rows_are_kept(tmp_path, work):
    source = tmp_path / "in.csv"
    source.write_text("colour,size\n" + "red,1\n" * 8 + "red,large\n")
    with pytest.raises(InvalidInput) as told:
        work("mixed", source, tmp_path / "out.csv", strict=True).run()
    assert told.value.details["predicted"] == 7


def test_an_output_that_is_there_stays(tmp_path, work):
    source = write(tmp_path / "in.csv", mixed_rows(2))
    target = tmp_path / "out.csv"
    target.write_text("mine")
    with pytest.raises(Conflict, match="is there already"):
        work("mixed", source, target).run()
    assert target.read_text() == "mine"
    assert work("mixed", source, target, overwrite=True).run()["predicted"] == 2


@pytest.mark.parametrize("point", ["batch.chunk", "batch.predicted", "batch.joined"])
def test_a_batch_that_dies_goes_on_at_its_chunk(tmp_path, work, point):
    rows = mixed_rows(30)
    made = work("mixed", write(tmp_path / "in.csv", rows), tmp_path / "out.csv")
    command = [sys.executable, "-c", RUN, json.dumps(made.inputs), str(made.step)]
    armed = {**os.environ, "VOLANT_CRASH_AT": point}
    died = subprocess.run(command, env=armed, check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL
    assert (tmp_path / "out.csv").exists() == (point == "batch.joined")
    outputs = made.run()
    assert outputs["predicted"] == 30
    assert [int(row["k"]) for row in read(tmp_path / "out.csv")] == list(range(30))
    assert made.run() == outputs


def test_an_input_that_changes_under_way_is_told(tmp_path, work):
    source = write(tmp_path / "in.csv", mixed_rows(30))
    made = work("mixed", source, tmp_path / "out.csv")
    command = [sys.executable, "-c", RUN, json.dumps(made.inputs), str(made.step)]
    armed = {**os.environ, "VOLANT_CRASH_AT": "batch.predicted"}
    subprocess.run(command, env=armed, check=False, capture_output=True)
    write(source, mixed_rows(31))
    with pytest.raises(Conflict, match="was changed"):
        made.run()


def test_a_dataset_in_and_a_file_to_push_out(tmp_path, work):
    tables = DeltaTables(tmp_path / "tables")
    for number in range(3):
        tables.append("in", pa.Table.from_pylist(mixed_rows(10)), key=str(number))
    made = work("mixed", "dataset:in@2", "dataset:scored", table_version=1)
    outputs = made.run()
    assert (outputs["rows"], outputs["dataset"]) == (20, "scored")
    assert pq.read_table(outputs["file"]).num_rows == 20


@pytest.mark.slow
def test_a_million_rows_need_no_more_memory(tmp_path, work):
    """200 000 rows and five times as many: the same peak, but for 20 %."""
    peaks = []
    for count in (200_000, 1_000_000):
        source = tmp_path / f"{count}.csv"
        with source.open("w") as file:
            file.write("colour,size\n")
            file.writelines(f"red,{i % 100 / 100}\n" for i in range(count))
        made = work("mixed", source, tmp_path / f"{count}.out.csv", chunk_rows=20_000)
        step = tmp_path / str(count)
        told = RUN + "\nimport resource\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        command = [sys.executable, "-c", told, json.dumps(made.inputs), str(step)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split(
            "\n"
        )
        peaks.append(int(lines[-2]))
        assert sum(1 for _ in (tmp_path / f"{count}.out.csv").open()) == count + 1
    assert peaks[1] < peaks[0] * 1.2, peaks
