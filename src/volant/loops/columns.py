"""`data.contract` → `Contract`."""

from __future__ import annotations

from typing import Any

from yaml.nodes import Node

from volant.domain.contract import ColumnRule, ColumnType, Contract
from volant.yamltext.problems import nearest
from volant.yamltext.reading import Reading, Section, describe, join, shorten

MAX_COLUMN_NAME = 500
_NUMBERS = frozenset({ColumnType.INTEGER, ColumnType.NUMBER})
_KEYS = ("type", "nullable", "min", "max", "values", "unique")


def contract_of(reading: Reading, node: Node, path: str) -> Contract | None:
    """A declared contract; None, with the problem noted, when there is no usable one."""
    section = reading.section(node, path, ("columns",), required=("columns",))
    columns = section.child("columns") if section else None
    if columns is None:
        return None
    at = f"{path}.columns"
    named = reading.pairs(columns, at)
    if named is None:
        return None
    if not named:
        reading.bad(columns, at, f"{at} is empty.", "List every column: name: {type: number}.")
        return None
    rules: list[ColumnRule] = []
    for name, (key_node, value) in named.items():
        if not 1 <= len(name) <= MAX_COLUMN_NAME:
            what = f"{at}: a column's name has {len(name)} characters."
            reading.bad(key_node, at, what, f"Use 1 to {MAX_COLUMN_NAME}.")
        rules.append(_rule(reading, value, join(at, name), name))
    return Contract(tuple(rules), inferred=False)


def check_column(section: Section, key: str, name: str, contract: Contract | None) -> None:
    """Note it when `name`, the value of `key`, isn't a column of the contract there is."""
    if contract is None or contract.column(name) is not None:
        return
    guess = nearest(name, [column.name for column in contract.columns])
    fix = f"Did you mean {guess}?" if guess else "Add it to data.contract.columns."
    section.bad(key, f"{section.at(key)} {name[:60]!r} isn't a column of the contract.", fix)


def _rule(reading: Reading, node: Node, path: str, name: str) -> ColumnRule:
    section = reading.section(node, path, _KEYS, required=("type",))
    if section is None:
        return ColumnRule(name, ColumnType.STRING)
    kind = _type(section)
    nullable, unique = section.flag("nullable"), section.flag("unique")
    rule = ColumnRule(
        name=name,
        type=kind or ColumnType.STRING,
        nullable=True if nullable is None else nullable,
        min=_bound(section, "min", kind),
        max=_bound(section, "max", kind),
        values=_values(section, kind),
        unique=bool(unique),
    )
    if rule.min is not None and rule.max is not None and rule.min > rule.max:
        what = f"{path}: min {rule.min:g} is above max {rule.max:g}."
        section.bad("min", what, "Swap them, or leave one out.")
    return rule


def _type(section: Section) -> ColumnType | None:
    text = section.text("type")
    if text is None:
        return None
    known = [kind.value for kind in ColumnType]
    if text in known:
        return ColumnType(text)
    guess = _ALIASES.get(text.casefold()) or nearest(text, known)
    fix = f"Did you mean {guess}?" if guess else f"Use one of: {', '.join(known)}."
    section.bad("type", f"{section.at('type')} {shorten(text)!r} is no column type.", fix)
    return None


_ALIASES = {
    **dict.fromkeys(("int", "int32", "int64", "bigint", "long"), "integer"),
    **dict.fromkeys(("float", "float32", "float64", "double", "decimal", "numeric"), "number"),
    **dict.fromkeys(("str", "text", "varchar", "category", "object"), "string"),
    **dict.fromkeys(("date", "datetime", "time"), "timestamp"),
}


def _bound(section: Section, key: str, kind: ColumnType | None) -> float | None:
    value = section.number(key)
    if value is not None and kind is not None and kind not in _NUMBERS:
        what = f"{section.at(key)} bounds numbers, but the column is a {kind.value}."
        section.bad(key, what, "Delete it, or make the type integer or number.")
    return None if value is None else float(value)


def _values(
    section: Section, kind: ColumnType | None
) -> tuple[str | int | float | bool, ...] | None:
    node = section.child("values")
    if node is None:
        return None
    path = section.at("values")
    items = section.reading.listing(node, path)
    if items is None:
        return None
    if not items:
        section.bad("values", f"{path} is empty: no row could pass.", "List what is allowed.")
        return None
    if kind is ColumnType.TIMESTAMP:
        section.bad("values", f"{path} can't list timestamps.", "Delete it.")
        return None
    return tuple(
        _value(section.reading, item, f"{path}[{i}]", kind) for i, item in enumerate(items)
    )


def _value(reading: Reading, node: Node, path: str, kind: ColumnType | None) -> Any:
    if kind is ColumnType.STRING:
        return reading.text(node, path) or ""
    if kind is ColumnType.BOOLEAN:
        return bool(reading.flag(node, path))
    if kind in _NUMBERS:
        return reading.number(node, path, whole=kind is ColumnType.INTEGER) or 0
    found = reading.plain(node, path)
    if not isinstance(found, str | int | float):
        reading.bad(node, path, f"{path} is {describe(node)}, not one value.", "Write one value.")
        return ""
    return found
