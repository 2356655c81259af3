"""A fine-tuned text classifier as a model folder: weights, tokenizer, `volant.json`.

It is served as a Hugging Face pipeline. As ONNX alone it couldn't take texts: the tokenizer
is no part of a graph that ONNX Runtime knows by itself.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from volant.domain.model import Field
from volant.training.files import whole_folder
from volant.training.provenance import installed
from volant.training.signature import signature_of

_MLFLOW = {"string": "string", "integer": "long", "number": "double", "boolean": "boolean"}
_NEEDS = ("numpy", "safetensors", "tokenizers", "torch", "transformers")


def write_pipeline(
    folder: Path,
    *,
    model: Any,
    tokenizer: Any,
    field: Field,
    classes: Sequence[Any],
    max_length: int,
    example: Sequence[str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write `folder`, all or nothing, replacing what an earlier attempt left there; answers
    its signature and runtime. `max_length`: tokens of a text that are read.

    Raises `ResourceExhausted` on a full disk.
    """
    signature = json.loads(json.dumps(asdict(signature_of("classification", [field], classes))))
    runtime = {
        "kind": "transformers",
        "profile": "serve-hf",
        "file": "model",
        "pipeline": "text-classification",
        "max_length": max_length,
    }
    told = {key: signature[key] for key in ("inputs", "outputs", "classes")}
    facts = {"format": 1, "task": "classification", "signature": told, "runtime": runtime}
    with whole_folder(folder) as draft:
        model.save_pretrained(draft / "model")
        tokenizer.save_pretrained(draft / "model")
        rows = {"columns": [field.name], "data": [[text] for text in example]}
        for name, body in (
            ("volant.json", json.dumps(facts, indent=1)),
            ("input_example.json", json.dumps(rows)),
            ("requirements.txt", "\n".join([*_requirements(), ""])),
            ("MLmodel", yaml.safe_dump(_mlmodel(field, signature["outputs"][0]["type"]))),
        ):
            (draft / name).write_text(body, encoding="utf-8")
    return signature, runtime


def _requirements() -> list[str]:
    known = installed()
    return [f"{name}=={known[name]}" for name in _NEEDS if name in known]


def _mlmodel(field: Field, answer: str) -> dict[str, Any]:
    """What the folder is in MLflow's words. It has no flavor of MLflow's: its own one for
    transformers lays the files out in another way."""
    inputs = [{"type": "string", "name": field.name, "required": False}]
    outputs = [{"type": _MLFLOW[answer], "name": "prediction", "required": True}]
    return {
        "flavors": {"volant": {"file": "volant.json", "python_version": platform.python_version()}},
        "model_uuid": uuid4().hex,
        "saved_input_example_info": {
            "artifact_path": "input_example.json",
            "pandas_orient": "split",
            "type": "dataframe",
        },
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": None},
        "utc_time_created": datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" "),
    }
