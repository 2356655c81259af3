"""`volant runs diff|prune`: what differs between two runs; what becomes of old ones."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from volant.cli.client import Client, named
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import ago, duration, word
from volant.errors import InvalidInput

_SHOWN = 60  # characters of a value; JSON shows it whole


def add_to(app: typer.Typer) -> None:
    """Give `volant runs` these commands."""
    app.command()(diff)
    app.command()(prune)


def diff(
    ctx: typer.Context,
    a: Annotated[str, typer.Argument(metavar="A", help="A run's id.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another's.")],
) -> None:
    """What differs between two runs: inputs, commits, images, environment, outputs, time."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/runs/{named(a)}/diff/{named(b)}")
    out.document(found, lambda: _render(out, found))


def _render(out: Output, found: dict[str, Any]) -> None:
    out.line(f"a  {found['a']}")
    out.line(f"b  {found['b']}")
    out.line()
    rows = [
        (f"{part}.{key}", _text(a), _text(b))
        for part in ("workflow", "inputs", "outputs")
        for key, (a, b) in found[part].items()
    ]
    for name, step in found["steps"].items():
        rows += [
            (f"steps.{name}.{key}", _text(a), _text(b)) for key, (a, b) in step["changes"].items()
        ]
    out.table(("what", "a", "b"), rows, "Nothing differs but the time they took.")
    out.line()
    times = [
        (name, *(duration(each) if each is not None else "-" for each in step["seconds"]))
        for name, step in found["steps"].items()
    ]
    out.table(("step", "a took", "b took"), times)


def _text(value: Any) -> str:
    text = "-" if value is None else word(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def prune(
    ctx: typer.Context,
    keep: Annotated[
        int | None, typer.Option(min=1, help="How many of the newest of each workflow stay.")
    ] = None,
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", metavar="AGE", help="Younger ones stay, like 30d or 12h."),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Delete; else only tell.")] = False,
) -> None:
    """Delete old runs that nothing needs, with their folders and logs.

    What made a model version that is there, what is under way, and what a kept run took
    over from stays. Without --apply, show which would go.
    """
    out = output_of(ctx)
    body = {"keep": keep, "older_than_s": _seconds(older_than), "apply": apply}
    with Client.of(options_of(ctx)) as client:
        found = client.post("/run-retention", body)
    out.document(found, lambda: _render_pruned(out, found["items"], apply))


def _render_pruned(out: Output, items: list[dict[str, Any]], apply: bool) -> None:
    word = "deleted" if apply else "would go"
    rows = [
        (
            each["run"],
            each["of"],
            each["status"],
            ago(each["created_at"]),
            word if each["reason"] is None else f"stays: {each['reason']}",
        )
        for each in items
    ]
    out.table(("run", "of", "status", "started", "fate"), rows, "No run yet.")
    going = sum(each["reason"] is None for each in items)
    if going and not apply:
        out.note(f"{going} of {len(items)} would go. Do it: add --apply.")


def _seconds(text: str | None) -> float | None:
    from volant.yamltext.units import DURATION_FORM, seconds

    if text is None:
        return None
    found = seconds(text)
    if found is None:
        raise InvalidInput(f"--older-than {text!r} is no duration.", f"Give {DURATION_FORM}.")
    return found
