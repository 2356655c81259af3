"""What is wrong with a request that somebody has written, told column by column."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from volant.serving.feature_order import order_report
from volant.serving.trial import Control
from volant.yamltext.problems import nearest

DATATYPES = {
    "integer": "INT64",
    "number": "FP64",
    "boolean": "BOOL",
    "string": "BYTES",
    "timestamp": "BYTES",
}
_FORMS = '{"inputs": [{"name": …, "shape": …, "datatype": …, "data": …}]}'
_KEPT = 1000  # rows that are looked at

Finding = dict[str, str]


def check_request(text: str, controls: Sequence[Control], *, named: bool = True) -> dict[str, Any]:
    """What a deployment would make of a request.

    Args:
        text: The request's body.
        controls: The model's columns, see `volant.serving.trial`.
        named: Whether the model takes columns by name; one that takes a matrix doesn't.

    Returns:
        `findings`, each with a `level` (`error`, `warning`, `fine`) and a sentence `told`;
        and `better`, the same rows in a request whose columns have names, where they can
        be read. Where they seem to come in an order that is known, it is put right there.
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        return _answer([_error(f"This isn't JSON: {error}.")])
    if not isinstance(body, dict):
        return _answer([_error(f"A request is a JSON object such as {_FORMS}.")])
    return _Checked(controls, named).all(cast("dict[str, Any]", body))


class _Checked:
    def __init__(self, controls: Sequence[Control], named: bool) -> None:
        self.controls = controls
        self.takes_names = named
        self.names = [control["name"] for control in controls]
        self.findings: list[Finding] = []

    def all(self, body: Mapping[str, Any]) -> dict[str, Any]:
        rows = self._rows(body)
        if rows is None:
            return _answer(self.findings)
        if rows and self.names and not any(f["level"] == "error" for f in self.findings):
            report = order_report(self.controls, rows[:_KEPT])
            if report["verdict"] != "right":
                self._note("warning", report["told"])
            elif report["told"]:
                self._note("fine", report["told"])
            if report["order"]:
                places = [report["order"].index(name) for name in self.names]
                rows = [[row[place] for place in places] for row in rows]
        better = _better(self.controls, rows) if rows and self.takes_names else None
        return _answer(self.findings, better)

    def _note(self, level: str, told: str) -> None:
        self.findings.append({"level": level, "told": told})

    def _rows(self, body: Mapping[str, Any]) -> list[list[Any]] | None:
        """Rows in the model's order, as the deployment would read them."""
        if isinstance(body.get("inputs"), list):
            return self._tensors(body["inputs"])
        if isinstance(body.get("instances"), list):
            return self._instances(body["instances"])
        frame = body.get("dataframe_split", body)
        if isinstance(frame, dict) and {"columns", "data"} <= frame.keys():
            self._note("error", "This is pandas' split form, which a deployment doesn't read.")
            return self._frame(frame["columns"], frame["data"])
        self._note("error", f"There is no list `inputs` in it. Send {_FORMS}.")
        return None

    def _frame(self, columns: Any, data: Any) -> list[list[Any]] | None:
        if not (_texts(columns) and isinstance(data, list) and self._named(columns)):
            return None
        rows = [dict(zip(columns, row, strict=False)) for row in data if isinstance(row, list)]
        return [[row.get(name) for name in self.names] for row in rows]

    def _instances(self, given: list[Any]) -> list[list[Any]] | None:
        if given and all(isinstance(row, dict) for row in given):
            if not self._named(list(dict.fromkeys(key for row in given for key in row))):
                return None
            return [[row.get(name) for name in self.names] for row in given]
        rows = [row if isinstance(row, list) else [row] for row in given]
        return self._positional(rows, "Each row of `instances` is a list")

    def _tensors(self, given: list[Any]) -> list[list[Any]] | None:
        tensors = [t for t in given if isinstance(t, dict) and isinstance(t.get("name"), str)]
        if len(tensors) != len(given) or not given:
            self._note("error", "Each of `inputs` needs a name, a shape, a datatype and data.")
            return None
        names = [tensor["name"] for tensor in tensors]
        if len(names) == 1 and names[0] not in self.names:
            return self._matrix(tensors[0])
        if not self._named(names):
            return None
        columns = {tensor["name"]: _flat(tensor.get("data")) for tensor in tensors}
        count = max(map(len, columns.values()), default=0)
        ragged = [name for name, data in columns.items() if len(data) != count]
        if ragged:
            self._note("error", f"{ragged[0]} has {len(columns[ragged[0]])} values, not {count}.")
            return None
        empty: list[Any] = [None] * count
        return [
            list(row)
            for row in zip(*(columns.get(name, empty) for name in self.names), strict=True)
        ]

    def _matrix(self, tensor: Mapping[str, Any]) -> list[list[Any]] | None:
        width = len(self.names)
        data, shape = _flat(tensor.get("data")), tensor.get("shape")
        given = cast("list[Any]", shape) if isinstance(shape, list) else []
        if len(given) != 2 or given[1] != width:
            self._note(
                "error",
                f"{tensor['name']} has the shape {json.dumps(shape)}; the model takes"
                f" [rows, {width}], or one tensor for each column.",
            )
            return None
        rows = [data[place : place + width] for place in range(0, len(data), width)]
        return self._positional(rows, f"{tensor['name']} is a matrix")

    def _positional(self, rows: list[list[Any]], what: str) -> list[list[Any]] | None:
        width = len(self.names)
        wrong = next((row for row in rows if len(row) != width), None)
        if wrong is not None:
            self._note("error", f"A row has {len(wrong)} values; the model takes {width}.")
            return None
        order = ", ".join(self.names[:20]) + (", …" if width > 20 else "")
        self._note(
            "warning" if width > 1 and self.takes_names else "fine",
            f"{what}, and a matrix has no names: its columns are taken in this order: {order}.",
        )
        return rows

    def _named(self, names: Sequence[str]) -> bool:
        """Columns that are named: whether they are the model's."""
        unknown = [name for name in names if name not in self.names]
        for name in unknown:
            guess = nearest(name, self.names)
            hint = f" Did you mean {guess}?" if guess else ""
            self._note("error", f"The model has no column {name!r}.{hint}")
        for name in dict.fromkeys(name for name in names if list(names).count(name) > 1):
            self._note("error", f"{name} comes twice.")
        missing = [c["name"] for c in self.controls if c["name"] not in names and not c["nullable"]]
        if missing:
            self._note("error", f"These columns are missing: {', '.join(missing[:20])}.")
        ordered = [name for name in self.names if name in names]
        if not unknown and ordered != list(names):
            told = "The columns come in another order than the model's; they are matched by name."
            self._note("fine", told)
        return not any(finding["level"] == "error" for finding in self.findings) or not (
            unknown or missing
        )


def _better(controls: Sequence[Control], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": control["name"],
                "shape": [len(rows)],
                "datatype": DATATYPES.get(control["type"], "FP64"),
                "data": [row[place] for row in rows],
            }
            for place, control in enumerate(controls)
        ]
    }


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _flat(data: Any) -> list[Any]:
    """Data as a flat list, however deep it is nested."""
    if not isinstance(data, list):
        return []
    found: list[Any] = []
    for each in cast("list[Any]", data):
        found += _flat(each) if isinstance(each, list) else [each]
    return found


def _error(told: str) -> Finding:
    return {"level": "error", "told": told}


def _answer(findings: list[Finding], better: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"findings": findings, "better": better}
