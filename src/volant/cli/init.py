"""`volant init`: local, without a server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volant.cli.lazy import new_app
from volant.cli.output import output_of
from volant.cli.upload import check_files
from volant.errors import Conflict, InvalidInput

app = new_app()


@app.command()
def init(
    ctx: typer.Context,
    *,
    source: Annotated[
        Path, typer.Option("--from", metavar="FILE", help="CSV, Parquet or JSON lines.")
    ],
    target: Annotated[str, typer.Option(metavar="COLUMN", help="The column to predict.")],
    name: Annotated[
        str | None, typer.Option(help="The loop's name; made from the file's when absent.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="The dataset's name; the loop's when absent.")
    ] = None,
    input_format: Annotated[
        str | None,
        typer.Option(metavar="csv|parquet|jsonl", help="By the file's name when absent."),
    ] = None,
    delimiter: Annotated[str | None, typer.Option(help="A CSV's; guessed when absent.")] = None,
    encoding: Annotated[str | None, typer.Option(help="The text's; UTF-8 when absent.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it.")
    ] = Path("volant.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file.")] = False,
) -> None:
    """Write a volant.yaml for a file of data: its contract inferred, every choice explained."""
    out = output_of(ctx)
    if output.exists() and not force:
        raise Conflict(
            f"{output} exists already.",
            "Give another file with --output, or --force.",
            code="file_exists",
        )
    check_files([source])
    from volant.actions import init_loop

    options = {"format": input_format, "delimiter": delimiter, "encoding": encoding}
    text = init_loop(source, target, name, dataset, options)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"{output} can't be written: {error.strerror}.", "Give another file with --output."
        ) from error

    def render() -> None:
        out.line(f"Wrote {output}.")
        out.note("Look through it, then: volant up --detach; volant apply")

    out.document({"file": str(output), "source": text}, render)
