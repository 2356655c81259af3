"""What the demo shows: chapters, a run's steps as they go, and times."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

POLL_S = 0.1
_MARKS = {
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "cancelled": ("✗", "red"),
    "skipped": ("–", "dim"),
    "queued": ("·", "dim"),
}
_ENDED = ("succeeded", "failed", "cancelled", "skipped")


class Screen:
    """Standard output of the demo; without a terminal it prints each line once."""

    def __init__(self, *, color: bool) -> None:
        self.console = Console(no_color=not color, highlight=False)
        self._started = time.monotonic()
        self._chapters = 0

    @property
    def elapsed(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._started

    def chapter(self, title: str) -> None:
        """A new part of the story, with the time it begins."""
        self._chapters += 1
        head = Text(f"\n{self._chapters}  {title}", style="bold")
        head.append(f"   {self.elapsed:.0f} s", style="dim")
        self.console.print(head)

    def say(self, text: str, style: str = "") -> None:
        """A line of the story."""
        self._indented(Text(text, style=style))

    def command(self, text: str) -> None:
        """The command that a user would type for what comes next."""
        self.console.print(Text(f"   $ {text}", style="cyan"))

    def fact(self, text: str) -> None:
        """A result worth a second look."""
        self._indented(Text("✓ ", style="green").append(text, style="default"))

    def _indented(self, text: Text) -> None:
        self.console.print(Padding(text, (0, 0, 0, 3)))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A small table, indented."""
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("  ", *columns):
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row("", *(Text(cell) for cell in row))
        self.console.print(table)

    @contextmanager
    def wait(self, text: str) -> Generator[None]:
        """A spinner while something short happens."""
        if not self.console.is_terminal:
            yield
            return
        with self.console.status(Text("  " + text)):
            yield

    def follow(self, state: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Show a run's steps live until it ends; returns its last state."""
        shown: set[str] = set()
        spinner = Spinner("dots", style="cyan")
        live = Live(console=self.console, refresh_per_second=12, transient=True)
        with live if self.console.is_terminal else _nothing():
            while True:
                now = state()
                for step in now["steps"]:
                    if step["status"] in _ENDED and step["name"] not in shown:
                        shown.add(step["name"])
                        self.console.print(_line(step))
                if now["status"] in _ENDED:
                    return now
                going = [s for s in now["steps"] if s["status"] not in _ENDED]
                live.update(Group(*(_going(step, spinner) for step in going)))
                time.sleep(POLL_S)


@contextmanager
def _nothing() -> Generator[None]:
    yield


def _line(step: Mapping[str, Any]) -> Text:
    mark, style = _MARKS[step["status"]]
    text = Text("   ").append(f"{mark} ", style=style).append(f"{step['name']:<10}")
    if step["status"] == "skipped":
        return text.append("skipped", style="dim")
    return text.append(f"{seconds(step):5.2f} s", style="dim")


def _going(step: Mapping[str, Any], spinner: Spinner) -> Table:
    grid = Table.grid()
    style = "" if step["status"] == "running" else "dim"
    mark = spinner if step["status"] == "running" else Text("·", style="dim")
    grid.add_row(Text("   "), mark, Text(f" {step['name']}", style=style))
    return grid


def seconds(step: Mapping[str, Any]) -> float:
    """How long a step took."""
    if not step.get("started_at") or not step.get("ended_at"):
        return 0.0
    started, ended = (datetime.fromisoformat(step[key]) for key in ("started_at", "ended_at"))
    return (ended - started).total_seconds()
