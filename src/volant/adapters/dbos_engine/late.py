"""The engine of runs, opened when there is work for it.

DBOS takes a quarter of a second and 20 MB to load. A platform that tracks experiments and
serves models without ever running a workflow doesn't pay for it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from volant.domain.run import Run, RunState
from volant.errors import Unavailable
from volant.ports.engine import RunEngine


class LateEngine:
    """`RunEngine` that becomes a `DbosEngine` at the first call about a run.

    `launch` opens it at once where runs may be under way: where the SQLite file exists,
    and on Postgres, where other workers' runs may need this one.

    Args:
        database: As `DbosEngine` takes it.
        home: So too.
        options: All else that `DbosEngine` takes.
    """

    def __init__(self, database: str, home: Path, **options: Any) -> None:
        self._database = database
        self._options: dict[str, Any] = {"database": database, "home": home, **options}
        self._lock = threading.Lock()
        self._engine: RunEngine | None = None
        self._launched = self._closed = False

    def launch(self) -> None:
        """Begin to work, with what was under way if anything may be. Raises as
        `DbosEngine.launch` does, or the first call about a run does."""
        self._launched = True
        _, _, file = self._database.partition("sqlite:///")
        if not file or Path(file).exists():
            self._opened()

    def warm(self) -> None:
        """Open now, in the background: a run will soon be started."""
        if self._engine is None and self._launched and not self._closed:
            threading.Thread(target=self._try_to_open, name="volant-engine", daemon=True).start()

    def start(self, run: Run) -> None:
        """Enqueue `run`; the same id again does nothing."""
        self._opened().start(run)

    def cancel(self, run_id: str) -> None:
        """Stop the run and its steps."""
        self._opened().cancel(run_id)

    def resume(self, run_id: str) -> None:
        """Go on with a cancelled or failed run where it stopped."""
        self._opened().resume(run_id)

    def states(self, run_ids: Sequence[str]) -> Mapping[str, RunState]:
        """The present state of each run; ids that aren't known are left out."""
        return self._opened().states(run_ids) if run_ids else {}

    def forget(self, run_ids: Sequence[str]) -> None:
        """Remove all that is stored of runs that have ended."""
        if run_ids:
            self._opened().forget(run_ids)

    def close(self) -> None:
        """Stop working. What was under way goes on at the next `launch`."""
        with self._lock:
            self._closed = True
            if self._engine is not None:
                self._engine.close()

    def _opened(self) -> RunEngine:
        if (engine := self._engine) is not None:
            return engine
        with self._lock:
            if self._closed or not self._launched:
                raise Unavailable(
                    "The run engine isn't open.", "Wait until the platform is up, then try again."
                )
            if self._engine is None:
                from volant.adapters.dbos_engine.engine import DbosEngine

                engine = DbosEngine(**self._options)
                engine.launch()
                self._engine = engine
            return self._engine

    def _try_to_open(self) -> None:
        try:
            self._opened()
        except Exception:  # the first call about a run tells its caller
            return
