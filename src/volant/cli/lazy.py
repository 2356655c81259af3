"""A command group that imports a command's module only when that command is used.

`volant --help` shows names and one line each from a table and imports none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from volant.cli.options import add_global_options


@dataclass(frozen=True)
class Entry:
    """Where a command is (`module:attribute`, a `typer.Typer`), and what it does."""

    target: str
    help: str
    panel: str


def new_app(help: str = "", **settings: Any) -> typer.Typer:
    """A Typer app in the plain style that starts fast."""
    return typer.Typer(
        help=help,
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        **settings,
    )


class LazyGroup(TyperGroup):
    """A `TyperGroup` over a table of entries; a subclass gives the table."""

    entries: Mapping[str, Entry] = {}

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, entry in self.entries.items():
            self.commands[name] = TyperCommand(name, help=entry.help, rich_markup_mode=None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command instead of the one that only has a name."""
        entry = self.entries.get(args[0])
        if entry is not None:
            module, _, attribute = entry.target.partition(":")
            command = typer.main.get_command(getattr(import_module(module), attribute))
            command.name = args[0]
            add_global_options(command)
            self.commands[args[0]] = command
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Commands under their panels, in the table's order."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, entry in self.entries.items():
            panels.setdefault(entry.panel, []).append((name, entry.help))
        width = max(len(name) for name in self.entries)
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl([(name.ljust(width), text) for name, text in rows])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The epilog line by line: it is a table, not prose."""
        for line in (self.epilog or "").splitlines():
            formatter.write(line + "\n")
