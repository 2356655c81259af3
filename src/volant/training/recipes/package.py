"""A fine-tuned text classifier as a model folder.

`model/` holds weights and tokenizer as Hugging Face lays them out. Where the conversion is
proven, `onnx/` holds the graph that is served, with its tokenizer; otherwise a pipeline over
`model/` is served, and the reason is kept.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from volant.domain.model import Field
from volant.training.files import sha256_of, whole_folder
from volant.training.provenance import installed
from volant.training.recipes.text_onnx import Open, Proof, export, proof_texts, prove
from volant.training.signature import signature_of

_MLFLOW = {"string": "string", "integer": "long", "number": "double", "boolean": "boolean"}
_NEEDS = {
    "transformers": ("numpy", "safetensors", "tokenizers", "torch", "transformers"),
    "onnx-text": ("numpy", "onnxruntime", "tokenizers"),
}
_SHOWN_ROWS = 3

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TextModel:
    """What was trained: Hugging Face's `model` (on the processor) and `tokenizer`, the
    column and the classes that it was trained on, and the tokens of a text that it reads."""

    model: Any
    tokenizer: Any
    field: Field
    classes: Sequence[Any]
    max_length: int


def write_text_model(
    folder: Path,
    made: TextModel,
    texts: Sequence[str],
    *,
    seed: int,
    convert: Open | None,
    say: Say,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write `folder`, all or nothing, replacing what an earlier attempt left there; answers
    its signature and runtime. `convert` opens a model as a replica does, for the proof over
    some of `texts`; None: serve the pipeline.

    Raises `ResourceExhausted` on a full disk.
    """
    told = signature_of("classification", [made.field], made.classes)
    signature = json.loads(json.dumps(asdict(told)))
    made.model.eval()
    runtime: dict[str, Any] = {
        "kind": "transformers",
        "profile": "serve-hf",
        "file": "model",
        "pipeline": "text-classification",
        "max_length": made.max_length,
    }
    with whole_folder(folder) as draft:
        made.model.save_pretrained(draft / "model")
        made.tokenizer.save_pretrained(draft / "model")
        rows = {"columns": [made.field.name], "data": [[text] for text in texts[:_SHOWN_ROWS]]}
        (draft / "input_example.json").write_text(json.dumps(rows), encoding="utf-8")
        if convert is not None:
            as_onnx = {"kind": "onnx-text", "profile": "serve-text", "file": "onnx"}
            _write_facts(draft, signature, as_onnx)
            proof = _converted(draft, made, proof_texts(texts, seed), convert)
            differs = {} if proof.worst is None else {"max_abs_diff": proof.worst}
            if proof.reason:
                shutil.rmtree(draft / "onnx", ignore_errors=True)
                say(f"served as a pipeline: {proof.reason}")
                runtime |= {"reason": proof.reason, **differs}
            else:
                say(f"converted to ONNX; largest difference {proof.worst:.1e}")
                runtime = {**as_onnx, **differs, "compared_rows": proof.rows}
        _write_facts(draft, signature, runtime)
        needs = "\n".join([*_requirements(runtime["kind"]), ""])
        (draft / "requirements.txt").write_text(needs, encoding="utf-8")
        body = yaml.safe_dump(_mlmodel(made.field, signature["outputs"][0]["type"]))
        (draft / "MLmodel").write_text(body, encoding="utf-8")
    return signature, runtime


def _converted(draft: Path, made: TextModel, texts: Sequence[str], opener: Open) -> Proof:
    """Never raises for what the model is: whatever goes wrong is the `reason`."""
    try:
        export(made.model, made.tokenizer, draft / "onnx", made.max_length)
        served = opener(draft, _hashes(draft))
        return prove(made.model, made.tokenizer, served, texts, made.max_length)
    except Exception as error:  # an exporter raises whatever it likes
        first = str(error).strip().splitlines()
        what = f"{type(error).__name__}: {first[0][:200]}" if first else type(error).__name__
        return Proof(f"it can't be converted to ONNX: {what}")


def _write_facts(draft: Path, signature: dict[str, Any], runtime: dict[str, Any]) -> None:
    told = {key: signature[key] for key in ("inputs", "outputs", "classes")}
    facts = {"format": 1, "task": "classification", "signature": told, "runtime": runtime}
    (draft / "volant.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def _hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def _requirements(kind: str) -> list[str]:
    known = installed()
    return [f"{name}=={known[name]}" for name in _NEEDS[kind] if name in known]


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
