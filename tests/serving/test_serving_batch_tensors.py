"""Whole files through models that take tensors, here and in an interpreter of their own."""

import json
import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from volant.actions import batch
from volant.domain.run import StepContext
from volant.errors import InvalidInput, Unavailable
from volant.serving.batch_arrays import dense
from volant.serving.datatypes import DTYPE

# Beside the sums it tells where it ran; the text "die" ends its process.
CODE = """
import os
import numpy as np
class Model:
    def predict(self, inputs):
        print("a word of the model's own")
        if "text" in inputs:
            if "die" in inputs["text"].tolist():
                os._exit(9)
            return {"upper": [text.upper() for text in inputs["text"]]}
        return {
            "sum": inputs["image"].sum(axis=(1, 2)) * inputs["scale"],
            "head": inputs["image"][:, 0],
            "pid": np.full(len(inputs["scale"]), os.getpid()),
        }
"""


@pytest.fixture(params=[None, sys.executable], ids=["here", "own"])
def python(request):
    return request.param


@pytest.fixture
def work(tmp_path, sha256_of, python):
    """`work(inputs, outputs, source, target, **more)` → what the step answers."""

    def run(inputs, outputs, source, target, code=CODE, **more):
        folder = tmp_path / "model"
        (folder / "code").mkdir(parents=True, exist_ok=True)
        (folder / "code" / "model.py").write_text(code)
        described = [
            [{"name": n, "datatype": d, "shape": s} for n, d, s in each]
            for each in (inputs, outputs)
        ]
        body = {
            "format": 1,
            "task": "custom",
            "signature": {"kind": "tensors", "inputs": described[0], "outputs": described[1]},
            "runtime": {"kind": "code", "file": "code"},
        }
        (folder / "volant.json").write_text(json.dumps(body))
        told = {
            "model_dir": str(folder),
            "files": sha256_of(folder),
            "model": "m",
            "version": 1,
            "input": str(source),
            "output": str(target),
            "chunk_rows": 3,
            "python": python,
            "tables": "delta",
            "tables_root": str(tmp_path / "tables"),
            **more,
        }
        step = tmp_path / "steps" / Path(target).stem
        return batch(told, StepContext("r", "batch", 1, step, step))

    return run


def rows_of(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


IMAGE = (
    [("image", "FP32", [-1, 2, 2]), ("scale", "INT8", [-1])],
    [("sum", "FP32", [-1]), ("head", "FP32", [-1, 2]), ("pid", "INT64", [-1])],
)
ROWS = [{"k": i, "image": [[i, 1.5], [0, -1]], "scale": i} for i in range(8)]


@pytest.mark.parametrize(
    ("source", "target"),
    [("in.parquet", "out.jsonl"), ("in.jsonl", "out.parquet"), ("in.csv", "out.jsonl")],
)
def test_lists_are_tensors_and_answers_are_lists(tmp_path, work, python, source, target):
    path = tmp_path / source
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif path.suffix == ".csv":
        lines = [f'{r["k"]},"{json.dumps(r["image"])}",{r["scale"]}' for r in ROWS]
        path.write_text("\n".join(["k,image,scale", *lines]))
    else:
        path.write_text("\n".join(map(json.dumps, ROWS)))
    told = work(*IMAGE, path, tmp_path / target)
    assert (told["rows"], told["rejected"]) == (8, 0)
    found = rows_of(tmp_path / target)
    assert [int(r["k"]) for r in found] == list(range(8))
    assert [r["sum"] for r in found] == [(i + 0.5) * i for i in range(8)]
    assert [r["head"] for r in found] == [[i, 1.5] for i in range(8)]
    assert ({r["pid"] for r in found} == {os.getpid()}) is (python is None)


def test_rows_that_do_not_fit_are_set_aside_with_the_reason(tmp_path, work):
    odd = [
        {**ROWS[0], "image": [[1, 2], [3]]},
        {**ROWS[1], "image": "no list"},
        ROWS[2],
        {**ROWS[3], "scale": 200},
        {**ROWS[4], "scale": None},
        {**ROWS[5], "image": [[1, 2, 3], [4, 5, 6]]},
        {**ROWS[6], "image": [[1, "x"], [0, 0]]},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, odd)))
    told = work(*IMAGE, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert (told["predicted"], told["rejected"]) == (1, 6)
    assert [r["k"] for r in rows_of(tmp_path / "out.jsonl")] == [2]
    reasons = {r["row"]: r["reason"] for r in map(
        json.loads, Path(told["rejected_path"]).read_text().splitlines())}  # fmt: skip
    for row, words in (
        (1, "image"), (2, "expected a list"), (4, "200"), (5, "nothing"), (6, "shape"), (7, "x"),
    ):  # fmt: skip
        assert words in reasons[row], reasons


def test_texts_and_tensors_of_other_sizes_keep_their_order(tmp_path, work):
    texts = [{"text": "zwölf"}, {"text": ""}, {"text": None}, {"text": "b"}]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, texts)))
    upper = ([("text", "BYTES", [-1])], [("upper", "BYTES", [-1])])
    told = work(*upper, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert (told["predicted"], told["rejected"]) == (3, 1)
    assert [r["upper"] for r in rows_of(tmp_path / "out.jsonl")] == ["ZWÖLF", "", "B"]


def test_each_size_is_asked_by_itself_and_the_rows_stay_in_order(tmp_path, work):
    code = "class Model:\n    def predict(self, inputs): return {'twice': inputs['x'] * 2}\n"
    signature = ([("x", "INT64", [-1, -1])], [("twice", "INT64", [-1, -1])])
    sizes = [1, 3, 1, 2, 3, 1]
    rows = [{"x": list(range(size)), "i": i} for i, size in enumerate(sizes)]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    work(*signature, tmp_path / "in.jsonl", tmp_path / "out.jsonl", code=code, chunk_rows=50)
    found = rows_of(tmp_path / "out.jsonl")
    assert [(r["i"], r["twice"]) for r in found] == [
        (i, [2 * v for v in range(size)]) for i, size in enumerate(sizes)
    ]


def test_a_matrix_takes_all_columns_of_a_table_that_has_as_many(tmp_path, work):
    code = (
        "class Model:\n    def predict(self, inputs): return {'total': inputs['X'].sum(axis=1)}\n"
    )
    signature = ([("X", "FP32", [-1, 3])], [("total", "FP32", [-1])])
    (tmp_path / "in.csv").write_text("a,b,c\n1,2,3\n4,x,6\n7,8,9.5\n")
    told = work(*signature, tmp_path / "in.csv", tmp_path / "out.jsonl", code=code)
    assert told["rejected"] == 1
    assert [r["total"] for r in rows_of(tmp_path / "out.jsonl")] == [6, 24.5]
    (tmp_path / "in.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidInput, match="lacks the column 'X'"):
        work(*signature, tmp_path / "in.csv", tmp_path / "two.jsonl", code=code)


def test_a_model_of_a_fixed_number_of_rows_is_refused(tmp_path, work):
    signature = ([("x", "FP32", [2, 3])], [("y", "FP32", [2, 3])])
    (tmp_path / "in.jsonl").write_text('{"x": [1, 2, 3]}\n')
    with pytest.raises(InvalidInput) as caught:
        work(*signature, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    assert caught.value.error_code == "batch_tensors"


@pytest.mark.parametrize("python", [sys.executable], indirect=True)
def test_a_process_that_ends_stops_the_batch_and_what_was_predicted_is_kept(tmp_path, work):
    texts = [{"text": t} for t in ("a", "b", "c", "die", "e", "f", "g")]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, texts)))
    upper = ([("text", "BYTES", [-1])], [("upper", "BYTES", [-1])])
    with pytest.raises(Unavailable, match="exit code 9"):
        work(*upper, tmp_path / "in.jsonl", tmp_path / "out.jsonl")
    state = json.loads((tmp_path / "steps" / "out" / "batch" / "state.json").read_text())
    assert (state["chunks"], state["rows"]) == (1, 3)
    assert not (tmp_path / "out.jsonl").exists()


@pytest.mark.parametrize("python", [sys.executable], indirect=True)
def test_a_model_that_cannot_be_loaded_there_says_why(tmp_path, work):
    upper = ([("text", "BYTES", [-1])], [("upper", "BYTES", [-1])])
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(InvalidInput, match="nowhere"):
        work(*upper, tmp_path / "in.jsonl", tmp_path / "out.jsonl", code="import nowhere\n")


@pytest.mark.parametrize(
    ("values", "kind", "datatype", "shape", "expected"),
    [
        ([[1.5, 2], [3, 4]], pa.list_(pa.float64()), "FP32", (-1, 2), [[1.5, 2], [3, 4]]),
        ([[[1], [2]]], pa.large_list(pa.list_(pa.int64(), 1)), "INT8", (-1, 2, 1), [[[1], [2]]]),
        ([1, 2], pa.int64(), "FP64", (-1, 1), [[1], [2]]),
        ([True, False], pa.bool_(), "BOOL", (-1,), [True, False]),
        ([[1, 2], [3]], pa.list_(pa.int64()), "INT64", (-1, -1), None),
        ([[1, 2], None], pa.list_(pa.int64()), "INT64", (-1, 2), None),
        ([[1, None]], pa.list_(pa.int64()), "INT64", (-1, 2), None),
        ([[1, 2]], pa.list_(pa.int64()), "INT64", (-1, 3), None),
        ([[1, 200]], pa.list_(pa.int64()), "INT8", (-1, 2), None),
        ([[1e300]], pa.list_(pa.float64()), "FP32", (-1, 1), None),
        ([[1.5]], pa.list_(pa.float64()), "INT64", (-1, 1), None),
        ([1, 0], pa.int64(), "BOOL", (-1,), None),
        (["a"], pa.string(), "BYTES", (-1,), None),
        ([[]], pa.list_(pa.float64()), "FP32", (-1, -1), None),
    ],
)
def test_columns_that_are_arrays_as_they_are(values, kind, datatype, shape, expected):
    column = pa.chunked_array([pa.array([*values[:1], *values], kind)]).slice(1)
    found = dense(column, datatype, shape)
    assert (None if found is None else found.tolist()) == expected
    assert found is None or found.dtype == DTYPE[datatype]
