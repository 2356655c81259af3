"""Results in the forms that programs read: JSON, YAML, CSV. Imported when one is asked for."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from volant.cli.options import Format

Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def text_of(document: Any, form: Format) -> str:
    """`document` whole, as JSON or as YAML."""
    if form is Format.YAML:
        import yaml

        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        return yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows under a header, quoted where RFC 4180 wants it; lines end as text lines do here."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return written.getvalue()


def tables_text(tables: Sequence[Table], document: Any) -> str:
    """The tables of a command as CSV, an empty line between them; of one that shows no table,
    its document: a row for each of its items, or one for itself."""
    return "\n".join(csv_text(*each) for each in tables or [_flattened(document)])


def _flattened(document: Any) -> Table:
    items = _items(document)
    columns = list(dict.fromkeys(key for item in items for key in item))
    return columns, [[_cell(item.get(column)) for column in columns] for item in items]


def _items(document: Any) -> list[Mapping[str, Any]]:
    found: Any = document
    if isinstance(document, dict):
        lists = [each for each in cast("dict[str, Any]", document).values() if _is_rows(each)]
        found = lists[0] if len(lists) == 1 else [document]
    if not isinstance(found, list):
        found = [found]
    items = cast("list[Any]", found)
    return [item if isinstance(item, dict) else {"value": item} for item in items]


def _is_rows(value: Any) -> bool:
    rows = cast("list[Any]", value) if isinstance(value, list) else []
    return bool(rows) and all(isinstance(item, dict) for item in rows)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
