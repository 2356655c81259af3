"""The predictor's step: a model becomes a version, the version a deployment, and that an
application. What KServe, Seldon Core and OpenVINO's server do in FuseML, our replicas do."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from volant.adapters.local.joblog import JobLog
from volant.app.sources import Sources
from volant.app.step_place import Place, as_declared
from volant.app.step_rooms import Outputs, Rooms
from volant.app.thawing import thawed
from volant.app.trainer import made_by_step, outside_place
from volant.bounded_yaml import read_yaml
from volant.domain.loop import ReplicaSpec
from volant.domain.run import StepRequest
from volant.domain.tracking import TrackedRun
from volant.errors import InvalidInput, NotFound
from volant.faults import crash_point
from volant.registry.registration import Wishes
from volant.workflows.quantities import cores, memory

_DEPLOY_S = 600.0
_LONGEST_NAME = 63
_OWN = ("mlflow-artifacts:", "runs:", "models:", "artifacts:")
# An engine's name to the flavors of MLmodel that it serves.
_ENGINES: dict[str, tuple[str, ...]] = {
    "sklearn": ("sklearn",),
    "tensorflow": ("tensorflow", "keras"),
    "triton": ("onnx", "tensorflow", "keras", "pytorch"),
    "onnx": ("onnx",),
    "xgboost": ("xgboost",),
    "lightgbm": ("lightgbm",),
    "pytorch": ("pytorch",),
    "huggingface": ("transformers",),
    "mlflow": ("python_function",),
}
# What the originals take and nothing here needs, with why.
_NOT_NEEDED = {
    "runtime_version": "a model is served by the library that made it",
    "ovms_image_tag": "no image is pulled",
    "loader_image": "no image is pulled",
    "prediction_type": "the inference protocol has one verb, infer",
}
_CONVERSION = ("output_format", "input_shape", "batch", "extra_args", "output_model")

Watch = Callable[[str], Callable[[], None]]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A model's files; `made_by` names who of this platform made them, None: nobody."""

    folder: Path
    made_by: str | None = None
    tracked_run: str | None = None
    environment: str = ""  # that made it


class Predictor:
    """Args:
    watch: run id → what raises once the run is cancelled after now.
    """

    def __init__(self, rooms: Rooms, watch: Watch) -> None:
        self._rooms = rooms
        self._watch = watch

    def predict(self, request: StepRequest, place: Place) -> Outputs:
        """Serve the model; returns when it answers."""
        check = self._watch(request.run_id)
        with self._log(request) as tell:
            for name, why in _NOT_NEEDED.items():
                if place.text(name):
                    tell(f"{name} isn't needed: {why}")
            uri = _wanted(place, "model")
            found = self._find(uri, place)
            engine = place.text("predictor", default="auto").lower()
            _check_engine(found.folder, engine)
            name = _app_name(request, place)
            folder = thawed(self._rooms, request, (found.folder, found.environment), tell)
            version, known = self._rooms.desks.registrations.register_folder(
                name, folder, _wishes(found, place), tell
            )
            tell(f"{name} version {version.version}{' is known' if known else ''}")
            crash_point("predictor.registered")
            check()
            url = self._serve(request, place, name, version.version, tell)
            crash_point("predictor.deployed")
            self._record(request, place, name, url)
            tell(f"it answers at {url}")
        return {
            **as_declared(request, url, "prediction-url"),
            "application": name,
            "model": name,
            "version": version.version,
        }

    def convert(self, request: StepRequest, place: Place) -> Outputs:
        """Hand the model on as it is: nothing here runs OpenVINO's form. Whoever serves it
        converts it to ONNX where that is proven the same; TensorFlow's stay as they are."""
        with self._log(request) as tell:
            uri = _wanted(place, "input_model", "model")
            found = self._find(uri, place)
            flavors = ", ".join(_flavors(found.folder)) or "no MLmodel"
            asked = [name for name in _CONVERSION if place.text(name)]
            if asked:
                told = ", ".join(asked)
                tell(f"{told}: not needed, a model is served by ONNX Runtime or its own library")
            tell(f"{uri} ({flavors}) is handed on")
        return as_declared(request, uri, "model")

    # finding

    def _find(self, uri: str, place: Place) -> Found:
        copy = self._rooms.desks.artifact_files.folder(outside_place(uri))
        if copy.exists():  # of another server, whose addresses may look like ours
            found = Found(copy, "the trainer that fetched it")
        elif uri.startswith(_OWN) or "://" in uri:
            found = self._of_ours(uri)
        else:
            path = (place.cwd / uri).resolve()
            inside = any(path.is_relative_to(each.folder.resolve()) for each in place.codesets)
            found = Found(path, "the codeset that it lies in" if inside else None)
        if not found.folder.exists():
            raise NotFound(
                f"There is no model at {uri[:300]}.",
                "Give what a trainer of this platform wrote: mlflow-artifacts:/…, runs:/RUN/PATH,"
                " models:/NAME/VERSION; or a path in the codeset.",
                code="predictor.no_model",
            )
        return found

    def _of_ours(self, uri: str) -> Found:
        rooms = self._rooms
        sources = Sources(rooms.store, rooms.desks.artifact_files, rooms.artifacts)
        folder = sources(uri)
        if uri.startswith("runs:") and not folder.exists():
            folder = self._logged_model(uri, sources) or folder
        run = self._run_of(folder)
        if run is None:
            return Found(folder)
        if not made_by_step(run):
            return Found(folder, None, run.id)
        made_in = run.tags.get("mlflow.project.env", "")
        return Found(folder, f"the run {run.id}", run.id, made_in)

    def _logged_model(self, uri: str, sources: Sources) -> Path | None:
        """MLflow 3 puts a model beside its run; its name is where the path was."""
        run_id, _, name = uri.removeprefix("runs:").strip("/").partition("/")
        experiment = self._rooms.store.tracked_runs.get(run_id).experiment_id
        models = self._rooms.desks.logged_models.of_run(experiment, run_id)
        newest = next((model for model in models if model.name == name), None)
        return sources(newest.artifact_uri) if newest else None

    def _run_of(self, folder: Path) -> TrackedRun | None:
        """The tracked run that logged it, by where it lies: EXPERIMENT/RUN/artifacts/…, or
        EXPERIMENT/models/MODEL/artifacts of a model that names its run."""
        with suppress(ValueError):
            parts = folder.relative_to(self._rooms.home.tracked).parts
            if len(parts) < 3 or parts[2 if parts[1] != "models" else 3] != "artifacts":
                return None
            with suppress(NotFound):
                run_id: str | None = parts[1]
                if parts[1] == "models":
                    run_id = self._rooms.store.logged_models.get(parts[2]).run_id
                return self._rooms.store.tracked_runs.get(run_id) if run_id else None
        return None

    # serving

    def _serve(
        self, request: StepRequest, place: Place, name: str, version: int, tell: Tell
    ) -> str:
        deployments = self._rooms.deployments
        known = next((d for d in deployments.list() if d["name"] == name), None)
        changes = _changes(place, tell)
        if known is not None and known["live_version"] == version and not changes:
            tell(f"version {version} serves already")
            return str(known["infer_url"])
        tell(f"deploying version {version}")
        if changes and known is None:
            deployments.ensure(name, name, ReplicaSpec(**changes))
        elif changes:
            deployments.scale(name, changes, by=f"run {request.run_id}")
        key = f"{request.run_id}:{request.step.name}"
        deployments.deploy(name, name, version, key=key, timeout_s=_DEPLOY_S)
        return str(deployments.get(name)["infer_url"])

    def _record(self, request: StepRequest, place: Place, name: str, url: str) -> None:
        project = place.codesets[0].project if place.codesets else request.project
        self._rooms.workbench.applications.record(
            name,
            type="predictor",
            description=f"Application generated by {request.workflow} workflow",
            url=url,
            workflow=request.workflow,
            project=project,
            deployment=name,
            by=request.started_by,
        )

    @contextmanager
    def _log(self, request: StepRequest) -> Generator[Tell]:
        log = JobLog(request.workdir / "log.jsonl", self._rooms.clock)
        try:
            yield log.note
        finally:
            log.close()


def _wanted(place: Place, *names: str) -> str:
    uri = place.text(*names)
    if not uri:
        raise InvalidInput(
            f"The step has no input {names[0]}.",
            "Give it the trainer's output: '{{ steps.trainer.outputs.NAME }}'.",
            code="predictor.no_model",
        )
    return uri


def _wishes(found: Found, place: Place) -> Wishes:
    return Wishes(
        env=place.text("environment", default="auto"),
        trusted_by=found.made_by,
        tracking_run=found.tracked_run,
    )


def _flavors(folder: Path) -> list[str]:
    try:
        told = read_yaml(folder / "MLmodel")
        return [str(name) for name in cast("Mapping[str, Any]", told["flavors"])]
    except (OSError, ValueError, TypeError, LookupError):
        return []


def _check_engine(folder: Path, engine: str) -> None:
    """Raises `InvalidInput` for an engine that isn't known, or for another flavor."""
    if engine == "auto":
        return
    if engine not in _ENGINES:
        raise InvalidInput(
            f"predictor {engine[:80]!r} isn't known.",
            f"Use auto, or one of: {', '.join(_ENGINES)}.",
            code="predictor.engine",
        )
    flavors, serves = _flavors(folder), _ENGINES[engine]
    if flavors and not set(flavors) & set(serves):
        own = [flavor for flavor in flavors if flavor != "python_function"] or flavors
        fitting = [name for name, told in _ENGINES.items() if set(told) & set(own)]
        raise InvalidInput(
            f"The model is of the flavor {', '.join(own)}; predictor {engine} serves"
            f" {', '.join(serves)}.",
            f"Set predictor to {' or '.join(['auto', *fitting])}.",
            code="predictor.flavor",
            details={"flavors": flavors, "predictor": engine},
        )


def _app_name(request: StepRequest, place: Place) -> str:
    given = place.text("app_name")
    if given:
        return given.lower() if re.fullmatch(r"[A-Za-z0-9_-]+", given) else given
    code = place.codesets[0] if place.codesets else None
    parts = [code.project, code.name, request.workflow] if code else [request.workflow]
    name = re.sub(r"[^a-z0-9_-]+", "-", "-".join(parts).lower()).strip("-_")
    if len(name) > _LONGEST_NAME:
        raise InvalidInput(
            f"{name} can't be an application's name: it has {len(name)} characters.",
            f"Give the step an input app_name of at most {_LONGEST_NAME}.",
            code="predictor.name",
        )
    return name


def _changes(place: Place, tell: Tell) -> dict[str, Any]:
    """How its replicas differ from what is usual: cores and memory of `resources_limits`,
    `min_replicas`, `max_replicas`."""
    changes: dict[str, Any] = {}
    limits = _limits(place.inputs.get("resources_limits"))
    for name, value in limits.items():
        if name in ("cpu", "memory"):
            read, key = (cores, "cpu") if name == "cpu" else (memory, "memory_bytes")
            changes[key] = read(str(value))
            if changes[key] is None:
                raise _bad_limits(f"{name}: {value}")
        else:
            tell(f"resources_limits: {name} isn't given out here; replicas use what there is")
    for name, key in (("min_replicas", "min"), ("max_replicas", "max")):
        text = place.text(name)
        if text and not text.isdecimal():
            raise InvalidInput(f"{name} {text[:40]!r} is no number.", "Give a whole number.")
        if text:
            changes[key] = int(text)
    if changes.get("min", 0) > changes.get("max", 1):
        changes["max"] = changes["min"]
    return changes


def _limits(given: Any) -> Mapping[str, Any]:
    """A mapping, or its text in YAML as in '{cpu: 1000m, memory: 2Gi}'."""
    if isinstance(given, str) and len(given) < 1000:
        with suppress(yaml.YAMLError, RecursionError):
            given = yaml.safe_load(given)
    if given in (None, ""):
        return {}
    if not isinstance(given, Mapping):
        raise _bad_limits(str(given))
    return cast("Mapping[str, Any]", given)


def _bad_limits(told: str) -> InvalidInput:
    return InvalidInput(
        f"resources_limits can't be read: {told[:120]}.",
        "Write it as in '{cpu: 1000m, memory: 2Gi}'.",
        code="predictor.limits",
    )
