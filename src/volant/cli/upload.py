"""Files on their way to the server, with progress in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from volant.cli.client import Client
from volant.cli.output import Output
from volant.errors import InvalidInput

_SHOWN_FROM = 5_000_000  # bytes; less is sent before a bar could be read


def check_files(
    files: Sequence[Path], if_empty: str = "Give a file with a header and rows."
) -> None:
    """Refuse what can't be a delivery before anything is sent; `if_empty` is what to do about
    a file without content. Raises `InvalidInput`."""
    for file in files:
        if file.is_dir():
            raise InvalidInput(f"{file} is a folder.", "Give the files in it by name.")
        if not file.exists():
            raise InvalidInput(
                f"There is no file {file}.", "Check the name and the folder.", code="no_file"
            )
        if file.is_file() and file.stat().st_size == 0:
            raise InvalidInput(f"{file} is empty.", if_empty, code="empty_file")
        try:
            with file.open("rb"):
                pass
        except OSError as error:
            raise InvalidInput(
                f"{file} can't be read: {error.strerror}.", "Check its permissions."
            ) from error


def upload_all(
    client: Client, out: Output, name: str, files: Sequence[Path], noun: str = "datasets"
) -> list[str]:
    """Send every file into the staging of a dataset or model (`noun`); returns the uploads'
    ids in the same order."""
    total = sum(file.stat().st_size for file in files)
    ids: list[str] = []
    with progress(total, out) as advance:
        for file in files:
            ids.append(client.upload(name, file, advance, noun)["id"])
    return ids


@contextmanager
def progress(total: int, out: Output) -> Generator[Callable[[int], None]]:
    """A bar in a terminal, for what is large; it is told of each block's bytes."""
    if out.json or not sys.stderr.isatty() or total < _SHOWN_FROM:
        yield lambda _sent: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True, no_color=not out.color)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("upload", total=total)
        yield lambda sent: bar.advance(task, sent)
