"""The model that a step is given: where its files are, and who made them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from volant.app.sources import Sources
from volant.app.step_place import Place
from volant.app.step_rooms import Rooms
from volant.app.trainer import made_by_step, outside_place
from volant.bounded_yaml import read_yaml
from volant.domain.tracking import TrackedRun
from volant.errors import InvalidInput, NotFound
from volant.formats.detect import detect

_OWN = ("mlflow-artifacts:", "runs:", "models:", "artifacts:")

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Found:
    """A model's files; `made_by` names who of this platform made them, None: nobody."""

    folder: Path
    made_by: str | None = None
    tracked_run: str | None = None
    environment: str = ""  # that made it


def wanted(place: Place, *names: str) -> str:
    """The address in the first of these inputs that is given."""
    uri = place.text(*names)
    if not uri:
        raise InvalidInput(
            f"The step has no input {names[0]}.",
            "Give it the trainer's output: '{{ steps.trainer.outputs.NAME }}'.",
            code="predictor.no_model",
        )
    return uri


def find(rooms: Rooms, uri: str, place: Place) -> Found:
    """Raises `NotFound` for an address that leads nowhere."""
    copy = rooms.desks.artifact_files.folder(outside_place(uri))
    if copy.exists():  # of another server, whose addresses may look like ours
        found = Found(copy, "the trainer that fetched it")
    elif uri.startswith(_OWN) or "://" in uri:
        found = _of_ours(rooms, uri)
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


def flavors_of(folder: Path) -> list[str]:
    """What MLmodel names; without one, whether it is in OpenVINO's form."""
    with suppress(OSError, ValueError, TypeError, LookupError):
        told = read_yaml(folder / "MLmodel")
        return [str(name) for name in cast("Mapping[str, Any]", told["flavors"])]
    with suppress(OSError, InvalidInput):
        return ["openvino"] if detect(folder).format == "openvino" else []
    return []


def _of_ours(rooms: Rooms, uri: str) -> Found:
    sources = Sources(rooms.store, rooms.desks.artifact_files, rooms.artifacts)
    folder = sources(uri)
    if uri.startswith("runs:") and not folder.exists():
        folder = _logged_model(rooms, uri, sources) or folder
    run = _run_of(rooms, folder)
    if run is None:
        return Found(folder)
    if not made_by_step(run):
        return Found(folder, None, run.id)
    made_in = run.tags.get("mlflow.project.env", "")
    return Found(folder, f"the run {run.id}", run.id, made_in)


def _logged_model(rooms: Rooms, uri: str, sources: Sources) -> Path | None:
    """MLflow 3 puts a model beside its run; its name is where the path was."""
    run_id, _, name = uri.removeprefix("runs:").strip("/").partition("/")
    experiment = rooms.store.tracked_runs.get(run_id).experiment_id
    models = rooms.desks.logged_models.of_run(experiment, run_id)
    newest = next((model for model in models if model.name == name), None)
    return sources(newest.artifact_uri) if newest else None


def _run_of(rooms: Rooms, folder: Path) -> TrackedRun | None:
    """The tracked run that logged it, by where it lies: EXPERIMENT/RUN/artifacts/…, or
    EXPERIMENT/models/MODEL/artifacts of a model that names its run."""
    with suppress(ValueError):
        parts = folder.relative_to(rooms.home.tracked).parts
        if len(parts) < 3 or parts[2 if parts[1] != "models" else 3] != "artifacts":
            return None
        with suppress(NotFound):
            run_id: str | None = parts[1]
            if parts[1] == "models":
                run_id = rooms.store.logged_models.get(parts[2]).run_id
            return rooms.store.tracked_runs.get(run_id) if run_id else None
    return None
