"""From `volant data push` to the new version's first answer, against a plain script."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import rows
from benchmarks.home import Home, running
from benchmarks.line import Line, Samples
from benchmarks.wait import free_port, until

TITLE = "push to serving"
PROGRAMS = Path(__file__).parent / "programs"
COLD_IDLE_S = 3.0


@dataclass(frozen=True)
class Turn:
    """One turn: all of it, and the fit alone as `train:fit` timed itself, in seconds."""

    total_s: float
    fit_s: float

    @property
    def overhead_s(self) -> float:
        return self.total_s - self.fit_s


def measure(work: Path, *, quick: bool) -> list[Line]:
    """Each repetition is a new home with three turns: the push right after `apply`; one
    right after that; one after the step zygotes had ended, as on most days."""
    count, times = (500, 1) if quick else (rows.ROWS, 3)
    first = rows.write(work / "first.csv", 1, count)
    more = [rows.write(work / f"more-{i}.csv", 2 + i, count // 10) for i in range(2)]
    ours: list[Sequence[Turn]] = [_ours(work / f"home-{i}", first, more) for i in range(times)]
    plain = [_plain(work / f"plain-{i}", first, more) for i in range(times)]
    lines: list[Line] = []
    for index, name in enumerate(("first", "second", "later")):
        mine = [turns[index] for turns in ours]
        theirs = [turns[index] for turns in plain]
        lines.append(
            Line(
                f"push to serving, {name} turn",
                "s",
                Samples([t.total_s for t in mine]),
                Samples(
                    [t.total_s for t in theirs],
                    "a script that reads the same files, calls the same train:fit, pickles, and "
                    "restarts FastAPI on uvicorn",
                ),
                note=_NOTES[name],
            )
        )
        lines.append(
            Line(
                f"  beyond the fit, {name} turn",
                "s",
                Samples([t.overhead_s for t in mine]),
                Samples([t.overhead_s for t in theirs]),
                at_most=2,
            )
        )
    return lines


_NOTES = {
    "first": "pushed as soon as `volant apply` returned; all processes are counted",
    "second": "pushed as soon as the first model answered",
    "later": "pushed after the step zygotes had ended for want of work",
}


def _ours(folder: Path, first: Path, more: Sequence[Path]) -> Sequence[Turn]:
    with running(folder, VOLANT_ZYGOTE_IDLE_S=str(COLD_IDLE_S)) as home:
        home.apply(folder.with_name(folder.name + "-loop"))
        turns = [_turn(home, first, 1), _turn(home, more[0], 2)]
        time.sleep(COLD_IDLE_S + 1)
        return [*turns, _turn(home, more[1], 3)]


def _turn(home: Home, file: Path, version: int) -> Turn:
    began = time.perf_counter()
    home.push(file)
    until(lambda: home.answers_as(version), f"version {version}", 180, every_s=0.01)
    total = time.perf_counter() - began
    history = home.train_outputs()["history"]
    return Turn(total, next(point["value"] for point in history if point["key"] == "fit_s"))


def _plain(folder: Path, first: Path, more: Sequence[Path]) -> Sequence[Turn]:
    folder.mkdir(parents=True)
    with _port_of(folder) as port:
        files = [str(first), str(more[0]), str(more[1])]
        return [_script(folder, port, n, files[:n]) for n in (1, 2, 3)]


@contextmanager
def _port_of(folder: Path) -> Generator[int]:
    """A port for the script's server, which is ended afterwards."""
    try:
        yield free_port()
    finally:
        pid = int((folder / "server.pid").read_text())
        os.kill(pid, signal.SIGTERM)
        shutil.rmtree(folder, ignore_errors=True)


def _script(folder: Path, port: int, version: int, files: Sequence[str]) -> Turn:
    command = [sys.executable, str(PROGRAMS / "plain_loop.py"), str(folder), str(port)]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, str(version), *files], stdout=subprocess.PIPE, text=True, check=True
    )
    return Turn(time.perf_counter() - began, float(done.stdout))
