"""What users do with MLflow, run by MLflow's own Python against a Volant; prints JSON."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import mlflow
import mlflow.sklearn
import pandas as pd
from mlflow import MlflowClient, MlflowException
from mlflow.entities import Metric
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

X, Y = load_iris(return_X_y=True, as_frame=True)
client = MlflowClient()
found: dict[str, object] = {"version": mlflow.__version__}


def code_of(act) -> str:
    try:
        act()
    except MlflowException as error:
        return error.error_code
    return "none"


def tracking() -> None:
    mlflow.set_experiment("by hand")
    with mlflow.start_run(run_name="parent") as run:
        mlflow.log_params({"depth": 3, "long": "x" * 5000})
        for step, value in enumerate([0.5, 0.4, float("nan"), float("inf")]):
            mlflow.log_metric("rmse", value, step=step)
        mlflow.set_tag("kind", "a")
        with mlflow.start_run(nested=True, run_name="child"):
            mlflow.log_metric("rmse", 0.9)
        mlflow.log_text("hello", "notes/a b.txt")
        mlflow.log_dict({"a": 1}, "facts.json")
        found["changed param"] = code_of(lambda: mlflow.log_param("depth", 4))
    run_id = run.info.run_id
    found["history"] = [str(m.value) for m in client.get_metric_history(run_id, "rmse")]
    found["artifacts"] = sorted(f.path for f in client.list_artifacts(run_id))
    found["text"] = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes/a b.txt")
    child = mlflow.search_runs(
        experiment_names=["by hand"],
        filter_string=f"tags.mlflow.parentRunId = '{run_id}' and metrics.rmse > 0.8",
    )
    found["child"] = child["tags.mlflow.runName"].tolist()
    client.log_batch(run_id, [Metric("b", i, i, i) for i in range(1000)])
    found["batch"] = len(client.get_metric_history(run_id, "b"))
    found["no run"] = code_of(lambda: client.get_run("nothing"))
    found["bad filter"] = code_of(lambda: client.search_runs(["0"], "metrics.a ~ 3"))


def models() -> None:
    mlflow.set_experiment("models")
    mlflow.sklearn.autolog(log_datasets=True)
    with mlflow.start_run() as run:
        model = LogisticRegression(max_iter=200).fit(X, Y)
    mlflow.sklearn.autolog(disable=True)
    found["autologged"] = sorted(client.get_run(run.info.run_id).data.metrics)[:2]
    name = "Iris flowers"
    with mlflow.start_run():
        named = "name" if mlflow.__version__ >= "3" else "artifact_path"
        info = mlflow.sklearn.log_model(model, **{named: "model"}, input_example=X.head(2))
    version = mlflow.register_model(info.model_uri, name).version
    client.set_registered_model_alias(name, "best", version)
    loaded = mlflow.pyfunc.load_model(f"models:/{name}@best")
    found["same"] = bool((loaded.predict(X) == model.predict(X)).all())
    found["twice"] = code_of(lambda: client.create_registered_model(name))
    found["elsewhere"] = code_of(lambda: client.create_model_version(name, "file:///etc"))
    evaluate = getattr(mlflow.models, "evaluate", None) or mlflow.evaluate
    with mlflow.start_run():
        result = evaluate(
            info.model_uri,
            pd.concat([X, Y.rename("y")], axis=1),
            targets="y",
            model_type="classifier",
            evaluator_config={"log_model_explainability": False},
        )
    found["evaluated"] = round(result.metrics["accuracy_score"], 2)


def large() -> None:
    """Above the threshold a 3.x client sends parts, several at once."""
    content = os.urandom(21_000_000)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "large.bin")
        file.write_bytes(content)
        with mlflow.start_run() as run:
            mlflow.log_artifact(str(file), "deep")
        back = mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id, artifact_path="deep/large.bin", dst_path=folder
        )
        found["large"] = Path(back).read_bytes() == content


def boosters() -> None:
    import lightgbm
    import mlflow.lightgbm

    mlflow.set_experiment("boosters")
    mlflow.lightgbm.autolog(log_datasets=False)
    with mlflow.start_run() as run:
        data = lightgbm.Dataset(X, Y)
        params = {"objective": "multiclass", "num_class": 3, "num_threads": 1, "verbose": -1}
        lightgbm.train(params, data, 5, valid_sets=[data], valid_names=["train"])
    history = client.get_metric_history(run.info.run_id, "train-multi_logloss")
    found["boosted"] = len(history)
    mlflow.lightgbm.autolog(disable=True)


def networks() -> None:
    import mlflow.pytorch
    import torch

    with mlflow.start_run():
        net = torch.nn.Linear(4, 3)
        info = mlflow.pytorch.log_model(
            net, name="net", input_example=X.head(2).to_numpy("float32")
        )
    back = mlflow.pytorch.load_model(info.model_uri)
    found["net"] = bool((back.weight == net.weight).all())


def project() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "MLproject").write_text(
            "name: demo\nentry_points:\n  main:\n    parameters:\n"
            "      depth: {type: float, default: 3}\n    command: python train.py {depth}\n"
        )
        Path(folder, "train.py").write_text(
            "import sys, mlflow\nwith mlflow.start_run():\n"
            "    mlflow.log_param('given', sys.argv[1])\n"
        )
        command = ["mlflow", "run", folder, "--env-manager", "local", "-P", "depth=5"]
        subprocess.run(
            [*command, "--experiment-name", "project"],
            check=True,
            stdout=subprocess.DEVNULL,
            # set_experiment leaves its own there for children
            env={k: v for k, v in os.environ.items() if k != "MLFLOW_EXPERIMENT_ID"},
        )
    runs = mlflow.search_runs(experiment_names=["project"], filter_string="params.given LIKE '5%'")
    found["project"] = len(runs)


tracking()
models()
large()
boosters()
if mlflow.__version__ >= "3":
    networks()
project()
print(json.dumps(found))
