"""The second half of a registration: the model is opened, tried, and put into a folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from volant.domain.codec import to_plain
from volant.durable import sync
from volant.errors import EXTRAS, InvalidInput, MissingExtra, VolantError
from volant.formats.describe import Subject, describe
from volant.formats.draft import (
    Draft,
    columns_of,
    example_file,
    made_up_example,
    request_of,
    zeros_request,
)
from volant.formats.example import Example, read_example
from volant.formats.outputs import settled
from volant.formats.requirements import RUNTIME
from volant.formats.rows import sample_rows
from volant.formats.signature import Declared, from_mlflow, read_signature, tensor_of

CONVERTIBLE = frozenset({"sklearn", "lightgbm", "xgboost"})
PROFILES = {
    "onnx": "serve", "native": "serve-sklearn", "lightgbm": "serve-lightgbm",
    "xgboost": "serve-xgboost", "mlflow": "serve-mlflow", "torch": "serve-torch",
    "transformers": "serve-hf", "onnx-text": "serve-text", "code": "serve-code",
    "tensorflow": "serve-tensorflow", "openvino": "serve-openvino",
}  # fmt: skip

EXAMPLE_FILE = "input_example.json"

Files = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tools:
    """What other rooms do.

    load: (folder, files) → a model as a replica has it; raises when it doesn't answer.
    discover: (folder, files, requests) → its outputs as {name, datatype, shape}.
    convert: (format, model, fields, rows by column) → {model: bytes | None, inputs,
        outputs, max_abs_diff, reason}.
    unpickled: (content, file name) → what a pickle holds; runs code.
    taken: (SavedModel's folder, Keras file or OpenVINO's graph, its signature's key or "") →
        its inputs as (name, datatype, shape).
    """

    load: Callable[[Path, Files], Any]
    discover: Callable[[Path, Files, list[dict[str, Any]]], list[dict[str, Any]]]
    convert: Callable[..., Mapping[str, Any]]
    unpickled: Callable[[bytes, str], Any]
    taken: Callable[[Path, str], Sequence[tuple[str, str, tuple[int, ...]]]]


def profile_of(kind: str, environment: Mapping[str, Any]) -> str:
    """The zygote that replicas of such a model are forked from."""
    name = PROFILES[kind]
    if environment["kind"] == "own":
        return f"{name}@{environment['key']}"
    return "serve" if kind == "code" else name


def proof_profile(found: Mapping[str, Any]) -> str:
    """The zygote that proves it: conversion needs what training has."""
    if found["environment"]["kind"] == "volant" and found["format"] in CONVERTIBLE:
        return "train"
    return profile_of(found["kind"], found["environment"])


def prove(inputs: Mapping[str, Any], workdir: Path, tools: Tools) -> dict[str, Any]:
    """Open the model, try it on rows, write the folder that a replica serves.

    Inputs: what `inspect` answered, with example {text, format} | None, signature | None,
    task | None. Outputs: model_dir, signature, runtime, files.

    Raises `MissingExtra` when its library isn't installed, `InvalidInput` when it can't
    be opened or doesn't answer.
    """
    folder = workdir / "package"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    example, declared = _told(inputs)
    subject = Subject(Path(inputs["source"]), inputs, declared, example)
    try:
        draft = describe(subject, tools.unpickled, tools.taken)
        draft, told = _converted(inputs, draft, example, tools, folder)
        subject.folder.rename(folder / "model")
        draft, example = _written(folder, draft, example, tools)
        _rehearsed(folder, draft, tools)
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    except VolantError:
        raise
    except Exception as error:  # libraries raise whatever they like on foreign files
        text = str(error).strip().splitlines()
        raise InvalidInput(
            f"{inputs['why']} can't be served: {type(error).__name__}: "
            f"{text[0][:300] if text else ''}",
            "Try it with the library that made it, and with the example given here.",
            code="model.not_served",
        ) from error
    runtime = {
        **draft.body()["runtime"],
        **told,
        "format": inputs["format"],
        "found": inputs["why"],
        "profile": profile_of(draft.kind, inputs["environment"]),
        "environment": dict(inputs["environment"]),
        "libraries": _libraries(draft.kind),
    }
    return {
        "model_dir": str(folder),
        "signature": to_plain(draft.signature()),
        "runtime": runtime,
        "digest": _digest(_hashes(folder)),
    }


def _told(inputs: Mapping[str, Any]) -> tuple[Example | None, Declared]:
    """What its maker gave, else what lies in an MLflow folder."""
    facts = inputs["facts"]
    example: Example | None = None
    if inputs.get("example"):
        example = read_example(inputs["example"]["text"], inputs["example"]["format"])
    elif facts.get("example"):
        try:
            example = read_example(facts["example"], "json")
        except InvalidInput:
            example = None  # MLflow has examples in forms that aren't rows
    declared = from_mlflow(facts.get("signature"))
    if inputs.get("signature"):
        declared = read_signature(inputs["signature"])
    if inputs.get("task"):
        declared = replace(declared, task=str(inputs["task"]))
    return example, declared


def _converted(
    inputs: Mapping[str, Any], draft: Draft, example: Example | None, tools: Tools, folder: Path
) -> tuple[Draft, dict[str, Any]]:
    """The draft over ONNX where that is proven the same; what is told of it, else why not."""
    if inputs["format"] not in CONVERTIBLE:
        return draft, {}
    if inputs["environment"]["kind"] == "own":
        return draft, {"reason": "in its own environment the library itself predicts"}
    rows = sample_rows(draft.columns, columns_of(draft, example), draft.ranges)
    made = tools.convert(inputs["format"], draft.model, draft.columns, rows, draft.classes)
    told = {"max_abs_diff": made["max_abs_diff"], "compared_rows": len(next(iter(rows.values())))}
    _say(made["reason"] or f"converted to ONNX; largest difference {made['max_abs_diff']:.1e}")
    if made["model"] is None:
        return draft, {**told, "reason": made["reason"]}
    (folder / "model.onnx").write_bytes(made["model"])
    runtime = {"inputs": made["inputs"], "outputs": made["outputs"]}
    return replace(draft, kind="onnx", file="model.onnx", runtime=runtime), told


def _written(
    folder: Path, draft: Draft, example: Example | None, tools: Tools
) -> tuple[Draft, Example | None]:
    """`volant.json` and the example; outputs are found by asking."""
    _write(folder / "volant.json", json.dumps(draft.body(), indent=1).encode())
    if draft.discover:
        asked = [_request(draft, example, rows) for rows in (1, 2)]
        told = tools.discover(folder, _hashes(folder), asked)
        outputs = settled(draft, [tensor_of(one) for one in told])
        _say(f"it answers {', '.join(f'{o.name} {o.datatype} {list(o.shape)}' for o in outputs)}")
        draft = replace(draft, outputs=outputs)
        _write(folder / "volant.json", json.dumps(draft.body(), indent=1).encode())
    content = example_file(draft, example)
    if content is not None:
        _write(folder / EXAMPLE_FILE, content)
    for path in folder.rglob("*"):
        if path.is_file():
            sync(path)
    return draft, example


def _rehearsed(folder: Path, draft: Draft, tools: Tools) -> None:
    """Open it as a replica does. Where nobody gave an example, one is made up, and stays
    if the model answers it: without any, it can't be deployed."""
    made_up = None if (folder / EXAMPLE_FILE).exists() else made_up_example(draft)
    if made_up is not None:
        _write(folder / EXAMPLE_FILE, made_up)
        sync(folder / EXAMPLE_FILE)
        try:
            tools.load(folder, _hashes(folder))
        except Exception as error:  # it may refuse these values and be well
            (folder / EXAMPLE_FILE).unlink()
            _say(f"it doesn't answer a made-up example ({error}); give one with --example")
        else:
            return
    tools.load(folder, _hashes(folder))


def _request(draft: Draft, example: Example | None, rows: int) -> dict[str, Any]:
    request = request_of(draft, example, rows)
    if request is not None:
        return request
    if not draft.columns:
        return zeros_request(draft.tensors, rows)
    blank = {"number": 0.0, "integer": 0, "boolean": False, "timestamp": "2030-01-01T00:00:00"}
    given = Example({c.name: [blank.get(c.type, "a text")] for c in draft.columns})
    made = request_of(draft, given, rows)
    assert made is not None  # it was made of the very columns
    return made


def _missing(error: ModuleNotFoundError) -> VolantError:
    module = (error.name or "").partition(".")[0]
    if module in EXTRAS:
        return MissingExtra(module, EXTRAS[module])
    return InvalidInput(
        f"The model needs {module}, which isn't installed here.",
        f"Put {module} into a requirements.txt beside the model: it then gets an environment "
        "of its own.",
        code="model.module_missing",
        details={"module": module},
    )


def _libraries(kind: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in (*RUNTIME[kind], "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _hashes(folder: Path) -> dict[str, str]:
    hashes: dict[str, str] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        hashes[path.relative_to(folder).as_posix()] = digest
    return hashes


def _digest(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - stdout is the step's log
