"""The user's own training function: `call: "train:fit"`.

Volant imports `train` from the user's folder and calls `fit` with those of these
keyword arguments that its signature names:

    data            all training rows, target included (pandas, else a pyarrow Table)
    X, y            features and target apart, of the same kind
    target          the target column's name
    task            classification | regression
    seed            int
    params          dict, from `train.params`
    checkpoint_dir  Path kept between attempts of this step
    workdir         Path of this step
    log_metric      log_metric(name, value, step=None): into the run's history
    trial           trial.report(step, value): tells a search how good it is so far

It returns a fitted estimator with `predict` (and `predict_proba` for a classifier),
or (estimator, {metric: value}).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa

from volant.domain.run import StepContext
from volant.errors import InvalidInput, StepFailed
from volant.training.columns import TableInput
from volant.training.schema import Features, target_of
from volant.yamltext.problems import nearest

_OFFERED = (
    "data",
    "X",
    "y",
    "target",
    "task",
    "seed",
    "params",
    "checkpoint_dir",
    "workdir",
    "log_metric",
    "trial",
)


@dataclass(frozen=True, slots=True)
class CallSpec:
    """What the user's function is called with, beside the data."""

    call: str
    code_dir: Path
    target: str
    task: str
    seed: int
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Returned:
    """`form` is the `TableInput` form that the estimator was fitted on; `metrics` may be NaN
    or infinite; `modules` are those of the user's folder that were imported, to be pickled
    with the model."""

    estimator: Any
    form: str
    metrics: dict[str, float] = field(default_factory=dict[str, float])
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    modules: tuple[ModuleType, ...] = ()


@dataclass(frozen=True, slots=True)
class Measure:
    """Where measurements go, beside the history: `logged` hears of each (name, value,
    step), `trial` is what the function gets under that name."""

    logged: Callable[[str, float, int], None]
    trial: Any


class _NoTrial:
    """`trial` where nothing is searched: what is reported is a part of the history."""

    number = 0

    def __init__(
        self, log_metric: Callable[[str, float, int], None], params: Mapping[str, Any]
    ) -> None:
        self._log_metric = log_metric
        self.params = dict(params)

    def report(self, step: int, value: float) -> None:
        self._log_metric("reported", value, step)


def call_fit(
    spec: CallSpec,
    rows: pa.Table,
    features: Features,
    context: StepContext,
    measure: Measure | None = None,
) -> Returned:
    """Import the user's function, call it, and check what it returns.

    Raises:
        InvalidInput: the module or function isn't there, its signature asks for what
            Volant doesn't offer, or it returns no estimator.
        StepFailed: it raised; `details["traceback"]` holds its traceback.
    """
    history: list[dict[str, Any]] = []
    form = "frame" if importlib.util.find_spec("pandas") else "table"
    function = find_function(spec.call, spec.code_dir)
    log_metric = _log_into(history, measure)
    trial = measure.trial if measure else _NoTrial(log_metric, spec.params)
    given = {"log_metric": log_metric, "trial": trial}
    offered = _offer(spec, rows, features, form=form, context=context, given=given)
    arguments = _arguments(function, spec.call, offered)
    result = _call(function, spec.call, arguments)
    modules = _modules_of(spec.code_dir)
    estimator, metrics = _unpack(result, spec)
    return Returned(estimator, form, metrics, history, modules)


def find_function(call: str, code_dir: Path) -> Callable[..., Any]:
    """The function that `module:function` names. Raises `InvalidInput`.

    `code_dir` stays first on this process's import path: the estimator may import
    from it later, and the process ends with its step.
    """
    module_name, colon, name = call.partition(":")
    if not colon or not module_name or not name:
        raise InvalidInput(
            f"train.call is {call!r}, which doesn't name a function.",
            "Write it as module:function, for instance train:fit.",
        )
    sys.path.insert(0, str(code_dir))
    importlib.invalidate_caches()
    module = _import(module_name, call, code_dir)
    found = getattr(module, name, None)
    if found is None:
        names = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        near = nearest(name, names)
        raise InvalidInput(
            f"{call!r}: the module {module_name} has no function {name!r}.",
            f"Did you mean '{module_name}:{near}'?"
            if near
            else f"Define {name} in {module_name}, or name another function in train.call.",
            code="callable_missing",
        )
    if not callable(found):
        raise InvalidInput(
            f"{call!r} is a {type(found).__name__}, not a function.",
            "Name a function in train.call.",
            code="callable_missing",
        )
    return found


def _import(module_name: str, call: str, code_dir: Path) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name and not module_name.startswith(f"{error.name}."):
            raise _raised(call, error, f"importing {module_name}") from error
        files = sorted(p.stem for p in code_dir.glob("*.py"))
        near = nearest(module_name, files)
        raise InvalidInput(
            f"{call!r}: there is no module {module_name!r} in {code_dir}.",
            f"Did you mean '{near}:{call.partition(':')[2]}'?"
            if near
            else f"The folder holds: {', '.join(files) or 'no Python file'}. Put "
            f"{module_name}.py beside volant.yaml and apply again.",
            code="callable_missing",
            details={"searched": str(code_dir)},
        ) from error
    except (Exception, SystemExit) as error:
        raise _raised(call, error, f"importing {module_name}") from error


def _offer(
    spec: CallSpec,
    rows: pa.Table,
    features: Features,
    *,
    form: str,
    context: StepContext,
    given: Mapping[str, Any],
) -> dict[str, Callable[[], Any]]:
    """Each argument by name, made only when it is asked for."""

    def inputs() -> Any:
        return TableInput(features.names, features.types, form).transform(rows)

    def target() -> Any:
        values = target_of(rows, spec.target, spec.task)
        if form == "frame":
            import pandas as pd

            return pd.Series(values, name=spec.target)
        return pa.array(values)

    def everything() -> Any:
        if form == "frame":
            return inputs().assign(**{spec.target: target()})
        return inputs().append_column(spec.target, target())

    made: tuple[Callable[[], Any], ...] = (
        everything,
        inputs,
        target,
        lambda: spec.target,
        lambda: spec.task,
        lambda: spec.seed,
        lambda: dict(spec.params),
        lambda: context.checkpoint_dir,
        lambda: context.workdir,
        lambda: given["log_metric"],
        lambda: given["trial"],
    )
    return dict(zip(_OFFERED, made, strict=True))


def _log_into(
    history: list[dict[str, Any]], measure: Measure | None
) -> Callable[[str, float, int | None], None]:
    def log_metric(name: str, value: float, step: int | None = None) -> None:
        count = sum(1 for point in history if point["key"] == name)
        point = {"key": name, "value": float(value), "step": count if step is None else step}
        history.append(point)
        if measure is not None:
            measure.logged(name, float(value), int(point["step"]))

    return log_metric


def _arguments(
    function: Callable[..., Any], call: str, offered: Mapping[str, Callable[[], Any]]
) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return {name: make() for name, make in offered.items()}
    wanted = [p for p in parameters if p.kind is not p.VAR_POSITIONAL]
    for parameter in wanted:
        unknown = parameter.name not in offered or parameter.kind is parameter.POSITIONAL_ONLY
        if unknown and parameter.default is parameter.empty:
            near = nearest(parameter.name, offered)
            raise InvalidInput(
                f"{call!r} asks for {parameter.name!r}, which Volant doesn't pass.",
                (f"Did you mean {near!r}? " if near else "")
                + f"It may ask for: {', '.join(_OFFERED)}; give any other a default.",
                code="callable_signature",
            )
    return {p.name: offered[p.name]() for p in wanted if p.name in offered}


def _call(function: Callable[..., Any], call: str, arguments: Mapping[str, Any]) -> Any:
    try:
        return function(**arguments)
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        raise _raised(call, error, "it ran") from error


def _raised(call: str, error: BaseException, when: str) -> StepFailed:
    text = "".join(traceback.format_exception(error))
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - stderr is the step's log
    return StepFailed(
        f"{call!r} raised {type(error).__name__} while {when}: {error}",
        "Its traceback is in the step's log; correct the code and apply the loop again.",
        code="callable_raised",
        details={"traceback": text, "exception": type(error).__name__},
    )


def _unpack(result: Any, spec: CallSpec) -> tuple[Any, dict[str, float]]:
    estimator, metrics = result, {}
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
        estimator, metrics = result
    if not callable(getattr(estimator, "predict", None)):
        raise InvalidInput(
            f"{spec.call!r} returned a {type(estimator).__name__}, which has no predict method.",
            "Return the fitted estimator, or (estimator, {metric: value}).",
            code="callable_result",
        )
    numbers: dict[str, float] = {}
    for name, value in metrics.items():
        try:
            numbers[str(name)] = float(value)
        except (TypeError, ValueError):
            raise InvalidInput(
                f"{spec.call!r} returned the metric {name!r} as {value!r}, which isn't a number.",
                "Return metrics as {name: number}.",
                code="callable_result",
            ) from None
    return estimator, numbers


def _modules_of(code_dir: Path) -> tuple[ModuleType, ...]:
    root = code_dir.resolve()
    found: list[ModuleType] = []
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and Path(file).resolve().is_relative_to(root):
            found.append(module)
    return tuple(found)
