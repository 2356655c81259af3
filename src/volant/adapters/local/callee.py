"""Calls a function of a codeset with a step's inputs as its arguments.

Also a program of its own, `python callee.py`, for interpreters that know no Volant: it
imports nothing but the standard library, and is written for any Python from 3.8 on.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FUNCTION, INPUTS = "VOLANT_CALL", "VOLANT_CALL_INPUTS"


def call(function: str, inputs: Mapping[str, Any], codesets: Mapping[str, Any]) -> dict[str, Any]:
    """`module:function` called with `inputs` by name, hyphens as underscores; with those of
    `codesets` that it has parameters for. Raises whatever it raises, `LookupError` when it
    isn't there, and `TypeError` when it returns no dict."""
    module_name, _, name = function.partition(":")
    found: Any = importlib.import_module(module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            raise LookupError(f"{function}: the module {module_name} has no function {name!r}")
        found = getattr(found, part)
    arguments = {key.replace("-", "_"): value for key, value in inputs.items()}
    offered = {key.replace("-", "_"): value for key, value in codesets.items()}
    parameters = inspect.signature(found).parameters
    all_names = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    arguments.update({k: v for k, v in offered.items() if all_names or k in parameters})
    outputs = found(**arguments)
    if outputs is None:
        return {}
    if not isinstance(outputs, dict):
        raise TypeError(
            f"{function} returned {type(outputs).__name__}; it has to return a dict of outputs"
        )
    return outputs  # pyright: ignore[reportUnknownVariableType]


def main() -> None:
    """Inputs from the file that the environment names; outputs to VOLANT_OUTPUTS."""
    sys.path[0] = str(Path.cwd())  # the codeset's folder, not this file's
    told = json.loads(Path(os.environ[INPUTS]).read_text(encoding="utf-8"))
    outputs = call(os.environ[FUNCTION], told["inputs"], told["codesets"])
    target = Path(os.environ["VOLANT_OUTPUTS"])
    part = target.with_name(target.name + ".part")
    part.write_text(json.dumps(outputs), encoding="utf-8")
    part.replace(target)


if __name__ == "__main__":
    main()
