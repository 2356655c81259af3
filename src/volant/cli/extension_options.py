"""What the commands on extensions take: KEY:VALUE pairs, files, secrets on standard input."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from volant.errors import InvalidInput

Configuration = Annotated[
    list[str] | None,
    typer.Option(
        "--configuration", "-c", metavar="KEY:VALUE", help="A setting for clients. Repeatable."
    ),
]
LongConfiguration = Annotated[
    list[str] | None,
    typer.Option("--configuration", metavar="KEY:VALUE", help="A setting. Repeatable."),
]


def pairs(given: Sequence[str]) -> dict[str, str]:
    """`KEY:VALUE` or `KEY=VALUE`, whichever sign comes first; a KEY alone has no value."""
    found: dict[str, str] = {}
    for each in given:
        signs = [at for at in (each.find(":"), each.find("=")) if at >= 0]
        at = min(signs, default=len(each))
        found[each[:at].strip()] = each[at + 1 :].strip()
    return found


def changes(told: Mapping[str, Any], configuration: Sequence[str] | None) -> dict[str, Any]:
    """A body of what was given and nothing else."""
    body = {("description" if key == "desc" else key): told[key] for key in told}
    body = {key: value for key, value in body.items() if value is not None}
    if configuration is not None:
        body["configuration"] = pairs(configuration)
    return body


def names(given: Sequence[str] | None) -> list[str] | None:
    """Names that were given one by one, or with commas between them."""
    return [name.strip() for each in given for name in each.split(",")] if given else None


def content(file: str) -> str:
    """The text of a file, or of standard input for `-`."""
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InvalidInput(f"{file} can't be read: {reason}.", "Give a file of YAML.") from None


def secret_line() -> str:
    """The secret on standard input, without the end of its line."""
    if sys.stdin.isatty():
        import getpass

        return getpass.getpass("Secret: ")
    secret = sys.stdin.read().rstrip("\r\n")
    if not secret:
        raise InvalidInput(
            "Standard input is empty.", "Pipe the secret into the command, or type it there."
        )
    return secret
