"""A manifest's steps that use a runnable, turned into steps that any engine of ours runs.

Inputs and outputs are checked against what the runnable declares: names, what must be given,
and types as far as they show before a run. What a command expects in files, and what it must
have written, becomes a shell script around its entrypoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from volant.domain.manifest import Manifest, ManifestStep, StepInput, StepOutput
from volant.domain.runnable import Port, RunnableSpec
from volant.errors import InvalidInput
from volant.projects.runnable_file import is_number
from volant.projects.script import script
from volant.yamltext.problems import nearest

PREFIX = "runnable/"
Find = Callable[[str], RunnableSpec]

_SOURCE = re.compile(
    r"\{\{\s*(?:steps\.(?P<step>[A-Za-z0-9_-]+)\.outputs\.(?P<output>[A-Za-z0-9_-]+)"
    r"|inputs\.(?P<input>[A-Za-z0-9_-]+))\s*\}\}"
)
_UNTYPED = "text"  # a workflow's input of type string: FuseML has no other for what is typed in
# What an input takes beside its own type. What nobody declared has the type None, and is
# taken on trust until the run.
_TAKES: Mapping[str, frozenset[str]] = {
    "string": frozenset({_UNTYPED, "number", "model", "dataset", "opaque"}),
    "number": frozenset({_UNTYPED, "opaque"}),
    "model": frozenset({_UNTYPED, "string", "opaque"}),
    "dataset": frozenset({_UNTYPED, "string", "opaque"}),
    "opaque": frozenset({_UNTYPED, "string", "number", "model", "dataset", "codeset", "runnable"}),
    "runnable": frozenset({_UNTYPED, "string", "opaque"}),
    "codeset": frozenset(),
}


def runnable_of(step: ManifestStep) -> str | None:
    """The id of the runnable that a step uses."""
    uses = step.uses or ""
    return uses.removeprefix(PREFIX) if uses.startswith(PREFIX) else None


def expand_manifest(manifest: Manifest, find: Find) -> Manifest:
    """`manifest` with each step that uses a runnable replaced.

    Args:
        manifest: As it was read.
        find: A runnable by its id; raises `NotFound`.

    Raises:
        InvalidInput: An input or output isn't declared, is missing, or has another type.
        NotFound: There is no such runnable.
    """
    used = {
        step.name: find(name) for step in manifest.steps if (name := runnable_of(step)) is not None
    }
    if not used:
        return manifest
    types = _Types(manifest, used)
    steps = tuple(
        expand(step, used[step.name], types.of) if step.name in used else step
        for step in manifest.steps
    )
    return replace(manifest, steps=steps)


def expand(
    step: ManifestStep, spec: RunnableSpec, type_of: Callable[[str], str | None] | None = None
) -> ManifestStep:
    """A step that does what the runnable does.

    Args:
        step: The one with `uses: runnable/ID`.
        spec: That runnable.
        type_of: The declared type of what an expression refers to; None where unknown.

    Raises:
        InvalidInput: As `expand_manifest`.
    """
    inputs = tuple(_inputs(step, spec, type_of or (lambda _text: None)))
    _check_outputs(step, spec)
    written = script(spec, inputs)
    return replace(
        step,
        uses=None,
        image=spec.container.image,
        run=written.text,
        inputs=inputs,
        outputs=tuple(StepOutput(port.name) for port in spec.outputs),
        env={**written.env, **step.env},
    )


@dataclass(frozen=True)
class _Types:
    """The types that a manifest declares, by expression."""

    manifest: Manifest
    used: Mapping[str, RunnableSpec]

    def of(self, text: str) -> str | None:
        found = _SOURCE.fullmatch(text.strip())
        if found is None:
            return None
        if found["input"]:
            given = next((i for i in self.manifest.inputs if i.name == found["input"]), None)
            if given is None:
                return None
            return _UNTYPED if given.type == "string" else given.type
        spec = self.used.get(found["step"])
        port = spec.output(found["output"]) if spec else None
        if spec is not None and port is None:
            raise _undeclared(
                f"{text.strip()}", "output", found["output"], spec, [p.name for p in spec.outputs]
            )
        return port.type if port else None


def _inputs(
    step: ManifestStep, spec: RunnableSpec, type_of: Callable[[str], str | None]
) -> Iterator[StepInput]:
    given = {each.name: each for each in step.inputs}
    names = [port.name for port in spec.inputs]
    for name in given:
        if name not in names:
            raise _undeclared(f"Step {step.name}", "input", name, spec, names)
    for port in spec.inputs:
        found = given.get(port.name)
        if found is not None:
            _check_type(step, spec, port, found, type_of)
            yield found
        elif port.default is not None:
            yield StepInput(port.name, port.default)
        elif not port.optional:
            raise InvalidInput(
                f"Step {step.name} gives no {port.name}, which {PREFIX}{spec.id} needs"
                f" ({port.type}).",
                f"Add it to the step's inputs: - name: {port.name}",
                code="runnable.input_missing",
                details={"step": step.name, "runnable": spec.id, "input": port.name},
            )


def _check_type(
    step: ManifestStep,
    spec: RunnableSpec,
    port: Port,
    given: StepInput,
    type_of: Callable[[str], str | None],
) -> None:
    text = given.value or ""
    kind = "codeset" if given.codeset is not None else type_of(text)
    if kind is None:
        if "{{" in text:
            return
        kind = _UNTYPED
        if port.type == "number" and not is_number(text):
            raise _mistyped(step, spec, port, f"the text {text[:80]!r}")
    if kind != port.type and kind not in _TAKES[port.type]:
        raise _mistyped(step, spec, port, f"{text.strip() or 'it'}, a {kind}")


def _check_outputs(step: ManifestStep, spec: RunnableSpec) -> None:
    names = [port.name for port in spec.outputs]
    for output in step.outputs:
        if output.name not in names:
            raise _undeclared(f"Step {step.name}", "output", output.name, spec, names)


def _undeclared(
    where: str, noun: str, name: str, spec: RunnableSpec, names: list[str]
) -> InvalidInput:
    guess = nearest(name, names)
    known = f"It has: {', '.join(names)}." if names else f"It has no {noun}s."
    return InvalidInput(
        f"{where}: {PREFIX}{spec.id} has no {noun} {name!r}.",
        f"Did you mean {guess!r}?" if guess else known,
        code=f"runnable.{noun}_unknown",
        details=_details(spec, noun, name),
    )


def _mistyped(step: ManifestStep, spec: RunnableSpec, port: Port, got: str) -> InvalidInput:
    return InvalidInput(
        f"Step {step.name}: {port.name} of {PREFIX}{spec.id} is a {port.type}, but is given {got}.",
        f"Give it a {port.type}."
        if port.type != "codeset"
        else "Give it a codeset: - codeset: {name: CODESET_INPUT}",
        code="runnable.input_type",
        details={"step": step.name, **_details(spec, "input", port.name), "type": port.type},
    )


def _details(spec: RunnableSpec, noun: str, name: str) -> dict[str, Any]:
    return {"runnable": spec.id, noun: name}
