"""A fine-tuned text classifier as ONNX, and the proof that it answers what Hugging Face's
pipeline answers.

The exporter is PyTorch's by tracing (`torch.onnx.export(dynamo=False)`): it needs no further
library, and what tracing may get wrong, a size that became a constant, the proof finds, since
its batches have many sizes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-4  # of a probability, as for pipelines of scikit-learn
PROOF_ROWS = 100
_OPSET = 18
_PARTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
_BATCH = 32
# What reviews seldom hold: no word at all, letters of other alphabets, controls.
_STRANGE = ("", " ", "Ünïcödé Ελληνικά 漢字 🙂", "a\tb\nc\x00d", "[SEP] [CLS] </s> <pad>")

# (folder, SHA-256 by relative path) → the model as a replica has it
Open = Callable[[Path, Mapping[str, str]], Any]


@dataclass(frozen=True, slots=True)
class Proof:
    """`reason` is empty where the answers agree; `worst` is their largest difference."""

    reason: str
    worst: float | None = None
    rows: int = 0


def export(model: Any, tokenizer: Any, folder: Path, max_length: int) -> None:
    """Write `model.onnx` and `tokenizer.json` into `folder`, the model in evaluation and on
    the processor. Texts are cut off at `max_length` tokens.

    Raises `ValueError` for a tokenizer that is none of the tokenizers library's, and what
    the exporter raises.
    """
    torch: Any = import_module("torch")
    core = getattr(tokenizer, "backend_tokenizer", None)
    if core is None:
        raise ValueError(f"{type(tokenizer).__name__} isn't one of the tokenizers library")
    folder.mkdir(parents=True)
    _tokenizer_file(core, tokenizer, folder / "tokenizer.json", max_length)
    sample = tokenizer(["a text", "another text, which is longer"], padding=True)
    names = list(sample)
    if not set(names) <= _PARTS:
        raise ValueError(f"its tokenizer makes {', '.join(names)}")

    class Probabilities(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            logits = self.model(**dict(zip(names, tensors, strict=True))).logits
            return torch.softmax(logits.float(), -1)

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of tracing, and that this exporter is the older one
        torch.onnx.export(
            Probabilities().eval(),
            tuple(torch.tensor(sample[name]) for name in names),
            str(folder / "model.onnx"),
            input_names=names,
            output_names=["probabilities"],
            dynamic_axes={
                **{name: {0: "rows", 1: "tokens"} for name in names},
                "probabilities": {0: "rows"},
            },
            opset_version=_OPSET,
            dynamo=False,
        )


def _tokenizer_file(core: Any, tokenizer: Any, path: Path, max_length: int) -> None:
    """A copy of the tokenizer that also cuts off and fills up as the pipeline does."""
    copy = type(core).from_str(core.to_str())
    copy.enable_truncation(max_length, direction=tokenizer.truncation_side)
    copy.enable_padding(
        direction=tokenizer.padding_side,
        pad_id=tokenizer.pad_token_id,
        pad_type_id=tokenizer.pad_token_type_id,
        pad_token=tokenizer.pad_token,
    )
    copy.save(str(path))


def proof_texts(texts: Sequence[str], seed: int) -> list[str]:
    """Up to 100 of `texts`, and some that are like none of them: strange ones, and one
    longer than any model reads."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(texts), size=min(PROOF_ROWS, len(texts)), replace=False)
    sample: list[str] = [texts[int(i)] for i in chosen]
    words = " ".join(sample).split() or ["word"]
    long = " ".join((words * (20_000 // len(words) + 1))[:20_000])
    return [*sample, *_STRANGE, long]


def prove(model: Any, tokenizer: Any, served: Any, texts: Sequence[str], max_length: int) -> Proof:
    """Compare `served` (the model as a replica has it) with Hugging Face's pipeline over the
    same `texts`: in batches, and the last few one by one, since filling up mustn't matter."""
    from transformers import pipeline  # pyright: ignore[reportMissingImports]

    asked: Any = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    expected = _asked(asked, model, texts, max_length)
    few = texts[-len(_STRANGE) - 1 :]
    wanted = np.concatenate([expected, expected[-len(few) :]])
    answers = [_served(served, texts), *(_served(served, [text]) for text in few)]
    found = np.concatenate([probabilities for _, probabilities in answers])
    labels = np.concatenate([labels for labels, _ in answers])
    worst = float(np.max(np.abs(found - wanted)))
    # A tie within the tolerance may fall either way; any other difference is a wrong class.
    top = np.sort(wanted, axis=1)
    clear = top[:, -1] - top[:, -2] > 2 * TOLERANCE
    classes = np.array([str(each) for each in served.description.classes], dtype=object)
    right = classes[wanted.argmax(axis=1)]
    told = np.array([str(each) for each in labels.tolist()], dtype=object)
    if not worst <= TOLERANCE or (told[clear] != right[clear]).any():
        return Proof(f"its ONNX probabilities differ by {worst:.2g}", worst, len(texts))
    return Proof("", worst, len(texts))


def _asked(asked: Any, model: Any, texts: Sequence[str], max_length: int) -> NDArray[Any]:
    place = {str(name): int(i) for i, name in model.config.id2label.items()}
    found = asked(
        list(texts),
        top_k=None,
        function_to_apply="softmax",
        truncation=True,
        max_length=max_length,
        batch_size=_BATCH,
    )
    made = np.zeros((len(texts), len(place)))
    for row, scored in enumerate(found):
        for one in scored:
            made[row, place[one["label"]]] = one["score"]
    return made


def _served(served: Any, texts: Sequence[str]) -> tuple[Any, Any]:
    column = np.empty((len(texts), 1), dtype=object)
    column[:, 0] = list(texts)
    return served.predict((column,)).outputs
