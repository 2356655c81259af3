"""A runnable's file: FuseML's two drafts of it, and a little more, read strictly.

What FuseML wrote as `implem:`, `container:` is here too; `inputs:` is either a mapping by
name or `input: {parameters, artifacts}`. `artifact:`, `provides:` and the default paths are
taken and change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from yaml.nodes import MappingNode, Node, ScalarNode

from volant.domain.runnable import KINDS, TYPES, Implementation, Port, RunnableSpec
from volant.projects.texts import Reference, Unreadable, parts_of
from volant.yamltext.nodes import document
from volant.yamltext.problems import Problem, error_of, nearest
from volant.yamltext.reading import Reading, Section, describe, join

FILE = "runnable.yaml"  # how errors call a file that came without its name
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_TOP = (
    *("id", "name", "description", "author", "kind", "container", "implem", "inputs", "input"),
    *("outputs", "output", "labels", "defaultInputPath", "defaultOutputPath", "created"),
)
_CONTAINER = ("image", "entrypoint", "args", "env")
_PORT = (
    *("type", "kind", "description", "optional", "default", "defaultValue", "labels", "path"),
    *("passByValue", "passByReference", "artifact", "provides", "storeType"),
)
_ALIASES = {"parameter": "string", "text": "string", "integer": "number", "float": "number"}


def read_runnable(text: str, file: str = FILE) -> RunnableSpec:
    """What the file says. Raises `InvalidInput` with every fault, each with its line."""
    reading = Reading()
    root = document(text, "runnable", "Write a runnable into it; see docs/projects.md.")
    if isinstance(root, Problem):
        raise error_of([root], file, "runnable.invalid")
    spec = _Reader(reading).spec(_inner(root))
    if reading.problems or spec is None:
        raise error_of(reading.problems, file, "runnable.invalid")
    return spec


def _inner(root: Node) -> Node:
    """What stands under `runnable:`, where that is all there is."""
    if isinstance(root, MappingNode) and len(root.value) == 1:
        key, value = root.value[0]
        if isinstance(key, ScalarNode) and key.value == "runnable":
            return value
    return root


class _Reader:
    def __init__(self, reading: Reading) -> None:
        self.reading = reading

    def spec(self, root: Node) -> RunnableSpec | None:
        top = self.reading.section(root, "", _TOP, required=("id",))
        if top is None:
            return None
        container = self._container(top)
        spec = RunnableSpec(
            id=self._id(top),
            container=container,
            name=self._text(top, "name"),
            description=self._text(top, "description"),
            kind=self._kind(top),
            author=self._text(top, "author"),
            inputs=self._ports(top, "inputs", "input", {"path", "toPath"}),
            outputs=self._ports(top, "outputs", "output", {"path", "fromPath", "toPath"}),
            labels=self._labels(top),
        )
        self._check_texts(top, spec)
        return spec

    def _id(self, top: Section) -> str:
        given = top.text("id") or ""
        if "id" in top and given and not _ID.fullmatch(given):
            top.bad(
                "id", f"{given[:80]!r} can't be an id.", "Use 1 to 100 letters, digits, - and _."
            )
        return given

    def _kind(self, top: Section) -> str:
        kind = self._text(top, "kind") or "custom"
        if kind not in KINDS:
            top.bad("kind", f"{kind!r} is no kind of runnable.", _one_of(kind, KINDS))
        return kind

    def _container(self, top: Section) -> Implementation:
        key = "implem" if "implem" in top else "container"
        node = top.child(key)
        section = node and self.reading.section(node, key, _CONTAINER)
        if not section:
            if node is None:
                top.bad(
                    "container",
                    "container is missing.",
                    "Add container: with an image, an entrypoint, or both.",
                )
            return Implementation()
        image, entrypoint = section.text("image"), section.text("entrypoint")
        if not image and not entrypoint:
            section.bad(
                "image",
                f"{key} has neither an image nor an entrypoint: nothing would run.",
                "Add image: for a container, or entrypoint: for a command of this machine.",
            )
        return Implementation(image, entrypoint, self._args(section), self._env(section))

    def _args(self, section: Section) -> tuple[str, ...]:
        node = section.child("args")
        items = None if node is None else self.reading.listing(node, section.at("args"))
        return tuple(
            self._raw(item, f"{section.at('args')}[{place}]")
            for place, item in enumerate(items or ())
        )

    def _env(self, section: Section) -> Mapping[str, str]:
        found = self._texts(section.child("env"), section.at("env"))
        for name in found:
            if not _VARIABLE.fullmatch(name):
                fix = "Use letters, digits and _, a digit not first."
                section.bad("env", f"{name[:80]!r} can't be the name of a variable.", fix)
        return found

    def _ports(self, top: Section, key: str, other: str, paths: set[str]) -> tuple[Port, ...]:
        found: dict[str, Port] = {}
        for path, node in self._groups(top, key, other):
            for name, (key_node, value) in (self.reading.pairs(node, path) or {}).items():
                at = join(path, name)
                if not _NAME.fullmatch(name):
                    fix = "Use 1 to 100 letters, digits, - and _."
                    self.reading.bad(key_node, at, f"{name[:80]!r} can't be a name.", fix)
                elif name in found:
                    self.reading.bad(key_node, at, f"{name} stands here twice.", "Keep one.")
                port = self._port(name, value, at, paths)
                if port is not None:
                    found[name] = port
        return tuple(found.values())

    def _groups(self, top: Section, key: str, other: str) -> list[tuple[str, Node]]:
        groups: list[tuple[str, Node]] = []
        plain = top.child(key)
        if plain is not None:
            groups.append((key, plain))
        node = top.child(other)
        section = node and self.reading.section(node, other, ("parameters", "artifacts"))
        if section:
            groups += [(section.at(name), each) for name, each in section.items.items()]
        return groups

    def _port(self, name: str, node: Node, at: str, paths: set[str]) -> Port | None:
        section = self.reading.section(node, at, _PORT)
        if section is None:
            return None
        default = section.child("default") or section.child("defaultValue")
        given = None if default is None else self._raw(default, section.at("default"))
        port = Port(
            name,
            type=self._type(section),
            description=self._text(section, "description"),
            optional=section.flag("optional") or given is not None,
            default=given,
            labels=self._labels(section),
            path=self._path(section, paths),
        )
        if port.type == "number" and given is not None and not is_number(given):
            section.reading.bad(
                default or node, at, f"{given!r} is not a number.", "Write a number as default."
            )
        return port

    def _type(self, section: Section) -> str:
        """`type: model`, or `kind: {model: …}`."""
        kind = section.child("kind")
        if isinstance(kind, MappingNode):
            named = list(self.reading.pairs(kind, section.at("kind")) or {})
            word, key = (named[0] if named else ""), "kind"
        else:
            word, key = self._text(section, "type") or "string", "type"
        word = _ALIASES.get(word, word)
        if word not in TYPES:
            section.bad(key, f"{word!r} is no type of input or output.", _one_of(word, TYPES))
        return word

    def _path(self, section: Section, keys: set[str]) -> str | None:
        path = section.text("path")
        node = section.child("passByValue")
        if path is None and node is not None and not _empty(node):
            inner = self.reading.section(node, section.at("passByValue"), sorted(keys))
            for key in inner.items if inner else ():
                path = inner.text(key) if inner else None
        if path is not None and ("\n" in path or not path.strip("/ ")):
            section.bad("path", f"{path!r} is no path of a file.", "Write one like /inputs/x.txt.")
        return path

    def _labels(self, section: Section) -> Mapping[str, str]:
        return self._texts(section.child("labels"), section.at("labels"))

    def _texts(self, node: Node | None, path: str) -> dict[str, str]:
        if node is None or _empty(node):
            return {}
        pairs = self.reading.pairs(node, path) or {}
        return {key: self._raw(value, join(path, key)) for key, (_, value) in pairs.items()}

    def _text(self, section: Section, key: str) -> str:
        node = section.child(key)
        return "" if node is None or _empty(node) else (section.text(key) or "").strip()

    def _raw(self, node: Node, path: str) -> str:
        """A scalar's text as it was written: `1.10` and `false` are texts here."""
        if isinstance(node, ScalarNode):
            return str(node.value)
        self.reading.bad(
            node, path, f"{path} must be text, not {describe(node)}.", "Write one text."
        )
        return ""

    def _check_texts(self, top: Section, spec: RunnableSpec) -> None:
        key = "implem" if "implem" in top else "container"
        made = spec.container
        for text in (made.entrypoint or "", *made.args, *made.env.values()):
            for part in parts_of(text):
                if not isinstance(part, str) and (wrong := _wrong(part, spec)):
                    top.bad(key, *wrong)


def is_number(text: str) -> bool:
    """Whether `text` is a finite number as JSON and shells know it."""
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text.strip()) is not None


def _wrong(part: Reference | Unreadable, spec: RunnableSpec) -> tuple[str, str] | None:
    """What is wrong with an expression, and what to do; None when nothing is."""
    if isinstance(part, Unreadable):
        return (
            f"{{{{ {part.text[:80]} }}}} is no expression of a runnable.",
            "Write {{ inputs.NAME }} or {{ outputs.NAME }}.",
        )
    ports = spec.inputs if part.side == "inputs" else spec.outputs
    names = [port.name for port in ports]
    if part.name in names:
        return None
    guess = nearest(part.name, names)
    known = f"Known: {', '.join(names)}." if names else f"It declares no {part.side}."
    return (
        f"{part.side}.{part.name} is not declared.",
        f"Did you mean {part.side}.{guess}?" if guess else known,
    )


def _one_of(word: str, known: tuple[str, ...]) -> str:
    guess = nearest(word, known)
    return f"Did you mean {guess}?" if guess else f"Use one of: {', '.join(known)}."


def _empty(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == "null"
