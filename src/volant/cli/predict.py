"""`volant predict`: rows to a deployed model, predictions back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from volant.cli.client import Client, find_server, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import number
from volant.cli.upload import check_files
from volant.errors import Conflict, InvalidInput, Unavailable, VolantError

if TYPE_CHECKING:
    import httpx

app = new_app()

CHUNK_ROWS = 500
TIMEOUT_S = 60.0
_DATATYPES = {
    "integer": "INT64",
    "number": "FP64",
    "boolean": "BOOL",
    "string": "BYTES",
    "timestamp": "BYTES",
}
_WORDS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
_NULLS = frozenset({"", "na", "nan", "null", "none"})

Row = Mapping[str, Any]


@app.command()
def predict(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The deployment; a loop's has its name.")],
    row: Annotated[
        list[str] | None,
        typer.Option(metavar="JSON", help="One row, like '{\"x\": 1}'; may be repeated."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Rows as CSV with a header or JSON lines.")
    ] = None,
) -> None:
    """Ask a deployed model. Rows go straight to its address, in the Open Inference Protocol."""
    if bool(row) == (file is not None):
        raise InvalidInput("Give rows to predict on.", "Give either --row JSON or --file FILE.")
    out = output_of(ctx)
    options = options_of(ctx)
    url, token = find_server(options)
    with Client(url, token, options.timeout_s) as client:
        deployment = client.get(f"/deployments/{named(name)}")
        fields = inputs_of(client, deployment)
    deployment["infer_url"] = reachable(deployment["infer_url"], url)
    rows = _rows(row) if row else _file_rows(file) if file else iter(())
    answers = list(ask(deployment, token, fields, rows, options.timeout_s))
    document = {
        "deployment": name,
        "version": deployment["live_version"],
        "predictions": answers,
    }
    out.document(document, lambda: _render(out, answers))


def reachable(infer_url: str, server_url: str) -> str:
    """A deployment that listens on every address is asked where its server was."""
    found = urlsplit(infer_url)
    if found.hostname not in ("0.0.0.0", "::"):  # noqa: S104
        return infer_url
    host = urlsplit(server_url).hostname or "127.0.0.1"
    netloc = f"{f'[{host}]' if ':' in host else host}:{found.port}"
    return found._replace(netloc=netloc).geturl()


def inputs_of(client: Client, deployment: Row) -> list[dict[str, Any]]:
    """The signature's input columns of the version that answers there."""
    version = deployment["live_version"]
    if version is None:
        raise Conflict(
            f"Deployment {deployment['name']} serves no model yet.",
            f"See how far it is: volant deployments show {deployment['name']}",
            code="nothing_live",
        )
    found = client.get(f"/models/{deployment['model']}/versions/{version}")
    return found["signature"]["inputs"]


def _rows(given: Sequence[str]) -> Iterator[tuple[str, Row]]:
    for place, text in enumerate(given, 1):
        yield f"--row {place}" if len(given) > 1 else "--row", _object(text, "--row")


def _object(text: str, where: str) -> Row:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InvalidInput(
            f"{where} is not JSON: {error}.", "Give an object: '{\"column\": value, …}'."
        ) from error
    if not isinstance(found, dict):
        raise InvalidInput(
            f"{where} is not a JSON object: {text[:80]}.",
            "Give one with the columns as its keys: '{\"column\": value, …}'.",
        )
    return found


def _file_rows(file: Path) -> Iterator[tuple[str, Row]]:
    check_files([file])
    try:
        with file.open(encoding="utf-8-sig", newline="") as source:
            if file.suffix.lower() in (".jsonl", ".ndjson", ".json"):
                for place, line in enumerate(source, 1):
                    if line.strip():
                        yield f"{file}:{place}", _object(line, f"{file}:{place}")
            else:
                yield from _csv_rows(file, source)
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{file} is not UTF-8 text: {error.reason} at byte {error.start}.",
            "Give CSV or JSON lines in UTF-8.",
        ) from error


def _csv_rows(file: Path, source: io.TextIOBase) -> Iterator[tuple[str, Row]]:
    reader = csv.DictReader(source)
    for row in reader:
        where = f"{file}:{reader.line_num}"
        if None in row or None in row.values():
            raise InvalidInput(
                f"{where} has not the {len(reader.fieldnames or ())} values of the header.",
                "Mend the line, or its quotes; the delimiter is the comma.",
            )
        yield where, row


def ask(
    deployment: Row,
    token: str,
    fields: list[dict[str, Any]],
    rows: Iterator[tuple[str, Row]],
    timeout_s: float | None = None,
) -> Iterator[dict[str, Any]]:
    """Predictions in the rows' order; rows are read and sent chunk by chunk."""
    import httpx

    # On loopback a deployment asks for no token: then none leaves this process.
    local = urlsplit(deployment["infer_url"]).hostname in ("127.0.0.1", "localhost", "::1")
    headers = {} if local else {"Authorization": f"Bearer {token}"}
    with httpx.Client(headers=headers, timeout=timeout_s or TIMEOUT_S, trust_env=False) as http:
        chunk: list[Row] = []
        for where, row in rows:
            chunk.append(_checked(row, where, fields))
            if len(chunk) == CHUNK_ROWS:
                yield from _infer(http, deployment, fields, chunk)
                chunk = []
        if chunk:
            yield from _infer(http, deployment, fields, chunk)


def _checked(row: Row, where: str, fields: list[dict[str, Any]]) -> Row:
    """`row` with each value of its column's type; names a column that is missing. A row that
    has none of the columns isn't one of missing values."""
    known = {field["name"] for field in fields}
    strange = known.isdisjoint(row)
    missing = [f["name"] for f in fields if f["name"] not in row and (strange or not f["nullable"])]
    if missing:
        unknown = [key for key in row if key not in known]
        hint = f" It has {', '.join(unknown[:20])}, which the model doesn't know."
        raise InvalidInput(
            f"{where} lacks the column {', '.join(missing)}.{hint if unknown else ''}",
            f"The model wants: {', '.join(field['name'] for field in fields)}.",
            code="missing_column",
            details={"missing": missing, "unknown": unknown},
        )
    return {f["name"]: _value(row.get(f["name"]), f, where) for f in fields}


def _value(value: Any, field: Row, where: str) -> Any:
    """A CSV's text as its column's type; a value of JSON as it is."""
    if not isinstance(value, str) or field["type"] in ("string", "timestamp"):
        if value == "" and field["nullable"]:
            return None
        return value
    text = value.strip()
    if text.lower() in _NULLS:
        return None
    try:
        if field["type"] == "integer":
            return int(text)
        if field["type"] == "number":
            return float(text)
        return _WORDS[text.lower()]
    except (ValueError, KeyError) as error:
        raise InvalidInput(
            f"{where}: column {field['name']} is {value!r}, not of type {field['type']}.",
            "Correct the value.",
            code="wrong_type",
        ) from error


def _infer(
    http: httpx.Client, deployment: Row, fields: list[dict[str, Any]], rows: list[Row]
) -> list[dict[str, Any]]:
    import httpx

    tensors = [
        {
            "name": field["name"],
            "shape": [len(rows)],
            "datatype": _DATATYPES[field["type"]],
            "data": [row[field["name"]] for row in rows],
        }
        for field in fields
    ]
    url = deployment["infer_url"]
    try:
        answer = http.post(url, json={"inputs": tensors})
    except httpx.HTTPError as error:
        raise Unavailable(
            f"{url} gave no answer: {error or type(error).__name__}.",
            f"See what it does: volant deployments show {deployment['name']}",
            code="endpoint_unreachable",
        ) from error
    if answer.is_success:
        return _unpacked(answer.json()["outputs"], len(rows))
    raise _refusal(answer, url, deployment["model"])


def _unpacked(outputs: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """One object a row: each output's value, or its values when it has several a row."""
    found: list[dict[str, Any]] = [{} for _ in range(count)]
    for output in outputs:
        data = output["data"]
        width = len(data) // count
        for place, into in enumerate(found):
            values = data[place * width : (place + 1) * width]
            into[output["name"]] = values[0] if len(output["shape"]) == 1 else values
    return found


def _refusal(answer: httpx.Response, url: str, model: str) -> VolantError:
    try:
        what = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        what = f"{url} answered {answer.status_code} {answer.reason_phrase}."
    if answer.status_code >= 500:
        return Unavailable(what, "Try again; `volant deployments` tells what answers there.")
    return InvalidInput(what, f"See what the model wants: volant models show {model}")


def _render(out: Output, answers: list[dict[str, Any]]) -> None:
    if not answers:
        out.note("There were no rows.")
        return
    columns = list(answers[0])
    out.table(columns, [[_cell(answer[column]) for column in columns] for answer in answers])


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(number(each) for each in value)
    return number(value)
