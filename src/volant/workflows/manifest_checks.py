"""What a manifest refers to must be there: inputs, steps, outputs, extensions, fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from yaml.nodes import ScalarNode

from volant.domain.manifest import CODESET_FIELDS, Manifest, ManifestStep
from volant.errors import InvalidInput
from volant.workflows.expressions import EXTENSION_FIELDS, Reference, nearest, parse_template
from volant.workflows.links import references_of_kind
from volant.workflows.manifest_reading import Written
from volant.workflows.order import Links, circle
from volant.yamltext.problems import Problem
from volant.yamltext.reading import Reading

Uses = Mapping[str, tuple[str, ...] | None]


def check(reading: Reading, manifest: Manifest, uses: Uses, written: Sequence[Written]) -> None:
    """Note every reference that leads nowhere, every text that can't be read, every output
    that no step writes, and a circle of steps."""
    checks = _Checks(reading, manifest, uses)
    for text in written:
        checks.check(text)
    checks.circle()


def outputs_of(step: ManifestStep, uses: Uses) -> tuple[tuple[str, ...], bool]:
    """The outputs that a step is known to write, and whether it may write others."""
    declared = tuple(output.name for output in step.outputs)
    if step.uses and step.uses not in uses:
        return declared, True  # nobody knows any more; that it is gone is told where it stands
    if step.uses == "pass":
        return (*declared, *(given.name for given in step.inputs)), False
    fixed = uses.get(step.uses) if step.uses else None
    if fixed is not None:
        return fixed, False
    return declared, not declared and (step.uses is not None or step.call is not None)


def binding(manifest: Manifest, output: str, uses: Uses) -> str | None:
    """The step that a workflow's output of this name comes from: the last that writes it."""
    having = [step.name for step in manifest.steps if output in outputs_of(step, uses)[0]]
    return having[-1] if having else None


class _Checks:
    def __init__(self, reading: Reading, manifest: Manifest, uses: Uses) -> None:
        self.reading = reading
        self.manifest = manifest
        self.uses = uses
        self.inputs = {given.name: given for given in manifest.inputs}
        self.steps = {step.name: step for step in manifest.steps}
        self.refers: dict[str, dict[str, Written]] = {name: {} for name in self.steps}

    def check(self, written: Written) -> None:
        of_names = {"output": self._bound, "needs": self._needed, "writes": self._writes}
        of_names.get(written.kind, self._expressions)(written)

    def _expressions(self, written: Written) -> None:
        faults: list[InvalidInput] = []
        found: list[Reference] = []
        try:
            found += references_of_kind(written.text, written.kind, written.path, faults)
        except InvalidInput as error:
            faults.append(error)
        for error in {each.what: each for each in faults}.values():
            self._bad(written, error.details.get("reference"), error.what, error.fix)
        if written.kind == "codeset" and not faults:
            self._gives_codeset(written)
        for reference in dict.fromkeys(found):
            wrong = self._wrong(reference, written)
            if wrong is not None:
                self._bad(written, reference, *wrong)

    def _wrong(self, reference: Reference, written: Written) -> tuple[str, str] | None:
        root = reference.path[0]
        if written.kind == "inputs" and root != "inputs":
            return (
                f"{written.path} refers to {reference}, which isn't known when a run starts.",
                "Only inputs can stand here.",
            )
        match root:
            case "inputs":
                return self._wrong_input(reference)
            case "steps":
                return self._wrong_step(reference, written)
            case "extensions":
                return self._wrong_extension(reference, written)
            case _:
                return self._wrong_item(written)

    def _wrong_input(self, reference: Reference) -> tuple[str, str] | None:
        name, *fields = reference.path[1:]
        given = self.inputs.get(name)
        if given is None:
            return f"The workflow has no input {name!r}.", nearest(name, list(self.inputs))
        if not fields:
            return None
        if given.type != "codeset":
            what = f"Input {name!r} is a {given.type}, which has no field {fields[0]!r}."
            return what, f"Write {{{{ inputs.{name} }}}}."
        if len(fields) > 1 or fields[0] not in CODESET_FIELDS:
            word = ".".join(fields)
            return f"A codeset has no field {word!r}.", nearest(word, CODESET_FIELDS)
        return None

    def _wrong_step(self, reference: Reference, written: Written) -> tuple[str, str] | None:
        name = reference.path[1]
        if name not in self.steps:
            return f"The workflow has no step {name!r}.", nearest(name, list(self.steps))
        if written.step in self.refers:
            self.refers[written.step].setdefault(name, written)
        known, more = outputs_of(self.steps[name], self.uses)
        if len(reference.path) == 3 or more or reference.path[3] in known:
            return None
        output = reference.path[3]
        fix = nearest(output, known) if known else f"Add to its outputs: - name: {output}"
        return f"Step {name!r} has no output {output!r}.", fix

    def _wrong_extension(self, reference: Reference, written: Written) -> tuple[str, str] | None:
        name, field = reference.path[1:3]
        step = self.steps.get(written.step or "")
        known = [extension.name for extension in step.extensions] if step else []
        if name not in known:
            where = f"Step {written.step!r}" if written.step else "An output of the workflow"
            if written.step and step is None:  # its own name is wrong, which was told
                return None
            return f"{where} has no extension {name!r}.", nearest(name, known)
        if field not in EXTENSION_FIELDS:
            return f"An extension has no field {field!r}.", nearest(field, EXTENSION_FIELDS)
        return None

    def _wrong_item(self, written: Written) -> tuple[str, str] | None:
        step = self.steps.get(written.step or "")
        if written.step and step is None:
            return None
        if step is None or step.foreach is None:
            what = f"{written.path} refers to item, but there is no foreach."
            return what, "Give the step a foreach, or refer to an input or an output."
        if written.kind in ("condition", "elements"):
            what = f"{written.path} refers to item, but it is done once for all elements."
            return what, "Refer to item in inputs, env, image or run."
        return None

    def _gives_codeset(self, written: Written) -> None:
        parts = parse_template(written.text, written.path)
        known = [name for name, given in self.inputs.items() if given.type == "codeset"]
        if len(parts) != 1:
            what = f"{written.path} must be one reference to a codeset."
            self._bad(written, None, what, "Write {{ inputs.NAME }}.")
            return
        only = parts[0]
        if isinstance(only, str):
            if only.strip() not in known:
                what = f"The workflow has no codeset input {only[:80]!r}."
                self._bad(written, None, what, nearest(only, known))
        elif not isinstance(only, Reference) or only.path[0] == "extensions":
            what = f"{written.path} must be one reference to a codeset."
            self._bad(written, None, what, "Write {{ inputs.NAME }}.")
        elif only.path[0] == "inputs":
            given = self.inputs.get(only.path[1])
            if given is not None and (given.type != "codeset" or len(only.path) > 2):
                what = f"{written.path} must be a codeset, and {only} is text."
                codeset = f"{{{{ inputs.{known[0]} }}}}" if known else "an input of type codeset"
                self._bad(written, only, what, f"Write {codeset}.")

    def _needed(self, written: Written) -> None:
        name = written.text
        if name not in self.steps:
            what = f"Step {written.step!r} needs {name!r}, which isn't a step."
            self._bad(written, None, what, nearest(name, list(self.steps)))
        elif written.step in self.refers:
            self.refers[written.step].setdefault(name, written)

    def _bound(self, written: Written) -> None:
        if any(step.uses and step.uses not in self.uses for step in self.manifest.steps):
            return  # its outputs aren't known
        if binding(self.manifest, written.text, self.uses) is None:
            known = [name for s in self.manifest.steps for name in outputs_of(s, self.uses)[0]]
            what = f"No step has an output {written.text!r}, which the workflow gives."
            fix = f"{nearest(written.text, known)} Or give it a value: {{{{ steps.… }}}}."
            self._bad(written, None, what, fix)

    def _writes(self, written: Written) -> None:
        """An output that a built-in step is said to write is one that it does."""
        step = self.steps.get(written.step or "")
        fixed = self.uses.get(step.uses) if step and step.uses else None
        if step and fixed is not None and written.text not in fixed:
            what = f"Step {step.name!r}: {step.uses} writes no output {written.text!r}."
            self._bad(written, None, what, nearest(written.text, fixed))

    def circle(self) -> None:
        links = {name: Links(frozenset(refers)) for name, refers in self.refers.items()}
        found = circle(links)
        if found is not None:
            written = self.refers[found[0]][found[1]]
            what = f"The steps wait for each other in a circle: {' → '.join(found)}."
            self._bad(written, None, what, "Take one of these needs or references away.")

    def _bad(
        self, written: Written, reference: Reference | str | None, what: str, fix: str
    ) -> None:
        """Note it where it stands; within a block of text, in its line."""
        node = written.node
        offset = written.text.find(str(reference)) if reference is not None else -1
        if offset < 0 or not isinstance(node, ScalarNode) or node.style != "|":
            self.reading.bad(node, written.path, what, fix)
            return
        before = written.text[:offset]
        line = node.start_mark.line + 2 + before.count("\n")
        self.reading.problems.append(Problem(line, 1, written.path, what, fix))
