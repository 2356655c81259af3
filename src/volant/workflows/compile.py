"""A manifest and what a run is given → the workflow that runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

from volant.domain.manifest import (
    CODESET_FIELDS,
    CodesetInput,
    ExtensionRequirement,
    Manifest,
    ManifestStep,
)
from volant.domain.workflow import SEALED, ExtensionBinding, StepSpec, WorkflowSpec
from volant.errors import InvalidInput
from volant.workflows.evaluation import Scope, render_text
from volant.workflows.expressions import Reference, nearest, parse_template, references_in
from volant.workflows.images import built_in, why_not
from volant.workflows.links import StepText, links_of, step_texts
from volant.workflows.manifest_checks import binding
from volant.workflows.manifest_parts import wrong_amount
from volant.workflows.order import places
from volant.workflows.quantities import cores, memory
from volant.workflows.uses import EFFECTS, USES

# What outside services the steps are bound to, by step and by the name in it.
Bindings = Mapping[str, Mapping[str, ExtensionBinding]]


def requirements_of(
    manifest: Manifest, inputs: Mapping[str, Any]
) -> dict[str, dict[str, ExtensionRequirement]]:
    """The outside services that steps need, by step and by the name in it, with the
    expressions in them resolved. Steps that need none are left out."""
    scope = Scope(inputs, {})
    found: dict[str, dict[str, ExtensionRequirement]] = {}
    for step in manifest.steps:
        for wanted in step.extensions:
            where = f"steps.{step.name}.extensions.{wanted.name}"
            given = {
                field.name: render_text(getattr(wanted, field.name), scope, where)
                for field in fields(wanted)
                if field.name != "name"
            }
            resolved = ExtensionRequirement(wanted.name, **given)
            found.setdefault(step.name, {})[wanted.name] = resolved
    return found


def compile_workflow(
    manifest: Manifest,
    inputs: Mapping[str, Any],
    bindings: Bindings,
    *,
    version: int = 0,
    cache: bool = True,
) -> WorkflowSpec:
    """The workflow of one run.

    Args:
        manifest: What `parse_manifest` read.
        inputs: What `bind_inputs` gave.
        bindings: A service for each requirement of `requirements_of`.
        version: The registered workflow's.
        cache: Whether outputs of earlier runs may be taken over.

    Raises:
        InvalidInput: An image, an amount or a setting of a service isn't what it should
            be, now that the inputs are known.
    """
    links = links_of(manifest)
    after = places(links)
    written = [step.name for step in manifest.steps]
    steps: list[StepSpec] = []
    for step in manifest.steps:
        bound = bindings.get(step.name, {})
        _check_settings(step, bound)
        needs = links[step.name].all
        steps.append(
            _step(
                step,
                inputs,
                bound,
                cache=cache,
                needs=tuple(name for name in written if name in needs),
                after=tuple(name for name in after[step.name] if name not in needs),
            )
        )
    return WorkflowSpec(
        name=manifest.name,
        steps=tuple(steps),
        inputs=dict(inputs),
        description=manifest.description,
        outputs=_outputs(manifest),
        version=version,
    )


def strictly(spec: WorkflowSpec) -> WorkflowSpec:
    """The same, with builders that refuse what can't be had as it is written."""
    steps = (
        replace(step, inputs={**step.inputs, "strict": "true"}) if step.uses == "builder" else step
        for step in spec.steps
    )
    return replace(spec, steps=tuple(steps))


def _step(
    step: ManifestStep,
    inputs: Mapping[str, Any],
    bound: Mapping[str, ExtensionBinding],
    *,
    cache: bool,
    needs: tuple[str, ...],
    after: tuple[str, ...],
) -> StepSpec:
    uses, image = step.uses, step.image
    given: dict[str, Any] = {}
    if image is not None and step.run is None and step.call is None:
        meant = built_in(_image(step, inputs))
        if meant is not None:
            uses, image = meant.uses, None
            given.update(meant.inputs)
    for each in step.inputs:
        if each.codeset is not None:
            given[each.name] = _codeset(step, each.name, each.codeset)
        else:
            given[each.name] = each.value or ""
    kept = uses not in EFFECTS if step.cache is None else step.cache
    return StepSpec(
        name=step.name,
        uses=uses,
        call=step.call,
        run=step.run,
        image=image,
        inputs=given,
        needs=needs,
        after=after,
        when=step.when,
        foreach=step.foreach,
        retries=step.retries,
        backoff_s=step.backoff_s,
        timeout_s=step.timeout_s,
        memory_bytes=_limit(step, "memory", memory, inputs),
        cpu=_limit(step, "cpu", cores, inputs),
        env=dict(step.env),
        cache=cache and kept,
        outputs=tuple(output.name for output in step.outputs),
        extensions=dict(bound),
    )


def _image(step: ManifestStep, inputs: Mapping[str, Any]) -> str:
    """The step's image, as far as the inputs tell it."""
    image, where = step.image or "", f"steps.{step.name}.image"
    if any(reference.path[0] != "inputs" for reference in references_in(image, where)):
        return image
    image = render_text(image, Scope(inputs, {}), where)
    wrong = why_not(image)
    if wrong is not None:
        raise InvalidInput(
            f"Step {step.name!r}: {wrong[0]}",
            wrong[1],
            code="invalid_step",
            details={"step": step.name, "image": image[:200]},
        )
    return image


def _codeset(step: ManifestStep, name: str, codeset: CodesetInput) -> dict[str, str]:
    """A mapping that renders to a codeset's fields, and where it shall lie."""
    where = f"steps.{step.name}.inputs.{name}"
    parts = parse_template(codeset.name, where)
    source = parts[0] if len(parts) == 1 else None
    path = f"inputs.{source.strip()}" if isinstance(source, str) else str(source)
    if source is None or not isinstance(source, (str, Reference)):
        raise InvalidInput(
            f"{where} must be one reference to a codeset.",
            "Write {{ inputs.NAME }}.",
            code="invalid_step",
            details={"step": step.name},
        )
    return {key: f"{{{{ {path}.{key} }}}}" for key in CODESET_FIELDS} | {"path": codeset.path}


def _limit(
    step: ManifestStep,
    resource: str,
    read: Callable[[str], Any],
    inputs: Mapping[str, Any],
) -> Any:
    text = step.resources.limits.get(resource)
    if text is None:
        return None
    where = f"steps.{step.name}.resources.limits.{resource}"
    text = render_text(text, Scope(inputs, {}), where)
    value = read(text)
    if value is None:
        raise InvalidInput(
            f"{where} can't be {text[:80]!r}.",
            wrong_amount(resource, text) or "",
            code="invalid_step",
            details={"step": step.name, "key": resource},
        )
    return value


def _check_settings(step: ManifestStep, bound: Mapping[str, ExtensionBinding]) -> None:
    """Every setting of a service that the step refers to is one that the service has."""
    found = ((text, each) for text in step_texts(step) for each in text.references())
    for text, reference in found:
        if reference.path[0] != "extensions":
            continue
        name, *rest = reference.path[1:]
        if name not in bound:
            raise InvalidInput(
                f"Step {step.name!r} refers to {reference}, and no service was chosen for it.",
                "Register one that it can be: volant extension list",
                code="unknown_reference",
                details={"step": step.name, "reference": str(reference)},
            )
        if rest[0] == "cfg" and rest[1] not in bound[name].cfg:
            service = f"{bound[name].extension}/{bound[name].service}"
            raise InvalidInput(
                f"Step {step.name!r} refers to {reference}, but {service} has no setting"
                f" {rest[1]!r}.",
                nearest(rest[1], list(bound[name].cfg)),
                code="unknown_reference",
                details={"step": step.name, "reference": str(reference)},
            )
        if rest[0] == "cfg" and SEALED in bound[name].cfg[rest[1]] and not text.reveals:
            raise _secret(step, text, reference)


def _secret(step: ManifestStep, text: StepText, reference: Reference) -> InvalidInput:
    """Whoever lists processes would see it in a command."""
    key = reference.path[-1]
    fix = "Only a step's inputs and its env are given secrets."
    if text.where.endswith(".run"):
        fix = f'The command has it as "${key}" already; or put it into env.'
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key):
            fix = f'Put it into env, as NAME: {{{{ {reference} }}}}, and write "$NAME".'
    return InvalidInput(
        f"{text.where} refers to {reference}, which is a secret: it isn't filled in there.",
        fix,
        code="workflow.secret",
        details={"step": step.name, "reference": str(reference)},
    )


def _outputs(manifest: Manifest) -> dict[str, str]:
    found: dict[str, str] = {}
    for output in manifest.outputs:
        step = binding(manifest, output.name, USES)
        if output.value is not None:
            found[output.name] = output.value
        elif step is not None:
            found[output.name] = f"{{{{ steps.{step}.outputs.{output.name} }}}}"
    return found
