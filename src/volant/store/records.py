"""The store: one database, one repository a noun."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from volant.domain.event import Event
from volant.errors import Unavailable
from volant.store.audit import SqlAudit
from volant.store.codesets import SqlCodesets
from volant.store.datasets import SqlDatasets, SqlVersions
from volant.store.decisions import SqlDecisions
from volant.store.deployments import SqlDeployments
from volant.store.engine import Database
from volant.store.events import SqlEvents
from volant.store.experiment_summaries import SqlExperimentSummaries
from volant.store.experiments import SqlExperiments
from volant.store.extensions import SqlExtensions
from volant.store.logged_models import SqlLoggedModels
from volant.store.loops import SqlLoops
from volant.store.migrate import migrate, stored_revision
from volant.store.migrations import HEAD
from volant.store.minutes import SqlMinutes
from volant.store.models import SqlModels
from volant.store.owners import SqlOwners
from volant.store.projects import SqlApplications, SqlProjects, SqlRunnables
from volant.store.pushes import SqlPushes
from volant.store.registered_models import SqlRegisteredModels
from volant.store.registered_versions import SqlRegisteredVersions
from volant.store.revisions import SqlRevisions
from volant.store.run_data import SqlRunData
from volant.store.runs import SqlRuns
from volant.store.step_cache import SqlStepCache
from volant.store.tokens import SqlTokens
from volant.store.tracked_runs import SqlTrackedRuns
from volant.store.tracking import SqlTracking
from volant.store.triggers import SqlTriggers
from volant.store.workflows import SqlAssignments, SqlWorkflows, SqlWorkflowTriggers

_VERSION = sa.table("alembic_version", sa.column("version_num"))


class Store:
    """Every noun's records on one database, SQLite or Postgres.

    Opening one connects to nothing; `migrate` does first. Threads share it, processes
    open their own. `url` is `sqlite:///FILE` or `postgresql://…`.
    """

    def __init__(self, url: str) -> None:
        database = Database(url)
        self._database = database
        self.datasets = SqlDatasets(database)
        self.versions = SqlVersions(database)
        self.pushes = SqlPushes(database)
        self.loops = SqlLoops(database)
        self.triggers = SqlTriggers(database)
        self.runs = SqlRuns(database)
        self.events = SqlEvents(database)
        self.decisions = SqlDecisions(database)
        self.tracking = SqlTracking(database)
        self.experiments = SqlExperiments(database)
        self.experiment_summaries = SqlExperimentSummaries(database)
        self.tracked_runs = SqlTrackedRuns(database)
        self.run_data = SqlRunData(database)
        self.logged_models = SqlLoggedModels(database)
        self.owners = SqlOwners(database)
        self.models = SqlModels(database)
        self.registered_models = SqlRegisteredModels(database)
        self.registered_versions = SqlRegisteredVersions(database)
        self.deployments = SqlDeployments(database)
        self.revisions = SqlRevisions(database)
        self.minutes = SqlMinutes(database)
        self.tokens = SqlTokens(database)
        self.audit = SqlAudit(database)
        self.projects = SqlProjects(database)
        self.applications = SqlApplications(database)
        self.runnables = SqlRunnables(database)
        self.codesets = SqlCodesets(database)
        self.extensions = SqlExtensions(database)
        self.step_cache = SqlStepCache(database)
        self.workflows = SqlWorkflows(database)
        self.assignments = SqlAssignments(database)
        self.workflow_triggers = SqlWorkflowTriggers(database)

    @property
    def location(self) -> str:
        """The file, or the URL without its password."""
        return self._database.location

    @property
    def engine(self) -> sa.Engine:
        """The engine underneath, for a durable engine that shares the Postgres."""
        return self._database.engine

    def migrate(self) -> None:
        """Bring the schema up to date; raises `Conflict` for a schema newer than this code."""
        migrate(self._database)

    def check(self) -> Mapping[str, Any]:
        """Write one row as it is and say how the database does: its kind, location and
        schema, seconds for the write, and for SQLite bytes used and free.

        Raises `Unavailable` when it can't be written now, `ResourceExhausted` when the
        disk is full.
        """
        started = time.perf_counter()
        with self._database.write() as work:
            if stored_revision(work.connection, self._database) != HEAD:
                raise Unavailable(
                    f"The schema of the database {self.location} isn't up to date.",
                    "Start Volant on it once: `volant up` migrates it.",
                    code="schema_older",
                )
            work.execute(sa.update(_VERSION).values(version_num=_VERSION.c.version_num))
        facts: dict[str, Any] = {
            "database": self._database.engine.dialect.name,
            "location": self.location,
            "schema": HEAD,
            "write_s": time.perf_counter() - started,
        }
        if self._database.is_sqlite:
            file = Path(self.location)
            facts["bytes"] = file.stat().st_size
            facts["free_bytes"] = shutil.disk_usage(file.parent).free
        return facts

    def on_event(self, callback: Callable[[Event], None]) -> None:
        """Call `callback` with each event stored here, after its commit, in the thread
        that committed. It must return at once (set a flag, notify a condition)."""
        self._database.on_event(callback)

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
