"""Commands of one line each: `version`, and the way to `demo`."""

from __future__ import annotations

from typing import Annotated

import typer

from volant import __version__
from volant.cli.lazy import new_app
from volant.cli.output import output_of

version_app = new_app()
demo_app = new_app()


@version_app.command()
def version(ctx: typer.Context) -> None:
    """Print the version."""
    out = output_of(ctx)
    out.document({"version": __version__}, lambda: out.line(f"volant {__version__}"))


@demo_app.command()
def demo(
    ctx: typer.Context,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running at the end.")] = False,
) -> None:
    """See the whole loop turn once, on real data: under a minute, and nothing stays behind."""
    from volant.cli.demo import run

    run(ctx, keep=keep)
