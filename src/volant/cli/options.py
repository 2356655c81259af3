"""The options that every command has, before or after the command's name."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer


class Format(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


@dataclass
class Options:
    """What was given for this call of `volant`."""

    home: Path | None = None
    server_url: str | None = None
    timeout_s: float | None = None
    format: Format = Format.TABLE
    color: bool = True
    verbose: bool = False

    def home_folder(self) -> Path:
        """`--home`, else VOLANT_HOME, else ~/.volant."""
        chosen = self.home or Path(os.environ.get("VOLANT_HOME") or "~/.volant")
        return chosen.expanduser().absolute()


def options_of(ctx: typer.Context) -> Options:
    """The options as far as they were read."""
    return ctx.ensure_object(Options)


def _home(ctx: typer.Context, value: Path | None) -> None:
    if value is not None:
        options_of(ctx).home = value


def _server_url(ctx: typer.Context, value: str | None) -> None:
    if value is not None:
        options_of(ctx).server_url = value


def _timeout(ctx: typer.Context, value: float | None) -> None:
    if value is not None:
        if not 0 < value < float("inf"):
            raise typer.BadParameter(f"{value} is no time to wait: give seconds above 0")
        options_of(ctx).timeout_s = value


def _json(ctx: typer.Context, value: bool) -> None:
    if value:
        options_of(ctx).format = Format.JSON


def _format(ctx: typer.Context, value: Format | None) -> None:
    if value is not None:
        options_of(ctx).format = value


def _no_color(ctx: typer.Context, value: bool) -> None:
    if value:
        options_of(ctx).color = False


def _verbose(ctx: typer.Context, value: bool) -> None:
    if value:
        options_of(ctx).verbose = True


def _declared(
    *,
    home: Annotated[
        Path | None,
        typer.Option(
            callback=_home,
            expose_value=False,
            metavar="DIR",
            help="Where this Volant lives. [env: VOLANT_HOME; default: ~/.volant]",
        ),
    ] = None,
    server_url: Annotated[
        str | None,
        typer.Option(
            "--server-url",
            "--url",
            "-u",
            callback=_server_url,
            expose_value=False,
            metavar="URL",
            help="The server to ask. [env: VOLANT_SERVER_URL or FUSEML_SERVER_URL, with"
            " VOLANT_TOKEN]",
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            callback=_timeout,
            expose_value=False,
            metavar="SECONDS",
            help="How long one request may take. [default: 60]",
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", callback=_json, expose_value=False, help="Print one JSON document."),
    ] = False,
    format: Annotated[
        Format | None,
        typer.Option("--format", callback=_format, expose_value=False, help="How to print."),
    ] = None,
    no_color: Annotated[
        bool,
        typer.Option("--no-color", callback=_no_color, expose_value=False, help="No colors."),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", callback=_verbose, expose_value=False, help="Tell more of errors."
        ),
    ] = False,
) -> None: ...


@cache
def _params() -> tuple[Any, ...]:
    app = typer.Typer(add_completion=False)
    app.command()(_declared)
    return tuple(typer.main.get_command(app).params)


def add_global_options(command: Any) -> None:
    """Give `command`, and all that are under it, the options of every command. A name that
    a command has given to an option of its own stays its own."""
    own = {option for param in command.params for option in param.opts}
    command.params.extend(param for each in _params() if (param := _without(each, own)))
    for below in getattr(command, "commands", {}).values():
        add_global_options(below)


def _without(param: Any, taken: set[str]) -> Any | None:
    """`param` under the names that are left to it, None when none is."""
    left = [name for name in param.opts if name not in taken]
    if len(left) == len(param.opts) or not left:
        return param if left else None
    other = copy.copy(param)
    other.opts = left
    return other
