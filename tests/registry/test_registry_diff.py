from __future__ import annotations

from dataclasses import replace

from registry_world import World

from volant.domain.model import Field, Signature, Tensors, TensorSpec
from volant.registry.diff import difference


def test_metrics_know_which_way_is_better(world: World) -> None:
    a = world.register("wine", metrics={"rmse": 0.5, "r2": 0.9, "mae": 1.0, "same": 1.0})
    b = world.register("wine", metrics={"rmse": 0.4, "r2": 0.8, "f1": 1.0, "same": 1.0})
    found = {each["name"]: each for each in difference(a, b)["metrics"]}
    assert found["rmse"]["better"] is True
    assert round(found["rmse"]["change"], 9) == -0.1
    assert found["r2"]["better"] is False
    assert found["mae"] == {"name": "mae", "a": 1.0, "b": None, "change": None, "better": None}
    assert found["f1"]["a"] is None
    assert (found["same"]["change"], found["same"]["better"]) == (0.0, None)


def test_columns_that_came_went_and_changed(world: World) -> None:
    a = world.register("wine")
    one = Signature((Field("x", "number"), Field("y", "string")), (), "regression")
    two = Signature((Field("z", "integer"), Field("x", "number", nullable=True)), (), "other")
    found = difference(replace(a, signature=one), replace(a, signature=two))
    assert found["inputs"] == {
        "added": [{"name": "z", "type": "integer"}],
        "removed": [{"name": "y", "type": "string"}],
        "retyped": [{"name": "x", "a": "number", "b": "number, may be null"}],
        "reordered": False,
    }
    assert {"name": "task", "a": "regression", "b": "other"} in found["facts"]
    swapped = replace(one, inputs=one.inputs[::-1])
    found = difference(replace(a, signature=one), replace(a, signature=swapped))
    assert found["inputs"]["reordered"] is True
    tensors = replace(one, inputs=(), tensors=Tensors((TensorSpec("image", "FP32", (-1, 3)),), ()))
    found = difference(replace(a, signature=one), replace(a, signature=tensors))
    assert found["inputs"]["added"] == [{"name": "image", "type": "FP32 [-1, 3]"}]


def test_data_parameters_and_files(world: World) -> None:
    a = world.register("wine", params={"depth": 3, "gone": 1})
    b = world.register("wine", params={"depth": 4}, parent=1)
    found = difference(a, b, (100, 200))
    assert found["params"] == [
        {"name": "depth", "a": 3, "b": 4},
        {"name": "gone", "a": 1, "b": None},
    ]
    assert found["data"]["a"]["rows"] == 100
    assert found["data"]["b"] == {
        "dataset": "wine", "version": 3, "rows": 200, "holdout_sha256": "h" * 64,
    }  # fmt: skip
    assert found["files"] == {
        "added": [], "removed": [], "changed": ["data/weights.bin"], "same": 2,
    }  # fmt: skip
    assert {"name": "replaces", "a": None, "b": 1} in found["facts"]
    same = difference(a, a)
    assert not same["params"]
    assert not same["facts"]
    assert same["files"]["same"] == 3
