"""Each format that this environment can serve answers as the library that made it."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import joblib
import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest
from onnx import TensorProto, checker, helper
from skl2onnx import to_onnx
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from volant.actions import inspect_model, prove_model
from volant.cli.register import _pack
from volant.domain.codec import from_plain
from volant.domain.model import Signature
from volant.errors import InvalidInput, VolantError
from volant.formats.prove import _hashes
from volant.serving.inference import example_feeds, load

X, Y = load_wine(return_X_y=True)
X = X.astype(np.float32)


def registered(tmp_path, upload, *, example=None, signature=None, task=None, env="auto"):
    """(the loaded model, what the proof answered), through both step actions."""
    context = SimpleNamespace(workdir=tmp_path / "work")
    context.workdir.mkdir()
    if upload.is_dir():
        found = inspect_model({"upload": str(packed(upload, tmp_path)), "env": env}, context)
    else:
        found = inspect_model({"upload": str(upload), "env": env}, context)
    told = {"example": example, "signature": signature, "task": task}
    proven = prove_model(json.loads(json.dumps({**found, **told})), context)
    folder = Path(proven["model_dir"])
    from_plain(Signature, json.loads(json.dumps(proven["signature"])))
    return load(folder, _hashes(folder)), proven


def packed(folder, tmp_path):
    target = tmp_path / "m.tar"
    _pack(folder, target)
    return target


def rows(values):
    return {"text": json.dumps(values), "format": "json"}


def columns(model, values):
    names = [column.name for column in model.description.columns]
    return example_feeds({"columns": names, "data": [list(values)]}, model.description)


def test_onnx_takes_and_answers_the_graphs_tensors(tmp_path, made, pipeline):
    model, proven = registered(tmp_path, made / "wine.onnx")
    label, probabilities = model.predict((X[:9],)).outputs
    assert label.tolist() == pipeline.predict(X[:9]).tolist()
    assert np.allclose(probabilities, pipeline.predict_proba(X[:9]), atol=1e-5)
    told = model.description
    assert [(i.name, i.datatype, i.shape) for i in told.inputs] == [("X", "FP32", (-1, 13))]
    assert [(o.name, o.shape) for o in told.outputs] == [
        ("label", (-1,)),
        ("probabilities", (-1, 3)),
    ]
    assert proven["runtime"]["profile"] == "serve"


def test_onnx_takes_columns_where_they_are_declared(tmp_path, made, pipeline):
    names = [f"c{i}" for i in range(13)]
    told = {"inputs": [{"name": n, "type": "number"} for n in names], "classes": ["a", "b", "c"]}
    told["classes"] = [0, 1, 2]
    model, _ = registered(tmp_path, made / "wine.onnx", signature=told)
    assert [c.name for c in model.description.columns] == names
    answer = model.predict(columns(model, X[5].tolist()))
    assert answer.outputs[0].tolist() == pipeline.predict(X[5:6]).tolist()


def test_onnx_with_several_tensors_of_any_rank_and_dynamic_axes(tmp_path):
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 2, "h", "w"])
    scale = helper.make_tensor_value_info("scale", TensorProto.FLOAT, ["n", 1, 1, 1])
    big = helper.make_tensor_value_info("big", TensorProto.FLOAT, ["n", 2, "h", "w"])
    mean = helper.make_tensor_value_info("mean", TensorProto.FLOAT, ["n", 2, 1, 1])
    nodes = [
        helper.make_node("Mul", ["image", "scale"], ["big"]),
        helper.make_node("GlobalAveragePool", ["big"], ["mean"]),
    ]
    graph = helper.make_graph(nodes, "g", [image, scale], [big, mean])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(made)
    (tmp_path / "m.onnx").write_bytes(made.SerializeToString())
    model, _ = registered(tmp_path, tmp_path / "m.onnx")
    pixels = np.arange(2 * 2 * 3 * 4, dtype=np.float32).reshape(2, 2, 3, 4)
    factor = np.array([2, 3], np.float32).reshape(2, 1, 1, 1)
    bigger, means = model.predict((pixels, factor)).outputs
    assert np.array_equal(bigger, pixels * factor)
    assert np.allclose(means[:, :, 0, 0], (pixels * factor).mean(axis=(2, 3)))
    # What varies in the graph varies in the metadata, though the trial had one size of it.
    assert [o.shape for o in model.description.outputs] == [(-1, 2, -1, -1), (-1, 2, 1, 1)]
    assert model.description.batchable


def test_lightgbm_becomes_onnx_with_the_difference_told(tmp_path, made):
    booster = lgb.Booster(model_file=str(made / "wine.txt"))
    model, proven = registered(tmp_path, made / "wine.txt")
    runtime = proven["runtime"]
    assert (runtime["kind"], runtime["format"]) == ("onnx", "lightgbm")
    assert 0 <= runtime["max_abs_diff"] < 1e-4
    assert runtime["compared_rows"] == 500
    for row in X[::20]:
        label, probabilities = model.predict(columns(model, row.tolist())).outputs
        assert np.allclose(probabilities, booster.predict(row[None]), atol=1e-5)
        assert label[0] == probabilities.argmax()


def test_lightgbm_with_names_for_its_classes_is_served_by_lightgbm(tmp_path, made):
    booster = lgb.Booster(model_file=str(made / "wine.txt"))
    told = {"inputs": [], "classes": ["red", "white", "rose"]}
    model, proven = registered(tmp_path, made / "wine.txt", signature=told)
    assert proven["runtime"]["kind"] == "lightgbm"
    assert "names" in proven["runtime"]["reason"]
    assert proven["runtime"]["profile"] == "serve-lightgbm"
    label, probabilities = model.predict(columns(model, X[3].tolist())).outputs
    assert np.array_equal(probabilities, booster.predict(X[3:4]))
    assert label[0] == ["red", "white", "rose"][probabilities.argmax()]


def test_a_pickled_pipeline_becomes_onnx(tmp_path, pipeline):
    joblib.dump(pipeline, tmp_path / "m.joblib")
    model, proven = registered(tmp_path, tmp_path / "m.joblib")
    assert proven["runtime"]["kind"] == "onnx"
    assert proven["runtime"]["max_abs_diff"] < 1e-4
    _, probabilities = model.predict(columns(model, X[0].tolist())).outputs
    assert np.allclose(probabilities, pipeline.predict_proba(X[:1]), atol=1e-5)


def test_an_estimator_that_onnx_cannot_hold_is_served_by_scikit_learn(tmp_path, monkeypatch):
    class Odd(KNeighborsClassifier):
        """No converter knows a subclass."""

    monkeypatch.setitem(globals(), "Odd", Odd)
    Odd.__module__, Odd.__qualname__ = __name__, "Odd"
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(Odd=Odd))
    fitted = Odd().fit(X, Y)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(fitted))
    model, proven = registered(tmp_path, tmp_path / "m.pkl")
    assert proven["runtime"]["kind"] == "native"
    assert proven["runtime"]["profile"] == "serve-sklearn"
    assert proven["runtime"]["reason"]
    label, probabilities = model.predict(columns(model, X[7].tolist())).outputs
    assert label.tolist() == fitted.predict(X[7:8]).tolist()
    assert np.array_equal(probabilities, fitted.predict_proba(X[7:8]))


def test_a_pipeline_over_a_frames_named_columns(tmp_path):
    frame = pd.DataFrame(
        {"city": ["bern", "rome", "oslo"] * 20, "size": np.linspace(0, 9, 60), "old": [1, 2] * 30}
    )
    target = (frame["city"] == "rome") * 3 + frame["size"]
    encode = ColumnTransformer(
        [
            ("c", OneHotEncoder(handle_unknown="ignore"), ["city"]),
            ("n", StandardScaler(), ["size", "old"]),
        ]
    )
    fitted = make_pipeline(encode, Ridge()).fit(frame, target)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(fitted))
    text = frame.head(5).to_csv(index=False)
    model, proven = registered(
        tmp_path, tmp_path / "m.pkl", example={"text": text, "format": "csv"}
    )
    assert proven["runtime"]["kind"] == "onnx", proven["runtime"]["reason"]
    assert [c.type for c in model.description.columns] == ["string", "number", "integer"]
    answer = model.predict(columns(model, ["rome", 2.5, 1]))
    row = pd.DataFrame({"city": ["rome"], "size": [2.5], "old": [1]})
    assert np.allclose(answer.outputs[0], fitted.predict(row), atol=1e-4)


def test_a_class_of_ones_own_with_steps_before_and_after(tmp_path, made):
    model, proven = registered(tmp_path, made / "code", example=rows([{"a": 1.5, "b": 2.0}]))
    assert [(o.name, o.datatype) for o in model.description.outputs] == [
        ("sum", "FP64"),
        ("word", "BYTES"),
    ]
    total, word = model.predict(columns(model, [3.0, 4.0])).outputs
    assert (total.tolist(), word.tolist()) == ([15.0], ["w6"])
    assert proven["runtime"]["profile"] == "serve"
    assert not list((tmp_path / "work").rglob("__pycache__")), "nothing is written beside it"


def test_a_class_that_takes_tensors(tmp_path):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "model.py").write_text(
        "class Model:\n    def predict(self, inputs): return inputs['x'].sum(axis=2)\n"
    )
    tensor = {"name": "x", "shape": [1, 2, 3], "datatype": "INT32", "data": [1, 2, 3, 4, 5, 6]}
    model, _ = registered(tmp_path, folder, example=rows({"inputs": [tensor]}))
    output = model.description.outputs[0]
    assert (output.name, output.datatype, output.shape) == ("prediction", "INT64", (-1, 2))
    assert model.predict((np.ones((4, 2, 3), np.int32),)).outputs[0].tolist() == [[3, 3]] * 4


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("class Model:\n    def predict(self, inputs): return inputs['nope']\n", "nope"),
        ("class Model:\n    def predict(self, inputs): return 1\n", "must count the rows"),
        ("class Model: ...\n", "no class Model with a method predict"),
        ("import no_such_module\nclass Model: ...\n", "needs no_such_module"),
        (
            "class Model:\n    def load(self, folder): 1 / 0\n    def predict(self, i): ...\n",
            "Zero",
        ),
        (
            "class Model:\n    def predict(self, i): raise ValueError('odd')\n",
            "refuses its example",
        ),
    ],
)
def test_code_that_does_not_answer_is_refused_with_words(tmp_path, code, said):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "model.py").write_text(code)
    with pytest.raises(VolantError, match=said):
        registered(tmp_path, folder, example=rows([{"a": 1.0}]))


def test_without_example_or_signature_code_is_refused(tmp_path, made):
    with pytest.raises(InvalidInput, match="Nothing tells what the model takes"):
        registered(tmp_path, made / "code")


def test_a_forest_is_proven_on_rows_like_the_examples(tmp_path):
    fitted = RandomForestClassifier(20, random_state=0).fit(X, np.array(["a", "b", "c"])[Y])
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(fitted))
    model, proven = registered(tmp_path, tmp_path / "m.pkl", example=rows(X[:20].tolist()))
    assert proven["runtime"]["kind"] == "onnx"
    label, probabilities = model.predict(columns(model, X[100].tolist())).outputs
    assert label.tolist() == fitted.predict(X[100:101]).tolist()
    assert np.allclose(probabilities, fitted.predict_proba(X[100:101]), atol=1e-5)


def test_the_wrong_number_of_columns_is_told(tmp_path):
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(LogisticRegression().fit(X[:, :3], Y)))
    with pytest.raises(InvalidInput, match="takes 3 columns; 2 are told"):
        registered(tmp_path, tmp_path / "m.pkl", example=rows([{"a": 1, "b": 2}]))


def graph(path, kind, nodes, inputs, outputs):
    def tensors(all):
        return [helper.make_tensor_value_info(name, kind, shape) for name, shape in all.items()]

    made = helper.make_graph(nodes, "g", tensors(inputs), tensors(outputs))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("labels", [(3, 7), (0, 1), ("no", "yes")])
@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), MLPClassifier((3,), max_iter=5), KNeighborsClassifier(3)]
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_an_onnx_classifiers_classes_are_the_graphs_own(tmp_path, estimator, labels):
    fitted = estimator.fit(X[:, :3], np.where(Y > 0, labels[1], labels[0]))
    options = {"zipmap": False}
    made = to_onnx(fitted, X[:1, :3], options=options).SerializeToString()
    (tmp_path / "m.onnx").write_bytes(made)
    example = rows([{"a": 1.5, "b": 2.5, "c": 3.5}])
    model, _ = registered(tmp_path, tmp_path / "m.onnx", example=example)
    assert model.description.classes == labels
    found = model.predict(columns(model, X[9, :3].tolist())).outputs
    assert found[0].tolist() == [labels[found[1].argmax()]]


def test_an_onnx_label_that_is_a_place_has_places_as_classes(tmp_path):
    label = helper.make_tensor_value_info("label", TensorProto.INT64, [None])
    shares = helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    nodes = [
        helper.make_node("Softmax", ["x"], ["p"]),
        helper.make_node("ArgMax", ["p"], ["label"], axis=1, keepdims=0),
    ]
    made = helper.make_graph(nodes, "g", [taken], [label, shares])
    opset = [helper.make_opsetid("", 18)]
    whole = helper.make_model(made, opset_imports=opset, ir_version=9)
    (tmp_path / "m.onnx").write_bytes(whole.SerializeToString())
    model, _ = registered(tmp_path, tmp_path / "m.onnx", example=rows([{"a": 1, "b": 2}]))
    assert model.description.classes == (0, 1)


def test_an_onnx_label_that_comes_from_nowhere_has_no_made_up_classes(tmp_path):
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 2])
    label = helper.make_tensor_value_info("label", TensorProto.INT64, [None])
    shares = helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 2])
    nodes = [
        helper.make_node("Identity", ["x"], ["p"]),
        helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["label"], to=TensorProto.INT64),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    made = helper.make_graph(nodes, "g", [taken], [label, shares], [axes])
    opset = [helper.make_opsetid("", 18)]
    whole = helper.make_model(made, opset_imports=opset, ir_version=9)
    (tmp_path / "m.onnx").write_bytes(whole.SerializeToString())
    told = {"inputs": [{"name": name, "type": "number"} for name in "ab"]}
    with pytest.raises(InvalidInput, match="doesn't tell the classes"):
        registered(tmp_path, tmp_path / "m.onnx", signature=told)
    (tmp_path / "again").mkdir()
    model, _ = registered(tmp_path / "again", tmp_path / "m.onnx")
    assert model.description.classes is None


def test_onnx_that_could_never_be_asked_is_refused(tmp_path):
    same = helper.make_node("Identity", ["x"], ["y"])
    half = graph(tmp_path / "m.onnx", TensorProto.BFLOAT16, [same], {"x": [None]}, {"y": [None]})
    with pytest.raises(InvalidInput, match="BF16"):
        registered(tmp_path, half)
    value = helper.make_tensor("v", TensorProto.FLOAT, [1], [1])
    fixed = helper.make_node("Constant", [], ["y"], value=value)
    (tmp_path / "again").mkdir()
    alone = graph(tmp_path / "alone.onnx", TensorProto.FLOAT, [fixed], {}, {"y": [1]})
    with pytest.raises(InvalidInput, match="takes no inputs"):
        registered(tmp_path / "again", alone)


@pytest.fixture(scope="module")
def rent(tmp_path_factory):
    """A regression over `floor area` and `rooms`; LightGBM writes `floor_area`."""
    path = tmp_path_factory.mktemp("rent") / "rent.txt"
    names = ["floor area", "rooms"]
    data = lgb.Dataset(X[:, :2], X[:, 0] * 9, feature_name=names)
    settings = {"objective": "regression", "verbosity": -1, "num_threads": 1}
    lgb.train(settings, data, 3).save_model(path)
    return path


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ({"inputs": [{"name": n, "type": "number"} for n in ("rooms", "sqm")]}, "told are rooms"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]}, "tells tensors"),
        ({"inputs": [], "classes": ["a"]}, "tells classes"),
    ],
)
def test_what_a_model_contradicts_is_refused(tmp_path, rent, signature, said):
    with pytest.raises(InvalidInput, match=said):
        registered(tmp_path, rent, signature=signature)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("example", "names"),
    [
        ({"rooms": 2, "price": 7, "floor_area": 70}, ["floor_area", "rooms"]),
        ({"rooms": 2, "floor area": 70}, ["floor area", "rooms"]),
        ({"x0": 70, "x1": 2}, ["floor_area", "rooms"]),
    ],
)
def test_an_examples_columns_are_found_by_the_models_names(tmp_path, rent, example, names):
    model, _ = registered(tmp_path, rent, example=rows([example]))
    assert [column.name for column in model.description.columns] == names


def test_columns_without_names_of_their_own_are_named_by_the_example(tmp_path, made):
    named = {f"c{i}": float(value) for i, value in enumerate(X[0])}
    model, _ = registered(tmp_path, made / "wine.txt", example=rows([named]))
    assert [column.name for column in model.description.columns] == list(named)


def test_an_estimators_own_names_are_no_places(tmp_path):
    table = pd.DataFrame(X[:, :2], columns=["f0", "f1"])
    joblib.dump(Ridge().fit(table, X[:, 0]), tmp_path / "m.joblib")
    with pytest.raises(InvalidInput, match="takes the columns f0, f1; told are a, b"):
        registered(tmp_path, tmp_path / "m.joblib", example=rows([{"a": 1.0, "b": 2.0}]))


def test_made_up_names_that_are_told_in_part_are_no_places(tmp_path, made):
    told = {"inputs": [{"name": f"Column_{i + 1}", "type": "number"} for i in range(13)]}
    with pytest.raises(InvalidInput, match="told are Column_1"):
        registered(tmp_path, made / "wine.txt", signature=told)


def test_half_a_lightgbm_file_is_refused_with_words(tmp_path, made):
    text = (made / "wine.txt").read_text()
    (tmp_path / "half.txt").write_text(text[: len(text) // 2])
    with pytest.raises(InvalidInput, match="is it whole"):
        registered(tmp_path, tmp_path / "half.txt")


def test_xgboost_of_several_targets_is_refused(tmp_path):
    xgb = pytest.importorskip("xgboost")
    data = xgb.DMatrix(X, label=np.column_stack([X[:, 0], X[:, 1]]))
    xgb.train({"nthread": 1, "tree_method": "hist"}, data, 2).save_model(tmp_path / "m.json")
    with pytest.raises(InvalidInput, match="several targets"):
        registered(tmp_path, tmp_path / "m.json")
