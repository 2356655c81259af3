"""What runs inside a step process: the composition root of that side.

Each function is a `Job.entry`: called in a fork of a zygote with JSON inputs, it
answers JSON outputs. Nothing here opens the database or the network. Imports are
inside the functions, so that a data step never pays for training's libraries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volant.domain.run import StepContext
from volant.plugins import load
from volant.ports.tables import Tables

Inputs = Mapping[str, Any]

_REPLICA = (
    "numpy",
    "httptools",
    "uvloop",
    "orjson",
    "volant.serving.replica",
    "volant.serving.grpc",
    "volant.serving.grpc_service",
)

# What each zygote imports before its first fork, in this order; a name with a question mark
# is left out where it isn't installed. `PROFILE@KEY` is the same profile in the model's own
# environment of that key.
PROFILES: dict[str, tuple[str, ...]] = {
    "serve": ("onnxruntime", *_REPLICA, "volant.serving.runtimes.onnx"),
    "serve-sklearn": (
        *_REPLICA,
        "sklearn.pipeline",
        "sklearn.compose",
        "sklearn.preprocessing",
        "sklearn.impute",
        "sklearn.ensemble",
        "sklearn.linear_model",
        "lightgbm?",
        "pandas?",
        "volant.serving.runtimes.sklearn",
    ),
    "serve-lightgbm": (*_REPLICA, "lightgbm", "volant.serving.runtimes.lightgbm"),
    "serve-xgboost": (*_REPLICA, "xgboost", "volant.serving.runtimes.xgboost"),
    "serve-mlflow": (*_REPLICA, "pandas", "mlflow.pyfunc"),
    "serve-torch": (*_REPLICA, "torch", "volant.serving.runtimes.torch"),
    "serve-hf": (*_REPLICA, "torch", "transformers.pipelines"),
    "serve-tensorflow": (*_REPLICA, "volant.serving.runtimes.tensorflow"),
    "serve-openvino": (*_REPLICA, "volant.serving.runtimes.openvino"),
    "serve-text": ("onnxruntime", *_REPLICA, "tokenizers"),
    "serve-code": _REPLICA,
    "batch": (
        "onnxruntime",
        "pyarrow.csv",
        "pyarrow.parquet",
        "deltalake",
        "volant.data.cast",
        "volant.serving.batch",
    ),
    "data": (
        "pyarrow",
        "pyarrow.csv",
        "pyarrow.parquet",
        "deltalake",
        "volant.data.ingest",
        "volant.serving.compaction",
        "volant.training.split",
    ),
    "train": (
        "volant.training.openmp",
        "pyarrow",
        "pyarrow.parquet",
        "deltalake",
        "volant.training.train",
        "volant.training.tuning",
        "volant.evaluation.evaluate",
    ),
}


def _tables(inputs: Inputs) -> Tables:
    return load("tables", inputs["tables"], root=Path(inputs["tables_root"]))


def ingest(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Check a push's files against the contract and append the good rows."""
    from volant.data.ingest import ingest

    return ingest(inputs, _tables(inputs))


def release(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Check quarantined rows again and append those that pass now."""
    from volant.data.ingest import release

    return release(inputs, _tables(inputs))


def read_rows(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """The first rows of a dataset version."""
    from volant.data.ingest import read_rows

    return read_rows(inputs, _tables(inputs))


def read_quarantine(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Quarantined rows with their reasons."""
    from volant.data.ingest import read_quarantine

    return {"items": read_quarantine(inputs, _tables(inputs))}


def compact_predictions(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """A deployment's logged predictions into its dataset."""
    from volant.serving.compaction import compact

    return compact(inputs, _tables(inputs))


def read_predictions(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """The last predictions of a deployment."""
    from volant.serving.compaction import read_predictions

    return read_predictions(inputs, _tables(inputs))


def batch(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Predictions for a whole file or dataset."""
    from volant.data.cast import cast
    from volant.data.filerows import plain_column
    from volant.serving.batch import Tools, batch

    return batch(inputs, context, _tables(inputs), Tools(cast, plain_column))


def split(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Freeze the holdout once; write the training rows."""
    from volant.training.split import split

    return split(inputs, _tables(inputs), context)


def _as_served(folder: Path, files: Mapping[str, str]) -> Any:
    """A model as a replica has it."""
    from volant.serving.inference import load

    return load(folder, files)


def train(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Fit a model within its budget and write its folder."""
    from volant.evaluation.metrics import score
    from volant.training.train import train

    return train(inputs, context, score, _as_served)


def trial(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """One trial of a search for a training function's parameters."""
    from volant.evaluation.metrics import score
    from volant.training.tuning import trial

    return trial(inputs, context, score)


def evaluate(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Score challenger and champion on the holdout and judge the gate's rules."""
    from volant.evaluation.evaluate import evaluate

    return evaluate(inputs, context, _as_served)


def inspect_model(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Unpack an uploaded model and say what it is, without loading it."""
    from volant.formats.inspect import inspect
    from volant.formats.prove import proof_profile

    found = inspect(inputs, context.workdir)
    return {**found, "profile": proof_profile(found)}


def build_environment(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Install what a model requires into an environment of its own, once."""
    from volant.adapters.local.environments import build

    folder = build(Path(inputs["environments"]), inputs["key"], inputs["requirements"])
    return {"folder": str(folder)}


def prepare_environment(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Lock and install what a codeset wants, once for each content.

    Inputs: folder, environments, strict, fresh, pip_first, base_image, notes. Outputs: key,
    source, warnings, packages, cached.
    """
    from volant.adapters.local.locking import Asked, prepare
    from volant.training.environment_files import wanted_of, with_base_image, with_companions

    def say(text: str) -> None:
        print(text, flush=True)  # noqa: T201 - stdout is the step's log

    for note in inputs["notes"]:
        say(note)
    wanted = wanted_of(Path(inputs["folder"]), pip_first=inputs["pip_first"])
    wanted, added = with_base_image(wanted, inputs["base_image"])
    if added is not None:
        say(added)
    wanted = with_companions(wanted)
    lock, known = prepare(
        Path(inputs["environments"]),
        Asked(wanted.python, wanted.lines, wanted.conda, wanted.changes),
        strict=inputs["strict"],
        tell=say,
        fresh=inputs["fresh"],
    )
    for change in lock.changes:
        say(f"warning: {change}")
    if inputs["verbose"]:
        say("\n".join(lock.lines))
    say(f"{wanted.source}: {len(lock.lines)} packages, {'here already' if known else 'built'}")
    return {
        "key": lock.key,
        "source": wanted.source,
        "warnings": list(lock.changes),
        "packages": len(lock.lines),
        "cached": known,
    }


def call(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Call a function of a codeset; its name is in the environment."""
    import os
    import sys

    from volant.adapters.local.callee import FUNCTION
    from volant.adapters.local.callee import call as called
    from volant.errors import InvalidInput

    here = str(Path.cwd())
    sys.path.insert(0, here)
    name = os.environ[FUNCTION]
    try:
        return called(name, inputs["inputs"], inputs["codesets"])
    except (LookupError, ModuleNotFoundError) as error:
        module = name.partition(":")[0]
        mine = isinstance(error, LookupError) and str(error).startswith(name)
        if not mine and getattr(error, "name", None) not in (module, module.partition(".")[0]):
            raise
        raise InvalidInput(
            f"{name!r} isn't in the codeset: {error}.",
            "Write module:function, with the module at the codeset's root.",
            code="step.call",
        ) from error


def prove_model(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Open an uploaded model, try it on rows, and make the folder that replicas serve."""
    from volant.formats.prove import Tools, prove

    def load_model(folder: Path, files: Mapping[str, str]) -> Any:
        from volant.serving.inference import load

        return load(folder, files)

    def discover(folder: Path, files: Mapping[str, str], requests: list[Any]) -> list[Any]:
        from volant.serving.discovery import discover

        return discover(folder, files, requests)

    def convert(*told: Any) -> Mapping[str, Any]:
        from volant.training.outside import convert_outside

        return convert_outside(*told)

    def unpickled(body: bytes, name: str) -> Any:
        from volant.serving.runtimes.sklearn import unpickled

        return unpickled(body, name)

    def taken(path: Path, key: str) -> Any:
        if path.suffix == ".xml":
            from volant.serving.runtimes import openvino

            return openvino.open_path(path).inputs
        from volant.serving.runtimes.tensorflow import open_path

        return open_path(path, key).inputs

    return prove(inputs, context.workdir, Tools(load_model, discover, convert, unpickled, taken))


def convert_model(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Make an inspected model into OpenVINO's own form, and compare the two."""
    from volant.formats.openvino_ir import Asked, Tools, convert

    def tensorflow(path: Path, key: str) -> Asked:
        from volant.serving.runtimes import tensorflow

        opened = tensorflow.open_path(path, key)
        return Asked(opened.inputs, lambda feeds: tensorflow.answers(opened, feeds))

    def openvino(path: Path) -> Asked:
        from volant.serving.runtimes import openvino

        opened = openvino.open_path(path)
        return Asked(opened.inputs, opened.ask)

    return convert(inputs, context.workdir, Tools(tensorflow, openvino))


def receive_model(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Verify and unpack an exported model, without loading it."""
    from volant.domain.codec import to_plain
    from volant.formats.received import received
    from volant.registry.archive import read

    folder = context.workdir / "received"
    manifest = read(Path(inputs["upload"]), folder)
    told = manifest.runtime.get("environment")
    facts = received(folder, told if isinstance(told, Mapping) else {})
    return {**facts, "folder": str(folder), "manifest": to_plain(manifest)}


def try_model(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Load a model as a replica does and have it answer its example."""
    from volant.serving.inference import load

    asked = load(Path(inputs["folder"]), inputs["files"]).description
    names = [each.name for each in asked.inputs or asked.columns]
    return {"inputs": names}


def init_loop(
    path: Path,
    target: str,
    name: str | None = None,
    dataset: str | None = None,
    options: Mapping[str, str | None] | None = None,
) -> str:
    """The text of a `volant.yaml` for the data in `path`, its contract inferred.

    `options` are those of a push: format, delimiter, encoding. Raises `InvalidInput` when
    the file can't be read, `target` can't be predicted, or a name can't be one.
    """
    from volant.data.contract import check
    from volant.data.delivery import read_delivery
    from volant.loops.infer import volant_yaml
    from volant.loops.parse import check_name
    from volant.training.schema import infer_task, require_target, without_null_target
    from volant.training.split import check_target

    named = name or _name_of(path)
    check_name(named, "The loop's name")
    check_name(dataset or named, "The dataset's name")
    delivery = read_delivery([{"path": str(path), "name": path.name}], options, None)
    require_target(delivery.table, target, path.name)
    # A CSV's cells are text until the contract gives them types.
    typed = check(delivery.table, delivery.contract, types_only=True).good
    task = infer_task(typed.column(target), None)
    check_target(without_null_target(typed, target)[0], target, task)
    return volant_yaml(named, dataset or named, delivery.contract, target, task=task)


def _name_of(path: Path) -> str:
    """A loop's name made from a file's: lower case, everything else a hyphen."""
    return re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-")[:62] or "loop"
