"""MLflow's workspaces, used by MLflow's own Python against a Volant; prints JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mlflow
import mlflow.sklearn
from mlflow import MlflowClient, MlflowException
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

RED, BLUE = "red-team", "blue-team"
X, Y = load_iris(return_X_y=True, as_frame=True)
client = MlflowClient()
found: dict[str, object] = {}


def code_of(act) -> str:
    try:
        act()
    except MlflowException as error:
        return error.error_code
    return "none"


def workspaces() -> None:
    found["at first"] = [each.name for each in mlflow.list_workspaces()]
    made = mlflow.create_workspace(RED, description="reds")
    mlflow.create_workspace(BLUE)
    found["made"] = (made.name, made.description, made.default_artifact_root)
    found["twice"] = code_of(lambda: mlflow.create_workspace(RED))
    found["changed"] = mlflow.update_workspace(RED, description="red ones").description
    found["got"] = mlflow.get_workspace(RED).description
    found["root"] = code_of(
        lambda: mlflow.update_workspace(RED, default_artifact_root="s3://elsewhere")
    )
    found["default again"] = code_of(lambda: mlflow.create_workspace("default"))
    found["listed"] = [each.name for each in mlflow.list_workspaces()]
    mlflow.set_workspace("no-team")
    found["nowhere"] = code_of(client.search_experiments)
    mlflow.set_workspace(None)


def runs() -> None:
    ids = []
    for workspace in (None, RED, BLUE):
        mlflow.set_workspace(workspace)
        ids.append(client.create_experiment("wine"))
    found["one name"] = len(set(ids))
    found["in blue"] = [each.name for each in client.search_experiments()]
    mlflow.set_workspace(RED)
    mlflow.set_experiment("wine")
    with mlflow.start_run() as run:
        mlflow.log_metric("rmse", 0.5)
        mlflow.log_text("hello", "notes/a.txt")
    found["text"] = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/notes/a.txt")
    found["artifacts"] = [each.path for each in client.list_artifacts(run.info.run_id)]
    found["found"] = len(mlflow.search_runs(experiment_names=["wine"]))
    found["its place"] = f"/workspaces/{RED}/" in run.info.artifact_uri
    for name, workspace in (("default", None), ("blue", BLUE)):
        mlflow.set_workspace(workspace)
        found[f"runs in {name}"] = len(mlflow.search_runs(search_all_experiments=True))
        found[f"from {name}"] = code_of(lambda: client.get_run(run.info.run_id))
        found[f"to {name}"] = code_of(lambda: client.log_metric(run.info.run_id, "x", 1))


def no_experiment_named() -> None:
    """In another process: its workspace comes by the environment alone."""
    code = (
        "import mlflow\nwith mlflow.start_run() as run: mlflow.log_param('a', 1)\n"
        "print(mlflow.get_experiment(run.info.experiment_id).name,"
        " len(mlflow.search_runs()), run.info.experiment_id != '0')"
    )
    kept = {k: v for k, v in os.environ.items() if k != "MLFLOW_EXPERIMENT_ID"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "MLFLOW_WORKSPACE": BLUE},
        check=True,
        capture_output=True,
        text=True,
    )
    found["unnamed"] = done.stdout.splitlines()[-1]


def models() -> None:
    mlflow.set_workspace(RED)
    mlflow.set_experiment("models")
    mlflow.sklearn.autolog()
    with mlflow.start_run():
        model = LogisticRegression(max_iter=200).fit(X, Y)
    mlflow.sklearn.autolog(disable=True)
    with mlflow.start_run():
        info = mlflow.sklearn.log_model(
            model, name="model", input_example=X.head(2), registered_model_name="Iris"
        )
    client.set_registered_model_alias("Iris", "best", 1)
    loaded = mlflow.pyfunc.load_model("models:/Iris@best")
    found["same"] = bool((loaded.predict(X) == model.predict(X)).all())
    found["logged"] = len(mlflow.search_logged_models(output_format="list"))
    found["registered"] = [each.name for each in client.search_registered_models()]
    mlflow.set_workspace(BLUE)
    found["in blue too"] = [each.name for each in client.search_registered_models()]
    found["the name"] = code_of(lambda: client.create_registered_model("Iris"))
    found["the model"] = code_of(lambda: mlflow.pyfunc.load_model("models:/Iris@best"))
    found["its source"] = code_of(
        lambda: [
            client.create_registered_model("Blue"),
            client.create_model_version("Blue", info.model_uri),
        ]
    )


def large() -> None:
    """Above the threshold the client sends parts, several at once."""
    mlflow.set_workspace(RED)
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


def the_end() -> None:
    mlflow.set_workspace(None)
    found["full"] = code_of(lambda: mlflow.delete_workspace(RED))
    found["with models"] = code_of(lambda: mlflow.delete_workspace(RED, mode="CASCADE"))
    found["moved"] = code_of(lambda: mlflow.delete_workspace(RED, mode="SET_DEFAULT"))
    mlflow.set_workspace(RED)
    client.delete_registered_model("Iris")
    mlflow.set_workspace(None)
    mlflow.delete_workspace(RED, mode="CASCADE")
    found["at last"] = [each.name for each in mlflow.list_workspaces()]


workspaces()
runs()
no_experiment_named()
models()
large()
the_end()
print(json.dumps(found))
