"""What workflows are made of, bound: projects, codesets, extensions, and themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from volant.app.assignments import Catalog, why_cancelled
from volant.app.extensions import extension_desk, own_url
from volant.app.gitops import GitOps
from volant.app.home import Home
from volant.app.reuse import Holds, StepReuse
from volant.codesets.desk import CodesetDesk
from volant.codesets.mirrors import Mirrors
from volant.domain.event import CODESET_PUSHED, Event
from volant.domain.run import TERMINAL
from volant.ports.clock import Clock, Ids
from volant.projects.applications import ApplicationDesk
from volant.projects.desk import ProjectDesk
from volant.projects.runnables import RunnableDesk
from volant.serving.desk import DeploymentDesk
from volant.settings import Settings
from volant.store import Store
from volant.tracking.owners import OwnerDesk
from volant.workflows.desk import RunDesk
from volant.workflows.outside import OutsideDesk

_NEWEST = 200  # runs of a codeset; those that are under way are among them


class Workbench:
    """The rooms of workflows. What needs the runs, which need an executor first, is made
    in `bind`.

    Its attributes are the rooms' verbs, as `Platform`'s are.
    """

    def __init__(
        self,
        store: Store,
        home: Home,
        clock: Clock,
        ids: Ids,
        *,
        settings: Settings,
        deployments: DeploymentDesk,
    ) -> None:
        self._store = store
        self._home = home
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self.projects = ProjectDesk(store.projects, clock, ids)
        self.owners = OwnerDesk(store.owners)
        self.applications = ApplicationDesk(
            store.applications,
            clock,
            ids,
            undeploy=lambda name, by: deployments.delete(name, by=by),
        )
        self.runnables = RunnableDesk(store.runnables, clock, ids)
        self.extensions = extension_desk(store, home, settings, clock, ids)
        self.codesets = CodesetDesk(
            store.codesets,
            home.codesets,
            clock,
            ids,
            url=lambda: own_url(home, settings),
            ensure_project=self.projects.ensure,
            max_bytes=settings.codeset_bytes,
        )
        self.mirrors = Mirrors(self.codesets, home.codesets, clock)
        self.gitops = GitOps(self.codesets, store.events, store.decisions, clock)

    def bind(self, runs: RunDesk) -> None:
        """Make what starts runs."""
        self._runs = runs
        self._catalog = Catalog(
            self._store,
            runs,
            self._clock,
            self._ids,
            codesets=self.codesets,
            extensions=self.extensions,
            runnables=self.runnables,
            price_per_hour=self._settings.price_per_hour,
        )
        self.workflows = self._catalog.workflows
        self.assignments = self._catalog.assignments
        self.retention = self._catalog.retention
        self.outside = OutsideDesk(
            self._home.root / "outside",
            self.workflows,
            runs,
            self._store.runs,
            expand=self.runnables.expand,
            clock=self._clock,
        )
        self.codesets.bind(self._using)
        self.gitops.bind(runs.start, self.assignments.pushed)

    def why_cancelled(self, run_id: str) -> Mapping[str, Any] | None:
        """Why a run was cancelled, if not because somebody wanted it."""
        return why_cancelled(self._store, run_id)

    def reuse(self, executor: object) -> StepReuse:
        """What steps may take over. An executor that has `holds(request, outputs)` is asked
        about each."""
        holds: Holds = getattr(executor, "holds", lambda _request, _outputs: True)
        return StepReuse(
            self._store.step_cache,
            self._home,
            self._clock,
            tree_hash=self._tree_hash,
            holds=holds,
        )

    def _tree_hash(self, project: str, name: str, version: str) -> str:
        """What a codeset's version holds."""
        return self.codesets.tree_hash(project, name, version)

    def _using(self, project: str, name: str) -> str | None:
        """A run that is under way with a codeset."""
        newest, _ = self._runs.page(_NEWEST, codeset=f"{project}/{name}")
        return next((run.id for run, state in newest if state.status not in TERMINAL), None)

    # life

    def start(self) -> None:
        """Begin what works by itself; the engine and the dispatcher work already."""
        self.codesets.recover()
        self.mirrors.start()
        self._catalog.start()

    def close(self) -> None:
        """End what `start` began."""
        self.mirrors.close()
        self._catalog.close()

    # what the platform tells it

    def effects(self) -> Mapping[str, Callable[[Event], None]]:
        """What events ask for here; see `Dispatcher`. Bound once, when `bind` has run. A
        push goes through its own tests first; then `gitops` calls the assignments."""
        return {**self._catalog.effects(), CODESET_PUSHED: self.gitops.pushed}
