"""Scores and figures as Markdown, goals beside them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.line import Line, number
from benchmarks.serving.behaviour import Found, Missing
from benchmarks.serving.throughput import FLOOR, OURS, Cell, Score, Scores

_KINDS = {"sklearn": "scikit-learn", "onnx": "ONNX", "hello": "no model"}
_MET = {True: "yes", False: "**no**", None: ""}
_DRIFT = 3


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def throughput(scores: Scores) -> str:
    """A table a cell, fastest first; Volant ÷ the other in the last column."""
    parts: list[str] = []
    seen = dict.fromkeys((s.cell.text(), s.cell.connections) for s in scores.all)
    for text, connections in seen:
        found = [
            s for s in scores.all if (s.cell.text(), s.cell.connections) == (text, connections)
        ]
        own = next((s for s in found if s.title == OURS), None)
        many = f"{connections} connection{'s' if connections > 1 else ''}"
        heads = ("server", "model inside", "req/s", "p50 ms", "p99 ms", "failed", "Volant ÷ it")
        rows = [_row(s, own) for s in sorted(found, key=lambda s: -s.rate())]
        parts.append(f"### {text}, {many}\n\n{markdown(heads, rows)}")
    return "\n\n".join(parts)


def _row(score: Score, own: Score | None) -> Sequence[str]:
    ratio = "" if own is None or score.rate() == 0 else number(own.rate() / score.rate())
    spread = statistics.stdev(x.rate for x in score.loads) if len(score.loads) > 1 else 0.0
    return (
        score.title,
        _KINDS[score.kind],
        f"{number(score.rate())} ± {number(spread)}" if spread else number(score.rate()),
        number(score.p50_ms()),
        number(score.p99_ms()),
        str(score.failed()),
        ratio,
    )


def goals(scores: Scores, connections: Sequence[int]) -> Sequence[Sequence[str]]:
    """Rows of (goal, got, met, beside what)."""
    rows: list[Sequence[str]] = []
    for count in (c for c in connections if c > 1):
        for model in ("forest", "logistic"):
            cell = Cell(model, 1, count)
            rows.append(
                _goal(scores, scores.of(FLOOR, "hello", cell), cell, 1, "the uvicorn floor")
            )
    for count in connections:
        cell = Cell("forest", 1, count)
        rows.append(_goal(scores, scores.best("onnx", cell), cell, 10, "the best peer, same ONNX"))
    for count in connections:
        cell = Cell("forest", 1, count)
        best = scores.best("sklearn", cell, default=True)
        rows.append(_goal(scores, best, cell, 100, "the best peer's default"))
        tuned = scores.best("sklearn", cell, default=False)
        if tuned is not None:
            rows.append(_goal(scores, tuned, cell, None, "the best peer told to batch"))
    return [row for row in rows if row]


def _goal(
    scores: Scores, other: Score | None, cell: Cell, least: float | None, words: str
) -> Sequence[str]:
    own = scores.of(OURS, "onnx", cell)
    if own is None or other is None or not other.rate():
        return ()
    ratio = own.rate() / other.rate()
    many = f"{cell.connections} connection{'s' if cell.connections > 1 else ''}"
    return (
        f"{cell.text()}, {many}: against {words}",
        "" if least is None else f"≥ {number(least)} ×",
        f"{number(ratio)} ×",
        _MET[None if least is None else ratio >= least],
        f"{other.title}: {number(other.rate())} req/s",
    )


def behaviour(found: Sequence[Found]) -> str:
    rows: list[Sequence[str]] = []
    notes: list[str] = []
    for each in found:
        if isinstance(each, Missing):
            rows.append((each.figure, "not available", "", "", each.reason))
            continue
        beside = "" if each.floor is None else f"{each.floor.text()} ({each.floor.of})"
        ratio = "" if each.ratio is None else f"{number(each.ratio)} × "
        text = f"{each.ours.text()} {each.unit}"
        rows.append((each.figure, text, each.goal, _MET[each.met], ratio + beside))
        if each.note:
            notes.append(f"- {each.figure}: {each.note}.")
    heads = ("figure", "measured", "goal", "met", "beside")
    return "\n".join([markdown(heads, rows), "", *notes])


def missed(scores: Scores, connections: Sequence[int], found: Sequence[Found]) -> int:
    """How many goals aren't met."""
    no = _MET[False]
    lines = [each for each in found if isinstance(each, Line)]
    return sum(row[3] == no for row in goals(scores, connections)) + sum(
        line.met is False for line in lines
    )


def absent(scores: Scores) -> str:
    """Who couldn't be measured, and why."""
    return "\n".join(f"- {name}: {why}" for name, why in scores.absent.items())


def drift(scores: Scores) -> str:
    """How much the machine changed while the run went on, by Volant's own rounds."""
    cell = next((s.cell for s in scores.all if s.title == OURS and s.cell.connections > 1), None)
    own = None if cell is None else scores.of(OURS, "onnx", cell)
    if own is None or len(own.loads) < _DRIFT:
        return ""
    rates = [load.rate for load in own.loads]
    return (
        f"Volant's own rounds, from the first to the last of the run ({own.cell.text()}, "
        f"{own.cell.connections} connections): {', '.join(number(r) for r in rates)} req/s."
    )
