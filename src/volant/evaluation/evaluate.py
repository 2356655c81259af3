"""The `evaluate` step: challenger and champion on the frozen holdout, then the gate."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from volant.domain.run import StepContext
from volant.errors import Conflict, InvalidInput, NotFound, StepFailed, VolantError
from volant.evaluation.gate import Champion, decide, gate_from
from volant.evaluation.metrics import Judged, scores
from volant.evaluation.scoring import LoadedModel, load_model
from volant.evaluation.served import Open
from volant.evaluation.slices import groups_of
from volant.faults import crash_point


def evaluate(
    inputs: Mapping[str, Any], context: StepContext, opener: Open | None = None
) -> dict[str, Any]:
    """Decide whether the challenger may replace the champion.

    Inputs: model_dir, champion_dir | None, champion_version | None, holdout_path,
    holdout_sha256, target, task, metric, gate (a `GateSpec` as a dict), seed.
    Outputs: metrics, champion_metrics | None, rules, passed, reason, and `slices`, the
    metrics on each group of rows that the gate looks at. `opener` opens a model
    that has no pickled pipeline, as a replica does.

    Raises:
        NotFound: the holdout isn't there.
        Conflict: the holdout's content isn't what was frozen.
        InvalidInput: the challenger can't be loaded, or a rule names no metric of the task.
        StepFailed: the challenger can't predict the holdout.
    """
    del context  # pure: nothing is written, so an attempt can be repeated freely
    holdout = _holdout(Path(inputs["holdout_path"]), str(inputs["holdout_sha256"]))
    target = str(inputs["target"])
    challenger = load_model(Path(inputs["model_dir"]), opener)
    judged = _judge_challenger(challenger, holdout, target)
    champion = _champion(inputs, holdout, target, opener)
    gate = gate_from(inputs["gate"])
    groups = {rule.by: groups_of(holdout, rule.by) for rule in gate.slices}
    verdict = decide(gate, str(inputs["metric"]), judged, champion, int(inputs["seed"]), groups)
    metrics = scores(judged)
    for rule in verdict.rules:
        said = "holds" if rule["passed"] else "does not hold"
        print(f"gate rule {said}: {rule['reason']}", flush=True)  # noqa: T201
    theirs = champion.judged if champion is not None else None
    crash_point("evaluate.decided")
    return {
        "metrics": metrics,
        "champion_metrics": None if theirs is None else scores(theirs),
        "rules": list(verdict.rules),
        "passed": verdict.passed,
        "reason": verdict.reason,
        "slices": {name: dict(values) for name, values in verdict.slices.items()},
    }


def _holdout(path: Path, sha256: str) -> pa.Table:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(
            f"The frozen holdout {path} is gone.",
            "Restore it from a backup, or delete the loop's holdout folder to freeze a new one "
            "at the next run.",
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise Conflict(
            f"The frozen holdout {path} was altered: its SHA-256 is {found[:12]}…, "
            f"not {sha256[:12]}….",
            "Restore it from a backup, or delete the loop's holdout folder to freeze a new one "
            "at the next run.",
            code="holdout_altered",
        )
    return pq.read_table(pa.BufferReader(content))


def _judge_challenger(model: LoadedModel, holdout: pa.Table, target: str) -> Judged:
    try:
        return model.judge(holdout, target)
    except VolantError:
        raise
    except Exception as error:  # the model may be a user's own code
        raise StepFailed(
            f"The new model can't predict the holdout: {type(error).__name__}: {error}",
            "Make its predict accept the columns that the training data has.",
        ) from error


def _champion(
    inputs: Mapping[str, Any], holdout: pa.Table, target: str, opener: Open | None
) -> Champion | None:
    folder = inputs.get("champion_dir")
    if not folder:
        return None
    version = inputs.get("champion_version")
    name = f"v{version}" if version is not None else "the current one"
    task = str(inputs["task"])
    try:
        model = load_model(Path(folder), opener)
    except InvalidInput as error:
        return Champion(name, task, problem=error.what)
    if model.task != task:
        return Champion(name, model.task)
    absent = model.missing_columns(holdout)
    note = f"{name} had no values for {', '.join(absent)}" if absent else ""
    try:
        return Champion(name, task, model.judge(holdout, target), note=note)
    except Exception as error:  # the model may be a user's own code
        return Champion(name, task, problem=f"{type(error).__name__}: {error}")
