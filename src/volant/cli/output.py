"""How results reach standard output: one JSON document, or text for a person."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from volant.cli.options import Format, Options, options_of
from volant.cli.tables import table_lines
from volant.cli.text import STATUS_COLORS, clean, paint


class Output:
    """Standard output of one command."""

    def __init__(self, options: Options) -> None:
        self.json = options.format is Format.JSON
        self.tty = sys.stdout.isatty()
        wanted = options.color and not os.environ.get("NO_COLOR")
        self.color = self.tty and wanted and os.environ.get("TERM") != "dumb"

    def document(self, document: Any, render: Callable[[], None]) -> None:
        """Print `document` as JSON if that was asked for, else let `render` print."""
        if self.json:
            sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        else:
            render()

    def line(self, text: str = "", style: str | None = None) -> None:
        """One line of text; nothing in it steers the terminal."""
        sys.stdout.write(paint(clean(text), style, self.color) + "\n")
        sys.stdout.flush()

    def status(self, word: str) -> str:
        """A status in its color."""
        return paint(word, STATUS_COLORS.get(word), self.color)

    def raw(self, text: str) -> None:
        """One line that was cleaned and painted already."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """A word on the side, on standard error, for a person only."""
        if not self.json:
            sys.stderr.write(clean(text) + "\n")

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], empty: str = "Nothing yet."
    ) -> None:
        """Aligned columns. In a terminal they fit its width; elsewhere no value is cut,
        so that what reads them finds them whole."""
        if not rows:
            self.note(empty)
            return
        cells = [[clean(cell).replace("\n", " ") for cell in row] for row in rows]
        width = shutil.get_terminal_size().columns if self.tty else None
        for line in table_lines(columns, cells, width, self.color):
            sys.stdout.write(line + "\n")


def output_of(ctx: typer.Context) -> Output:
    """The output that the options ask for."""
    return Output(options_of(ctx))
