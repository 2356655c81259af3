"""Requests a second: Volant, the floor and the peers, cell by cell, in interleaved rounds."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load import Load, measure
from benchmarks.serving import contestants, cores, environments, servers, wires
from benchmarks.serving.contestants import Peer
from benchmarks.serving.data import Asked
from benchmarks.serving.ours import Ours
from benchmarks.serving.wires import Question, Wire
from benchmarks.wait import free_port

FLOOR = "uvicorn hello"
OURS = "Volant"
HELLO = Path(__file__).parents[1] / "programs" / "hello.py"


@dataclass(frozen=True)
class Cell:
    """What is asked: `wire` is json or binary."""

    model: str
    rows: int
    connections: int
    wire: str = "json"

    def text(self) -> str:
        rows = "1 row" if self.rows == 1 else f"{self.rows} rows"
        return f"{self.model}, {rows}{', binary' if self.wire == 'binary' else ''}"


def cells(connections: Sequence[int] = (1, 16, 64)) -> Sequence[Cell]:
    """All that Volant is measured at; peers leave out what they don't have."""
    middle = 16 if 16 in connections else connections[-1]
    return [
        *(Cell("forest", 1, c) for c in connections),
        *(Cell("logistic", 1, c) for c in connections),
        Cell("forest", 64, middle),
        Cell("logistic", 64, middle),
        *(Cell("forest", rows, middle, "binary") for rows in (1, 64)),
    ]


@dataclass
class Score:
    """One server's rounds in one cell. `kind` is what it serves: onnx, sklearn, or hello."""

    title: str
    kind: str
    cell: Cell
    default: bool = True
    loads: list[Load] = field(default_factory=list[Load])

    def rate(self) -> float:
        return statistics.median(load.rate for load in self.loads)

    def p50_ms(self) -> float:
        return statistics.median(load.p50_ms for load in self.loads)

    def p99_ms(self) -> float:
        return statistics.median(load.p99_ms for load in self.loads)

    def failed(self) -> int:
        return sum(load.failed for load in self.loads)

    def to_dict(self) -> Mapping[str, Any]:
        return {
            **asdict(self),
            "rate": self.rate(),
            "p50_ms": self.p50_ms(),
            "p99_ms": self.p99_ms(),
            "failed": self.failed(),
        }


@dataclass
class Scores:
    """All scores, in the order of their first round, and who couldn't be measured, and why."""

    all: list[Score] = field(default_factory=list[Score])
    absent: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, title: str, kind: str, cell: Cell, load: Load, default: bool = True) -> None:
        found = self.of(title, kind, cell)
        if found is None:
            found = Score(title, kind, cell, default)
            self.all.append(found)
        found.loads.append(load)

    def of(self, title: str, kind: str, cell: Cell) -> Score | None:
        return next((s for s in self.all if (s.title, s.kind, s.cell) == (title, kind, cell)), None)

    def best(self, kind: str, cell: Cell, *, default: bool | None = None) -> Score | None:
        """The fastest peer of a kind; `default` for those that only do what they do unasked."""
        found = [
            s
            for s in self.all
            if s.kind == kind
            and s.cell == cell
            and s.title not in (OURS, FLOOR)
            and (default is None or s.default == default)
        ]
        return max(found, key=Score.rate, default=None)


@dataclass(frozen=True)
class Field:
    """What is measured, and for how long."""

    ours: Ours
    work: Path
    seconds: float
    rounds: int
    connections: Sequence[int]

    @property
    def asked(self) -> Mapping[str, Asked]:
        return self.ours.asked


def measure_all(field: Field, peers: Sequence[Peer]) -> Scores:
    """Volant and the floor take turns, a round before the peers, rounds between them, and one
    after them; each peer's rounds follow each other."""
    scores = Scores()
    port = free_port()
    question = Question("/", b"")
    command = [sys.executable, str(HELLO), "app", str(port)]
    log = field.work / "hello.log"
    with servers.child(command, servers.environment(), log, field.work) as process:
        servers.until_answers(process, port, question, log)
        turns = [(peer, kind) for peer in peers for kind in peer.kinds]
        due = _due(len(turns), field.rounds)
        for index in range(len(turns) + 1):
            for _ in range(due[index]):
                _own_round(field, scores, f"http://127.0.0.1:{port}/", warm=index == 0)
            if index < len(turns):
                _peer(field, scores, *turns[index])
    return scores


def _due(turns: int, rounds: int) -> Sequence[int]:
    """How many own rounds come before turn i (and, at the end, after the last)."""
    due = [0] * (turns + 1)
    for r in range(rounds):
        due[round(r * turns / max(1, rounds - 1))] += 1
    return due


def _own_round(field: Field, scores: Scores, hello: str, *, warm: bool) -> None:
    for cell in cells(field.connections):
        question = _question(wires.OIP, field, cell)
        if question is None:
            continue
        url = field.ours.url(cell.model)
        if warm:
            _drive(url, question, cell.connections, 1, field.work)
        try:
            load = _drive(url, question, cell.connections, field.seconds, field.work)
        except RuntimeError as error:
            scores.absent[f"{OURS}, {cell.text()}"] = str(error)[:200]
            continue
        if load.failed == load.requests:
            scores.absent[f"{OURS}, {cell.text()}"] = "every request was refused"
            continue
        scores.add(OURS, "onnx", cell, load)
        if cell.model == "forest" and cell.rows == 1 and cell.wire == "json":
            floor = measure(hello, None, cell.connections, field.seconds, field.work)
            for model in ("forest", "logistic"):
                scores.add(FLOOR, "hello", Cell(model, 1, cell.connections), floor)


def _question(wire: Wire, field: Field, cell: Cell) -> Question | None:
    rows = field.asked[cell.model].rows[: cell.rows]
    if cell.wire == "binary":
        return wires.OIP_BINARY.ask(cell.model, rows) if wire is wires.OIP else None
    return wire.ask(cell.model, rows)


def _drive(url: str, question: Question, connections: int, seconds: float, work: Path) -> Load:
    with cores.on(cores.LOAD):
        return measure(url, question.body, connections, seconds, work, question.headers)


def _peer(field: Field, scores: Scores, peer: Peer, kind: str) -> None:
    began = time.monotonic()
    name = f"{peer.title}, {'ONNX' if kind == 'onnx' else 'scikit-learn'}"
    models = ("forest", "logistic") if peer.alone else ("forest",)
    for model in models:
        cells_here = _peer_cells(peer, kind, field.connections)
        wanted = [cell for cell in cells_here if cell.model == model or not peer.alone]
        try:
            with contestants.running(
                peer, kind, model, field.ours.models, field.work, field.asked
            ) as running:
                _rounds(field, scores, running, kind, wanted)
        except (servers.NotServing, environments.NotInstalled, RuntimeError, OSError) as error:
            scores.absent[name] = str(error)
            print(f"· {name}: {error}", flush=True)
            return
    print(f"· {name}: {time.monotonic() - began:.0f} s", flush=True)


def _peer_cells(peer: Peer, kind: str, connections: Sequence[int]) -> Sequence[Cell]:
    """Fewer than ours: the logistic pipeline only in the middle, and a variant that batches
    only where there is something to batch."""
    middle = 16 if 16 in connections else connections[-1]
    found: list[Cell] = []
    for cell in cells(connections):
        if cell.wire == "binary":
            keep = kind in peer.binary
        elif not peer.default:
            keep = cell.model == "forest" and cell.rows == 1 and cell.connections > 1
        elif cell.model == "logistic":
            keep = cell.connections == middle and cell.rows == 1
        else:
            keep = True
        if keep:
            found.append(cell)
    return found


def _rounds(
    field: Field,
    scores: Scores,
    running: contestants.Running,
    kind: str,
    wanted: Sequence[Cell],
) -> None:
    peer = running.peer
    seconds = max(1, field.seconds / 2)
    for turn in range(field.rounds):
        for cell in wanted:
            question = _question(peer.wire, field, cell)
            if question is None:
                continue
            url = f"http://127.0.0.1:{running.port}{question.path}"
            # What the cell before left in a slow server's queue is done when this is answered.
            servers.ask(running.port, question)
            if turn == 0 and cell.connections == wanted[0].connections:
                _drive(url, question, cell.connections, 1, field.work)
            load = _drive(url, question, cell.connections, seconds, field.work)
            scores.add(peer.title, kind, cell, load, peer.default)
