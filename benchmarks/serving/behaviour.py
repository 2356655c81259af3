"""Figures of Volant alone: steady load, from zero, many clients at zero, a rolling switch,
and what the prediction log costs. Each is told beside its goal."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.line import Line, Samples
from benchmarks.load import measure
from benchmarks.serving import cores, data, servers, steady, wires
from benchmarks.serving.ours import Ours
from benchmarks.wait import until

RATE = 500
CLIENTS = 50
MANY = 10_000


@dataclass(frozen=True)
class Missing:
    """A figure that can't be taken, and why."""

    figure: str
    reason: str


Found = Line | Missing


def measure_all(ours: Ours, work: Path, *, quick: bool) -> Sequence[Found]:
    """One figure that can't be taken doesn't cost the others."""
    figures: Sequence[tuple[str, Callable[[], Sequence[Found]]]] = (
        ("99th percentile at 500/s", lambda: _steady(ours, quick)),
        ("first answer from zero", lambda: _zero(ours, "zero", quick)),
        ("first answer from zero, a warm spare", lambda: _zero(ours, "spare", quick)),
        ("clients at zero replicas", lambda: _many(ours, 1 if quick else 3)),
        ("rolling switch", lambda: _switch(ours, work, 1 if quick else 3)),
        ("prediction log", lambda: _log(ours, work, quick)),
    )
    found: list[Found] = []
    for name, take in figures:
        began = time.monotonic()
        try:
            found += take()
        except Exception as error:
            found.append(Missing(name, f"{type(error).__name__}: {error}"[:300]))
        print(f"· {name}: {time.monotonic() - began:.0f} s", flush=True)
    return found


def _steady(ours: Ours, quick: bool) -> Sequence[Found]:
    question = wires.OIP.ask("forest", ours.asked["forest"].rows[:1])
    seconds, rounds = (1, 1) if quick else (5, 3)
    taken = [steady.drive(ours.port("forest"), question, RATE, seconds, 64) for _ in range(rounds)]
    failed = sum(each.failed for each in taken)
    late = statistics.median(each.late_ms for each in taken)
    note = (
        f"open loop, each latency from the time the request was due; {failed} of "
        f"{sum(each.requests for each in taken)} failed; the client itself was "
        f"{late:.2f} ms late (p99)"
    )
    return [
        Line(
            f"99th percentile at {RATE}/s, forest",
            "ms",
            Samples([each.p99_ms for each in taken]),
            at_most=5,
            note=note,
        ),
        Line("  their median", "ms", Samples([each.p50_ms for each in taken])),
    ]


def _gone(ours: Ours, name: str) -> bool:
    """No replica, or none but warm spares, which take no connections."""
    replicas = ours.deployment(name)["replicas"]
    return all(each.get("state") in ("spare", "warm") for each in replicas)


def _zero(ours: Ours, name: str, quick: bool) -> Sequence[Found]:
    figure = "first answer from zero" + (", a warm spare" if name == "spare" else "")
    if name in ours.missing:
        return [Missing(figure, ours.missing[name])]
    port, path = ours.port(name), ours.path(name)
    asked = wires.OIP.ask("forest", ours.asked["forest"].rows[:1])
    question = wires.Question(path, asked.body)
    taken: list[float] = []
    for _ in range(2 if quick else 10):
        until(lambda: _gone(ours, name), f"zero replicas of {name}", 30, every_s=0.05)
        time.sleep(0.3)
        began = time.perf_counter()
        with cores.on(cores.LOAD):
            status, body, _ = servers.ask(port, question)
        taken.append((time.perf_counter() - began) * 1000)
        if status != 200:
            raise RuntimeError(f"{status}: {body[:200]!r}")
    return [Line(figure, "ms", Samples(taken), at_most=15 if name == "spare" else 60)]


def _many(ours: Ours, rounds: int) -> Sequence[Found]:
    """All connect before any asks, so that all of them wait in the socket's queue."""
    port, path = ours.port("zero"), ours.path("zero")
    asked = wires.OIP.ask("forest", ours.asked["forest"].rows[:1])
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(asked.body)}\r\n"
    request = f"{head}Content-Type: application/json\r\n\r\n".encode() + asked.body
    lost: list[float] = []
    for _ in range(rounds):
        until(lambda: _gone(ours, "zero"), "zero replicas", 30, every_s=0.05)
        time.sleep(0.3)
        lost.append(_lost(port, request))
    return [
        Line(
            f"lost of {CLIENTS} clients at zero replicas",
            "requests",
            Samples([sum(lost)]),
            at_most=0,
            note=f"{rounds} times {CLIENTS} clients at once",
        )
    ]


def _lost(port: int, request: bytes) -> int:
    good: list[bool] = []
    gate = threading.Barrier(CLIENTS)

    def client() -> None:
        gate.wait()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
                line.sendall(request)
                good.append(line.recv(65536).startswith(b"HTTP/1.1 200"))
        except OSError:
            good.append(False)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return CLIENTS - sum(good)


def _switch(ours: Ours, work: Path, rounds: int) -> Sequence[Found]:
    """Push rows, and load the deployment with 64 connections from before the new version is
    live until after."""
    question = wires.OIP.ask("forest", ours.asked["forest"].rows[:1])
    url = ours.url("forest")
    asked = failed = switches = 0
    slowest: list[float] = []
    for turn in range(rounds):
        before = ours.deployment("forest")["live_version"]
        ours.push(data.write(work / f"more-{turn}.csv", repeat=1 + turn))
        counted = 0
        while counted < MANY or ours.deployment("forest")["live_version"] == before:
            with cores.on(cores.LOAD):
                load = measure(url, question.body, 64, 2, work)
            counted += load.requests
            failed += load.failed
            slowest.append(load.p99_ms)
            if counted > 100 * MANY:
                raise RuntimeError("the new version didn't become live")
        # One more round after it: the old replica drains now.
        with cores.on(cores.LOAD):
            load = measure(url, question.body, 64, 1, work)
        asked += counted + load.requests
        failed += load.failed
        switches += 1
    return [
        Line(
            "failed over rolling switches, 64 connections",
            "requests",
            Samples([failed]),
            at_most=0,
            note=f"{asked} requests over {switches} switches, the training of the new versions "
            f"on the same core; p99 of a round at most {max(slowest):.1f} ms",
        )
    ]


def _log(ours: Ours, work: Path, quick: bool) -> Sequence[Found]:
    """The same model with and without its prediction log, in turns."""
    figure = "prediction log: throughput kept, 16 connections"
    if "logged" in ours.missing:
        return [Missing(figure, ours.missing["logged"])]
    question = wires.OIP.ask("logistic", ours.asked["logistic"].rows[:1])
    taken: dict[str, list[float]] = {"logged": [], "logistic": []}
    for _ in range(2 if quick else 20):
        for name, rates in taken.items():
            with cores.on(cores.LOAD):
                load = measure(ours.url(name), question.body, 16, 1, work)
            rates.append(load.rate)
    return [
        Line(
            figure,
            "1/s",
            Samples(taken["logged"]),
            Samples(taken["logistic"], "the same model with its log off"),
            ratio_at_least=0.9,
            paired=True,
        )
    ]
