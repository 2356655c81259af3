from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from volant.errors import InvalidInput, NotFound
from volant.evaluation.metrics import score
from volant.training.provenance import environment_hash, folder_hash, own_code_hash
from volant.training.train import train


def saved(table: pa.Table, folder: Path) -> Path:
    pq.write_table(table, folder / "train.parquet")
    return folder / "train.parquet"


def test_a_classifier_on_mixed_columns(
    mixed: Any, train_inputs: Any, context: Any, capsys: Any, tmp_path: Path
) -> None:
    table = mixed(160).drop_columns(["when"])
    answer = train(train_inputs(saved(table, tmp_path), budget_s=1.5), context, score)
    assert answer["metric"] == "log_loss"
    assert answer["metrics"]["cv_log_loss"] < 0.5
    assert answer["params"]["trials"] >= 1
    assert answer["environment_hash"] == environment_hash()
    assert answer["code_hash"] == own_code_hash()
    signature = answer["signature"]
    assert signature["classes"] == ["no", "yes"]
    assert [(c["name"], c["type"], c["nullable"]) for c in signature["inputs"]][:4] == [
        ("size", "number", True),
        ("count", "integer", False),
        ("color", "string", True),
        ("flag", "boolean", True),
    ]
    assert signature["outputs"][0] == {"name": "prediction", "type": "string", "nullable": False}
    folder = Path(answer["model_dir"])
    facts = json.loads((folder / "volant.json").read_text())
    assert facts["runtime"] == answer["runtime"]
    assert facts["runtime"]["kind"] == "onnx"
    session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert {i.name for i in session.get_inputs()} == {
        t["tensor"] for t in facts["runtime"]["inputs"]
    }
    with (folder / "model.pkl").open("rb") as file:
        pipeline = pickle.load(file)
    assert pipeline.predict_proba(table).shape == (160, 2)
    assert "trial   1" in capsys.readouterr().out
    json.dumps(answer)


def test_the_folder_is_an_mlflow_model(
    mixed: Any, train_inputs: Any, context: Any, tmp_path: Path
) -> None:
    table = mixed(80, task="regression")
    inputs = train_inputs(saved(table, tmp_path), task="regression", budget_s=0.2)
    answer = train(inputs, context, score)
    folder = Path(answer["model_dir"])
    assert sorted(p.name for p in folder.iterdir()) == [
        "MLmodel", "conda.yaml", "input_example.json", "model.pkl", "python_env.yaml",
        "requirements.txt", "training_statistics.json", "volant.json",
    ]  # fmt: skip
    assert answer["runtime"]["kind"] == "native"
    assert "timestamps (when)" in answer["runtime"]["reason"]
    model = yaml.safe_load((folder / "MLmodel").read_text())
    assert model["flavors"]["python_function"]["loader_module"] == "mlflow.sklearn"
    assert model["flavors"]["sklearn"]["serialization_format"] == "cloudpickle"
    columns = {c["name"]: c["type"] for c in json.loads(model["signature"]["inputs"])}
    assert columns == {
        "size": "double", "count": "long", "color": "string", "flag": "double",
        "when": "datetime", "label": "string", "empty": "double", "same": "long",
    }  # fmt: skip
    assert "scikit-learn==" in (folder / "requirements.txt").read_text()
    example = json.loads((folder / "input_example.json").read_text())
    assert len(example["data"]) == 3
    assert answer["signature"]["outputs"] == [
        {"name": "prediction", "type": "number", "nullable": False}
    ]


def test_the_pickle_loads_where_volant_isnt_importable(
    bundled: Any, train_inputs: Any, context: Any, tmp_path: Path
) -> None:
    answer = train(train_inputs(saved(bundled("wine"), tmp_path), budget_s=0.2), context, score)
    code = (
        "import sys, pickle, numpy; sys.modules['volant'] = None\n"
        "model = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(model.predict(numpy.zeros((2, 13))).shape, 'volant.training' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, f"{answer['model_dir']}/model.pkl"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == "(2,) False"


@pytest.mark.parametrize(
    ("changes", "words", "fix"),
    [
        ({"metric": "log_los"}, "'log_los' isn't a metric", "Did you mean 'log_loss'"),
        ({"metric": "rmse"}, "'rmse' isn't a metric of classification", "Use one of"),
        ({"target": "targett"}, "no column 'targett'", "Did you mean 'target'"),
        ({"task": "rank"}, "'rank' isn't a task", "classification"),
        ({"call": "train:fit"}, "came without code", "Apply the loop again"),
    ],
)
def test_bad_input_says_what_to_do(
    changes: Any,
    words: str,
    fix: str,
    bundled: Any,
    train_inputs: Any,
    context: Any,
    tmp_path: Path,
) -> None:
    with pytest.raises(InvalidInput) as caught:
        train(train_inputs(saved(bundled("wine"), tmp_path), **changes), context, score)
    assert words in caught.value.what
    assert fix in caught.value.fix


def test_missing_rows(train_inputs: Any, context: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="are gone"):
        train(train_inputs(tmp_path / "none.parquet"), context, score)


# As a zygote does: everything imported first, then a fork for each line of input.
ZYGOTE = """
import json, os, sys
from pathlib import Path
import sklearn, lightgbm, optuna, pyarrow.parquet
from volant.domain.run import StepContext
from volant.evaluation.metrics import score
from volant.training.train import train
for line in sys.stdin:
    inputs, folder, env = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.environ.update(env)
        os.dup2(os.open(folder + "/log", os.O_WRONLY | os.O_CREAT), 1)
        try:
            train(inputs, StepContext("r", "train", 1, Path(folder), Path(folder)), score)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def forked() -> Iterator[Callable[..., int]]:
    """Runs `train` in a fork of a fresh process; gives its exit code."""
    zygote = subprocess.Popen(
        [sys.executable, "-c", ZYGOTE],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def run(inputs: Any, folder: Path, **env: str) -> int:
        folder.mkdir(exist_ok=True)
        assert zygote.stdin is not None
        assert zygote.stdout is not None
        zygote.stdin.write(json.dumps([inputs, str(folder), env]) + "\n")
        zygote.stdin.flush()
        return int(zygote.stdout.readline())

    with zygote:
        yield run
        zygote.communicate()


def test_threads_work_in_a_fork(train_inputs: Any, tmp_path: Path, forked: Any) -> None:
    rng = np.random.default_rng(0)
    table = pa.table({f"c{i}": rng.normal(size=2100) for i in range(50)})
    table = table.append_column("target", pa.array(rng.integers(0, 2, 2100)))
    inputs = train_inputs(saved(table, tmp_path), budget_s=9.0)
    assert forked(inputs, tmp_path / "step") == 0
    assert "boosting" in (tmp_path / "step" / "log").read_text()


def test_killed_at_each_point_the_next_attempt_completes(
    bundled: Any, train_inputs: Any, tmp_path: Path, contexts: Any, forked: Any, capsys: Any
) -> None:
    inputs = train_inputs(saved(bundled("wine"), tmp_path), budget_s=0.3)
    context = contexts("step")
    assert forked(inputs, context.workdir, VOLANT_CRASH_AT="train.fitted") == -9
    assert not (context.workdir / "model").exists()
    assert forked(inputs, context.workdir, VOLANT_CRASH_AT="train.saved") == -9
    uuid = yaml.safe_load((context.workdir / "model" / "MLmodel").read_text())["model_uuid"]
    answer = train(inputs, context, score)
    assert "nothing to do again" in capsys.readouterr().out
    after = yaml.safe_load(Path(answer["model_dir"], "MLmodel").read_text())["model_uuid"]
    assert after == uuid
    train({**inputs, "seed": 5}, context, score)
    changed = yaml.safe_load(Path(answer["model_dir"], "MLmodel").read_text())["model_uuid"]
    assert changed != uuid


def test_a_folder_hash_is_of_names_and_content(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x")
    first = folder_hash(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("noise")
    assert folder_hash(tmp_path) == first
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    second = folder_hash(tmp_path)
    (tmp_path / "b.py").write_text("y")
    assert len({first, second, folder_hash(tmp_path)}) == 3


MLFLOW = """
import json, sys, warnings
import mlflow.pyfunc, mlflow.sklearn, pandas
folder, rows = sys.argv[1], pandas.read_parquet(sys.argv[2])
model = mlflow.pyfunc.load_model(folder)
native = mlflow.sklearn.load_model(folder)
features = rows.drop(columns=["target"])
features["when"] = features["when"].dt.tz_localize(None)  # MLflow takes no other
one, two = list(model.predict(features)), list(native.predict(features))
assert model.input_example is not None
print(json.dumps([one == two, [str(v) for v in one[:50]]]))
"""


@pytest.mark.service
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_mlflow_loads_it(
    task: str, mixed: Any, train_inputs: Any, context: Any, tmp_path: Path
) -> None:
    python = os.environ.get("VOLANT_TEST_MLFLOW_PYTHON")
    if not python:
        pytest.skip("set VOLANT_TEST_MLFLOW_PYTHON to a Python that has mlflow installed")
    table = mixed(80, task=task)
    path = saved(table, tmp_path)
    answer = train(train_inputs(path, task=task, budget_s=0.5), context, score)
    ran = subprocess.run(
        [python, "-c", MLFLOW, answer["model_dir"], str(path)],
        env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    same, shown = json.loads(ran.stdout.splitlines()[-1])
    with Path(answer["model_dir"], "model.pkl").open("rb") as file:
        expected = pickle.load(file).predict(table)[:50]
    assert same
    assert shown == [str(v) for v in expected.tolist()]
