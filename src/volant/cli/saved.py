"""Files that a command writes: whole under their name, or not there."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from volant.durable import sync
from volant.errors import InvalidInput, ResourceExhausted


@contextmanager
def saved(target: Path) -> Generator[Path]:
    """A file beside `target` to write to, which takes its place when the block ends and is
    removed when it raises. What a killed command left is written over.

    Raises `InvalidInput` where it can't be written, `ResourceExhausted` on a full disk.
    """
    partial = target.with_name(f".{target.name}.partial")
    try:
        try:
            yield partial
            sync(partial)
            partial.replace(target)
            sync(target.parent)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno == 28:
            raise ResourceExhausted(
                f"No space is left for {target}.", "Free some space and try again."
            ) from error
        raise InvalidInput(
            f"{target} can't be written: {error.strerror or error}.",
            "Check its folder and its permissions.",
        ) from error


def save_text(target: Path, text: str) -> None:
    """Write a text file."""
    with saved(target) as partial:
        partial.write_text(text, encoding="utf-8")
