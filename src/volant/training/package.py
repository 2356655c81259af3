"""A fitted pipeline as a folder in MLflow's model format, plus `volant.json`.

MLflow's format: https://mlflow.org/docs/latest/ml/model/ (flavours python_function and
sklearn). The folder appears whole: it is written under another name, synced, renamed.
"""

from __future__ import annotations

import json
import pickle
import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import cloudpickle
import pyarrow as pa
import yaml
from sklearn.pipeline import Pipeline

from volant.domain.contract import ColumnType
from volant.domain.model import Field, Signature
from volant.errors import InvalidInput
from volant.training import columns as columns_module
from volant.training.files import whole_folder
from volant.training.onnx_export import Conversion
from volant.training.provenance import installed

_MLFLOW_TYPES: dict[str, str] = {
    ColumnType.INTEGER: "long",
    ColumnType.NUMBER: "double",
    ColumnType.STRING: "string",
    ColumnType.BOOLEAN: "boolean",
    ColumnType.TIMESTAMP: "datetime",
}
_EXAMPLE_ROWS = 3


@dataclass(frozen=True, slots=True)
class Package:
    """What goes into a model folder. `sample` holds rows of the features; `modules` are
    the user's own, which the pickle must carry."""

    pipeline: Pipeline
    signature: Signature
    conversion: Conversion
    sample: pa.Table
    modules: Sequence[ModuleType] = ()


def runtime_of(package: Package) -> dict[str, Any]:
    """The `runtime` part of `volant.json`."""
    made = package.conversion
    if made.model is None:
        return {
            "kind": "native",
            "profile": "serve-sklearn",
            "reason": made.reason,
            "max_abs_diff": made.max_abs_diff,
        }
    return {
        "kind": "onnx",
        "file": "model.onnx",
        "inputs": list(made.inputs),
        "outputs": made.outputs,
        "max_abs_diff": made.max_abs_diff,
    }


def write_package(package: Package, folder: Path) -> None:
    """Write `folder`, replacing what an earlier attempt left there.

    Raises:
        InvalidInput: the model can't be pickled.
        ResourceExhausted: the disk is full; nothing stands at `folder` then.
    """
    with whole_folder(folder) as draft:
        for name, content in _contents(package).items():
            (draft / name).write_bytes(content)


def _contents(package: Package) -> dict[str, bytes]:
    pinned = _requirements(package)
    python = platform.python_version()
    environment = {
        "channels": ["conda-forge"],
        "dependencies": [f"python={python}", "pip", {"pip": pinned}],
        "name": "volant-model",
    }
    builder = {
        "python": python,
        "build_dependencies": ["pip", "setuptools", "wheel"],
        "dependencies": ["-r requirements.txt"],
    }
    files = {
        "model.pkl": _pickled(package),
        "requirements.txt": "\n".join([*pinned, ""]).encode(),
        "python_env.yaml": _yaml(builder),
        "conda.yaml": _yaml(environment),
        "input_example.json": json.dumps(_example(package)).encode(),
        "volant.json": json.dumps(_facts(package), indent=1).encode(),
    }
    if package.conversion.model is not None:
        files["model.onnx"] = package.conversion.model
    files["MLmodel"] = _yaml(_mlmodel(package, sum(map(len, files.values()))))
    return files


def _pickled(package: Package) -> bytes:
    """With the code of the first step and of the user's modules inside, so that it loads
    where neither can be imported."""
    with ExitStack() as stack:
        for module in (columns_module, *package.modules):
            cloudpickle.register_pickle_by_value(module)
            stack.callback(cloudpickle.unregister_pickle_by_value, module)
        try:
            return cloudpickle.dumps(package.pipeline, protocol=pickle.DEFAULT_PROTOCOL)
        except Exception as error:  # a user's estimator may hold anything
            estimator = type(package.pipeline.steps[-1][1]).__name__
            raise InvalidInput(
                f"The fitted {estimator} can't be pickled: {type(error).__name__}: {error}",
                "Keep open files, locks, connections and lambdas over them out of the estimator.",
                code="model_unpicklable",
            ) from error


def _requirements(package: Package) -> list[str]:
    """Pinned versions of what unpickling and predicting imports, by module name."""
    wanted = {"cloudpickle", "numpy", "scikit-learn", "scipy"}
    roots = {type(step).__module__.partition(".")[0] for _, step in package.pipeline.steps}
    for module in package.modules:
        roots |= {
            str(getattr(value, "__module__", "") or getattr(value, "__name__", "")).partition(".")[
                0
            ]
            for value in vars(module).values()
        }
    if package.pipeline.steps[0][1].form == "frame":
        roots.add("pandas")
    if package.pipeline.steps[0][1].form == "table":
        roots.add("pyarrow")
    known = installed()
    wanted |= {root for root in roots if root in known and root != "volant"}
    return [f"{name}=={known[name]}" for name in sorted(wanted) if name in known]


def _yaml(body: Any) -> bytes:
    return yaml.safe_dump(body, sort_keys=True, width=100).encode()


def _facts(package: Package) -> dict[str, Any]:
    signature = asdict(package.signature)
    return {
        "format": 1,
        "task": package.signature.task,
        "signature": {key: signature[key] for key in ("inputs", "outputs", "classes")},
        "runtime": runtime_of(package),
        "native": {"file": "model.pkl"},
    }


def _mlmodel(package: Package, size: int) -> dict[str, Any]:
    return {
        "flavors": {
            "python_function": {
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                "loader_module": "mlflow.sklearn",
                "model_path": "model.pkl",
                "predict_fn": "predict",
                "python_version": platform.python_version(),
            },
            "sklearn": {
                "code": None,
                "pickled_model": "model.pkl",
                "serialization_format": "cloudpickle",
                "sklearn_version": installed()["scikit-learn"],
            },
        },
        "is_signature_from_type_hint": False,
        "model_size_bytes": size,
        "model_uuid": uuid4().hex,
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "pandas_orient": "split",
            "type": "dataframe",
        },
        "signature": {
            "inputs": json.dumps([_mlflow_column(field) for field in package.signature.inputs]),
            "outputs": json.dumps([_mlflow_column(package.signature.outputs[0])]),
            "params": None,
        },
        "type_hint_from_example": False,
        "utc_time_created": datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" "),
    }


def _mlflow_column(field: Field) -> dict[str, Any]:
    """pandas holds integers and booleans that may be missing as other types, and MLflow's
    check goes by those: a nullable one is declared as double."""
    kind = _MLFLOW_TYPES[field.type]
    if field.nullable and kind in ("long", "boolean"):
        kind = "double"
    return {"type": kind, "name": field.name, "required": True}


def _example(package: Package) -> dict[str, Any]:
    rows = package.sample.slice(0, _EXAMPLE_ROWS)
    names = [field.name for field in package.signature.inputs]
    return {
        "columns": names,
        "data": [[_json_value(row[name]) for name in names] for row in rows.to_pylist()],
    }


def _json_value(value: Any) -> Any:
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None  # noqa: PLR0124
    return value.isoformat() if hasattr(value, "isoformat") else float(value)
