"""What a program in a step says and asks about its checkpoints. Standard library only: it
is imported by users' code.

Outside of a step everything works too and stores nothing, so that a training script can be
tried by hand.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from volant.errors import InvalidInput

WISHES = "wishes"  # a pipe with a name: a line is a wish
ANSWERS = "answers"
WISHES_VARIABLE = "VOLANT_CHECKPOINT_WISHES"
_ANSWER_S = 3600.0

_saves: list[Callable[[], object]] = []
_noticed = threading.Event()
_owner: list[int] = []  # the process that the handler is installed for


def checkpoint_dir() -> Path:
    """The folder that is laid out anew before each attempt with the newest checkpoint:
    `VOLANT_CHECKPOINT_DIR`, outside of a step `checkpoint` in the present folder."""
    folder = Path(os.environ.get("VOLANT_CHECKPOINT_DIR") or "checkpoint").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def checkpoint() -> bool:
    """Store the checkpoint folder as it is now; returns when that is done, whether it was.

    From the first call on, only what is asked for is stored. A failure is told on standard
    error and ends nothing: an older checkpoint is still there.
    """
    wishes = os.environ.get(WISHES_VARIABLE)
    if not wishes:
        return False
    token = secrets.token_hex(8)
    try:
        descriptor = os.open(wishes, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, f"{token}\n".encode())
        finally:
            os.close(descriptor)
        answer = _answer(Path(wishes).parent / ANSWERS / token)
    except OSError as error:
        answer = {"error": f"Nobody keeps checkpoints of this step: {error.strerror}."}
    if "number" in answer:
        return True
    print(f"volant: {answer['error']}", file=sys.stderr, flush=True)  # noqa: T201
    return False


def _answer(path: Path) -> dict[str, Any]:
    deadline, pause = time.monotonic() + _ANSWER_S, 0.001
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            answer: dict[str, Any] = json.loads(path.read_text())
            path.unlink()
            return answer
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return {"error": f"The checkpoint wasn't stored within {_ANSWER_S:g} s."}


def on_preempt(save: Callable[[], object]) -> None:
    """Call `save` when this machine is about to be taken away (SIGTERM), then store the
    checkpoint folder and end, to be started again from there.

    `save` runs in the main thread between two lines of the program, so it should write
    only what is whole: what the loop last finished. Several are called in order.

    Raises `InvalidInput` outside of the main thread.
    """
    _listen()
    _saves.append(save)


def preempted() -> bool:
    """Whether this machine is about to be taken away, for a loop that looks by itself:

        if preempted():
            save()
            leave()

    Once asked, SIGTERM doesn't end the process any more; `leave` does.
    """
    _listen()
    return _noticed.is_set()


def leave() -> NoReturn:
    """Store the checkpoint folder and end, to be started again from there."""
    checkpoint()
    _end()


def _listen() -> None:
    if _owner == [os.getpid()]:
        return
    try:
        signal.signal(signal.SIGTERM, _notice)
    except ValueError as error:
        raise InvalidInput(
            "Only the main thread can be told of a preemption.",
            "Call on_preempt or preempted there once, before the work begins.",
        ) from error
    _owner[:] = [os.getpid()]


def _notice(number: int, frame: object) -> None:
    if _owner != [os.getpid()]:  # a worker that was forked with the handler in it
        _end()
    if _noticed.is_set():
        return  # told again while it is saving
    _noticed.set()
    if not _saves:
        return
    for save in _saves:
        try:
            save()
        except Exception:  # the next may still save something
            traceback.print_exc()
    leave()


def _end() -> NoReturn:
    """End as SIGTERM ends a process, so that it is seen for what it is."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    while True:  # the signal is on its way
        time.sleep(1)
