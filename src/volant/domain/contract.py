"""Contract: what a dataset's rows must look like."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ColumnType(StrEnum):
    INTEGER = "integer"
    NUMBER = "number"
    STRING = "string"
    BOOLEAN = "boolean"
    TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """One column's rule. `min`/`max` bound numbers; `values` is the set allowed;
    `unique` forbids a value seen in this dataset before."""

    name: str
    type: ColumnType
    nullable: bool = True
    min: float | None = None
    max: float | None = None
    values: tuple[str | int | float | bool, ...] | None = None
    unique: bool = False


@dataclass(frozen=True, slots=True)
class Contract:
    """Rules by column, in the table's column order. `inferred` tells whether a
    person wrote it or the first push did."""

    columns: tuple[ColumnRule, ...]
    inferred: bool = False

    def column(self, name: str) -> ColumnRule | None:
        return next((c for c in self.columns if c.name == name), None)
