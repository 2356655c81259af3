"""Models made into OpenVINO's own form, and compared with what they were made of."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from volant.errors import InvalidInput, VolantError
from volant.formats.describe import onnx_tensor
from volant.formats.requirements import complete, environment_key, name_of

FILE = "model.xml"
TOLERANCE = 1e-4  # of the largest answer, of 1 where all are smaller
_HALF_TOLERANCE = 1e-2  # of answers in 16 bits
# A format to the zygote that reads it.
_PROFILES = {"tensorflow": "serve-tensorflow", "onnx": "serve"}
_READERS = ("tensorflow", "keras", "tf-keras", "onnxruntime")
_ROWS = (8, 1)
_SIZES = (16, 1, 32, 224)  # for sizes that may be any: tried until the model takes one
_FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}

Array = NDArray[Any]
Input = tuple[str, str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a model takes, as (name, datatype, shape), and what asks it with arrays in that
    order; it answers arrays by name."""

    inputs: Sequence[Input]
    ask: Callable[[Sequence[Array]], Mapping[str, Array]]


@dataclass(frozen=True, slots=True)
class Tools:
    """What other rooms do.

    tensorflow: (SavedModel's folder or Keras file, its signature's key or "") → it, opened.
    openvino: (graph's file) → it, as a replica opens it.
    """

    tensorflow: Callable[[Path, str], Asked]
    openvino: Callable[[Path], Asked]


def convertible(form: str) -> bool:
    """Whether models of a format can be made into OpenVINO's."""
    return form in _PROFILES


def workshop(found: Mapping[str, Any]) -> dict[str, Any]:
    """The environment that a model is converted in, and its zygote: OpenVINO beside the
    library that reads the model, in the version that the model asks for. `found` is what
    `inspect` answered."""
    told = found["environment"].get("requirements") or ()
    readers = [line for line in told if name_of(line).startswith(_READERS)]
    whole = complete((*readers, "openvino"), found["kind"])
    key = environment_key(whole)
    return {
        "requirements": list(whole),
        "key": key,
        "profile": f"{_PROFILES[found['format']]}@{key}",
    }


def convert(found: Mapping[str, Any], workdir: Path, tools: Tools) -> dict[str, Any]:
    """Write the model as graph, weights and the release of OpenVINO that made them into a
    new folder; the two must answer the same.

    Inputs: what `inspect` answered. Outputs: folder, max_abs_diff, compared_rows.

    Raises `InvalidInput` for what can't be converted, or doesn't answer the same.
    """
    path = Path(found["source"]) / found["file"]
    key = str(found["facts"].get("signature_key") or "")
    folder, between = workdir / "openvino", workdir / "between"
    for each in (folder, between):
        shutil.rmtree(each, ignore_errors=True)
    folder.mkdir(parents=True)
    onnx = found["format"] == "onnx"
    try:
        source = _onnx(path) if onnx else tools.tensorflow(path, key)
        _write(path if onnx else _saved_model(path, key, between), folder)
        told = compared(source, tools.openvino(folder / FILE))
    except VolantError:
        raise
    except Exception as error:  # libraries raise whatever they like on foreign files
        raise InvalidInput(
            f"{found['why']} can't be converted to OpenVINO's form: {_reason(error)}",
            "Leave the converter out: the predictor serves the model with its own library.",
            code="converter.failed",
        ) from error
    finally:
        shutil.rmtree(between, ignore_errors=True)
    return {"folder": str(folder), **told}


def _reason(error: Exception) -> str:
    """OpenVINO's errors begin with lines of its own source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[-2:])[:300]}"


def _write(path: Path, folder: Path) -> None:
    # It would tell its maker of each conversion over the network.
    cast("dict[str, Any]", sys.modules).setdefault("openvino_telemetry", None)
    import openvino as ov  # pyright: ignore[reportMissingImports]

    model: Any = ov.convert_model(str(path))
    # Weights of 16 bits, which is what it writes without a word, answer something else.
    ov.save_model(model, str(folder / FILE), compress_to_fp16=False)
    (folder / "requirements.txt").write_text(f"openvino=={version('openvino')}\n")


def _saved_model(path: Path, key: str, between: Path) -> Path:
    """A SavedModel whose usual signature is the wanted one, as OpenVINO reads it."""
    if path.is_dir() and not key:
        return path
    import tensorflow as tf  # pyright: ignore[reportMissingImports, reportMissingModuleSource]

    if path.is_dir():
        loaded: Any = tf.saved_model.load(str(path))
        wanted = {"serving_default": loaded.signatures[key]}
        tf.saved_model.save(loaded, str(between), signatures=wanted)
    else:
        model: Any = tf.keras.models.load_model(str(path), compile=False, safe_mode=True)
        model.export(str(between), verbose=False)
    return between


def _onnx(path: Path) -> Asked:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    specs = [onnx_tensor(one) for one in session.get_inputs()]
    names = [one.name for one in specs]
    outputs = [one.name for one in session.get_outputs()]

    def ask(feeds: Sequence[Array]) -> dict[str, Array]:
        found = session.run(outputs, dict(zip(names, feeds, strict=True)))
        return {name: np.asarray(one) for name, one in zip(outputs, found, strict=True)}

    return Asked([(one.name, one.datatype, one.shape) for one in specs], ask)


# the proof


def compared(source: Asked, made: Asked) -> dict[str, Any]:
    """{max_abs_diff, compared_rows} of both on random values, the second of them 0 where
    the source takes none of these.

    Raises `InvalidInput` when they take or answer something else.
    """
    order = _order(source.inputs, made.inputs)
    rng = np.random.default_rng(0)
    worst, rows_done = 0.0, 0
    many = any(shape[:1] == (-1,) for _, _, shape in source.inputs)
    for rows in _ROWS if many else _ROWS[-1:]:
        feeds, expected = _asked(source, rows, rng)
        if expected is None:
            break
        worst = max(worst, _difference(expected, made.ask([feeds[i] for i in order])))
        rows_done += rows
    return {"max_abs_diff": worst, "compared_rows": rows_done}


def _order(source: Sequence[Input], made: Sequence[Input]) -> list[int]:
    """Where among the source's inputs each of the other's is: by name, else by place."""
    names = [name for name, _, _ in source]
    order = [names.index(name) if name in names else i for i, (name, _, _) in enumerate(made)]
    alike = sorted(order) == list(range(len(source))) and all(
        source[i][1] == kind and len(source[i][2]) == len(shape)
        for i, (_, kind, shape) in zip(order, made, strict=True)
    )
    if not alike:
        raise _other(f"takes {_told(made)}, and the model {_told(source)}")
    return order


def _told(inputs: Sequence[Input]) -> str:
    return ", ".join(f"{name} {kind} {list(shape)}" for name, kind, shape in inputs)


def _asked(
    source: Asked, rows: int, rng: np.random.Generator
) -> tuple[list[Array], Mapping[str, Array] | None]:
    """Values that the model takes, and its answer; None where it takes none of ours."""
    for size in _SIZES:
        feeds = [_values(kind, shape, (rows, size), rng) for _, kind, shape in source.inputs]
        with suppress(Exception):  # libraries raise whatever they like on values
            return feeds, source.ask(feeds)
    return [], None


def _values(
    kind: str, shape: tuple[int, ...], free: tuple[int, int], rng: np.random.Generator
) -> Array:
    rows, size = free
    sizes = [s if s >= 0 else rows if i == 0 else size for i, s in enumerate(shape)]
    if kind in _FLOATS:
        return rng.normal(size=sizes).astype(_FLOATS[kind])
    # Whole numbers are mostly places in a table, and every table has two.
    few = rng.integers(0, 2, sizes)
    return few.astype("?" if kind == "BOOL" else kind.lower())


def _difference(expected: Mapping[str, Array], found: Mapping[str, Array]) -> float:
    """The largest one. Outputs of other names are the same by their place."""
    if len(found) != len(expected):
        raise _other(f"answers {', '.join(found)}, and the model {', '.join(expected)}")
    named = set(found) == set(expected)
    pairs = [
        (name, value, found[name] if named else other)
        for (name, value), other in zip(expected.items(), found.values(), strict=True)
    ]
    return max((_distance(*pair) for pair in pairs), default=0.0)


def _distance(name: str, expected: Array, found: Array) -> float:
    if expected.shape != found.shape:
        raise _other(f"answers {name} of shape {found.shape}, and the model {expected.shape}")
    if not expected.size:
        return 0.0
    if expected.dtype.kind != "f":
        same = np.array_equal(expected, found)
        worst, allowed = 0.0 if same else float("inf"), 0.0
    else:
        a, b = expected.astype(np.float64), found.astype(np.float64)
        with np.errstate(invalid="ignore"):
            apart = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, np.abs(a - b))
        worst = float(np.max(np.nan_to_num(apart, nan=np.inf)))
        finite = np.abs(a[np.isfinite(a)])
        share = _HALF_TOLERANCE if expected.dtype.itemsize == 2 else TOLERANCE
        allowed = share * max(1.0, float(finite.max(initial=0.0)))
    if worst > allowed:
        raise _other(f"answers {name} with a difference of {worst:.2g} from the model")
    return worst


def _other(how: str) -> InvalidInput:
    return InvalidInput(
        f"What OpenVINO makes of the model {how}.",
        "Leave the converter out: the predictor serves the model with its own library.",
        code="converter.differs",
    )
