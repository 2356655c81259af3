"""Which texts of a manifest's step hold expressions, and which steps they refer to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from volant.domain.manifest import Manifest, ManifestStep
from volant.errors import InvalidInput
from volant.workflows.elements import references_in_elements
from volant.workflows.expressions import (
    Reference,
    parse_condition,
    references_in,
    references_of,
)
from volant.workflows.order import Links


@dataclass(frozen=True, slots=True)
class StepText:
    """A text with expressions. `kind` is `text`, `condition` or `elements`; `reveals` says
    that secrets are filled in where the step runs."""

    where: str
    text: str
    kind: str = "text"
    reveals: bool = False

    def references(self) -> Iterator[Reference]:
        """Raises `InvalidInput` when the text can't be read."""
        return references_of_kind(self.text, self.kind, self.where)


def references_of_kind(
    text: str, kind: str, where: str, faults: list[InvalidInput] | None = None
) -> Iterator[Reference]:
    """The references in a text: a `condition` (a `when`), `elements` (a `foreach`), or one
    with expressions in braces. `faults` as in `parse_template`; a text that is one
    expression is read whole or raises."""
    if kind == "condition":
        yield from references_of(parse_condition(text, where))
    elif kind == "elements":
        yield from references_in_elements(text, where, faults)
    else:
        yield from references_in(text, where, faults)


def step_texts(step: ManifestStep) -> Iterator[StepText]:
    """Every text of a step that is resolved while the run goes on."""
    at = f"steps.{step.name}"
    yield StepText(f"{at}.image", step.image or "")
    yield StepText(f"{at}.run", step.run or "")
    if step.when is not None:
        yield StepText(f"{at}.when", step.when, "condition")
    if step.foreach is not None:
        yield StepText(f"{at}.foreach", step.foreach, "elements")
    for given in step.inputs:
        yield StepText(f"{at}.inputs.{given.name}", given.value or "", reveals=True)
        if given.codeset is not None:
            yield StepText(f"{at}.inputs.{given.name}.name", given.codeset.name)
            yield StepText(f"{at}.inputs.{given.name}.path", given.codeset.path)
    for name, value in step.env.items():
        yield StepText(f"{at}.env.{name}", value, reveals=True)
    for output in step.outputs:
        if output.image is not None:
            yield StepText(f"{at}.outputs.{output.name}.image", output.image.name)
            yield StepText(f"{at}.outputs.{output.name}.dockerfile", output.image.dockerfile)


def links_of(manifest: Manifest) -> dict[str, Links]:
    """What each step waits for, in the written order."""
    return {
        step.name: Links(
            frozenset(
                reference.path[1]
                for text in step_texts(step)
                for reference in text.references()
                if reference.path[0] == "steps"
            ),
            step.needs,
        )
        for step in manifest.steps
    }
