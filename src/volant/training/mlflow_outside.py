"""Runs a project's command as a run of another tracking server, with the MLflow of the
environment that this program is started in. It knows no Volant."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    """What to do stands in VOLANT_OUTSIDE; the run's id, the artifact's address and the
    folder with a copy of it go to VOLANT_OUTPUTS."""
    try:
        import mlflow  # type: ignore[import-not-found]  # pyright: ignore
    except ImportError:
        _say("The environment has no mlflow, which the other tracking server needs.")
        return 1
    told: dict[str, str] = json.loads(os.environ.pop("VOLANT_OUTSIDE"))
    client: Any = mlflow.tracking.MlflowClient()  # pyright: ignore
    found = client.get_experiment_by_name(told["experiment"])
    experiment = found.experiment_id if found else client.create_experiment(told["experiment"])
    run = client.create_run(experiment)
    os.environ["MLFLOW_RUN_ID"] = run.info.run_id
    os.environ["MLFLOW_EXPERIMENT_ID"] = experiment
    code = subprocess.call(["/bin/sh", "-c", told["command"]])
    client.set_terminated(run.info.run_id, "FINISHED" if code == 0 else "FAILED")
    if code != 0:
        return code
    uri, source = _artifact(client, run.info.run_id, told["artifact"])
    folder = Path(told["fetched"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    copy = mlflow.artifacts.download_artifacts(artifact_uri=source, dst_path=str(folder))  # pyright: ignore
    target = Path(os.environ["VOLANT_OUTPUTS"])
    part = target.with_name(target.name + ".part")
    part.write_text(json.dumps({"uri": uri, "run_id": run.info.run_id, "folder": str(copy)}))  # pyright: ignore
    part.replace(target)
    return 0


def _artifact(client: Any, run_id: str, name: str) -> tuple[str, str]:
    """(its address, what downloads it): of the run, or of a model beside it (MLflow 3)."""
    run = client.get_run(run_id)
    uri = f"{run.info.artifact_uri.rstrip('/')}/{name}"
    if any(entry.path == name for entry in client.list_artifacts(run_id)):
        return uri, uri
    for model in getattr(getattr(run, "outputs", None), "model_outputs", None) or ():
        logged = client.get_logged_model(model.model_id)
        if logged.name == name:
            return logged.artifact_location, f"models:/{model.model_id}"
    return uri, uri


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the step's log


if __name__ == "__main__":
    sys.exit(main())
