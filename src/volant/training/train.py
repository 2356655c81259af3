"""The `train` step: rows to a saved model."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from volant.domain.codec import from_plain
from volant.domain.model import Field
from volant.domain.run import StepContext
from volant.errors import InvalidInput, NotFound
from volant.faults import crash_point
from volant.training.automl import find_model
from volant.training.callable import CallSpec, Returned, call_fit
from volant.training.columns import ForeignEstimator, TableInput
from volant.training.files import write_over
from volant.training.objective import metric_of
from volant.training.onnx_export import convert
from volant.training.package import Package, runtime_of, write_package
from volant.training.provenance import environment_hash, folder_hash, own_code_hash
from volant.training.schema import (
    Features,
    classes_of,
    features_of,
    joined,
    require_target,
    target_of,
)
from volant.training.search import Score
from volant.training.signature import signature_of
from volant.training.statistics import statistics_of, write_statistics

_SHOWN_ROWS = 500


@dataclass(frozen=True, slots=True)
class _Fitted:
    pipeline: Pipeline
    features: Features
    code_hash: str
    params: dict[str, Any]
    metrics: dict[str, float]
    history: list[dict[str, Any]]
    modules: tuple[Any, ...] = ()


def train(
    inputs: Mapping[str, Any],
    context: StepContext,
    score: Score,
    opener: Callable[[Path, Mapping[str, str]], Any] | None = None,
) -> dict[str, Any]:
    """Fit a model by AutoML, by the user's own function or by a recipe, and save it in the
    workdir.

    Inputs: train_path, target, task, metric | None, budget_s, seed, call | None,
    code_dir | None, params, recipe | None, model_name. Outputs: model_dir, params, metrics,
    history, signature, runtime, metric, code_hash, environment_hash, fit_s. `score` measures
    predictions (see `Score`); `opener` (folder, SHA-256 by relative path) opens a model as a
    replica does, for recipes that prove their conversion with it.

    An attempt that follows one which died after its model was saved answers with
    that model, if the inputs are the same.

    Raises:
        NotFound: `train_path` isn't there.
        InvalidInput: the target, metric or callable can't be used.
        StepFailed: the user's code raised.
    """
    path = Path(inputs["train_path"])
    answer_path = context.workdir / "answer.json"
    fingerprint = _fingerprint(inputs)
    earlier = _earlier_answer(answer_path, fingerprint)
    if earlier is not None:
        _say("the model of the attempt before is complete: nothing to do again")
        return earlier
    try:
        rows = pq.read_table(path)
    except FileNotFoundError as error:
        raise NotFound(
            f"The training rows {path} are gone.", "Retry the run from its split step."
        ) from error
    task, target = str(inputs["task"]), str(inputs["target"])
    metric = metric_of(inputs.get("metric"), task)
    require_target(rows, target, str(inputs["model_name"]))
    started = time.monotonic()
    if inputs.get("recipe"):
        # Here, not above: nobody else pays for its libraries.
        from volant.training.recipes.text_classification import fine_tune

        made = fine_tune(inputs, rows, context, _say, opener)
        fit_s = time.monotonic() - started
    else:
        fitted = _fit(inputs, rows, metric, context, score)
        fit_s = time.monotonic() - started
        crash_point("train.fitted")
        made = {
            **_save(fitted, rows, task, int(inputs["seed"]), context.workdir / "model"),
            "params": fitted.params,
            "metrics": fitted.metrics,
            "history": fitted.history,
            "code_hash": fitted.code_hash,
        }
    _describe(rows, made, target, task)
    answer = {
        **made,
        "metric": metric,
        "environment_hash": environment_hash(),
        "fit_s": round(fit_s, 3),
    }
    body = json.dumps({"fingerprint": fingerprint, "answer": answer})
    write_over(answer_path, lambda draft: draft.write_text(body, encoding="utf-8"))
    crash_point("train.saved")
    return answer


def _fit(
    inputs: Mapping[str, Any], rows: pa.Table, metric: str, context: StepContext, score: Score
) -> _Fitted:
    target, task, seed = str(inputs["target"]), str(inputs["task"]), int(inputs["seed"])
    features = features_of(rows, target)
    if features.unusable:
        _say(f"warning: columns that can't be learnt from: {joined(features.unusable)}")
    if inputs.get("call"):
        return _fit_by_call(inputs, rows, features, context)
    found = find_model(
        rows,
        target_of(rows, target, task),
        features.names,
        features.types,
        task=task,
        metric=metric,
        budget_s=float(inputs["budget_s"]),
        seed=seed,
        score=score,
        say=_say,
    )
    metrics = {f"cv_{name}": value for name, value in found.scores.items()}
    return _Fitted(found.pipeline, features, own_code_hash(), found.params, metrics, found.history)


def _fit_by_call(
    inputs: Mapping[str, Any], rows: pa.Table, features: Features, context: StepContext
) -> _Fitted:
    call, params = str(inputs["call"]), dict(inputs.get("params") or {})
    if not inputs.get("code_dir"):
        raise InvalidInput(
            f"train.call is {call!r}, but the loop came without code.",
            "Apply the loop again from the folder that holds the code.",
        )
    spec = CallSpec(
        call,
        Path(inputs["code_dir"]),
        str(inputs["target"]),
        str(inputs["task"]),
        int(inputs["seed"]),
        params,
    )
    returned = call_fit(spec, rows, features, context)
    pipeline, used = wrapped(returned, rows, features, spec)
    finite = {name: each for name, each in returned.metrics.items() if math.isfinite(each)}
    metrics = {_own_name(name): value for name, value in finite.items()}
    return _Fitted(
        pipeline,
        used,
        folder_hash(spec.code_dir),
        {"call": call, **params, "seed": spec.seed},
        metrics,
        returned.history,
        returned.modules,
    )


def _own_name(name: str) -> str:
    """The user's metrics are of their training rows: they mustn't pass for the holdout's."""
    return name if name.startswith(("cv_", "train_")) else f"train_{name}"


def wrapped(
    returned: Returned, rows: pa.Table, features: Features, spec: CallSpec
) -> tuple[Pipeline, Features]:
    """The user's estimator behind a `TableInput`, in the form that it takes.

    The form that its function was given is tried first, then plain arrays: people fit
    on `X.to_numpy()` too. An estimator that names its features gets those alone.
    """
    named = [str(n) for n in getattr(returned.estimator, "feature_names_in_", ())]
    if named and set(named) <= set(features.names):
        by_name = {field.name: field for field in features.fields}
        features = Features(tuple(by_name[n] for n in named), features.unusable)
    estimator = returned.estimator
    if not isinstance(estimator, BaseEstimator):
        estimator = ForeignEstimator(estimator)
    sample = rows.slice(0, 5)
    problem: Exception | None = None
    for form in (returned.form, "values"):
        table_input = TableInput(features.names, features.types, form)
        pipeline = Pipeline([("input", table_input), ("model", estimator)])
        try:
            predicted = np.asarray(pipeline.predict(sample)).ravel()
        except Exception as error:  # a user's estimator may raise anything
            problem = problem or error
            continue
        if len(predicted) == sample.num_rows:
            _check_classes(pipeline, spec)
            _check_labels(predicted, rows, spec)
            return pipeline, features
        problem = problem or ValueError(f"{len(predicted)} predictions for 5 rows")
    raise InvalidInput(
        f"The estimator that {spec.call!r} returned can't predict the columns "
        f"{joined(features.names)}: {type(problem).__name__}: {problem}",
        "Its predict gets the columns of the training data without the target, as they came: "
        "put every preparation into the estimator, for instance a scikit-learn Pipeline.",
        code="callable_result",
    )


def _check_classes(pipeline: Pipeline, spec: CallSpec) -> None:
    nameless = hasattr(pipeline, "predict_proba") and not hasattr(pipeline, "classes_")
    if spec.task == "classification" and nameless:
        raise InvalidInput(
            f"The estimator that {spec.call!r} returned has predict_proba but no classes_.",
            "Set classes_ on it: the classes in the order of predict_proba's columns.",
            code="callable_result",
        )


def _check_labels(predicted: Any, rows: pa.Table, spec: CallSpec) -> None:
    """What it predicts must be what the target holds: no codes of classes, for instance."""
    if spec.task != "classification":
        return
    classes = classes_of(target_of(rows, spec.target, spec.task))
    strange = next((label for label in predicted.tolist() if label not in classes), None)
    if strange is not None:
        raise InvalidInput(
            f"The estimator that {spec.call!r} returned predicts {strange!r}, which is no class of"
            f" {spec.target!r} ({joined([repr(each) for each in classes])}).",
            "Fit it on the target's own values, or turn its predictions back into them.",
            code="callable_result",
        )


def _save(fitted: _Fitted, rows: pa.Table, task: str, seed: int, folder: Path) -> dict[str, Any]:
    conversion = convert(fitted.pipeline, rows, seed)
    if conversion.model is None:
        _say(f"served by scikit-learn: {conversion.reason}")
    else:
        _say(f"converted to ONNX; largest difference {conversion.max_abs_diff:.1e}")
    classes: list[Any] | None = None
    if task == "classification" and hasattr(fitted.pipeline, "classes_"):
        classes = np.asarray(fitted.pipeline.classes_).tolist()
    package = Package(
        fitted.pipeline,
        signature_of(task, fitted.features.fields, classes),
        conversion,
        rows.select(fitted.features.names).slice(0, _SHOWN_ROWS),
        fitted.modules,
    )
    write_package(package, folder)
    signature = json.loads(json.dumps(asdict(package.signature)))  # tuples as lists
    return {"model_dir": str(folder), "signature": signature, "runtime": runtime_of(package)}


def _describe(rows: pa.Table, made: Mapping[str, Any], target: str, task: str) -> None:
    """The statistics of all training rows, into the model's folder."""
    fields = from_plain(tuple[Field, ...], made["signature"]["inputs"])
    found = statistics_of(rows, fields, target, task)
    if found.left_out:
        _say(f"statistics of the first {len(found.columns)} columns; {found.left_out} have none")
    write_statistics(found, Path(made["model_dir"]))


def _fingerprint(inputs: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode()).hexdigest()


def _earlier_answer(path: Path, fingerprint: str) -> dict[str, Any] | None:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        answer: dict[str, Any] = body["answer"]
        same = body["fingerprint"] == fingerprint
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return answer if same and Path(answer["model_dir"], "MLmodel").is_file() else None


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - stdout is the step's log
