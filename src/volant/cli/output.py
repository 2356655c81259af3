"""How results reach standard output: one document for a program, or text for a person."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from volant.cli.options import Format, Options, options_of
from volant.cli.tables import table_lines
from volant.cli.text import STATUS_COLORS, clean, one_line, paint


class Output:
    """Standard output of one command.

    `json` is true when a program reads it, in whatever form: then one document is all there
    is, and nothing is told beside it.
    """

    def __init__(self, options: Options) -> None:
        self.json = options.format is not Format.TABLE
        self._form = options.format
        self._tables: list[tuple[Sequence[str], list[list[str]]]] | None = None
        self.tty = sys.stdout.isatty()
        wanted = options.color and not os.environ.get("NO_COLOR")
        self.color = self.tty and wanted and os.environ.get("TERM") != "dumb"

    def document(self, document: Any, render: Callable[[], None]) -> None:
        """Print `document` in the form that was asked for, else let `render` print. As CSV
        it is the tables that `render` shows."""
        if not self.json:
            render()
            return
        from volant.cli import forms

        if self._form is not Format.CSV:
            sys.stdout.write(forms.text_of(document, self._form))
            return
        self._tables = tables = []
        with contextlib.redirect_stdout(io.StringIO()):  # text between tables is for people
            render()
        self._tables = None
        sys.stdout.write(forms.tables_text(tables, document))

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
        if self._form is Format.CSV:
            self._csv(columns, rows)
            return
        if not rows:
            self.note(empty)
            return
        cells = [[one_line(cell) for cell in row] for row in rows]
        width = shutil.get_terminal_size().columns if self.tty else None
        for line in table_lines(columns, cells, width, self.color):
            sys.stdout.write(line + "\n")

    def _csv(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        cells = [[clean(cell) for cell in row] for row in rows]
        if self._tables is not None:
            self._tables.append((columns, cells))
            return
        from volant.cli import forms

        sys.stdout.write(forms.csv_text(columns, cells))


def output_of(ctx: typer.Context) -> Output:
    """The output that the options ask for."""
    return Output(options_of(ctx))
