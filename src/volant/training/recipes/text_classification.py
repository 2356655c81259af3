"""Fine-tuning of a Hugging Face model that classifies texts.

The training is Hugging Face's own `Trainer` (AdamW, linear decay after a warm-up; see
https://huggingface.co/docs/transformers/main_classes/trainer). Its checkpoints lie in the
step's checkpoint folder and are stored when they are complete, so a preempted training goes
on at the step, in the epoch and with the random state that it had.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from volant.domain.contract import ColumnType
from volant.domain.model import Field
from volant.domain.recipe import with_defaults
from volant.domain.run import StepContext
from volant.errors import EXTRAS, InvalidInput, MissingExtra
from volant.training.preemption import checkpoint, leave, preempted
from volant.training.provenance import own_code_hash
from volant.training.recipes.package import TextModel, write_text_model
from volant.training.recipes.text_onnx import Open
from volant.training.schema import classes_of, column_type, target_of

NAME = "text-classification"
_LOGS = 50  # points of the loss in the run's history
_TOLD = 600  # characters of what a library says
_MODEL_FIX = (
    "Name a folder with config.json, weights and tokenizer (tokenizer.json, say), or a model of"
    " the Hub."
)

Say = Callable[[str], None]


def fine_tune(
    inputs: Mapping[str, Any],
    rows: pa.Table,
    context: StepContext,
    say: Say,
    opener: Open | None = None,
) -> dict[str, Any]:
    """Train on `rows` and write `workdir/model`. `opener` opens a model as a replica does,
    which the proof of its conversion to ONNX needs; without it a pipeline is served.

    Inputs: target, seed, params (see `volant.domain.recipe`). Outputs: model_dir, signature,
    runtime, params, metrics, history, code_hash.

    Raises:
        MissingExtra: the libraries aren't installed.
        InvalidInput: the text column, the target or the model can't be used.
    """
    torch, transformers = _libraries()
    target, seed = str(inputs["target"]), int(inputs["seed"])
    params = with_defaults(NAME, inputs.get("params") or {})
    column = text_column(rows, target, params["text"])
    labels = target_of(rows, target, "classification")
    classes = classes_of(labels)
    if len(classes) < 2:
        raise InvalidInput(
            f"The target {target!r} has one class only: {classes[0]!r}.",
            "Add rows of another class.",
        )
    transformers.set_seed(seed)
    model, tokenizer = load_pretrained(transformers, str(params["model"]), classes)
    texts = [text or "" for text in rows.column(column).to_pylist()]
    codes = np.searchsorted(np.array(classes, dtype=labels.dtype), labels).tolist()
    length = _length(int(params["max_length"]), model, tokenizer)
    encoded = tokenizer(texts, truncation=True, max_length=length)
    if any(texts):
        check_known(str(params["model"]), tokenizer, encoded["input_ids"])
    examples = _Examples(encoded, codes)
    arguments = _arguments(
        (torch, transformers), params, len(examples), seed, context.checkpoint_dir
    )
    say(
        f"fine-tuning {params['model']} on {len(examples)} texts of {column!r}, "
        f"{len(classes)} classes, on {arguments.device}"
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=examples,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        callbacks=[_keeper(transformers, float(params["checkpoint_s"]), say)],
    )
    last = newest(context.checkpoint_dir)
    if last is not None:
        say(f"going on from {last.name}")
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    if preempted() and trainer.state.global_step < trainer.state.max_steps:
        leave()
    field = Field(column, ColumnType.STRING.value, True)
    signature, runtime = write_text_model(
        context.workdir / "model",
        TextModel(trainer.model.to("cpu").float(), tokenizer, field, classes, length),
        texts,
        seed=seed,
        convert=opener if params["serve"] == "auto" else None,
        say=say,
    )
    return {
        "model_dir": str(context.workdir / "model"),
        "signature": signature,
        "runtime": runtime,
        "params": {"recipe": NAME, **params, "text": column, "seed": seed},
        "metrics": _metrics(trainer.state.log_history),
        "history": _history(trainer.state.log_history),
        "code_hash": own_code_hash(),
    }


def text_column(rows: pa.Table, target: str, named: str | None) -> str:
    """The column to read: the named one, else the only one of texts. Raises
    `InvalidInput`."""
    of_texts = [
        name
        for name in rows.column_names
        if name != target and column_type(rows.column(name).type) is ColumnType.STRING
    ]
    if named is None and len(of_texts) == 1:
        return of_texts[0]
    if named is not None and named in of_texts:
        return named
    found = ", ".join(of_texts) or "none"
    what = (
        f"train.params.text is {named!r}, which is no column of texts."
        if named
        else (f"{len(of_texts)} columns hold texts; one is read.")
    )
    raise InvalidInput(what, f"Set train.params.text to one of the columns of texts: {found}.")


def newest(folder: Path) -> Path | None:
    """The Trainer's last checkpoint in a folder."""
    found = [
        (int(path.name.rpartition("-")[2]), path)
        for path in folder.glob("checkpoint-*")
        if path.name.rpartition("-")[2].isdigit() and (path / "trainer_state.json").is_file()
    ]
    return max(found)[1] if found else None


def _libraries() -> tuple[Any, Any]:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import accelerate  # noqa: F401  # pyright: ignore
        import torch  # pyright: ignore[reportMissingImports]
        import transformers  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise MissingExtra(missing, EXTRAS.get(missing, "hf")) from error
    transformers.logging.set_verbosity_warning()
    transformers.logging.disable_progress_bar()
    return torch, transformers


def load_pretrained(transformers: Any, source: str, classes: list[Any]) -> tuple[Any, Any]:
    """The pretrained body with a new head for our classes, and its tokenizer.

    Raises:
        InvalidInput: one of them can't be loaded.
    """
    if Path(source).is_absolute() and not Path(source).is_dir():
        raise InvalidInput(
            f"train.params.model {source!r} is no folder on this machine.",
            "Name a folder that the server can read, or a model of the Hugging Face Hub.",
        )
    names = [str(each) for each in classes]
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise _unloadable(f"The tokenizer of train.params.model {source!r}", error) from error
    try:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            source,
            num_labels=len(names),
            id2label=dict(enumerate(names)),
            label2id={name: i for i, name in enumerate(names)},
            problem_type="single_label_classification",
            ignore_mismatched_sizes=True,
        )
    except (OSError, ValueError) as error:
        raise _unloadable(f"train.params.model {source!r}", error) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
        model.config.pad_token_id = tokenizer.pad_token_id
    return model, tokenizer


def _unloadable(what: str, error: Exception) -> InvalidInput:
    """With the whole cause in one line: some of transformers' messages have a list in the
    lines after the first."""
    text = " ".join(str(error).split())
    told = text if len(text) <= _TOLD else f"{text[:_TOLD]}…"
    return InvalidInput(f"{what} can't be loaded: {told}", _MODEL_FIX)


def check_known(source: str, tokenizer: Any, ids: Sequence[Sequence[int]]) -> None:
    """Whether the tokenizer knows anything that stands in the texts. From a folder without
    one, transformers makes one for some kinds of model that knows its marks alone. Raises
    `InvalidInput`."""
    marks = set(tokenizer.all_special_ids)
    if all(marks.issuperset(each) for each in ids):
        raise InvalidInput(
            f"The tokenizer of train.params.model {source!r} knows nothing of what stands in the"
            " texts.",
            _MODEL_FIX,
        )


def _length(wanted: int, model: Any, tokenizer: Any) -> int:
    """Tokens of a text that are read: no more than the model has places for."""
    places = getattr(model.config, "max_position_embeddings", None) or wanted
    return min(wanted, int(places), int(tokenizer.model_max_length))


class _Examples:
    """What the Trainer draws from: a tokenized text and its class's number."""

    def __init__(self, encoded: Any, codes: list[int]) -> None:
        self._encoded = encoded
        self._codes = codes

    def __len__(self) -> int:
        return len(self._codes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = {name: values[index] for name, values in self._encoded.items()}
        return {**row, "labels": self._codes[index]}


def _arguments(
    libraries: tuple[Any, Any], params: Mapping[str, Any], count: int, seed: int, folder: Path
) -> Any:
    """Trainer's settings for `count` texts, its checkpoints in `folder`."""
    torch, transformers = libraries
    cuda = torch.cuda.is_available()
    wanted = str(params["precision"])
    half = wanted == "bfloat16" or (wanted == "auto" and cuda and torch.cuda.is_bf16_supported())
    per_step = int(params["batch"]) * int(params["accumulate"])
    steps = math.ceil(count / per_step) * int(params["epochs"])
    return transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=int(params["epochs"]),
        per_device_train_batch_size=int(params["batch"]),
        gradient_accumulation_steps=int(params["accumulate"]),
        learning_rate=float(params["learning_rate"]),
        weight_decay=float(params["weight_decay"]),
        warmup_steps=int(steps * float(params["warmup"])),
        bf16=half,
        fp16=wanted == "float16",
        use_cpu=not cuda,
        seed=seed,
        save_strategy="no",  # `_keeper` says when
        save_total_limit=2,
        logging_steps=max(1, steps // _LOGS),
        report_to="none",
        disable_tqdm=True,
    )


def _keeper(transformers: Any, every_s: float, say: Say) -> Any:
    """A callback that lets the Trainer save every `every_s` seconds, and when the machine
    is about to be taken away; what it saved is stored."""

    class Keeper(transformers.TrainerCallback):
        def __init__(self) -> None:
            self.last = time.monotonic()
            preempted()  # from now on SIGTERM is a notice

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            if preempted():
                say("this machine is about to be taken away: saving")
                control.should_save = control.should_training_stop = True
            elif time.monotonic() - self.last >= every_s:
                control.should_save = True
            return control

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            checkpoint()
            self.last = time.monotonic()
            return control

    return Keeper()


def _metrics(log: list[dict[str, Any]]) -> dict[str, float]:
    """The mean loss over the training, as the Trainer tells it at its end."""
    final = next((entry for entry in reversed(log) if "train_loss" in entry), {})
    loss = final.get("train_loss")
    return {} if loss is None or not math.isfinite(loss) else {"train_loss": float(loss)}


def _history(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"key": f"train_{name}", "value": float(entry[name]), "step": int(entry["step"])}
        for entry in log
        for name in ("loss", "learning_rate", "grad_norm")
        if name in entry and math.isfinite(float(entry[name]))
    ]
