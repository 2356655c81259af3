"""The platform: every port bound to an adapter, every room built, the threads started."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from volant import __version__
from volant.access.desk import AccessDesk
from volant.access.permissions import Permission
from volant.actions import PROFILES
from volant.adapters.system import SortableIds, SystemClock
from volant.app.batches import Batches
from volant.app.home import Home
from volant.app.jobs import run_action
from volant.app.metrics import Tallies, exposed
from volant.app.places import open_places
from volant.app.predictions import PredictionLogs
from volant.app.registry import Registry
from volant.app.sources import Sources
from volant.app.steps import Executor, Rooms
from volant.app.survival import clear_folders
from volant.app.tracked_files import forgetting
from volant.app.turns import Turns
from volant.app.workbench import Workbench
from volant.data.desk import DataDesk
from volant.data.staging import Staging
from volant.domain.dataset import Push
from volant.domain.event import (
    DATASET_COMMITTED,
    LOOP_APPLIED,
    MODEL_DELETED,
    MODEL_REGISTERED,
    Event,
)
from volant.domain.loop import Loop
from volant.domain.run import TERMINAL, Run, RunStatus
from volant.errors import NotFound, PermissionDenied, VolantError
from volant.events.dispatcher import Dispatcher
from volant.events.schedule import Schedule, next_at
from volant.loops.desk import LoopDesk
from volant.plugins import load
from volant.registry.desk import ModelDesk
from volant.registry.registered import RegisteredDesk
from volant.registry.registration import RegistrationDesk
from volant.serving.controller import ServingController
from volant.serving.desk import DeploymentDesk
from volant.serving.monitoring import MonitoringDesk
from volant.settings import Settings
from volant.store import Store, sqlite_url
from volant.tracking.desk import TrackingDesk
from volant.tracking.experiments import ExperimentDesk
from volant.tracking.logged import LoggedModelDesk
from volant.tracking.runs import TrackedRunDesk
from volant.tracking.searches import SearchDesk
from volant.tracking.summaries import SummaryDesk
from volant.training.checkpoints import Checkpoints
from volant.training.keeper import Keeper
from volant.workflows.desk import RunDesk
from volant.workflows.plan import plan_workflow

_TRY_AGAIN_S = 2.0
_NEWEST_RUNS = 200  # those that are under way are among them

log = logging.getLogger(__name__)


def open_platform(settings: Settings) -> Platform:
    """A platform on `settings.home`, locked and migrated but not started.

    Raises `Conflict` when another one runs there, `Unavailable` when the home or the
    database can't be used.
    """
    home = Home(settings.home)
    home.open()
    try:
        return Platform(settings, home)
    except BaseException:
        home.close()
        raise


class Platform:
    """One control plane: `start` makes it work, `close` ends all that it started.

    Its attributes are the rooms' verbs; the API and nothing else calls them.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self.settings = settings
        self.home = home.root
        self._home = home
        self._clock = SystemClock()
        self._ids = SortableIds()
        self._closing = threading.Event()
        self._store = Store(settings.database_url or sqlite_url(home.root / "volant.db"))
        self._store.migrate()
        self._build_rooms()
        self._build_execution()
        self._build_loop()

    def _build_rooms(self) -> None:
        store, home, settings = self._store, self._home, self.settings
        self._launcher = load(
            "replicas",
            settings.replicas,
            profiles=PROFILES,
            idle_s=settings.zygote_idle_s,
            environments=home.environments,
        )
        self._compute = open_places(settings, self._launcher, home)
        self._artifacts = load("artifacts", settings.artifacts, root=home.artifacts)
        self._keeper = Keeper(
            Checkpoints(self._artifacts),
            every_s=settings.checkpoint_every_s,
            price_per_hour=settings.price_per_hour,
        )
        self.access = AccessDesk(
            tokens=store.tokens, audit=store.audit, clock=self._clock, ids=self._ids
        )
        self.models = ModelDesk(models=store.models, artifacts=self._artifacts, clock=self._clock)
        self.registrations = RegistrationDesk(
            models=self.models,
            uploads=Staging(home.staging),
            staging=home.staging,
            environments=home.environments,
            run=self._proof,
            clock=self._clock,
            ids=self._ids,
        )
        self.tracking = TrackingDesk(tracking=store.tracking)
        self.artifact_files = load("files", "local", root=home.tracked)
        self.artifact_parts = load("files", "local", root=home.parts, transient=True)
        self.registry_files = load("files", "local", root=home.artifacts)
        self.registered = RegisteredDesk(
            models=store.registered_models,
            versions=store.registered_versions,
            artifacts=self._artifacts,
            folder=Sources(store, self.artifact_files, self._artifacts),
            clock=self._clock,
            in_use=self._predicting,
        )
        self.experiments = ExperimentDesk(store.experiments)
        self.summaries = SummaryDesk(store.experiment_summaries)
        self.tracked_runs = TrackedRunDesk(store.tracked_runs, store.run_data, store.experiments)
        self.logged_models = LoggedModelDesk(store.logged_models, store.experiments, self._clock)
        self.controller = ServingController(
            deployments=store.deployments,
            revisions=store.revisions,
            launcher=self._launcher,
            artifacts=self._artifacts,
            models=self.models.get,
            clock=self._clock,
            logs=home.logs,
            tokens=self._inference_tokens,
            operator=self._operator,
            minutes=store.minutes,
            totals=home.root / "run",
            predictions=home.predictions,
        )
        self.access.on_change(self.controller.wake)  # replicas ask nobody: they are told
        self.monitoring = MonitoringDesk(
            store.deployments,
            store.minutes,
            self.controller,
            logs=home.logs,
            now=self._clock.now,
        )
        self.deployments = DeploymentDesk(
            store.deployments,
            store.revisions,
            self.models.servable,
            self._clock,
            controller=self.controller,
            host=settings.host,
        )
        self.workbench = Workbench(
            store,
            home,
            self._clock,
            self._ids,
            settings=settings,
            deployments=self.deployments,
        )

    def _build_execution(self) -> None:
        rooms = Rooms(
            home=self._home,
            store=self._store,
            compute=self._compute,
            launcher=self._launcher,
            artifacts=self._artifacts,
            models=self.models,
            tracking=self.tracking,
            deployments=self.deployments,
            clock=self._clock,
            tables=self.settings.tables,
            keeper=self._keeper,
            deliver=self._deliver,
            workbench=self.workbench,
            desks=self,
        )
        executor = Executor(rooms)
        self.searches = SearchDesk(
            self._store.tracking, self._store.tracked_runs, self._store.run_data
        )
        runs_url = self.settings.database_url or sqlite_url(self._home.root / "runs.db")
        self._turns = Turns(self._store, self._clock, self._ids)
        self._engine = load(
            "engine",
            self.settings.engine,
            database=runs_url,
            executor=executor,
            home=self._home.root,
            load_run=self._store.runs.get,
            plan=plan_workflow,
            workers=self.settings.workers,
            on_cancel=executor.cancel,
            on_end=self._run_ended,
            reuse=self.workbench.reuse(executor),
        )
        self.runs = RunDesk(
            runs=self._store.runs,
            engine=self._engine,
            home=self._home.root,
            clock=self._clock,
            ids=self._ids,
            why_cancelled=self.workbench.why_cancelled,
        )
        self._turns.bind(self.runs.start)
        self.workbench.bind(self.runs)
        self.batches = Batches(
            self._store, self.models, self.runs, self._clock, self.settings.workers
        )
        self.registry = Registry(
            self._store,
            self.models,
            self.registered,
            registrations=self.registrations,
            uploads=Staging(self._home.staging),
            run=self._proof,
            using=self._predicting,
        )

    def _build_loop(self) -> None:
        store = self._store
        self.data = DataDesk(
            store.datasets,
            store.pushes,
            store.versions,
            staging=self._home.staging,
            clock=self._clock,
            ids=self._ids,
            start=self._turns.start_ingest,
            read=self._read,
            expect=self._expect_push,
        )
        self.predictions = PredictionLogs(
            self._home.predictions,
            store,
            self._clock,
            self._ids,
            self._read,
            self.settings.compact_s,
        )
        self.loops = LoopDesk(
            loops=store.loops,
            datasets=store.datasets,
            triggers=store.triggers,
            code_root=self._home.code,
            clock=self._clock,
            ids=self._ids,
            next_at=next_at,
        )
        self.workbench.gitops.bind_loops(self.loops)
        self.decisions = store.decisions
        self.events = store.events
        effects = {MODEL_DELETED: self._discard, MODEL_REGISTERED: self._retain}
        self._dispatcher = Dispatcher(
            events=store.events,
            triggers=store.triggers,
            decisions=store.decisions,
            start=self._turns.start_for,
            clock=self._clock,
            ignore=self._turns.why_not,
            effects={**effects, **forgetting(self.artifact_files), **self.workbench.effects()},
        )
        self._schedule = Schedule(
            triggers=store.triggers, clock=self._clock, wake=self._dispatcher.wake
        )
        self._tallies = Tallies()
        store.on_event(self._on_event)

    # life

    def start(self) -> None:
        """First what was under way when the last one ended, then new work."""
        self._started_at: datetime = self._clock.now()
        self._store.check()
        self.access.first_token(self.home)
        self.controller.start()
        self._engine.launch()
        self._dispatcher.start()
        self._schedule.start()
        self.artifact_files.sweep()
        self.artifact_parts.sweep()
        self.registrations.recover()
        self.data.recover()
        self.runs.recover()
        self.workbench.start()
        self.predictions.start()
        threading.Thread(target=self._keep_trying, name="volant-waiting", daemon=True).start()

    def _keep_trying(self) -> None:
        while not self._closing.wait(_TRY_AGAIN_S):
            try:
                self.data.start_waiting()
            except Exception:  # a defect; the next start of the platform tries too
                log.exception("a push that waits couldn't be started")

    def close(self) -> None:
        """Stop everything: no new work, replicas drained, processes ended."""
        self._closing.set()
        self.workbench.close()
        self.predictions.close()
        self._schedule.close()
        self._dispatcher.close()
        self.registrations.close()
        self._engine.close()
        self._compute.close()
        self.controller.stop()
        self._launcher.close()
        self._store.close()
        self._home.close()

    # verbs of no single room

    def run_loop(self, name: str, principal: str) -> Run:
        """Start a loop by hand on its dataset's newest version."""
        return self._turns.start_by_hand(self.loops.get(name), principal)

    def status(self) -> Mapping[str, Any]:
        """The platform at a glance: itself, its datasets, all deployments, one entry a loop."""
        served = {deployment["name"]: deployment for deployment in self.deployments.list()}
        return {
            "version": __version__,
            "home": str(self.home),
            "database": self._store.location,
            "started_at": self._started_at.isoformat(),
            "datasets": [
                {
                    "name": d.name,
                    "version": d.latest_version,
                    "rows": d.rows,
                    "quarantined": d.quarantined,
                }
                for d in self.data.list()
            ],
            "deployments": list(served.values()),
            "loops": [self._loop_status(loop, served) for loop in self.loops.list()],
        }

    def metrics(self, accept: str) -> tuple[bytes, str]:
        """All metrics as text for a scraper that sends this `Accept`, and its type."""
        newest, _ = self.runs.page(_NEWEST_RUNS)
        under_way = Counter(s.status.value for _, s in newest if s.status not in TERMINAL)
        return exposed(
            accept,
            counted=self.monitoring.counted(),
            deployments=self.deployments.list(),
            datasets=self.data.list(),
            running={"running": 0, "queued": 0, **under_way},
            pending=self.events.pending_count(),
            tallies=self._tallies,
        )

    def _loop_status(self, loop: Loop, deployed: Mapping[str, Any]) -> dict[str, Any]:
        name = loop.name
        champion = self.models.champion(name)
        served = deployed.get(name)
        runs, _ = self.runs.page(1, None, name)
        decisions, _ = self.decisions.page(1, loop=name)
        return {
            "name": name,
            "dataset": loop.spec.data.dataset,
            "champion": champion.version if champion else None,
            "metrics": dict(champion.metrics) if champion else {},
            "deployment": served["status"] if served else "none",
            "url": served["infer_url"] if served else None,
            "recent": served.get("recent") if served else None,
            "last_run": {"id": runs[0][0].id, "status": runs[0][1].status.value} if runs else None,
            "last_decision": decisions[0].reason if decisions else None,
        }

    # inside

    def _run_ended(self, run_id: str, status: RunStatus, error: Mapping[str, Any] | None) -> None:
        self._turns.ended(run_id, status, error)
        clear_folders(self._store.runs, self._keeper.checkpoints, self._home, run_id, status)

    def _on_event(self, event: Event) -> None:
        self._tallies.count(event)
        self._dispatcher.wake()
        if event.type == DATASET_COMMITTED:
            self.data.settled(str(event.data["push_id"]))
        if event.type == LOOP_APPLIED:  # its data comes soon, and training's imports are slow
            self._warm()

    def _expect_push(self, dataset: str) -> None:
        """An upload has begun: import what its push will need while the bytes arrive."""
        self._engine.warm()
        self._compute.warm("data")
        with contextlib.suppress(VolantError):  # a guess about the future never fails an upload
            if self._store.triggers.for_dataset(dataset):
                self._compute.warm("train")

    def _warm(self) -> None:
        self._engine.warm()
        self.controller.warm()
        for profile in ("data", "train"):
            self._compute.warm(profile)

    def _deliver(self, dataset: str, file: Path, key: str) -> Push:
        """Push a file that a step made; the same key again is the same push."""
        with file.open("rb") as source:
            upload = self.data.upload(dataset, file.name, iter(lambda: source.read(1 << 20), b""))
        return self.data.push(dataset, [upload["id"]], key=key, source="batch")

    def _discard(self, event: Event) -> None:
        self.models.discard(event.data["uris"])

    def _retain(self, event: Event) -> None:
        """A new version came: old ones that nothing needs go, where that is wanted."""
        if self.settings.keep_versions is not None:
            with contextlib.suppress(NotFound):  # the model is gone already
                model = str(event.data["model"])
                self.registry.prune(self.settings.keep_versions, model, apply=True)

    def _predicting(self, model: str, version: int | None) -> str | None:
        return self.batches.using(model, version)

    def _inference_tokens(self) -> list[str] | None:
        """On loopback whoever reaches a deployment may ask it; elsewhere a token is due."""
        if self.settings.host in ("127.0.0.1", "localhost", "::1"):
            return None
        return list(self.access.token_sha256s())

    def _operator(self, token: str | None, deployment: str, loaded: bool) -> str:
        """Who loads or unloads a model at a deployment's own port: as `Operator` says."""
        if token is None:  # on loopback
            return "Somebody"
        who = self.access.bearer(token)
        action = "deployments.load" if loaded else "deployments.unload"
        outcome = "ok"
        try:
            self.access.allow(who, Permission.DEPLOYMENTS_LOAD)
        except PermissionDenied as error:
            outcome = error.error_code
            raise
        finally:
            self.access.note(who.name, action, f"deployment/{deployment}", outcome)
        return who.name

    def _read(
        self, action: str, inputs: Mapping[str, Any], timeout_s: float = 60.0
    ) -> Mapping[str, Any]:
        """Run a reading action in a step process: tables are never opened in this one."""
        workdir = self._home.staging / self._ids.new("read")
        told = {
            **inputs,
            "tables": self.settings.tables,
            "tables_root": str(self._home.tables),
        }
        try:
            return run_action(
                self._compute, action, told, profile="data", workdir=workdir, timeout_s=timeout_s
            )
        finally:
            shutil.rmtree(workdir, ignore_errors=True)

    def _proof(
        self,
        action: str,
        inputs: Mapping[str, Any],
        profile: str,
        workdir: Path,
        timeout_s: float,
    ) -> Mapping[str, Any]:
        """Run one part of a model's registration in a step process."""
        return run_action(
            self._compute, action, inputs, profile=profile, workdir=workdir, timeout_s=timeout_s
        )
