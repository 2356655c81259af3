"""`volant up` and `volant down`."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from volant import __version__
from volant.cli import process
from volant.cli.lazy import new_app
from volant.cli.options import Options, options_of
from volant.cli.output import Output, output_of
from volant.cli.text import took
from volant.errors import InvalidInput, VolantError

if TYPE_CHECKING:
    from volant.settings import Settings

up_app = new_app()
down_app = new_app()


@up_app.command()
def up(
    ctx: typer.Context,
    *,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="0 takes any that is free. [env: VOLANT_PORT; default: 8400]"
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(help="The address to listen on. [env: VOLANT_HOST; default: 127.0.0.1]"),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="In the background; returns once it answers.")
    ] = False,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate chain, PEM.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, PEM.")] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without TLS.")
    ] = False,
    ready_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Start Volant: API, scheduler, worker and models' replicas, until Ctrl-C."""
    out = output_of(ctx)
    given = {
        "--port": port,
        "--host": host,
        "--tls-cert": tls_cert and tls_cert.absolute(),
        "--tls-key": tls_key and tls_key.absolute(),
    }
    if detach:
        _detached(out, options_of(ctx), given, insecure)
        return
    try:
        _foreground(out, options_of(ctx), given, insecure, ready_fd)
    except VolantError as error:
        process.say(ready_fd, {"error": error.to_dict()})
        raise


def _detached(out: Output, options: Options, given: dict[str, Any], insecure: bool) -> None:
    home = options.home_folder()
    process.refuse_second(home)
    arguments = [str(part) for pair in given.items() if pair[1] is not None for part in pair]
    word = process.start(home, [*arguments, "--insecure"] if insecure else arguments)
    out.document({**word, "home": str(home)}, lambda: _banner(out, word["url"], home, stop="down"))


def _foreground(
    out: Output,
    options: Options,
    given: dict[str, Any],
    insecure: bool,
    ready_fd: int | None,
) -> None:
    if ready_fd is not None:
        os.set_inheritable(ready_fd, False)
    home = options.home_folder()
    process.refuse_second(home)
    gc.disable()  # until all is imported: there is no garbage in it, and looking takes long
    from volant.web.listener import Address
    from volant.web.server import run

    settings = _settings(home, given, insecure)
    address = Address(
        settings.host, settings.port, given["--tls-cert"], given["--tls-key"], settings.insecure
    )

    def ready(url: str) -> None:
        gc.freeze()
        gc.enable()
        word = {"url": url, "pid": os.getpid()}
        if ready_fd is None:
            document = {**word, "home": str(home)}
            out.document(document, lambda: _banner(out, url, home, stop="Ctrl-C"))
        process.say(ready_fd, word)

    run(settings, address, terminal=ready_fd is None, ready=ready)
    if ready_fd is None:
        out.note("Stopped.")


def _settings(home: Path, given: dict[str, Any], insecure: bool) -> Settings:
    """The environment's settings, with what was given here instead."""
    from pydantic import ValidationError

    from volant.settings import Settings

    chosen: dict[str, Any] = {"home": home}
    if given["--port"] is not None:
        chosen["port"] = given["--port"]
    if given["--host"] is not None:
        chosen["host"] = given["--host"]
    if insecure:
        chosen["insecure"] = True
    try:
        return Settings(**chosen)
    except ValidationError as error:
        fault = error.errors()[0]
        name = "VOLANT_" + "_".join(str(part) for part in fault["loc"]).upper()
        raise InvalidInput(
            f"{name} is {fault['input']!r}: {fault['msg']}.", f"Correct or unset {name}."
        ) from error


def _banner(out: Output, url: str, home: Path, stop: str) -> None:
    default = home == Path("~/.volant").expanduser()
    down = "volant down" if default else f"volant down --home {home}"
    out.line(f"Volant {__version__} is ready at {url}", "bold")
    out.line(f"  home  {home}")
    out.line(f"  log   {home / 'logs' / 'server.log'}")
    out.line(f"  stop  {down}" if stop == "down" else f"  stop  Ctrl-C, or elsewhere: {down}")


@down_app.command()
def down(
    ctx: typer.Context,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for its end.")] = 60.0,
) -> None:
    """Stop the Volant that runs on the home. It is no error if none does."""
    out = output_of(ctx)
    home = options_of(ctx).home_folder()
    stopped = process.stop(home, timeout)
    if stopped is None:
        document: dict[str, Any] = {"stopped": False, "home": str(home)}
        out.document(document, lambda: out.line(f"No Volant is running on {home}."))
        return
    words = f"Stopped Volant at {stopped['url']} (pid {stopped['pid']}"
    words += f", up for {took(stopped.get('started_at'), None)})."
    out.document({"stopped": True, "home": str(home), **stopped}, lambda: out.line(words))
