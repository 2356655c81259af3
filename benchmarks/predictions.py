"""One-row predictions a second, against a hello of bare uvicorn; one server process each."""

from __future__ import annotations

from pathlib import Path

from benchmarks import rows
from benchmarks.ask import NAMED_QUESTION, QUESTION
from benchmarks.home import running
from benchmarks.line import Line, Samples
from benchmarks.load import Load, drive, tool
from benchmarks.plain_server import serving

TITLE = "one-row predictions per second"
CONNECTIONS = (1, 16, 64)


def measure(work: Path, *, quick: bool) -> list[Line]:
    """Ours and the hello take turns, so that a change of the machine's mood meets both."""
    count, times, seconds = (500, 1, 1) if quick else (rows.ROWS, 3, 4)
    file = rows.write(work / "rows.csv", 1, count)
    lines: list[Line] = []
    with running(work / "home") as home, serving("hello.py", "app") as hello:
        home.apply(work / "loop")
        url = home.serve(file)
        bare = f"http://127.0.0.1:{hello.port}/"
        for connections in CONNECTIONS:
            drive(url, QUESTION, connections, 1, work)
            taken = [
                (
                    drive(url, QUESTION, connections, seconds, work),
                    drive(bare, None, connections, seconds, work),
                )
                for _ in range(times)
            ]
            lines += _lines(connections, [t[0] for t in taken], [t[1] for t in taken])
        named = [drive(url, NAMED_QUESTION, 16, seconds, work).rate for _ in range(times)]
    note = "the same row as eight named tensors instead of one matrix"
    floor = lines[2].floor
    return [
        *lines,
        Line("  the same, by column, 16 connections", "1/s", Samples(named), floor, note=note),
    ]


def _lines(connections: int, ours: list[Load], bare: list[Load]) -> list[Line]:
    floor = f"GET of a JSON hello, plain ASGI on uvicorn with uvloop and httptools ({tool()})"
    many = f"{connections} connection{'s' if connections > 1 else ''}"
    return [
        Line(
            f"one-row predictions, {many}",
            "1/s",
            Samples([load.rate for load in ours]),
            Samples([load.rate for load in bare], floor),
            # A single connection leaves nothing to batch: told, but no goal.
            ratio_at_least=1 if connections > 1 else None,
        ),
        Line(
            f"  their 99th percentile, {many}",
            "ms",
            Samples([load.p99_ms for load in ours]),
            Samples([load.p99_ms for load in bare]),
        ),
    ]
