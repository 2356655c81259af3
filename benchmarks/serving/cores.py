"""One core for the server, another for the load: the same for all that are compared."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

_ALL = sorted(os.sched_getaffinity(0))
SERVER = {_ALL[0]}
LOAD = {_ALL[-1]}


@contextmanager
def on(cores: set[int]) -> Generator[None]:
    """Children started in the block run on `cores` alone, and so do theirs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def text() -> str:
    if SERVER == LOAD:
        return "one core for server and load together"
    return f"server on core {min(SERVER)}, load on core {min(LOAD)}"
