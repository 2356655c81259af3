"""What a step's outputs follow from, as one number: the key of the cache of steps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from volant.domain.codec import to_plain
from volant.domain.run import StepRequest

FORMAT = 1  # raised when what the key is made of changes

TreeHash = Callable[[str, str, str], str]  # (project, name, version) → hash of its files

_CODESET = frozenset({"project", "name", "version", "url"})


def step_key(request: StepRequest, salt: str, tree_hash: TreeHash) -> str:
    """SHA-256 over canonical JSON of what the step is and what it is given.

    In it are `uses`, `call`, `run`, image, inputs, environment, names of outputs, and its
    extensions with their settings (a secret as its name, not its value); the workflow, the
    project and the loop, which a step may read too; and `salt`, for what changes behind
    a step's name. A codeset counts as the hash of its files: another commit with the same
    files is the same. Left out: the step's name, its limits and retries,
    and all that differs from run to run.

    Raises what `tree_hash` raises.
    """
    step = request.step
    body = {
        "format": FORMAT,
        "salt": salt,
        "uses": step.uses,
        "call": step.call,
        "run": step.run,
        "image": step.image,
        "inputs": _inputs(request.inputs, tree_hash),
        "env": dict(step.env),
        "outputs": list(step.outputs),
        "extensions": to_plain(step.extensions),
        "workflow": request.workflow,
        "project": request.project,
        "loop": request.loop,
    }
    text = json.dumps(body, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _inputs(value: Any, tree_hash: TreeHash) -> Any:
    if isinstance(value, Mapping):
        mapping = cast("Mapping[str, Any]", value)
        if mapping.keys() >= _CODESET:
            project, name, version = (str(mapping[k]) for k in ("project", "name", "version"))
            tree = tree_hash(project, name, version)
            return {"codeset": [project, name], "path": mapping.get("path"), "tree": tree}
        return {str(key): _inputs(item, tree_hash) for key, item in mapping.items()}
    if isinstance(value, (list, tuple)):
        return [_inputs(item, tree_hash) for item in cast("Sequence[Any]", value)]
    return value
