"""The `split` step: a table's rows into the frozen holdout and the training rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from volant.domain.run import StepContext
from volant.errors import Conflict, InvalidInput
from volant.faults import crash_point
from volant.ports.tables import Tables
from volant.training.files import write_over
from volant.training.holdout import Holdout, HoldoutFacts, choose, find_holdout, freeze
from volant.training.rowhash import row_hashes
from volant.training.schema import (
    classes_of,
    features_of,
    infer_task,
    joined,
    labels_of,
    require_target,
    target_of,
    without_null_target,
)

_FEWEST_ROWS = 20
_TASKS = ("classification", "regression")


def split(inputs: Mapping[str, Any], tables: Tables, context: StepContext) -> dict[str, Any]:
    """Freeze the holdout at a loop's first run; give all other rows to training.

    Inputs: loop, dataset, table_version, target, holdout (fraction), seed,
    holdout_dir, task | None. Outputs: train_path, train_rows, holdout_path,
    holdout_sha256, holdout_rows, task, classes | None.

    A row whose features equal a held-out row's is in no training set, whatever its
    target, in this version or a later one.

    Raises:
        InvalidInput: the target is missing, all null or of one class, the rows are
            too few, or an option is out of range.
        Conflict: the holdout was altered, or frozen for another target.
    """
    dataset, target = str(inputs["dataset"]), str(inputs["target"])
    _check_options(inputs)
    rows = tables.read(dataset, version=int(inputs["table_version"]))
    require_target(rows, target, dataset)
    rows = _usable_rows(rows, target, dataset)
    frozen = find_holdout(Path(inputs["holdout_dir"]))
    if frozen is not None and frozen.facts.target != target:
        raise Conflict(
            f"The holdout of loop {inputs['loop']!r} was frozen for the target "
            f"{frozen.facts.target!r}, not {target!r}.",
            f"Give the loop another name, or delete the folder {inputs['holdout_dir']}.",
            code="holdout_of_other_target",
        )
    task = infer_task(rows.column(target), _task_wanted(inputs, frozen))
    check_target(rows, target, task)
    features_of(rows, target)
    if frozen is None:
        frozen = _freeze(inputs, rows, task)
    crash_point("split.frozen")
    return _answer(frozen, rows, target, task, context)


def _answer(
    frozen: Holdout, rows: pa.Table, target: str, task: str, context: StepContext
) -> dict[str, Any]:
    held = np.unique(row_hashes(frozen.table(), without=target))
    training = rows.filter(pa.array(~np.isin(row_hashes(rows, without=target), held)))
    classes = _check_training(training, target, task)
    path = context.workdir / "train.parquet"
    write_over(path, lambda draft: pq.write_table(training, draft))
    _say(
        f"{training.num_rows} rows to train on, {frozen.facts.rows} held out "
        "(frozen at the first run)"
    )
    return {
        "train_path": str(path),
        "train_rows": training.num_rows,
        "holdout_path": str(frozen.path),
        "holdout_sha256": frozen.sha256,
        "holdout_rows": frozen.facts.rows,
        "task": task,
        "classes": classes,
    }


def _freeze(inputs: Mapping[str, Any], rows: pa.Table, task: str) -> Holdout:
    target, fraction, seed = str(inputs["target"]), float(inputs["holdout"]), int(inputs["seed"])
    labels = labels_of(rows.column(target)) if task == "classification" else None
    mask = choose(row_hashes(rows, without=target), labels, fraction, seed)
    chosen = rows.filter(pa.array(mask))
    if chosen.num_rows == 0:
        raise InvalidInput(
            "No row can be held out: all rows have the same features, or every class has one row.",
            "Push more rows, with values that differ.",
        )
    facts = HoldoutFacts(
        dataset=str(inputs["dataset"]),
        table_version=int(inputs["table_version"]),
        target=target,
        task=task,
        fraction=fraction,
        seed=seed,
        rows=chosen.num_rows,
    )
    return freeze(Path(inputs["holdout_dir"]), chosen, facts)


def _task_wanted(inputs: Mapping[str, Any], frozen: Holdout | None) -> str | None:
    """What the user says; else what was inferred when the holdout was frozen, so that
    an integer target's 21st value doesn't turn a classifier into a regression."""
    explicit = inputs.get("task")
    if explicit:
        return str(explicit)
    return frozen.facts.task if frozen is not None else None


def _check_options(inputs: Mapping[str, Any]) -> None:
    fraction = float(inputs["holdout"])
    if not 0 < fraction < 1:
        raise InvalidInput(
            f"data.holdout is {fraction:g}, which isn't a share of the rows.",
            "Set it between 0 and 1, for instance 0.2.",
        )
    task = inputs.get("task")
    if task and task not in _TASKS:
        raise InvalidInput(
            f"{task!r} isn't a task.", f"Set train.automl.task to one of: {', '.join(_TASKS)}."
        )


def _usable_rows(rows: pa.Table, target: str, dataset: str) -> pa.Table:
    kept, dropped = without_null_target(rows, target)
    if rows.num_rows and not kept.num_rows:
        raise InvalidInput(
            f"The target {target!r} is null in all {rows.num_rows} rows of {dataset!r}.",
            "Push rows that have it, or set data.target to another column.",
            code="target_null",
        )
    if dropped:
        _say(f"warning: {dropped} of {rows.num_rows} rows have no {target!r} and are left out")
    if kept.num_rows < _FEWEST_ROWS:
        raise InvalidInput(
            f"{dataset!r} has {kept.num_rows} rows with a target: too few to train and to judge.",
            f"Push at least {_FEWEST_ROWS - kept.num_rows} more.",
            code="too_few_rows",
            details={"rows": kept.num_rows, "least": _FEWEST_ROWS},
        )
    return kept


def check_target(rows: pa.Table, target: str, task: str) -> None:
    """Raises `InvalidInput` unless the target, which is null nowhere, has two values."""
    values = target_of(rows, target, task)
    if len(np.unique(values)) > 1:
        return
    if not len(values):
        raise InvalidInput(
            f"The target {target!r} is null in every row.",
            "Choose another target, or give rows that have it.",
            code="target_null",
        )
    only = repr(values[0].item() if isinstance(values[0], np.generic) else values[0])
    noun = "class" if task == "classification" else "value"
    raise InvalidInput(
        f"The target {target!r} has one {noun} only: {only}.",
        f"Push rows with at least one other {noun}.",
        code="target_of_one_class",
    )


def _check_training(training: pa.Table, target: str, task: str) -> list[Any] | None:
    if training.num_rows < _FEWEST_ROWS // 2:
        raise InvalidInput(
            f"Only {training.num_rows} rows are left to train on beside the holdout.",
            "Push more rows, or set data.holdout lower in a loop of another name.",
            code="too_few_rows",
        )
    if task != "classification":
        return None
    counts = training.column(target).value_counts().to_pylist()
    rare = sorted(str(c["values"]) for c in counts if c["counts"] < 2)
    if rare:
        _say(f"warning: one row only of the class {joined(rare)}: it can't be held out")
    classes = classes_of(labels_of(training.column(target)))
    if len(classes) < 2:
        raise InvalidInput(
            f"The rows left to train on have one class only: {classes[0]!r}.",
            "Push more rows of the other classes.",
            code="target_of_one_class",
        )
    return classes


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - stdout is the step's log
