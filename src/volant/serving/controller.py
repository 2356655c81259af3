"""The part of the control plane that serves: two threads.

The *fleet* owns sockets and replicas; the *rollout* reads and writes the records. They
talk through orders and outcomes only, so a database that is slow or locked never holds
a connection up. Nothing here imports what a replica needs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from volant.errors import VolantError
from volant.ports.artifacts import Artifacts
from volant.ports.clock import Clock
from volant.ports.records import DeploymentRecords, MinuteRecords, RevisionRecords
from volant.ports.replicas import ReplicaLauncher
from volant.serving.baking import Baking
from volant.serving.fleet import Fleet
from volant.serving.monitoring import overlaid
from volant.serving.observer import Observer
from volant.serving.replica_handle import ServedVersion
from volant.serving.repository import Ask, Operator, Repository
from volant.serving.rollout import Models, Outcomes, Rollout
from volant.serving.served import Patience
from volant.serving.steering import Steering

POLL_S = 0.5

log = logging.getLogger("volant.serving")


class ServingController:
    """Args:
    models: (model, version) → its `ModelVersion`; raises `NotFound`.
    logs: The folder for `<deployment>.log`.
    tokens: SHA-256 of the tokens that may predict; None (the default) lets anyone.
    predictions: The folder for the prediction logs; None: predictions aren't logged.
    minutes: Where each deployment's history is kept; None: nowhere.
    totals: The folder for what was counted until an orderly end; that of `logs` if None.
    operator: Who loads and unloads a model at a deployment's own port; see `Operator`.

    `start` restores what the records say: live revisions answer again, unfinished
    ones are taken up where they stood.
    """

    def __init__(
        self,
        *,
        deployments: DeploymentRecords,
        revisions: RevisionRecords,
        launcher: ReplicaLauncher,
        artifacts: Artifacts,
        models: Models,
        clock: Clock,
        logs: Path,
        tokens: Callable[[], Sequence[str] | None] = lambda: None,
        patience: Patience | None = None,
        predictions: Path | None = None,
        minutes: MinuteRecords | None = None,
        totals: Path | None = None,
        operator: Operator = lambda token, deployment, loaded: "Somebody",
    ) -> None:
        self._launcher = launcher
        self._outcomes = Outcomes()
        self._fleet = Fleet(
            launcher,
            logs,
            self._told,
            patience or Patience(),
            predictions=predictions,
            totals=totals,
            asked=self._ask,
        )
        self.boards = self._fleet.boards
        self.observer = Observer(self.boards, minutes, logs, clock.now)
        self._rollout = Rollout(
            deployments=deployments,
            revisions=revisions,
            artifacts=artifacts,
            models=models,
            clock=clock,
            fleet=self._fleet,
            outcomes=self._outcomes,
            tokens=tokens,
            baking=Baking((totals or logs) / "rollouts.kept"),
        )
        steering = Steering(deployments, revisions, clock, lambda: None)
        self._repository = Repository(steering.load, operator)
        self._bell = threading.Event()
        self._stopping = False
        self._warmed = False
        self._thread = threading.Thread(target=self._run, name="volant-rollout", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._fleet.start()
        self.observer.start()
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Drain every replica and end; after `timeout_s` seconds they are killed."""
        self._stopping = True
        self._bell.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        self._rollout.keep()
        self._repository.close()
        self.observer.stop()
        self._fleet.stop(timeout_s)

    def wake(self) -> None:
        """Look at the records now."""
        self._bell.set()

    def warm(self) -> None:
        """A deployment comes soon."""
        self._launcher.warm("serve")

    def view(self, deployment: str) -> Mapping[str, Any] | None:
        """status (idle, serving, starting, failing, unloaded), reason, serving_revision, replicas,
        and what was counted (see `overlaid`); None when it isn't known here (yet)."""
        seen = self._fleet.view(deployment)
        return None if seen is None else overlaid(seen, deployment, self.boards, self.observer)

    def wait_for_change(self, timeout_s: float) -> None:
        """Return when something changed, or after `timeout_s`."""
        self._fleet.wait_for_change(timeout_s)

    def _told(self, version: ServedVersion, problem: str | None) -> None:
        self._outcomes.tell(version, problem)
        self._bell.set()

    def _ask(self, ask: Ask) -> None:
        self._repository.take(ask)
        self._bell.set()

    def _run(self) -> None:
        said = ""
        while not self._stopping:
            self._bell.clear()
            try:
                self._repository.turn()
                found = self._rollout.turn()
                self._repository.settle()
                said = ""
                if found and not self._warmed:
                    self._warmed = True
                    self.warm()
            except VolantError as error:
                if str(error) != said:  # once, not twice a second
                    said = str(error)
                    log.warning("deployments can't be read or written now: %s", error)
            except Exception:
                log.exception("the rollout's turn failed; it goes on")
            self._bell.wait(POLL_S)
