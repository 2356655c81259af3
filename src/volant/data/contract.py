"""A table against its contract: every row comes out good or with its reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from volant.data.arrow import mask, pc
from volant.data.cast import ARROW_TYPES, Flags, cast
from volant.data.filerows import Indexes, json_value
from volant.domain.contract import ColumnRule, ColumnType, Contract
from volant.errors import InvalidInput
from volant.yamltext.problems import nearest

_SHOWN = 80  # characters of a value that a sentence shows
_ARTICLES = {
    ColumnType.INTEGER: "an integer",
    ColumnType.NUMBER: "a number",
    ColumnType.BOOLEAN: "a boolean",
    ColumnType.TIMESTAMP: "a timestamp",
}


@dataclass(frozen=True)
class Checked:
    """`good` has the contract's columns in its order and types; `good_rows` are its rows'
    indexes in the table that was checked. `reasons` holds for every other index its
    sentences; `counts` how often each rule was broken, by a sentence without the value."""

    good: pa.Table
    good_rows: Indexes
    reasons: Mapping[int, tuple[str, ...]]
    counts: Counter[str]


@dataclass
class _Findings:
    reasons: dict[int, list[str]] = field(default_factory=dict[int, list[str]])
    counts: Counter[str] = field(default_factory=Counter[str])

    def add(self, rows: Flags, rule: str, sentence: Callable[[int], str]) -> None:
        indexes = np.flatnonzero(rows).tolist()
        if indexes:
            self.counts[rule] += len(indexes)
        for index in indexes:
            self.reasons.setdefault(index, []).append(sentence(index))


def align(table: pa.Table, contract: Contract, source: str) -> tuple[pa.Table, list[str]]:
    """The contract's columns of `table` in its order, and warnings.

    A nullable column that `table` lacks is filled with nulls. Raises `InvalidInput`
    when it lacks another one or has one that the contract doesn't know.
    """
    known = [rule.name for rule in contract.columns]
    unknown = [name for name in table.column_names if name not in known]
    absent = [rule for rule in contract.columns if rule.name not in table.column_names]
    if unknown:
        raise _unknown_columns(unknown, [rule.name for rule in absent] or known, source)
    if required := [rule.name for rule in absent if not rule.nullable]:
        raise InvalidInput(
            f"{source} lacks the column{_s(required)} {_quoted(required)}.",
            "Add it to the file, or make it nullable in the contract.",
            code="columns_missing",
            details={"missing": required},
        )
    columns = [
        table.column(name) if name in table.column_names else _nulls(table.num_rows)
        for name in known
    ]
    names = [rule.name for rule in absent]
    warnings = [f"{source} lacks {_quoted(names)}: filled with nulls."] if names else []
    return pa.table(columns, names=known), warnings


def check(
    table: pa.Table,
    contract: Contract,
    existing: Mapping[str, pa.ChunkedArray] | None = None,
    *,
    types_only: bool = False,
) -> Checked:
    """Judge every row of an aligned table.

    Args:
        table: Exactly the contract's columns, as `align` gives them.
        contract: The rules.
        existing: The values that unique columns hold in the dataset already.
        types_only: Only ask whether values fit their types.

    Of rows that share a value of a unique column, the first that breaks no other rule
    is good.
    """
    found = _Findings()
    columns: dict[str, pa.ChunkedArray] = {}
    for rule in contract.columns:
        columns[rule.name] = _column(table.column(rule.name), rule, found, types_only)
    bad = np.zeros(table.num_rows, dtype=bool)
    bad[list(found.reasons)] = True
    if not types_only:
        for rule in contract.columns:
            if rule.unique:
                taken = (existing or {}).get(rule.name)
                _unique(columns[rule.name], rule, taken, bad, found)
    good_rows = np.flatnonzero(~bad)
    typed = pa.table(list(columns.values()), names=list(columns))
    good = typed if not bad.any() else typed.filter(pa.array(~bad))
    reasons = {index: tuple(found.reasons[index]) for index in sorted(found.reasons)}
    return Checked(good, good_rows, reasons, found.counts)


def _column(
    source: pa.ChunkedArray, rule: ColumnRule, found: _Findings, types_only: bool
) -> pa.ChunkedArray:
    result = cast(source, rule.type)
    values = result.values
    nulls = mask(pc.is_null(values)) if values.null_count else None

    def told(words: str) -> Callable[[int], str]:
        return lambda index: f"{rule.name} = {_shown(source[index].as_py())} {words}"

    if result.failed is not None:
        words = f"is not {_ARTICLES[rule.type]}"
        found.add(result.failed, f"{rule.name} {words}", told(words))
        nulls = nulls & ~result.failed if nulls is not None else None
    if types_only:
        return values
    if not rule.nullable and nulls is not None:
        sentence = f"{rule.name} is missing"
        found.add(nulls, sentence, lambda _index: sentence)
    for words, breaks in _bounds(values, rule):
        found.add(breaks, f"{rule.name} {words}", told(words))
    return values


def _bounds(values: pa.ChunkedArray, rule: ColumnRule) -> list[tuple[str, Flags]]:
    broken: list[tuple[str, Flags]] = []
    if rule.type in (ColumnType.INTEGER, ColumnType.NUMBER):
        numbers = (
            values
            if rule.min is None and rule.max is None
            else pc.cast(values, pa.float64(), safe=False)
        )
        if rule.min is not None:
            below = mask(pc.less(numbers, rule.min))
            broken.append((f"is below the minimum {_number(rule.min)}", below))
        if rule.max is not None:
            above = mask(pc.greater(numbers, rule.max))
            broken.append((f"is above the maximum {_number(rule.max)}", above))
    if rule.values is not None:
        allowed = pa.array(_allowed(rule), ARROW_TYPES[rule.type])
        known = pc.or_(pc.is_in(values, value_set=allowed), pc.is_null(values))
        listed = ", ".join(_shown(value) for value in rule.values[:8])
        more = ", …" if len(rule.values) > 8 else ""
        broken.append((f"is not one of {listed}{more}", mask(pc.invert(known))))
    return broken


def _allowed(rule: ColumnRule) -> list[Any]:
    values = rule.values or ()
    if rule.type is ColumnType.STRING:
        return [value if isinstance(value, str) else _shown(value) for value in values]
    as_text = pa.chunked_array([pa.array([_plain(value) for value in values], pa.string())])
    return [one for one in cast(as_text, rule.type).values.to_pylist() if one is not None]


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unique(
    values: pa.ChunkedArray,
    rule: ColumnRule,
    existing: pa.ChunkedArray | None,
    bad: Flags,
    found: _Findings,
) -> None:
    """Mark repeated values among the rows not yet bad; null repeats freely."""
    free = ~bad & mask(pc.is_valid(values))
    if existing is not None and len(existing):
        before = pc.cast(existing, values.type, safe=False)
        taken = mask(pc.is_in(values, value_set=before.combine_chunks())) & free
        words = "is in the dataset already"
        found.add(taken, f"{rule.name} {words}", _telling(values, rule, words))
        bad |= taken
        free &= ~taken
    rows = np.flatnonzero(free)
    if not len(rows):
        return
    taken_rows = values.take(pa.array(rows)).combine_chunks()
    codes = pc.dictionary_encode(taken_rows).indices.to_numpy(zero_copy_only=False)
    firsts = np.unique(codes, return_index=True)[1]
    repeated = free.copy()
    repeated[rows[firsts]] = False
    words = "is in this push before"
    found.add(repeated, f"{rule.name} {words}", _telling(values, rule, words))
    bad |= repeated


def _telling(values: pa.ChunkedArray, rule: ColumnRule, words: str) -> Callable[[int], str]:
    return lambda index: f"{rule.name} = {_shown(values[index].as_py())} {words}"


def _shown(value: Any) -> str:
    value = json_value(value) if not isinstance(value, float) else value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return _number(value)
    text = str(value)
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…") if not _bare(text) else text


def _bare(text: str) -> bool:
    """A number written as text is shown as the number."""
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip() and len(text) <= _SHOWN


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else format(value, ".15g")


def _nulls(rows: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(rows, pa.string())])


def _s(names: Sequence[str]) -> str:
    return "" if len(names) == 1 else "s"


def _quoted(names: Sequence[str], most: int = 5) -> str:
    listed = ", ".join(repr(name) for name in names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"


def _unknown_columns(unknown: list[str], candidates: list[str], source: str) -> InvalidInput:
    hints: list[str] = []
    for name in unknown[:5]:
        near = nearest(name, candidates)
        if near:
            hints.append(f"{near!r} for {name!r}")
    what = (
        f"{source} has the column{_s(unknown)} {_quoted(unknown)} that the contract doesn't know."
    )
    fix = (
        f"Did you mean {', '.join(hints)}? Rename it, or add it to the contract."
        if hints
        else "Remove it from the file, or add it to the contract."
    )
    return InvalidInput(what, fix, code="columns_unknown", details={"unknown": unknown})
