"""What a manifest's step has besides its inputs: outputs, extensions, environment, resources."""

from __future__ import annotations

import re
from collections.abc import Mapping

from yaml.nodes import MappingNode, ScalarNode

from volant.domain.manifest import ExtensionRequirement, OutputImage, Resources, StepOutput
from volant.workflows.manifest_reading import Names, Notes, empty, entries, named
from volant.workflows.quantities import CPU_FORM, MEMORY_FORM, cores, memory, quantity
from volant.yamltext.reading import Section, join

_REQUIREMENT = (
    *("name", "extension_id", "service_id", "product", "version", "zone"),
    *("service_resource", "service_category"),
)
# What a process may have as the name of a variable, as Kubernetes has it.
_VARIABLE = re.compile(r"[A-Za-z_.-][A-Za-z0-9_.-]{0,254}")


def outputs(notes: Notes, step: Section) -> tuple[StepOutput, ...]:
    found: list[StepOutput] = []
    names = Names(notes.reading, "output")
    for node, path in entries(notes.reading, step, "outputs"):
        if isinstance(node, ScalarNode):  # ours: a name is all there is to most of them
            name = names.take(node, path, notes.reading.raw(node, path) or "")
            if name is not None:
                notes.note(node, path, name, "writes")
                found.append(StepOutput(name))
            continue
        section = notes.reading.section(node, path, ("name", "image"), required=("name",))
        if section is None:
            continue
        image = _output_image(notes, section)
        name = names.read(section)
        if name is not None:
            notes.note(section.items["name"], section.at("name"), name, "writes")
            found.append(StepOutput(name, image))
    return tuple(found)


def _output_image(notes: Notes, output: Section) -> OutputImage | None:
    node = output.child("image")
    if node is None or empty(node):
        return None
    path = output.at("image")
    section = notes.reading.section(node, path, ("name", "dockerfile"), required=("name",))
    if section is None:
        return None
    name = notes.text(section, "name", "text") or ""
    return OutputImage(name, notes.text(section, "dockerfile", "text") or "")


def extensions(notes: Notes, step: Section) -> tuple[ExtensionRequirement, ...]:
    found: list[ExtensionRequirement] = []
    names = Names(notes.reading, "extension")
    for node, path in entries(notes.reading, step, "extensions"):
        section = notes.reading.section(node, path, _REQUIREMENT, required=("name",))
        if section is None:
            continue
        given: dict[str, str] = {}
        for key in _REQUIREMENT[1:]:
            text = section.raw(key)
            if text is not None:
                notes.note(section.items[key], section.at(key), text, "inputs")
                given[key] = text
        name = names.read(section)
        if name is not None and not given:
            what = f"{path} ({name}) doesn't say which service it means."
            fix = f"Add one of: {', '.join(_REQUIREMENT[1:])}."
            notes.reading.bad(node, path, what, fix)
        if name is not None:
            found.append(ExtensionRequirement(name, **given))
    return tuple(found)


def env(notes: Notes, step: Section) -> Mapping[str, str]:
    short = step.child("env")
    if isinstance(short, MappingNode):
        return _short_env(notes, short, step.at("env"))
    found: dict[str, str] = {}
    for node, path in entries(notes.reading, step, "env"):
        required = ("name", "value")
        section = notes.reading.section(node, path, required, required=required)
        if section is None:
            continue
        name = section.raw("name")
        value = section.raw("value") or ""
        if "value" in section:
            notes.note(section.items["value"], section.at("value"), value)
        if "name" not in section or not named(notes.reading, section, name, _VARIABLE):
            continue
        if found.get(name or "", value) != value:
            what = f"There are two variables named {name!r} with different values."
            section.bad("name", what, "Keep one of the two.")
        found[name or ""] = value
    return found


def _short_env(notes: Notes, node: MappingNode, path: str) -> Mapping[str, str]:
    """Ours: `{NAME: value}`."""
    found: dict[str, str] = {}
    for name, (key, value) in (notes.reading.pairs(node, path) or {}).items():
        at = join(path, name)
        if not _VARIABLE.fullmatch(name):
            what = f"{name[:80]!r} can't be the name of a variable."
            notes.reading.bad(key, at, what, "Use letters, digits, '-', '_' and '.'.")
        found[name] = notes.reading.raw(value, at) or ""
        notes.note(value, at, found[name])
    return found


def resources(notes: Notes, step: Section) -> Resources:
    node = step.child("resources")
    if node is None:
        return Resources()
    section = notes.reading.section(node, step.at("resources"), ("requests", "limits"))
    if section is None:
        return Resources()
    return Resources(_amounts(notes, section, "requests"), _amounts(notes, section, "limits"))


def _amounts(notes: Notes, section: Section, key: str) -> Mapping[str, str]:
    node = section.child(key)
    if node is None or empty(node):
        return {}
    found: dict[str, str] = {}
    for name, (_, value) in (notes.reading.pairs(node, section.at(key)) or {}).items():
        path = join(section.at(key), name)
        text = notes.reading.raw(value, path)
        if text is None:
            continue
        if "{{" in text:
            notes.note(value, path, text, "inputs")
        else:
            form = wrong_amount(name, text)
            if form:
                notes.reading.bad(value, path, f"{path} can't be {text[:80]!r}.", form)
        found[name] = text
    return found


def wrong_amount(resource: str, text: str) -> str | None:
    """What to write instead, when `text` is no amount of `resource`."""
    if resource == "cpu":
        return None if cores(text) is not None else f"Write {CPU_FORM}."
    if resource == "memory":
        return None if memory(text) is not None else f"Write {MEMORY_FORM}."
    return None if quantity(text) else "Write a quantity: 1, 500m or 2Gi."
