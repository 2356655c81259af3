"""The counters of every deployment that this platform serves."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volant.serving.board import Board, Place
from volant.serving.counter_map import COLD_STARTS, COLD_US, LAST_COLD_US, LOSSES, STARTS
from volant.serving.snapshot import Snapshot


class Boards:
    """One `Board` a deployment. The fleet's thread writes, any thread reads.

    Args:
        folder: Where totals wait between an orderly end and the next start.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._boards: dict[str, Board] = {}
        self._told: dict[str, tuple[tuple[int, ...], dict[int, dict[str, Any]]]] = {}

    # the fleet's thread

    def open(self, deployment: str) -> None:
        """It is served from now on; take its totals up."""
        self._board(deployment)

    def place(self, deployment: str, revision: int, version: int) -> Place | None:
        """A row for a replica that is about to start."""
        board = self._board(deployment)
        board.add(STARTS)
        return board.assign(revision, version)

    def free(
        self, deployment: str, place: Place | None, *, lost: bool = False, cut: bool = False
    ) -> None:
        """Its replica has ended, or never began; `lost` if nobody had asked it to, `cut` if
        what it hadn't answered are errors that nobody else counts."""
        board = self._boards.get(deployment)
        if board is None:
            return
        if lost:
            board.add(LOSSES)
        if place is not None:
            board.release(place, cut=cut)

    def lose(self, deployment: str, revision: int, version: int, requests: int) -> None:
        """As `Board.lose`."""
        self._board(deployment).lose(revision, version, requests)

    def cold_start(self, deployment: str, seconds: float) -> None:
        """A client waited `seconds` from its connection to a ready replica."""
        board = self._board(deployment)
        spent = int(seconds * 1e6)
        board.set(LAST_COLD_US, spent)
        board.add(COLD_US, spent)
        board.add(COLD_STARTS)

    def end(self, deployment: str, *, keep: bool) -> None:
        """No replica of it runs any more. `keep` its totals for the next start."""
        with self._lock:
            board = self._boards.pop(deployment, None)
        self._told.pop(deployment, None)
        if board is not None:
            if keep:
                board.keep()
            board.close()

    def _board(self, deployment: str) -> Board:
        board = self._boards.get(deployment)
        if board is None:
            board = Board(self._folder / f"{deployment}.counters")
            with self._lock:
                self._boards[deployment] = board
        return board

    # any thread

    def names(self) -> list[str]:
        with self._lock:
            return sorted(self._boards)

    def read(self, deployment: str) -> tuple[Mapping[str, int], list[Snapshot]]:
        """As `Board.read`; empty for a deployment that has started no replica yet."""
        with self._lock:
            board = self._boards.get(deployment)
        return board.read() if board is not None else ({}, [])

    def taken_up(self, deployment: str) -> tuple[Mapping[str, int], list[Snapshot]]:
        """What was there when its counters began: an earlier start's."""
        with self._lock:
            board = self._boards.get(deployment)
        return board.taken_up if board is not None else ({}, [])

    def pulse(self, deployment: str) -> tuple[int, ...]:
        """As `Board.pulse`."""
        with self._lock:
            board = self._boards.get(deployment)
        return board.pulse() if board is not None else ()

    def replicas(self, deployment: str) -> Mapping[int, Mapping[str, Any]]:
        """As `Board.replicas`."""
        with self._lock:
            board = self._boards.get(deployment)
        return board.replicas() if board is not None else {}

    def measure(self, deployment: str, revision: int) -> Snapshot:
        """What one revision has counted, copies that it got as a shadow included."""
        for each in self.read(deployment)[1]:
            if each.revision == revision:
                return each.judged()
        return Snapshot(revision=revision)

    def revisions(self, deployment: str) -> dict[int, dict[str, Any]]:
        """For each revision that has counted: requests, errors, refused, p50_ms, p95_ms,
        p99_ms, and how many of its answers as a shadow were compared and differed."""
        pulse = self.pulse(deployment)
        known = self._told.get(deployment)
        if known is not None and known[0] == pulse:
            return known[1]
        found = {each.revision: _facts(each.judged()) for each in self.read(deployment)[1]}
        self._told[deployment] = (pulse, found)
        return found


def _facts(counted: Snapshot) -> dict[str, Any]:
    return {
        "requests": counted.requests,
        "errors": counted.errors,
        "refused": counted.refused,
        "p50_ms": counted.p50_ms,
        "p95_ms": counted.p95_ms,
        "p99_ms": counted.p99_ms,
        "compared": counted.shadowed,
        "differing": counted.differed,
    }
