"""Typed reads from a YAML graph that note every problem and go on with a default."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from volant.yamltext.problems import Problem, nearest
from volant.yamltext.units import (
    DURATION_FORM,
    SIZE_FORM,
    byte_count,
    duration_text,
    seconds,
    size_text,
)

_INT64 = 2**63
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # text that databases and UTF-8 refuse


class Reading:
    """Collects problems while a document is read."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def bad(self, node: Node, path: str, what: str, fix: str) -> None:
        mark = node.start_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        self.problems.append(Problem(line, column, path, what, fix))

    def section(
        self,
        node: Node,
        path: str,
        keys: Sequence[str],
        *,
        later: Mapping[str, str] | None = None,
        required: Sequence[str] = (),
    ) -> Section | None:
        """`node` as a mapping with these keys; an empty value counts as `{}`.

        `later` maps keys that this version doesn't have yet to what they will do.
        """
        if isinstance(node, ScalarNode) and node.tag == "null" and not required:
            return Section(self, node, path, {})
        named = self.pairs(node, path)
        if named is None:
            return None
        items: dict[str, Node] = {}
        misspelt: set[str | None] = set()
        for key, (key_node, value) in named.items():
            if key in keys:
                items[key] = value
            else:
                misspelt.add(self._unknown(key_node, join(path, key), key, keys, later or {}))
        for key in required:
            if key not in items and key not in misspelt:
                self.bad(
                    node,
                    join(path, key),
                    f"{join(path, key)} is missing.",
                    f"Add the key {key} {'to ' + path if path else 'at the top level'}.",
                )
        return Section(self, node, path, items)

    def pairs(self, node: Node, path: str) -> dict[str, tuple[Node, Node]] | None:
        """A mapping's (key node, value node) by the key's text; None if it is none."""
        if not isinstance(node, MappingNode):
            self.bad(
                node,
                path,
                f"{path or 'The file'} must be a mapping of keys to values, not {describe(node)}.",
                "Write one `key: value` a line, indented alike.",
            )
            return None
        found: dict[str, tuple[Node, Node]] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, ScalarNode):
                self.bad(
                    key_node,
                    path,
                    f"A key of {path or 'the file'} is {describe(key_node)}, not text.",
                    "Write keys as plain text; quote text that begins with { or [.",
                )
                continue
            key: str = key_node.value
            if self._unstorable(key_node, path, key):
                continue
            if key in found:
                first = found[key][0].start_mark
                where = f" (first in line {first.line + 1})" if first else ""
                self.bad(
                    key_node,
                    join(path, key),
                    f"{join(path, key)} stands here twice{where}.",
                    "Keep one of the two.",
                )
                continue
            found[key] = (key_node, value)
        return found

    def _unknown(
        self, node: Node, path: str, key: str, keys: Iterable[str], later: Mapping[str, str]
    ) -> str | None:
        """Note it; returns the key that was probably meant."""
        if key in later:
            self.bad(
                node,
                path,
                f"{path} ({later[key]}) isn't in this version of Volant yet.",
                f"Delete the key {key} for now.",
            )
            return None
        guess = nearest(key, keys)
        known = ", ".join(keys)
        fix = f"Did you mean {guess}?" if guess else f"Use one of these keys: {known}."
        self.bad(node, path, f"{path} is not a key that Volant knows.", fix)
        return guess

    def _unstorable(self, node: Node, path: str, text: str) -> bool:
        found = _UNSTORABLE.search(text)
        if found is None:
            return False
        self.bad(
            node,
            path,
            f"{path or 'A key'} holds the character U+{ord(found[0]):04X}, which can't be stored.",
            "Delete that escape.",
        )
        return True

    def text(self, node: Node, path: str) -> str | None:
        if not isinstance(node, ScalarNode) or node.tag != "str":
            quotable = isinstance(node, ScalarNode) and node.tag != "null"
            fix = "Put it in quotes." if quotable else "Write one text, or delete the key."
            self.bad(node, path, f"{path} must be text, not {describe(node)}.", fix)
            return None
        return None if self._unstorable(node, path, node.value) else node.value

    def raw(self, node: Node, path: str) -> str | None:
        """Any scalar as it was written (`false` is "false", `1.10` is "1.10"); None for an
        empty value, and for what isn't a scalar, which is noted."""
        if not isinstance(node, ScalarNode):
            what = f"{path} must be one value, not {describe(node)}."
            self.bad(node, path, what, "Write text, or put all of it in quotes.")
            return None
        if node.tag == "null" or self._unstorable(node, path, node.value):
            return None
        return node.value

    def number(self, node: Node, path: str, *, whole: bool = False) -> float | int | None:
        """A finite number; `whole` asks for an integer that fits 64 bits."""
        wanted = "a whole number" if whole else "a number"
        if not isinstance(node, ScalarNode) or node.tag not in {"int", "float"}:
            quoted = isinstance(node, ScalarNode) and node.tag == "str"
            fix = "Write it without quotes or unit." if quoted else f"Write {wanted}."
            self.bad(node, path, f"{path} must be {wanted}, not {describe(node)}.", fix)
            return None
        value = _numeric(node)
        if value is None or not math.isfinite(value):
            self.bad(
                node,
                path,
                f"{path} is {describe(node)}, which is too large or not finite.",
                "Write a finite number that fits 64 bits, or leave the key out.",
            )
            return None
        if whole and not isinstance(value, int):
            self.bad(
                node,
                path,
                f"{path} must be a whole number, not {describe(node)}.",
                f"Write {round(value)}.",
            )
            return None
        return value

    def flag(self, node: Node, path: str) -> bool | None:
        if not isinstance(node, ScalarNode) or node.tag != "bool":
            what = f"{path} must be true or false, not {describe(node)}."
            self.bad(node, path, what, "Write true or false, without quotes.")
            return None
        return node.value.casefold() == "true"

    def listing(self, node: Node, path: str) -> list[Node] | None:
        if not isinstance(node, SequenceNode):
            what = f"{path} must be a list, not {describe(node)}."
            self.bad(node, path, what, "Write it as [one, two].")
            return None
        return list(node.value)

    def plain(self, node: Node, path: str) -> Any:
        """Any value as JSON has it; what can't be is noted and becomes None."""
        if isinstance(node, MappingNode):
            named = self.pairs(node, path) or {}
            return {key: self.plain(value, join(path, key)) for key, (_, value) in named.items()}
        if isinstance(node, SequenceNode):
            return [self.plain(item, f"{path}[{i}]") for i, item in enumerate(node.value)]
        if node.tag == "null":
            return None
        if node.tag == "bool":
            return self.flag(node, path)
        if node.tag in {"int", "float"}:
            return self.number(node, path)
        return self.text(node, path)


class Section:
    """One mapping's known keys. Every read returns `default` for a key that is
    absent, and for one that is wrong, having noted it."""

    def __init__(self, reading: Reading, node: Node, path: str, items: Mapping[str, Node]) -> None:
        self.reading = reading
        self.node = node
        self.path = path
        self.items = items

    def __contains__(self, key: str) -> bool:
        return key in self.items

    def without(self, key: str) -> Section:
        """The same, as if `key` weren't there."""
        left = {name: node for name, node in self.items.items() if name != key}
        return Section(self.reading, self.node, self.path, left)

    def child(self, key: str) -> Node | None:
        return self.items.get(key)

    def at(self, key: str) -> str:
        return join(self.path, key)

    def bad(self, key: str, what: str, fix: str) -> None:
        self.reading.bad(self.items.get(key, self.node), self.at(key), what, fix)

    def text(self, key: str) -> str | None:
        node = self.items.get(key)
        return None if node is None else self.reading.text(node, self.at(key))

    def raw(self, key: str) -> str | None:
        """See `Reading.raw`; None too for a key that is absent."""
        node = self.items.get(key)
        return None if node is None else self.reading.raw(node, self.at(key))

    def flag(self, key: str) -> bool | None:
        node = self.items.get(key)
        return None if node is None else self.reading.flag(node, self.at(key))

    def number(
        self, key: str, low: float | None = None, high: float | None = None
    ) -> float | int | None:
        node = self.items.get(key)
        value = None if node is None else self.reading.number(node, self.at(key))
        return self._bounded(key, value, low, high, str)

    def integer(self, key: str, default: int, low: int, high: int) -> int:
        node = self.items.get(key)
        value = None if node is None else self.reading.number(node, self.at(key), whole=True)
        bounded = self._bounded(key, value, low, high, str)
        return default if bounded is None else int(bounded)

    def duration(self, key: str, low: float, high: float) -> float | None:
        """Seconds."""
        value = self._with_unit(key, "a duration", DURATION_FORM, seconds)
        return self._bounded(key, value, low, high, duration_text)

    def size(self, key: str, low: int, high: int) -> int | None:
        """Bytes."""
        value = self._with_unit(key, "a size", SIZE_FORM, byte_count)
        bounded = self._bounded(key, value, low, high, lambda n: size_text(int(n)))
        return None if bounded is None else int(bounded)

    def _with_unit(
        self, key: str, noun: str, form: str, read: Callable[[str], float | None]
    ) -> float | None:
        node = self.items.get(key)
        if node is None:
            return None
        text = node.value if isinstance(node, ScalarNode) and node.tag == "str" else ""
        value = read(text)
        if value is None:
            self.bad(key, f"{self.at(key)} must be {noun}, not {describe(node)}.", f"Write {form}.")
        return value

    def _bounded(
        self,
        key: str,
        value: float | None,
        low: float | None,
        high: float | None,
        show: Callable[[float], str],
    ) -> float | None:
        if value is None:
            return None
        if (low is None or value >= low) and (high is None or value <= high):
            return value
        if low is None:
            span = f"at most {show(high or 0)}"
        else:
            span = f"at least {show(low)}" if high is None else f"{show(low)} to {show(high)}"
        what = f"{self.at(key)} is {describe(self.items[key])}, out of range."
        self.bad(key, what, f"Write a value of {span}.")
        return None


def join(path: str, key: str) -> str:
    """`path.key`, with a key that isn't a plain word in quotes."""
    word = shorten(key) if re.fullmatch(r"[\w-]+", key) else repr(shorten(key))
    return f"{path}.{word}" if path else word


def shorten(text: str, size: int = 60) -> str:
    """`text`, or its beginning and an ellipsis."""
    return text if len(text) <= size else text[: size - 1] + "…"


def describe(node: Node) -> str:
    """A node for a person: `the text 'abc'`, `the number 30`, `a list`, `nothing`."""
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, SequenceNode):
        return "a list"
    shown = shorten(str(node.value))
    if node.tag == "str":
        return f"the text {shown!r}"
    if node.tag == "null":
        return "nothing"
    return shown if node.tag == "bool" else f"the number {shown}"


def _numeric(node: ScalarNode) -> float | int | None:
    text: str = node.value
    if node.tag == "int":
        if len(text) > 40:
            return None
        number = int(text, 0) if text[:2] in {"0x", "0o"} else int(text)
        return number if -_INT64 <= number < _INT64 else None
    return math.inf if text[-1] in "fFnN" else float(text)  # .inf and .nan alike: not finite
