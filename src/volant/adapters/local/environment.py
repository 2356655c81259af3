"""The environment that every job finds: `VOLANT_*` and its inputs as text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volant.domain.job import Job
from volant.errors import InvalidInput

_LONGEST = 131_000  # Linux: 32 pages for one `NAME=value`, its end included


def outputs_path(job: Job) -> Path:
    """Where this attempt's outputs are written."""
    return job.workdir / f"outputs.{job.attempt}.json"


def checkpoint_dir(job: Job) -> Path:
    """The folder that outlives attempts."""
    return job.workdir / "checkpoint"


def input_name(name: str) -> str:
    """`VOLANT_INPUT_` and the name in capitals, other characters as `_`."""
    return "VOLANT_INPUT_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def input_text(value: Any) -> str:
    """A string is itself, None is empty, anything else its JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def _check(job: Job) -> None:
    """Raises `InvalidInput` for a text with what ends every text of the kernel's."""
    texts = {"The command": job.command or ""}
    texts |= {f"The variable {name}": text for name, text in job.env.items()}
    for what, text in texts.items():
        if "\0" in text:
            raise InvalidInput(
                f"{what} of step {job.step} holds a zero byte, which no process can be given.",
                "Take it out of what it is made of: the step's text, an input, an output of"
                " another step, or an element of foreach.",
                details={"text": what},
            )


def job_environment(job: Job) -> Mapping[str, str]:
    """What is added to the process's environment; `job.env` can't replace ours.

    Raises `InvalidInput` for a command, or a variable of `job.env`, that no process can be
    given, and for a command's input that no environment can hold. An entry gets such an
    input as an argument anyway, so there it is left out.
    """
    _check(job)
    env = dict(job.env)
    for name, value in job.inputs.items():
        text = input_text(value)
        zero = "\0" in text
        if zero or len(text.encode("utf-8", "surrogateescape")) > _LONGEST:
            if job.command is not None:
                raise InvalidInput(
                    f"The input {name!r} of step {job.step!r} can't be an environment"
                    f" variable: it has {len(text)} characters"
                    f"{', a zero byte among them' if zero else ''}.",
                    "Pass the path of a file instead.",
                    details={"input": name, "characters": len(text)},
                )
            continue
        env[input_name(name)] = text
    env.update(
        VOLANT_RUN_ID=job.run_id,
        VOLANT_STEP=job.step,
        VOLANT_ATTEMPT=str(job.attempt),
        VOLANT_WORKDIR=str(job.workdir),
        VOLANT_OUTPUTS=str(outputs_path(job)),
        VOLANT_CHECKPOINT_DIR=str(checkpoint_dir(job)),
        PYTHONUNBUFFERED="1",
    )
    return env
