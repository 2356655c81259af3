"""FuseML's shape of a project with MLflow itself, in the environment that its conda.yaml
asks for, old pins included; and its models in OpenVINO's form, made by OpenVINO."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest
from onnx import TensorProto, helper
from plain_installation import plain_installation

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2] / "examples"
APP = "mlflow-project-01-mlflow-test-mlflow-e2e"


@pytest.mark.parametrize("plain", [False, True], ids=["", "as `make demo` installs it"])
def test_the_example_is_built_trained_served_and_asked(platforms, tmp_path, plain) -> None:
    platform = platforms()
    if plain:
        python = plain_installation(tmp_path / "venv")
        platform.program = [str(python), "-m", "volant.cli.main"]
    platform.start()
    platform.cli(
        *("codeset", "register", "--name", "mlflow-test", "--project", "mlflow-project-01"),
        ROOT / "codesets" / "mlflow" / "sklearn",
    )
    platform.cli("workflow", "create", ROOT / "workflows" / "mlflow-e2e.yaml")
    run_id = platform.post(
        "/workflows/mlflow-e2e/runs",
        {"project": "mlflow-project-01", "codeset": "mlflow-test"},
    )["id"]
    platform.shell("runs", "show", run_id, "--watch", "--home", str(platform.home), timeout_s=800.0)
    steps = {s["name"]: s for s in platform.get(f"/runs/{run_id}")["state"]["steps"]}
    assert {step["status"] for step in steps.values()} == {"succeeded"}
    changed = [line.partition(" →")[0] for line in steps["builder"]["outputs"]["warnings"]]
    assert changed == ["python=3.6", "scikit-learn==0.23.2"]
    assert set(steps["trainer"]["outputs"]["metrics"]) == {"mae", "r2"}
    url = steps["predictor"]["outputs"]["prediction-url"]
    assert url.endswith(f"/v2/models/{APP}/infer")
    asked = json.loads((ROOT / "prediction" / "data-sklearn.json").read_text())
    answer = httpx.post(url, json=asked, timeout=60).json()
    low, high = answer["outputs"][0]["data"]
    assert 3 < low < high < 9
    version = platform.get(f"/models/{APP}/versions/1")
    assert version["runtime"]["kind"] == "onnx"
    assert version["lineage"]["tracking_run"] == steps["trainer"]["outputs"]["tracked_run"]


BY_NAME = """
import mlflow, mlflow.sklearn, pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import ElasticNet
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

wines = pd.read_csv("wine-quality.csv")
scaled = ColumnTransformer([("scaled", StandardScaler(), ["pH"])], remainder="passthrough")
with mlflow.start_run():
    model = make_pipeline(scaled, ElasticNet(alpha=0.05)).fit(
        wines.drop(columns="quality"), wines["quality"]
    )
    mlflow.log_metric("r2", model.score(wines.drop(columns="quality"), wines["quality"]))
    mlflow.sklearn.log_model(model, "model")
"""


def test_a_model_that_needs_frames_gets_an_environment_with_pandas(platforms, tmp_path) -> None:
    platform = platforms()
    python = plain_installation(tmp_path / "venv")
    platform.program = [str(python), "-m", "volant.cli.main"]
    platform.start()
    code = tmp_path / "code"
    shutil.copytree(ROOT / "codesets" / "mlflow" / "sklearn", code)
    (code / "train.py").write_text(BY_NAME)
    (code / "MLproject").write_text(
        "name: by-name\nconda_env: conda.yaml\nentry_points: {main: {command: python train.py}}\n"
    )
    platform.cli(
        *("codeset", "register", "--name", "mlflow-test", "--project", "mlflow-project-01"), code
    )
    platform.cli("workflow", "create", ROOT / "workflows" / "mlflow-e2e.yaml")
    run_id = platform.post(
        "/workflows/mlflow-e2e/runs",
        {"project": "mlflow-project-01", "codeset": "mlflow-test"},
    )["id"]
    platform.shell("runs", "show", run_id, "--watch", "--home", str(platform.home), timeout_s=800.0)
    steps = {s["name"]: s for s in platform.get(f"/runs/{run_id}")["state"]["steps"]}
    assert {step["status"] for step in steps.values()} == {"succeeded"}, steps["predictor"]
    environment = platform.get(f"/models/{APP}/versions/1")["runtime"]["environment"]
    assert environment["kind"] == "own"
    assert any(line.startswith("pandas") for line in environment["requirements"])
    asked = json.loads((ROOT / "prediction" / "data-sklearn.json").read_text())
    url = steps["predictor"]["outputs"]["prediction-url"]
    low, high = httpx.post(url, json=asked, timeout=60).json()["outputs"][0]["data"]
    assert 3 < low < high < 9


KERAS_TRAIN = """
import mlflow.tensorflow, numpy as np, tensorflow as tf
from tensorflow.keras import layers, models

mlflow.tensorflow.autolog()
with mlflow.start_run():
    rng = np.random.default_rng(0)
    images, labels = rng.random((64, 8, 8, 3), dtype=np.float32), rng.integers(0, 10, 64)
    model = models.Sequential([layers.Input((8, 8, 3)), layers.Conv2D(4, 3, activation="relu"),
                               layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(10)])
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    model.fit(images, labels, epochs=1, verbose=0)
    answer = model(images[:2]).numpy().ravel().tolist()
    mlflow.log_dict({"x": images[:2].ravel().tolist(), "answer": answer}, "told.json")
"""
KERAS = {
    "MLproject": "name: keras\nconda_env: conda.yaml\nentry_points:\n"
    "  main: {command: python train.py}\n",
    "conda.yaml": "dependencies: [pip, {pip: [mlflow, tensorflow]}]\n",
    "train.py": KERAS_TRAIN,
}
# As FuseML's own examples have it.
OVMS = """
name: mlflow-ovms-e2e
inputs:
  - {name: mlflow-codeset, type: codeset}
steps:
  - name: builder
    image: registry.example/fuseml/mlflow-builder:v0.3.0
    inputs:
      - codeset: {name: "{{ inputs.mlflow-codeset }}", path: /project}
    outputs: [{name: image}]
  - name: trainer
    image: "{{ steps.builder.outputs.image }}"
    inputs:
      - codeset: {name: "{{ inputs.mlflow-codeset }}", path: /project}
    outputs: [{name: mlflow-model-url}]
    extensions:
      - {name: mlflow-tracking, product: mlflow, service_resource: mlflow-tracking}
  - name: converter
    image: registry.example/fuseml/ovms-converter:v0.3.0
    inputs:
      - {name: input_model, value: "{{ steps.trainer.outputs.mlflow-model-url }}"}
      - {name: output_model, value: "{{ steps.trainer.outputs.mlflow-model-url }}/ovms"}
      - {name: input_format, value: auto}
      - {name: output_format, value: openvino}
      - {name: batch, value: 1}
    outputs: [{name: ovms-model-url}]
  - name: predictor
    image: registry.example/fuseml/ovms-predictor:v0.3.0
    inputs:
      - {name: model, value: "{{ steps.converter.outputs.ovms-model-url }}"}
      - {name: predictor, value: openvino}
      - codeset: {name: "{{ inputs.mlflow-codeset }}", path: /project}
    outputs: [{name: prediction-url}]
"""
OVMS_ONNX = """
name: onnx-ovms
inputs:
  - {name: code, type: codeset}
steps:
  - name: converter
    image: registry.example/fuseml/ovms-converter:v0.3.0
    inputs:
      - {name: input_model, value: net.onnx}
      - codeset: {name: "{{ inputs.code }}", path: /project}
    outputs: [{name: ovms-model-url}]
  - name: predictor
    image: registry.example/fuseml/ovms-predictor:v0.3.0
    inputs:
      - {name: model, value: "{{ steps.converter.outputs.ovms-model-url }}"}
      - codeset: {name: "{{ inputs.code }}", path: /project}
    outputs: [{name: prediction-url}]
"""


def _net(path: Path) -> None:
    """`y` is the product of `a` and `b`, `more` whether it is over 1: in this order."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["b", "a"], ["y"]),
            helper.make_node("Greater", ["y", "one"], ["more"]),
        ],
        "net",
        [info("b", TensorProto.FLOAT, ["n", 2]), info("a", TensorProto.FLOAT, ["n", 1])],
        [info("y", TensorProto.FLOAT, ["n", 2]), info("more", TensorProto.BOOL, ["n", 2])],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())


def _steps(platform, manifest: str):
    """The outputs of a new workflow's steps on the codeset, all of which succeeded, and
    the converter's log."""
    return _run(platform, platform.post("/workflows", {"source": manifest})["name"])


def _run(platform, name: str):
    wish = {"project": "p", "codeset": "keras"}
    run_id = platform.post(f"/workflows/{name}/runs", wish)["id"]
    words = ("runs", "show", run_id, "--watch", "--home", str(platform.home))
    platform.shell(*words, timeout_s=800.0, code=None)
    steps = {s["name"]: s for s in platform.get(f"/runs/{run_id}")["state"]["steps"]}
    failed = [step["error"] for step in steps.values() if step["status"] != "succeeded"]
    assert not failed, (failed, platform.shell("logs", run_id, "--home", str(platform.home)).out)
    log = platform.home / "runs" / run_id / "converter" / "log.jsonl"
    outputs = {name: step["outputs"] for name, step in steps.items()}
    return outputs, log.read_text() if log.exists() else ""


def _ask(url: str, code: int, *tensors) -> dict:
    answer = httpx.post(url, json={"inputs": tensors}, timeout=60)
    assert answer.status_code == code, answer.text
    return {each["name"]: each for each in answer.json().get("outputs", ())}


@pytest.mark.timeout(1800)
def test_models_are_converted_and_served_by_openvino(platforms, tmp_path: Path) -> None:
    # TensorFlow writes Python into the temporary folder, and leaves it there compiled.
    platform = platforms().start(MLFLOW_DISABLE_TELEMETRY="true", PYTHONDONTWRITEBYTECODE="1")
    code = tmp_path / "keras"
    code.mkdir()
    for name, text in KERAS.items():
        (code / name).write_text(text)
    _net(code / "net.onnx")
    platform.cli("codeset", "register", "--name", "keras", "--project", "p", code)

    outputs, log = _steps(platform, OVMS)
    assert "both answer the same on 9 rows" in log
    assert "batch isn't needed" in log
    address = outputs["converter"]["ovms-model-url"]
    files = platform.home / "tracked" / address.removeprefix("mlflow-artifacts:/")
    assert {"model.xml", "model.bin"} <= {path.name for path in files.iterdir()}
    app = outputs["predictor"]["application"]
    version = platform.get(f"/models/{app}/versions/1")
    assert version["runtime"]["kind"] == "openvino"
    assert version["runtime"]["profile"].startswith("serve-openvino@")
    assert version["lineage"]["tracking_run"] == outputs["trainer"]["tracked_run"]
    assert version["signature"]["tensors"]["inputs"][0]["shape"] == [-1, 8, 8, 3]
    (told,) = (platform.home / "tracked").rglob("told.json")
    expected = json.loads(told.read_text())
    image = {"name": "conv2d_input", "shape": [2, 8, 8, 3], "datatype": "FP32"}
    image["data"] = expected["x"]
    url = outputs["predictor"]["prediction-url"]
    (answer,) = _ask(url, 200, image).values()
    assert (answer["datatype"], answer["shape"]) == ("FP32", [2, 10])
    assert np.allclose(answer["data"], expected["answer"], atol=1e-4)
    _ask(url, 400, {**image, "shape": [2, 3, 8, 8]})
    _ask(url, 400, {**image, "datatype": "FP64"})
    metadata = httpx.get(url.removesuffix("/infer"), timeout=60).json()
    assert metadata["platform"] == "openvino"

    # The same folder by hand.
    words = ("models", "register", files, "--name", "by-hand", "--home", str(platform.home))
    platform.shell(*words, timeout_s=600)
    platform.cli("deploy", "by-hand")
    url = platform.get("/deployments/by-hand")["infer_url"]
    (again,) = _ask(url, 200, image).values()
    assert again["data"] == answer["data"]

    outputs, log = _steps(platform, OVMS_ONNX)
    assert "both answer the same on 9 rows" in log
    found = _ask(
        outputs["predictor"]["prediction-url"],
        200,
        {"name": "a", "shape": [2, 1], "datatype": "FP32", "data": [2, 0.5]},
        {"name": "b", "shape": [2, 2], "datatype": "FP32", "data": [1, 0.25, 1, 4]},
    )
    assert found["y"]["data"] == [2, 0.5, 0.5, 2]
    assert found["more"]["data"] == [True, False, False, True]
    again, log = _run(platform, "onnx-ovms")  # it is taken over, and so is what it made
    assert again["converter"] == outputs["converter"]
    assert not log
