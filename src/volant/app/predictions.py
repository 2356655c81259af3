"""Prediction logs on their way into datasets: looked after while the platform runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from volant.data.commit import commit_push
from volant.data.desk import LOGGED
from volant.domain.dataset import Dataset, Push, PushStatus, run_id_of
from volant.domain.loop import LogSpec
from volant.errors import NotFound, VolantError
from volant.faults import crash_point
from volant.ports.clock import Clock, Ids
from volant.serving import log_folder
from volant.store import Store

_LOOK_S = 2.0
_AT_ONCE = 32 << 20  # bytes of segments that don't wait for the minute
_COMPACT_S = 600.0

log = logging.getLogger(__name__)

Work = Callable[[str, Mapping[str, Any], float], Mapping[str, Any]]


class PredictionLogs:
    """Args:
    root: The folder with one folder of segments a deployment.
    work: Runs an action of `volant.actions` in a step process: (action, inputs, seconds
        until it is ended) → outputs.
    every_s: A deployment's segments are compacted this often, if there are any.
    """

    def __init__(  # noqa: PLR0917 - bound once, in this order
        self, root: Path, store: Store, clock: Clock, ids: Ids, work: Work, every_s: float
    ) -> None:
        self._root = root
        self._store = store
        self._clock = clock
        self._ids = ids
        self._work = work
        self._every_s = every_s
        self._last: dict[str, float] = {}
        self._closing = threading.Event()
        self._one = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="volant-predictions", daemon=True)

    def start(self) -> None:
        """Begin with what the last platform left."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking. What waits is taken up by the next start."""
        self._closing.set()

    def read(self, deployment: str, limit: int, since: str | None) -> dict[str, Any]:
        """The last logged rows: {dataset, columns, rows}, those not yet compacted among
        them. Raises `NotFound` when there is neither such a deployment nor its log."""
        folder = self._root / deployment
        dataset = log_folder.dataset_of(deployment)
        if not folder.is_dir():
            self._store.deployments.get(deployment)
        inputs = {"folder": str(folder), "dataset": dataset, "limit": limit, "since": since}
        found = self._work("read_predictions", inputs, 60.0)
        return {"dataset": dataset, "columns": found["columns"], "rows": found["rows"]}

    def look(self) -> None:
        """Compact every deployment's segments that are due."""
        if not self._root.is_dir():
            return
        for folder in sorted(self._root.iterdir()):
            if folder.is_dir() and self._is_due(folder):
                self._compact(folder)

    def _run(self) -> None:
        said = ""
        while not self._closing.wait(_LOOK_S):
            try:
                self.look()
                said = ""
            except Exception as error:
                if self._closing.is_set():
                    return
                if str(error) != said:  # once, not every two seconds
                    said = str(error)
                    expected = isinstance(error, VolantError)
                    log.warning("logged predictions wait: %s", error, exc_info=not expected)

    def _is_due(self, folder: Path) -> bool:
        log_folder.take_over(folder)
        since = time.monotonic() - self._last.get(folder.name, -self._every_s)
        if log_folder.begun(folder) is not None and since >= _LOOK_S:
            return True
        size, _ = log_folder.waiting(folder)
        return size >= _AT_ONCE or (size > 0 and since >= self._every_s)

    def _compact(self, folder: Path) -> None:
        with self._one:
            more = True
            while more and not self._closing.is_set():
                self._last[folder.name] = time.monotonic()
                outputs = self._work(
                    "compact_predictions",
                    {
                        "folder": str(folder),
                        "dataset": log_folder.dataset_of(folder.name),
                        "key": self._ids.new("logged"),
                        "max_bytes": self._max_bytes(folder.name),
                    },
                    _COMPACT_S,
                )
                if outputs["key"] is None:
                    return
                self._finish(folder, outputs)
                more = outputs["more"]

    def _finish(self, folder: Path, outputs: Mapping[str, Any]) -> None:
        """Store the dataset's new version, then let its segments go."""
        if outputs["unreadable"]:
            log.warning(
                "%d segments of %s's prediction log can't be read; they are set aside in %s",
                outputs["unreadable"],
                folder.name,
                folder,
            )
        if outputs["table_version"] is not None:
            self._record(log_folder.dataset_of(folder.name), outputs)
            crash_point("predictions.recorded")
        log_folder.finish(folder, outputs["key"])

    def _record(self, name: str, outputs: Mapping[str, Any]) -> None:
        key, now = str(outputs["key"]), self._clock.now()
        before = self._store.datasets.create(Dataset(name=name, contract=None, created_at=now))
        self._store.pushes.create(
            Push(
                id=key,
                dataset=name,
                source=LOGGED,
                files=(),
                status=PushStatus.RECEIVED,
                created_at=now,
                run_id=run_id_of(key),
            )
        )
        verdict = {
            "status": "committed",
            "table_version": outputs["table_version"],
            "rows_added": outputs["rows"],
            "rows_total": outputs["rows_total"],
            "rows_forgotten": before.rows + outputs["rows"] - outputs["rows_total"],
            "rows_quarantined": 0,
            "contract": None,
            "reason": None,
        }
        commit_push(key, verdict, self._store.pushes, self._clock)

    def _max_bytes(self, deployment: str) -> int:
        try:
            spec = self._store.deployments.get(deployment).settings.log
        except NotFound:
            spec = None
        return (spec or LogSpec()).max_bytes
