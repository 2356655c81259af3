"""`volant app`: a page to try a deployed model on."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from volant.cli.client import Client, find_server, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import output_of

app = new_app()


@app.command("app")
def open_app(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The deployment; a loop's has its name.")],
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Only print the address; open no browser.")
    ] = False,
) -> None:
    """Try a deployed model in a browser: move its columns, see what it predicts.

    The address works once, within five minutes; the page then acts with your rights.
    """
    out = output_of(ctx)
    options = options_of(ctx)
    url, token = find_server(options)
    with Client(url, token, options.timeout_s) as client:
        link = client.post(f"/deployments/{named(name)}/links")
    address = url + link["path"]
    told = {"deployment": name, "url": address, "expires_s": link["expires_s"]}
    out.document(told, lambda: out.line(address))
    if not no_open and not out.json and _has_screen():
        import webbrowser

        webbrowser.open(address)


def _has_screen() -> bool:
    """Whether a person sits at this terminal with a screen that a browser could use; a
    browser in text mode would take the terminal away."""
    if not sys.stdout.isatty():
        return False
    return sys.platform == "darwin" or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
