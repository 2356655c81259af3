"""What kind of model an upload is, from its files alone: nothing is loaded or run."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volant.bounded_yaml import read_yaml
from volant.errors import InvalidInput
from volant.formats.pickles import WEIGHTS, is_torchscript

_BESIDE = frozenset(
    {
        "requirements.txt", "conda.yaml", "python_env.yaml", "readme.md", "license", "license.txt",
        "signature.json", "input_example.json", "example.json",
    }
)  # fmt: skip
_PIPELINES = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMaskedLM": "fill-mask",
    "ForCausalLM": "text-generation",
    "LMHeadModel": "text-generation",
}
PIPELINES = ("text-classification", "token-classification", "question-answering", "fill-mask",
             "text-generation", "text2text-generation", "summarization", "translation",
             "feature-extraction")  # fmt: skip
_GRAPH = "saved_model.pb"
_OPENVINO = b"<net "
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model",
               "sentencepiece.bpe.model")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Found:
    """`format` is what was found; `kind` the runtime that serves it as it is; `file` what
    that runtime opens, relative to the model's folder, "." for all of it."""

    format: str
    kind: str
    file: str
    why: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])


def detect(folder: Path) -> Found:
    """Raises `InvalidInput` with the formats there are, or with what is missing."""
    if (folder / "MLmodel").is_file():
        return _mlflow(folder)
    if (folder / "config.json").is_file() and (found := _hugging_face(folder)):
        return found
    if (folder / "model.py").is_file():
        return _code(folder)
    if found := _graph(folder):
        return found
    files = [p for p in sorted(folder.iterdir()) if p.name.lower() not in _BESIDE]
    known = [p for p in files if p.is_file() and p.suffix.lower() in _FILES]
    graphs = [p for p in known if p.suffix.lower() == ".onnx"]
    if len(graphs) == 1:
        data = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        beside = [n for n in data if n != graphs[0].name and n.lower() not in _BESIDE]
        return Found("onnx", "onnx", graphs[0].name, "an ONNX graph", {"data": beside})
    if len(known) == 1:
        return of_file(known[0], known[0].name)
    names = ", ".join(p.name for p in files[:8]) or "nothing"
    raise InvalidInput(
        f"No model that Volant knows is in it; there is: {names}."
        if not known
        else f"Several files could be the model: {', '.join(p.name for p in known[:8])}.",
        _KNOWN if not known else "Register one of them by its own path.",
        code="model.format_unknown",
    )


_KNOWN = (
    "Give an .onnx file, an MLflow or Hugging Face folder, a PyTorch .pt2 or scripted .pt, a "
    "Keras .keras or .h5, a SavedModel's folder, OpenVINO's .xml and .bin in a folder, a "
    "LightGBM .txt, an XGBoost .json or .ubj, a scikit-learn .pkl or .joblib, or a folder with "
    "model.py."
)


def of_file(path: Path, name: str) -> Found:
    """A single file by its ending and its content; `name` is relative to the folder."""
    return _FILES[path.suffix.lower()](path, name)


def _onnx(path: Path, name: str) -> Found:
    return Found("onnx", "onnx", name, "an ONNX graph")


def _sklearn(path: Path, name: str) -> Found:
    return Found("sklearn", "native", name, "a pickled estimator")


def _lightgbm(path: Path, name: str) -> Found:
    with path.open("rb") as file:
        if not file.read(200).lstrip().startswith((b"tree\n", b"tree\r\n")):
            raise _broken(path, "isn't a model that LightGBM's save_model wrote")
    return Found("lightgbm", "lightgbm", name, "LightGBM's text model")


def _xgboost(path: Path, name: str) -> Found:
    with path.open("rb") as file:
        head = file.read(4096)
    if path.suffix.lower() == ".json":
        try:
            body = json.loads(path.read_bytes())
        except ValueError as error:
            raise _broken(path, f"isn't JSON: {error}") from None
        if not isinstance(body, dict) or "learner" not in body:
            raise _broken(path, "isn't a model that XGBoost's save_model wrote")
    elif b"learner" not in head and b"version" not in head:
        raise _broken(path, "isn't a model that XGBoost's save_model wrote")
    return Found("xgboost", "xgboost", name, "XGBoost's model file")


def _torch(path: Path, name: str) -> Found:
    if path.suffix.lower() == ".pt2":
        return Found("torch", "torch", name, "a program of torch.export")
    if is_torchscript(path):
        return Found("torch", "torch", name, "TorchScript")
    raise InvalidInput(
        f"{path.name} is a pickle of torch.save, which runs code when it is loaded.",
        "Save the model with torch.export.save(torch.export.export(model, (example,)), "
        "'model.pt2') or with torch.jit.script(model).save('model.pt').",
        code="model.pickle",
    )


def _graph(folder: Path) -> Found | None:
    """A SavedModel's folder, or one with OpenVINO's graph and its weights."""
    if (folder / _GRAPH).is_file():
        return Found("tensorflow", "tensorflow", ".", "a SavedModel")
    graphs = [p.name for p in sorted(folder.glob("*.xml")) if p.is_file() and _is_openvino(p)]
    if not graphs:
        return None
    weights = graphs[0].removesuffix("xml") + "bin"
    if len(graphs) > 1 or not (folder / weights).is_file():
        has = f"has {', '.join(graphs[:8])}" if len(graphs) > 1 else f"lacks {weights}, its weights"
        raise InvalidInput(
            f"{graphs[0]} is a graph of OpenVINO's; its folder {has}.",
            f"Register a folder with {graphs[0]}, {weights} and no other graph.",
            code="model.broken",
        )
    return Found("openvino", "openvino", graphs[0], "OpenVINO's graph and weights")


def _is_openvino(path: Path) -> bool:
    with path.open("rb") as file:
        return _OPENVINO in file.read(1024)


def _keras(path: Path, name: str) -> Found:
    if path.name == WEIGHTS:
        raise _broken(path, "has the name that transformers gives to weights")
    with path.open("rb") as file:
        head = file.read(4)
    if head != (b"PK\x03\x04" if path.suffix.lower() == ".keras" else b"\x89HDF"):
        raise _broken(path, "isn't a model that Keras's save wrote")
    return Found("tensorflow", "tensorflow", name, "a Keras model")


_FILES: dict[str, Callable[[Path, str], Found]] = {
    ".onnx": _onnx,
    ".pkl": _sklearn, ".pickle": _sklearn, ".joblib": _sklearn,
    ".txt": _lightgbm, ".lgb": _lightgbm,
    ".json": _xgboost, ".ubj": _xgboost, ".xgb": _xgboost,
    ".keras": _keras, ".h5": _keras, ".hdf5": _keras,
    ".pt2": _torch, ".pt": _torch, ".pts": _torch, ".pth": _torch,
}  # fmt: skip


def _mlflow(folder: Path) -> Found:
    """The flavour that Volant serves best: ONNX, text models, weights, pickles, pyfunc."""
    try:
        return _of_flavors(folder, _about(folder / "MLmodel"))
    except (OSError, LookupError, AttributeError, TypeError, ValueError) as error:
        raise _broken(folder / "MLmodel", f"can't be used: {str(error)[:300]}") from None


def _about(file: Path) -> Mapping[str, Any]:
    """What an `MLmodel` says, with a mapping of flavors in it, each a mapping."""
    about = read_yaml(file)
    if not isinstance(about, Mapping):
        raise _broken(file, "must be a mapping")
    flavors = about.get("flavors")
    if not isinstance(flavors, Mapping):
        raise _broken(file, "names no flavors: `flavors` must be a mapping")
    for name, flavor in flavors.items():
        if not isinstance(flavor, Mapping):
            raise _broken(file, f"can't be used: `flavors.{str(name)[:80]}` must be a mapping")
    return about


def _of_flavors(folder: Path, about: Mapping[str, Any]) -> Found:
    flavors: Mapping[str, Mapping[str, Any]] = dict(about["flavors"])
    facts = {"signature": about.get("signature"), "example": _example_of(folder, about)}
    for name in [name for name in _FLAVORS if name in flavors]:
        found = _FLAVORS[name](folder, flavors[name])
        if found is not None:
            facts = {**facts, **found.facts, "flavor": name}
            return Found(found.format, found.kind, found.file, f"MLflow, {name}", facts)
    if "python_function" in flavors:
        flavor = ", ".join(n for n in flavors if n != "python_function") or "python_function"
        return Found("mlflow", "mlflow", ".", f"MLflow, {flavor}", {**facts, "flavor": flavor})
    raise InvalidInput(
        f"The MLflow model has the flavors {', '.join(map(str, flavors))[:300]}, and Volant "
        "serves none of them.",
        "Log it with python_function too.",
        code="model.format_unknown",
    )


def _example_of(folder: Path, about: Mapping[str, Any]) -> str | None:
    """The text of MLflow's input example in the form that holds columns."""
    saved = (about.get("saved_input_example_info") or {}).get("artifact_path")
    path = folder / str(saved)
    inside = saved and path.resolve().is_relative_to(folder.resolve()) and path.is_file()
    if not inside or path.suffix != ".json" or path.stat().st_size > 1 << 20:
        return None
    return path.read_text(encoding="utf-8")


def _inner(flavor: Mapping[str, Any], key: str, kind: str) -> Callable[[Path], Found | None]:
    def found(folder: Path) -> Found | None:
        name = str(flavor.get(key) or "")
        path = folder / name
        if not name or not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
            return None
        if path.suffix.lower() not in _FILES:
            return None
        one = of_file(path, name)
        return one if one.format == kind else None

    return found


def _flavor(key: str, kind: str) -> Callable[[Path, Mapping[str, Any]], Found | None]:
    return lambda folder, flavor: _inner(flavor, key, kind)(folder)


def _mlflow_transformers(folder: Path, flavor: Mapping[str, Any]) -> Found | None:
    model = folder / str(flavor.get("model_binary") or "model")
    tokenizer = folder / "components" / "tokenizer"
    task = str(flavor.get("task") or "")
    if not (model / "config.json").is_file() or task not in PIPELINES or not tokenizer.is_dir():
        return None
    if not model.resolve().is_relative_to(folder.resolve()):
        raise ValueError("model_binary leads out of the model's folder")
    facts = {
        "pipeline": task,
        "model": model.relative_to(folder).as_posix(),
        "tokenizer": tokenizer.relative_to(folder).as_posix(),
    }
    return Found("transformers", "transformers", ".", "", facts)


def _mlflow_tensorflow(folder: Path, flavor: Mapping[str, Any]) -> Found | None:
    """A SavedModel or a Keras file, as each of MLflow's releases lays it down. Those with
    classes of their own, and of Keras on another library, are MLflow's to open."""
    data = folder / str(flavor.get("data") or "data")
    other = flavor.get("keras_backend", "tensorflow") != "tensorflow"
    if other or flavor.get("code") or any(data.glob("custom_objects*")):
        return None
    named = flavor.get("saved_model_dir")
    places = [data / f"model{ending}" for ending in (".keras", "", ".h5")]
    for path in [folder / str(named)] if named else places:
        inside = path.resolve().is_relative_to(folder.resolve()) and path.resolve() != folder
        if not inside or not (path.is_file() or (path / _GRAPH).is_file()):
            continue
        key = flavor.get("signature_def_key")
        facts = {"signature_key": str(key)} if key and path.is_dir() else {}
        return Found("tensorflow", "tensorflow", path.relative_to(folder).as_posix(), "", facts)
    return None


_FLAVORS: dict[str, Callable[[Path, Mapping[str, Any]], Found | None]] = {
    "onnx": _flavor("data", "onnx"),
    "lightgbm": _flavor("data", "lightgbm"),
    "xgboost": _flavor("data", "xgboost"),
    "sklearn": _flavor("pickled_model", "sklearn"),
    "transformers": _mlflow_transformers,
    "tensorflow": _mlflow_tensorflow,
    "keras": _mlflow_tensorflow,
}


def _hugging_face(folder: Path) -> Found | None:
    try:
        config = json.loads((folder / "config.json").read_bytes())
        names = [str(n) for n in config.get("architectures") or ()]
    except (ValueError, AttributeError):
        return None
    if "model_type" not in config and not names:
        return None
    weights = [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]
    if not weights:
        raise _broken(folder / "config.json", "has no weights (*.safetensors) beside it")
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise _broken(folder / "config.json", "has no tokenizer (tokenizer.json) beside it")
    task = next((t for n in names for end, t in _PIPELINES.items() if n.endswith(end)), None)
    return Found(
        "transformers",
        "transformers",
        ".",
        f"Hugging Face, {names[0] if names else config['model_type']}",
        {"pipeline": task, "architecture": names[0] if names else None},
    )


def _code(folder: Path) -> Found:
    try:
        tree = ast.parse((folder / "model.py").read_bytes(), "model.py")
    except (SyntaxError, ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        raise _broken(
            folder / "model.py",
            f"isn't Python that can be read: {getattr(error, 'msg', error)}"
            f"{f' (line {line})' if line else ''}",
        ) from None
    names = {n.name for n in ast.walk(tree) if isinstance(n, ast.ClassDef)} | {
        alias.asname or alias.name
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom)
        for alias in n.names
    }
    if "Model" not in names:
        raise _broken(folder / "model.py", "has no class Model")
    return Found("code", "code", ".", "a class Model of your own")


def _broken(path: Path, how: str) -> InvalidInput:
    return InvalidInput(
        f"{path.name} {how}.", "Mend it, then register it again.", code="model.broken"
    )
