"""A workflow's manifest as text → `Manifest`, or one error that tells all that is wrong.

FuseML 0.3's files are read as they are. Every value is kept as it was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from volant.domain.manifest import (
    INPUT_TYPES,
    OUTPUT_TYPES,
    Manifest,
    ManifestInput,
    ManifestOutput,
    ManifestTrigger,
)
from volant.workflows.manifest_checks import check
from volant.workflows.manifest_reading import NAME_FIX, Names, Written, empty, entries, texts
from volant.workflows.manifest_steps import StepReader
from volant.workflows.plan import NAME
from volant.workflows.uses import USES
from volant.workflows.values import number_of
from volant.yamltext.cron import why_not
from volant.yamltext.nodes import document
from volant.yamltext.problems import Problem, error_of, nearest
from volant.yamltext.reading import Reading, Section, describe, shorten

FILE = "workflow.yaml"
INVALID = "workflow.invalid"
# `created` is what FuseML's own answers have; it says nothing here.
_KEYS = ("name", "description", "inputs", "outputs", "steps", "on", "created")
_TRIGGERS = ("push", "cron", "dataset")
_START = "Run: volant workflow create --template mlproject"


def parse_manifest(
    text: str, file: str = FILE, uses: Mapping[str, tuple[str, ...] | None] = USES
) -> Manifest:
    """Read one workflow.

    Args:
        text: All of the file.
        file: What errors call it.
        uses: The built-in steps that `uses:` may name, with the outputs each writes.

    Raises:
        InvalidInput: With every problem found; `details["problems"]` lists each one's
            line, column, path, what and fix.
    """
    root = document(text, "workflow", _START)
    if isinstance(root, Problem):
        raise error_of([root], file, INVALID)
    reading = Reading()
    manifest = _Parse(reading, uses).manifest(root)
    if reading.problems or manifest is None:
        raise error_of(reading.problems, file, INVALID)
    return manifest


class _Parse:
    def __init__(self, reading: Reading, uses: Mapping[str, tuple[str, ...] | None]) -> None:
        self.reading = reading
        self.uses = uses

    def manifest(self, root: Node) -> Manifest | None:
        top = self.reading.section(root, "", _KEYS, required=("name", "steps"))
        if top is None:
            return None
        inputs = self._inputs(top)
        outputs, written = self._outputs(top)
        reader = StepReader(self.reading, self.uses, inputs)
        steps = reader.steps(top)
        manifest = Manifest(
            name=self._name(top),
            description=top.raw("description") or "",
            inputs=tuple(inputs.values()),
            outputs=outputs,
            steps=steps,
            triggers=self._triggers(top),
        )
        check(self.reading, manifest, self.uses, [*reader.notes.written, *written])
        return manifest

    def _name(self, section: Section) -> str:
        name = section.raw("name")
        if name is None:
            if "name" in section:
                section.bad("name", "name is empty.", NAME_FIX)
            return ""
        if not NAME.fullmatch(name):
            section.bad("name", f"{name[:80]!r} can't be a workflow's name.", NAME_FIX)
        return name

    def _inputs(self, top: Section) -> dict[str, ManifestInput]:
        found: dict[str, ManifestInput] = {}
        names = Names(self.reading, "input")
        for node, path in entries(self.reading, top, "inputs"):
            keys = ("name", "description", "type", "default", "labels")
            section = self.reading.section(node, path, keys, required=("name",))
            name = None if section is None else names.read(section)
            if section is None or name is None:
                continue
            kind = self._type(section, INPUT_TYPES)
            made = ManifestInput(
                name=name,
                type=kind,
                description=section.raw("description") or "",
                default=self._default(section, kind),
                labels=tuple(texts(self.reading, section, "labels")),
            )
            if made.type == "number" and made.default and number_of(made.default) is None:
                what = f"{path}.default {made.default[:80]!r} is no number, as its type says."
                section.bad("default", what, "Write a number, or another type.")
            found[name] = made
        return found

    @staticmethod
    def _default(section: Section, kind: str) -> str | None:
        """An empty default of a text says that it may be left out."""
        text = section.raw("default")
        return "" if text is None and "default" in section and kind == "string" else text

    def _outputs(self, top: Section) -> tuple[tuple[ManifestOutput, ...], list[Written]]:
        found: list[ManifestOutput] = []
        written: list[Written] = []
        names = Names(self.reading, "output")
        for node, path in entries(self.reading, top, "outputs"):
            keys = ("name", "description", "type", "value")
            section = self.reading.section(node, path, keys, required=("name",))
            name = None if section is None else names.read(section)
            if section is None or name is None:
                continue
            value = section.raw("value")
            if value is not None:
                written.append(Written(section.items["value"], f"{path}.value", value))
            else:
                written.append(Written(node, path, name, kind="output"))
            kind = self._type(section, OUTPUT_TYPES)
            description = section.raw("description") or ""
            found.append(ManifestOutput(name, kind, description, value))
        return tuple(found), written

    def _type(self, section: Section, known: tuple[str, ...]) -> str:
        kind = section.raw("type") or "string"
        if kind in known:
            return kind
        guess = nearest(kind, known)
        fix = f"Did you mean {guess}?" if guess else f"Use one of: {', '.join(known)}."
        section.bad("type", f"{section.at('type')} {kind[:80]!r} is no type.", fix)
        return "string"

    def _triggers(self, top: Section) -> tuple[ManifestTrigger, ...] | None:
        node = top.child("on")
        if node is None or empty(node):
            return None
        found: list[ManifestTrigger] = []
        for kind, key_node, value in self._named_triggers(node):
            path = f"on.{shorten(kind)}"
            if kind not in _TRIGGERS:
                guess = nearest(kind, _TRIGGERS)
                fix = f"Did you mean {guess}?" if guess else f"Use: {', '.join(_TRIGGERS)}."
                self.reading.bad(key_node, path, f"{path}: {kind[:80]!r} is no trigger.", fix)
                continue
            for each in self._values(kind, key_node, value, path):
                trigger = ManifestTrigger(kind, each)
                if trigger in found:
                    what = f"{path} stands here twice."
                    self.reading.bad(key_node, path, what, "Keep one of the two.")
                else:
                    found.append(trigger)
        return tuple(found)

    def _named_triggers(self, node: Node) -> Iterable[tuple[str, Node, Node | None]]:
        """Each trigger's kind, its node, and its value's."""
        if isinstance(node, ScalarNode):
            kind = self.reading.raw(node, "on")
            if kind is not None:
                yield kind, node, None
        elif isinstance(node, SequenceNode):
            for item in node.value:
                yield from self._named_triggers(item)
        elif isinstance(node, MappingNode):
            for kind, (key_node, value) in (self.reading.pairs(node, "on") or {}).items():
                yield kind, key_node, value

    def _values(self, kind: str, key_node: Node, node: Node | None, path: str) -> Iterable[str]:
        if kind == "push":
            yield self._branch(node, path)
            return
        nodes: list[Node] = [] if node is None or empty(node) else [node]
        if isinstance(node, SequenceNode):
            nodes = list(node.value)
        if not nodes:
            form = {"cron": 'a schedule: cron: "0 2 * * *"', "dataset": "a name: dataset: wine"}
            self.reading.bad(key_node, path, f"{path} says nothing.", f"Write {form[kind]}.")
        for each in nodes:
            text = self.reading.raw(each, path)
            if text is None:
                continue
            text = " ".join(text.split())
            reason = why_not(text) if kind == "cron" else None
            if reason is not None:
                what = f"{path} {text[:80]!r} is no schedule: {reason}."
                fix = 'Write five fields in UTC: "minute hour day month weekday".'
                self.reading.bad(each, path, what, f'{fix} For example "0 2 * * *".')
            yield text

    def _branch(self, node: Node | None, path: str) -> str:
        if node is None or empty(node):
            return ""
        if isinstance(node, ScalarNode):
            if node.tag != "bool" or node.value.casefold() != "true":
                what = f"{path} must be a mapping, not {describe(node)}."
                self.reading.bad(node, path, what, "Write push, or push: {branch: main}.")
            return ""
        section = self.reading.section(node, path, ("branch",))
        return (section and section.raw("branch")) or ""
