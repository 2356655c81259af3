"""`volant models diff|card`: versions side by side, and one in words."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from volant.cli.client import Client, named
from volant.cli.model_text import Name, Version
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.saved import save_text
from volant.cli.text import number
from volant.errors import InvalidInput

_FIELDS = ("dataset", "version", "rows", "holdout_sha256")


def add_to(app: typer.Typer) -> None:
    """Give `volant models` these commands."""
    for command in (diff, card):
        app.command()(command)


def reference(text: str) -> tuple[str, str]:
    """(model, version) of `NAME@3`, `NAME/3` or `NAME@champion`; the champion if none is
    named. Raises `InvalidInput`."""
    at = max(text.rfind("@"), text.rfind("/"))
    name, version = (text[:at], text[at + 1 :]) if at >= 0 else (text, "champion")
    if not name or not version:
        raise InvalidInput(f"{text!r} names no version.", "Write NAME@3 or NAME@champion.")
    return name, version


def diff(
    ctx: typer.Context,
    a: Annotated[str, typer.Argument(help="NAME@VERSION.")],
    b: Annotated[str, typer.Argument(help="NAME@VERSION, or @VERSION of the same model.")],
) -> None:
    """What differs between two versions: metrics, parameters, inputs, data, files."""
    name, version = reference(a)
    other, to = reference(f"{name}{b}" if b.startswith("@") else b)
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        path = f"/models/{named(name)}/versions/{named(version)}/diff"
        found = client.get(path, to_model=other, to_version=to)
    out.document(found, lambda: _render(out, found))


def _render(out: Output, found: dict[str, Any]) -> None:
    names = [f"{h['model']}@{h['version']}" for h in (found["a"], found["b"])]
    stages = [h["stage"] for h in (found["a"], found["b"])]
    out.table(("", *names), [("stage", *stages)])
    _metrics(out, names, found["metrics"])
    changed = [("parameters", found["params"]), ("made and served", found["facts"])]
    for title, rows in changed:
        _section(out, title, names, [(r["name"], _cell(r["a"]), _cell(r["b"])) for r in rows])
    data = found["data"]
    told = [(key, _cell(data["a"][key]), _cell(data["b"][key])) for key in _FIELDS]
    _section(out, "data", names, [row for row in told if row[1:] != ("-", "-")])
    for side in ("inputs", "outputs"):
        _columns(out, side, found[side])
    _files(out, found["files"])


def _metrics(out: Output, names: list[str], metrics: list[dict[str, Any]]) -> None:
    words = {True: "better", False: "worse", None: "same"}
    rows = [
        (
            each["name"],
            number(each["a"]),
            number(each["b"]),
            "-" if each["change"] is None else f"{each['change']:+.4g}",
            "-" if each["change"] is None else words[each["better"]],
        )
        for each in metrics
    ]
    if rows:
        out.line()
        out.table(("metric", *names, "change", ""), rows)


def _section(out: Output, title: str, names: list[str], rows: list[tuple[str, ...]]) -> None:
    if rows:
        out.line()
        out.table((title, *names), rows)


def _columns(out: Output, side: str, moved: dict[str, Any]) -> None:
    lines = [f"  + {each['name']}  {each['type']}" for each in moved["added"]]
    lines += [f"  - {each['name']}  {each['type']}" for each in moved["removed"]]
    lines += [f"  ~ {each['name']}  {each['a']} → {each['b']}" for each in moved["retyped"]]
    lines += ["  in another order"] if moved["reordered"] else []
    _lines(out, side, lines)


def _files(out: Output, files: dict[str, Any]) -> None:
    lines = [f"  + {name}" for name in files["added"]]
    lines += [f"  - {name}" for name in files["removed"]]
    lines += [f"  ~ {name}" for name in files["changed"]]
    _lines(out, "files", [*lines, f"  {files['same']} the same"])


def _lines(out: Output, title: str, lines: list[str]) -> None:
    if lines:
        out.line()
        out.line(title.capitalize(), "bold")
        for line in lines:
            out.line(line)


def _cell(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else number(value)
    return text[:12] if len(text) in (40, 64) and text.isalnum() else text


def card(
    ctx: typer.Context,
    name: Name,
    version: Version = "champion",
    *,
    format: Annotated[
        Literal["md", "html"] | None,
        typer.Option("--format", help="md or html; else as the file's name ends, or md."),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write it there.")] = None,
) -> None:
    """The model card: what is recorded of a version, for people."""
    if format is None:
        page = output is not None and output.suffix.lower() in (".html", ".htm")
        format = "html" if page else "md"
    with Client.of(options_of(ctx)) as client:
        text = client.text(f"/models/{named(name)}/versions/{named(version)}/card", format=format)
    out = output_of(ctx)
    if output is not None:
        save_text(output, text)
        out.document({"file": str(output)}, lambda: out.line(f"Wrote {output}."))
    else:
        told = {"model": name, "version": version, "format": format, "card": text}
        out.document(told, lambda: _write(text))


def _write(text: str) -> None:
    from volant.cli.text import clean

    sys.stdout.write(clean(text))
