"""No replica outlives who looks after it, whatever its model does.

The event loop may stand in a prediction that never ends, or wait for a thread that does,
so neither the watch nor the clock is the loop's: a thread waits for the end of the control
socket, and the interpreter's watchdog, which needs no Python to run, ends the process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import select
import socket
import threading
import time
from collections.abc import Generator

_STDERR = 2  # the deployment's log
_STACK = 256 * 1024
_armed = threading.Event()


def end_with(control: socket.socket, seconds: float) -> None:
    """Once the other end of `control` is closed, or this one by `hang_up`, the process
    ends within `seconds`."""
    ended = select.poll()
    ended.register(control.fileno(), select.POLLRDHUP)

    def wait() -> None:
        ended.poll()
        end_within(seconds)
        if not _armed.is_set():
            time.sleep(seconds)
            os._exit(1)

    with _small_stack(), contextlib.suppress(RuntimeError):  # else the loop watches alone
        threading.Thread(target=wait, name="volant-lifeline", daemon=True).start()


def end_within(seconds: float) -> None:
    """From now on the process has so long to end by itself. Then it is ended, and the log
    says what each of its threads was doing. Without memory for a clock nothing is armed,
    and the next call tries again."""
    if _armed.is_set():
        return
    with _small_stack(), contextlib.suppress(RuntimeError):
        faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)
        _armed.set()


@contextlib.contextmanager
def _small_stack() -> Generator[None]:
    """For a thread that starts in it: a stack counts against a limit on memory."""
    usual = threading.stack_size(_STACK)
    try:
        yield
    finally:
        threading.stack_size(usual)


def hang_up(control: socket.socket) -> None:
    """Close it, and let the other end know at once: a thread that waits for its end would
    keep it open."""
    with contextlib.suppress(OSError):
        control.shutdown(socket.SHUT_RDWR)
    control.close()
