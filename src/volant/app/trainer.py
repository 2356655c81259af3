"""The trainer's step: an entry point of MLproject, run as `mlflow run --env-manager local`
does it, in the environment that a builder made. Nothing of MLflow is needed for it here.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from volant.app.jobs import job_of
from volant.app.step_place import Place, as_declared, with_environment
from volant.app.step_rooms import Outputs, Rooms, outputs_of
from volant.domain.job import Job, JobStatus
from volant.domain.run import StepRequest
from volant.domain.tracking import TrackedRun, TrackingStatus
from volant.errors import NotFound, StepFailed, Unavailable
from volant.faults import crash_point
from volant.training import mlflow_outside
from volant.training.mlproject import (
    EntryPoint,
    arguments_of,
    command_of,
    entry_point,
    parameters_of,
    read_project,
)

URI, TOKEN = "MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN"
_SCHEME = "mlflow-artifacts:"
STEP_TAG = "volant.step"
OUTSIDE = "outside"  # in the folder of tracked artifacts: models of other tracking servers
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0", "::"})  # noqa: S104
_MOST_PARAMS = 100
_LIVES = 64


def made_by_step(run: TrackedRun) -> bool:
    """Whether a trainer's step made this tracked run: nobody else chooses such an id."""
    told = run.tags.get(STEP_TAG, "")
    return any(run.id == _tracked_id(told, life) for life in range(_LIVES)) if told else False


def _tracked_id(step: str, life: int) -> str:
    return hashlib.sha256(f"volant trainer {step} {life}".encode()).hexdigest()[:32]


class Trainer:
    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def train(self, request: StepRequest, place: Place, environment: Path | None) -> Outputs:
        """The address of what was logged as `mlflow_artifact_path`."""
        project = read_project(place.cwd)
        point = entry_point(project, place.text("mlflow_entrypoint", default="main"), place.cwd)
        given = arguments_of(place.text("mlflow_entrypoint_args"))
        values = parameters_of(point, given, place.env, place.cwd)
        command = command_of(point, values)
        experiment = place.text("mlflow_experiment", default=_experiment(request, place))
        wanted = place.text("mlflow_artifact_path", default="model").strip("/")
        own = place.own
        told = place.env.get(URI, "")
        if own is None or (told and not _same_server(told, own.url)):
            wish = {"command": command, "experiment": experiment, "artifact": wanted}
            return self._outside(request, place, environment, wish)
        tracked = self._begin(request, place, point, values, experiment)
        env = {TOKEN: own.token, **place.env, URI: own.url}
        env |= {"MLFLOW_RUN_ID": tracked.id, "MLFLOW_EXPERIMENT_ID": tracked.experiment_id}
        env.pop("MLFLOW_EXPERIMENT_NAME", None)  # the run has one
        job = self._job(request, place, with_environment(env, _bin(environment)), command)
        result = self._rooms.compute.run(job)
        crash_point("trainer.ended")
        self._end(tracked.id, result.status)
        outputs_of(request, result)  # raises what it failed of
        uri = self._logged(request, tracked, wanted)
        return {
            **as_declared(request, uri, "model"),
            "tracked_run": tracked.id,
            "experiment": experiment,
            "metrics": dict(self._rooms.desks.tracked_runs.get(tracked.id).metrics),
        }

    def holds(self, outputs: Outputs) -> bool:
        """Whether the artifacts that the outputs name are still there."""
        files = self._rooms.desks.artifact_files
        own = [str(text) for text in outputs.values() if str(text).startswith(_SCHEME)]
        return all(
            files.list(uri.removeprefix(_SCHEME).lstrip("/")) or files.list(outside_place(uri))
            for uri in own
        )

    def _job(self, request: StepRequest, place: Place, env: Mapping[str, str], command: str) -> Job:
        return job_of(
            request,
            place.inputs,
            command=command,
            profile="command",
            env=env,
            memory_bytes=request.step.memory_bytes,
            cwd=place.cwd,
            cpu=request.step.cpu,
            mask=place.mask,
        )

    # our own tracking

    def _begin(
        self,
        request: StepRequest,
        place: Place,
        point: EntryPoint,
        values: Mapping[str, str],
        experiment: str,
    ) -> TrackedRun:
        """The tracked run of this attempt. One that an earlier life of the attempt left is
        ended: its metrics would be mixed with these."""
        rooms = self._rooms
        step = f"{request.workdir.relative_to(rooms.home.runs).as_posix()}/{request.attempt}"
        for life in range(_LIVES):
            identity = _tracked_id(step, life)
            with suppress(NotFound):
                left = rooms.desks.tracked_runs.get(identity)
                if left.status in (TrackingStatus.RUNNING, TrackingStatus.SCHEDULED):
                    self._end(identity, JobStatus.LOST)
                continue
            break
        else:
            raise Unavailable(f"Step {request.step.name} died {_LIVES} times.", "Look at its log.")
        known = rooms.store.experiments.create(experiment, exist_ok=True)
        user = request.started_by or "volant"
        code = place.codesets[0] if place.codesets else None
        tags = {
            STEP_TAG: step,
            "volant.run": request.run_id,
            "volant.workflow": request.workflow,
            "mlflow.source.type": "PROJECT",
            "mlflow.source.name": code.url or f"{code.project}/{code.name}" if code else "",
            "mlflow.project.entryPoint": point.name,
            "mlflow.project.backend": "local",
            "mlflow.user": user,
        }
        if code is not None:
            tags |= {"mlflow.source.git.commit": code.version}
            tags |= {"mlflow.source.git.repoURL": code.url, "mlflow.gitRepoURL": code.url}
        if request.step.image:
            tags["mlflow.project.env"] = request.step.image
        tracked = rooms.desks.tracked_runs.create(
            known.id,
            name=request.run_id,
            user=user,
            started_at=rooms.clock.now(),
            tags=[(key, value) for key, value in tags.items() if value],
            run_id=identity,
        )
        # As MLflow does: what the entry point is called with are the run's parameters.
        rooms.desks.tracked_runs.log(identity, params=list(values.items())[:_MOST_PARAMS])
        crash_point("trainer.tracked")
        return tracked

    def _end(self, tracked: str, status: JobStatus) -> None:
        killed = status in (JobStatus.CANCELLED, JobStatus.LOST)
        ended = TrackingStatus.KILLED if killed else TrackingStatus.FAILED
        if status is JobStatus.SUCCEEDED:
            ended = TrackingStatus.FINISHED
        self._rooms.desks.tracked_runs.update(
            tracked, status=ended, ended_at=self._rooms.clock.now()
        )

    def _logged(self, request: StepRequest, tracked: TrackedRun, wanted: str) -> str:
        """The address of an artifact of the run, or of a model that it logged by that name:
        MLflow 3 puts these beside the run."""
        desks = self._rooms.desks
        uri = f"{tracked.artifact_uri.rstrip('/')}/{wanted}"
        if desks.artifact_files.list(uri.removeprefix(_SCHEME).lstrip("/")):
            return uri
        models = desks.logged_models.of_run(tracked.experiment_id, tracked.id)
        named = next((model for model in models if model.name == wanted), None)
        if named is not None:
            return named.artifact_uri
        there = [model.name for model in models]
        place = tracked.artifact_uri.removeprefix(_SCHEME).lstrip("/")
        there += [entry.name for entry in desks.artifact_files.list(place)]
        raise StepFailed(
            f"Step {request.step.name} logged no artifact {wanted!r}.",
            f"It logged: {', '.join(sorted(set(there))) or 'nothing'}. Log the model under that"
            " name, or name another with mlflow_artifact_path.",
            code="trainer.no_artifact",
            details={"tracked_run": tracked.id, "logged": sorted(set(there))},
        )

    # somebody else's

    def _outside(
        self,
        request: StepRequest,
        place: Place,
        environment: Path | None,
        wish: Mapping[str, str],
    ) -> Outputs:
        """On the tracking server that an extension or the step's `env` names, through the
        MLflow of the step's own environment. The artifact is fetched, too: what serves it
        has none of these credentials."""
        fetched = request.workdir / "fetched"
        python = environment / "bin" / "python" if environment else Path(sys.executable)
        wrapped = f"exec {shlex.quote(str(python))} {shlex.quote(str(mlflow_outside.__file__))}"
        env = with_environment(place.env, _bin(environment))
        env["VOLANT_OUTSIDE"] = json.dumps({**wish, "fetched": str(fetched)})
        result = self._rooms.compute.run(self._job(request, place, env, wrapped))
        found: Mapping[str, Any] = outputs_of(request, result)
        uri = str(found["uri"])
        with suppress(NotFound):
            self._rooms.desks.artifact_files.delete(outside_place(uri))
        target = self._rooms.desks.artifact_files.folder(outside_place(uri))
        target.parent.mkdir(parents=True, exist_ok=True)
        Path(found["folder"]).rename(target)
        return {
            **as_declared(request, uri, "model"),
            "tracked_run": found["run_id"],
            "experiment": wish["experiment"],
        }


def outside_place(uri: str) -> str:
    """Where the copy of another server's artifact is."""
    return f"{OUTSIDE}/{hashlib.sha256(uri.encode()).hexdigest()[:32]}"


def _experiment(request: StepRequest, place: Place) -> str:
    if place.codesets:
        return f"{place.codesets[0].project}.{place.codesets[0].name}"
    return request.workflow


def _bin(environment: Path | None) -> Path:
    """The folder whose `bin` has the Python to run with: without an environment, ours."""
    return environment or Path(sys.executable).parent.parent


def _same_server(told: str, own: str) -> bool:
    a, b = urlsplit(told), urlsplit(own)
    if (a.hostname, a.port) == (b.hostname, b.port):
        return True
    return a.port == b.port and a.hostname in _LOOPBACK and b.hostname in _LOOPBACK
