"""What counting a request costs the replica that answers it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from benchmarks.line import Line, Samples
from volant.serving.board import Board
from volant.serving.counter_map import IN_FLIGHT
from volant.serving.counters import Counters

TITLE = "counting one request"


def measure(work: Path, *, quick: bool) -> list[Line]:
    """The calls that the HTTP server makes for a request, clocks included, on memory that
    is shared as it is in production; and one reader's cost for a whole deployment."""
    times, rounds = (20_000, 2) if quick else (300_000, 9)
    board = Board()
    place = board.assign(1, 1)
    if place is None:
        raise RuntimeError("a new board has a free row")
    counters = Counters.of(place.message())

    def count() -> None:
        started = perf_counter()
        counters.set(IN_FLIGHT, 1)
        counters.set(IN_FLIGHT, 0)
        counters.answered(200, perf_counter() - started, 300, 200)

    def clocks() -> None:
        perf_counter()
        perf_counter()

    ours = Samples([_each(count, times) * 1e6 for _ in range(rounds)])
    floor = Samples([_each(clocks, times) * 1e6 for _ in range(rounds)], "reading the clock twice")
    read = Samples([_each(board.read, times // 1000) * 1e6 for _ in range(rounds)])
    board.close()
    return [
        Line("counting one request", "µs", ours, floor, at_most=1),
        Line("reading a deployment's counters", "µs", read),
    ]


def _each(act: Callable[[], object], times: int) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    for _ in range(times):
        act()
    return (time.perf_counter() - began) / times
