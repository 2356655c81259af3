"""Predictions over whole files and datasets: what starts them, and their step's two halves."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from volant.domain.dataset import Push, PushStatus
from volant.domain.model import ModelVersion
from volant.domain.run import TERMINAL, Run, RunState, RunStatus
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.errors import Conflict, InvalidInput, NotFound
from volant.ports.clock import Clock
from volant.registry.desk import ModelDesk
from volant.serving.desk import servable
from volant.store import Store
from volant.workflows.desk import RunDesk

DATASET = "dataset:"
REJECTED = ".rejected"  # what the file of the rows that can't be used is called, behind the output
_MOST_TIMES = 1000  # one request may have been done and its output deleted this often
_INPUTS = (
    "input",
    "output",
    "table_version",
    "chunk_rows",
    "format",
    "only",
    "strict",
    "overwrite",
)
_FLAGS = ("only", "strict", "overwrite")
_WORDS = {"true": True, "false": False, "": False}
CHUNK_ROWS = 50_000
_NEWEST = 200  # runs; those under way are among them

Deliver = Callable[[str, Path, str], Push]


class Batches:
    """`start` makes runs of one step, `batch`, whose inputs `resolve` completes.

    Args:
    lanes: How many of those that fill datasets may be under way at once, at most. Each waits
        for the run of its push, which must find a place: fewer than the engine's.
    """

    def __init__(
        self, store: Store, models: ModelDesk, runs: RunDesk, clock: Clock, lanes: int = 1
    ) -> None:
        self._lanes = lanes
        self._store = store
        self._models = models
        self._runs = runs
        self._clock = clock

    def start(self, name: str, request: Mapping[str, Any], by: str) -> dict[str, Any]:
        """The run that predicts `request`'s input with `name`, a deployment or a model:
        {state, run}. The same request again is the same run, resumed if it had stopped.

        Raises `NotFound`, `InvalidInput` and `Conflict` for what can't begin.
        """
        model = servable(version_of(self._store, self._models, name, request.get("version")))
        inputs = with_table_version(self._store, dict(request))
        check_paths(inputs)
        told = {key: inputs.get(key) for key in _INPUTS}
        told |= {"name": model.model, "version": str(model.version)}
        facts = json.dumps([told, _mark(told)], sort_keys=True, default=str)
        key = hashlib.sha256(facts.encode()).hexdigest()[:16]
        for number in range(1, _MOST_TIMES):
            run_id = f"batch-{key}-{number}"
            found = self._known(run_id)
            if found is None:
                _check_output(told)
                return {"state": "started", "run": self._begin(run_id, name, told, by)}
            run, state = found
            if state.status in (RunStatus.FAILED, RunStatus.CANCELLED):
                self._runs.resume(run_id)
                return {"state": "resumed", "run": run}
            if state.status is not RunStatus.SUCCEEDED:
                return {"state": "running", "run": run}
            if self._is_there(str(told["output"]), state) and not told["overwrite"]:
                return {"state": "done", "run": run}
        raise Conflict("This batch was done too often.", "Give it another output.")

    def using(self, model: str, version: int | None) -> str | None:
        """The batch under way that predicts with this version of a model (None: with any),
        as words; None when there is none among the newest runs."""
        newest, _ = self._runs.page(_NEWEST)
        for run, state in newest:
            inputs = run.workflow.inputs
            mine = run.id.startswith("batch-") and inputs.get("name") == model
            meant = version is None or inputs.get("version") == str(version)
            if mine and meant and state.status not in TERMINAL:
                return f"The run {run.id}"
        return None

    def _is_there(self, output: str, state: RunState) -> bool:
        """Whether what a run that succeeded has written is still there: the file, or for a
        dataset the push that it took; none, where no row was predicted."""
        if not output.startswith(DATASET):
            return Path(output).exists()
        push = next((s.outputs["push"] for s in state.steps if s.outputs.get("push")), None)
        if push is None:
            return True
        try:
            return self._store.pushes.get(push).status is PushStatus.COMMITTED
        except NotFound:
            return False

    def _known(self, run_id: str) -> tuple[Run, RunState] | None:
        try:
            self._store.runs.get(run_id)
        except NotFound:
            return None
        return self._runs.get(run_id)

    def _begin(self, run_id: str, name: str, told: Mapping[str, Any], by: str) -> Run:
        step = StepSpec(
            name="batch", uses="batch", inputs={key: f"{{{{ inputs.{key} }}}}" for key in told}
        )
        return self._runs.start(
            Run(
                id=run_id,
                workflow=WorkflowSpec(name=f"batch-{name}", steps=(step,), inputs=dict(told)),
                created_at=self._clock.now(),
                trigger=f"by {by}",
                queue_key=self._queue(str(told["output"])),
            )
        )

    def _queue(self, output: str) -> str:
        """One output is written by one run at a time."""
        if not output.startswith(DATASET):
            return f"batch/{output}"
        return f"batch/{DATASET}{zlib.crc32(output.encode()) % self._lanes}"


def version_of(store: Store, models: ModelDesk, name: str, version: str | None) -> ModelVersion:
    """A model's version by number or alias; what is live or champion when it is None.
    `name` may be a deployment's."""
    model, live = name, None
    found = next((d for d in store.deployments.list() if d.name == name), None)
    if found is not None:
        model, live = found.model, found.live_version
    if version is not None:
        return models.get(model, str(version).removeprefix("@"))
    if live is not None:
        return models.get(model, live)
    return models.get(model, "champion")


def as_typed(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The step's inputs with their types: a manifest's are text. Raises `InvalidInput`."""
    found = dict(inputs)
    for name in ("name", "input", "output"):
        if not found.get(name):
            raise InvalidInput(
                f"A batch needs the input {name}.",
                "Give it name, input and output.",
                code="batch_input",
            )
    for name in _FLAGS:
        text = found.get(name)
        if isinstance(text, str):
            if text.lower() not in _WORDS:
                raise InvalidInput(f"{name} can't be {text[:80]!r}.", "Write true or false.")
            found[name] = _WORDS[text.lower()]
    return found


def with_table_version(store: Store, inputs: dict[str, Any]) -> dict[str, Any]:
    """`inputs` with the table's own number of an input dataset's version, the newest one's
    when none is named."""
    if inputs.get("table_version") is not None or not str(inputs["input"]).startswith(DATASET):
        return inputs
    name, _, wanted = str(inputs["input"]).removeprefix(DATASET).partition("@")
    dataset = store.datasets.get(name)
    if wanted and not wanted.removeprefix("v").isdigit():
        raise InvalidInput(f"{wanted!r} is no version of a dataset.", "Give a number.")
    number = int(wanted.removeprefix("v")) if wanted else dataset.latest_version
    if number is None:
        raise NotFound(f"The dataset {name} has no data yet.", "Push some first.")
    return {**inputs, "table_version": store.versions.get(name, number).table_version}


def _mark(told: Mapping[str, Any]) -> list[Any]:
    """A changed input is another batch."""
    if str(told["input"]).startswith(DATASET):
        return []
    facts = Path(told["input"]).stat()
    return [facts.st_size, facts.st_mtime_ns]


def check_paths(inputs: Mapping[str, Any]) -> None:
    """Raises `InvalidInput` for an input or output that can't be one."""
    for what in ("input", "output"):
        given = str(inputs[what])
        if not given.startswith(DATASET) and not Path(given).is_absolute():
            raise InvalidInput(
                f"The {what} {given!r} isn't an absolute path.",
                "Give a whole path on the server's machine, or dataset:NAME.",
            )
    source = str(inputs["input"])
    if not source.startswith(DATASET) and not Path(source).is_file():
        raise InvalidInput(
            f"There is no file {source} on the server's machine.",
            "Check the path, or push the data and name it: dataset:NAME.",
            code="batch_input",
        )


def _check_output(told: Mapping[str, Any]) -> None:
    output = str(told["output"])
    if output.startswith(DATASET):
        return
    if not Path(output).parent.is_dir():
        raise InvalidInput(f"There is no folder {Path(output).parent}.", "Make it first.")
    if told["overwrite"]:
        return
    for path in (output, output + REJECTED):
        if Path(path).exists():
            raise Conflict(
                f"{path} is there already.",
                "Give another output, or --overwrite.",
                code="batch_output_exists",
            )
