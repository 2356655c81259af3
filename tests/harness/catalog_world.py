"""Registered workflows on a real store, with codesets and an engine that do as they are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace

from volant.domain.codeset import CodesetRef
from volant.domain.event import CODESET_PUSHED, Event
from volant.domain.run import TERMINAL, RunState, RunStatus, StepState
from volant.domain.workflow import ExtensionBinding
from volant.errors import Conflict, NotFound, Unavailable
from volant.workflows.assignments import AssignmentDesk, superseded_id
from volant.workflows.catalog import Rooms, WorkflowDesk
from volant.workflows.desk import RunDesk
from volant.workflows.retention import RunRetention
from volant.workflows.uses import USES

NOW = datetime(2030, 1, 1, tzinfo=UTC)

MANIFEST = """
name: wf
description: Says hello.
inputs:
  - {name: code, type: codeset}
  - {name: who, default: world}
outputs:
  - {name: greeting}
steps:
  - name: greet
    inputs:
      - {name: who, value: '{{ inputs.who }}'}
      - {name: code, codeset: {name: '{{ inputs.code }}', path: /project}}
    outputs: [{name: greeting}]
    run: echo hello
  - name: shout
    inputs: [{name: text, value: '{{ steps.greet.outputs.greeting }}'}]
    outputs: [{name: loud}]
    run: echo HELLO
"""


class PlainEngine:
    """Runs stay as they are told to be."""

    def __init__(self):
        self.known = {}
        self.cancelled = []
        self.forgotten = []

    def start(self, run):
        names = tuple(StepState(step.name, RunStatus.QUEUED) for step in run.workflow.steps)
        self.known.setdefault(run.id, RunState(run.id, RunStatus.QUEUED, names))

    def set(self, run_id, status, **steps):
        state = self.known[run_id]
        told = tuple(replace(s, **steps.get(s.name, {})) for s in state.steps)
        self.known[run_id] = replace(state, status=status, steps=told)

    def cancel(self, run_id):
        if self.known[run_id].status in TERMINAL:
            raise Conflict(f"Run {run_id} has ended.", "Leave it.")
        self.cancelled.append(run_id)
        self.set(run_id, RunStatus.CANCELLED)

    def states(self, run_ids):
        return {run_id: self.known[run_id] for run_id in run_ids if run_id in self.known}

    def forget(self, run_ids):
        self.forgotten += run_ids
        for run_id in run_ids:
            self.known.pop(run_id, None)


class Codesets:
    def __init__(self):
        self.heads = {}

    def empty(self, project, name):
        if (project, name) not in self.heads:
            raise NotFound(f"There is no codeset {project}/{name}.", "Register it.")
        return self.heads[project, name] is None

    def resolve(self, project, name, version):
        self.empty(project, name)
        commit = version or self.heads[project, name]
        if commit is None:
            raise NotFound(f"{project}/{name} is empty.", "Push to it.")
        return CodesetRef(project, name, commit, f"http://volant/git/{project}/{name}.git")


class Ids:
    def __init__(self):
        self._count = count(1)

    def new(self, prefix):
        return f"{prefix}-{next(self._count):04}"


class Clock:
    def __init__(self):
        self.time = NOW

    def now(self):
        self.time += timedelta(seconds=1)
        return self.time


class World:
    """Everything of a catalog. `busy`: the database of runs is locked, for that many calls."""

    def __init__(self, home, store):
        self.store = store
        self.engine = PlainEngine()
        self.codesets = Codesets()
        self.codesets.heads["p", "c"] = "c0ffee"
        self.clock, self.ids = Clock(), Ids()
        self.chosen = {}
        self.busy = 0
        self.uses = dict(USES)
        self.expand = lambda manifest: manifest
        self.runs = RunDesk(
            self.store.runs, self.engine, home, self.clock, self.ids, why_cancelled=self._why
        )
        start = self.runs.start
        self.runs.start = lambda run: self._start(start, run)
        rooms = Rooms(
            resolve=self.codesets.resolve,
            empty=self.codesets.empty,
            choose=lambda wanted, project, user: {
                name: ExtensionBinding("mlflow", "tracking", url=self.chosen[name])
                for name in wanted
            },
            uses=lambda: self.uses,
            expand=self._expanded,
            price_per_hour=3.6,
        )
        times = {"clock": self.clock, "ids": self.ids}
        self.workflows = WorkflowDesk(
            self.store.workflows,
            self.runs,
            rooms,
            next_at=lambda cron, after: after + timedelta(hours=1),
            **times,
        )
        self.assignments = AssignmentDesk(
            self.store.assignments,
            self.store.workflow_triggers,
            self.workflows,
            self.runs,
            events=self.store.events,
            decisions=self.store.decisions,
            **times,
        )
        self.retention = RunRetention(self.store.runs, self.runs, **times)

    def push(self, commit, codeset=("p", "c"), at=None, branch="main"):
        """A push that is stored, as an event that isn't handled yet."""
        project, name = codeset
        event = Event(
            id=self.ids.new("evt-push"),
            type=CODESET_PUSHED,
            source="t",
            subject=f"codeset/{project}/{name}",
            time=at or self.clock.now(),
            data={
                "project": project,
                "name": name,
                "branch": branch,
                "before": self.codesets.heads[codeset],
                "after": commit,
                "by": "ada",
            },
        )
        self.codesets.heads[codeset] = commit
        self.store.events.append(event)
        return event

    def assigned(self, text=MANIFEST, codeset=("p", "c")):
        """A workflow assigned to a codeset, its first run done."""
        stored = self.workflows.create(text, by="ada")
        _, run = self.assignments.assign(stored.name, *codeset, by="ada")
        if run is not None:
            self.engine.set(run.id, RunStatus.SUCCEEDED)
        return run

    def statuses(self):
        """(commit, status) of every run, newest first."""
        page, _ = self.runs.page(50)
        return [(run.workflow.inputs["code"]["version"], state.status.value) for run, state in page]

    def told(self, workflow="wf"):
        page, _ = self.store.decisions.page(50, subject=f"workflow/{workflow}")
        return [decision.reason for decision in page]

    def _expanded(self, manifest):
        return self.expand(manifest)

    def _start(self, start, run):
        if self.busy:
            self.busy -= 1
            raise Unavailable("The database is locked.", "Try again.")
        return start(run)

    def _why(self, run_id):
        try:
            return {"what": self.store.decisions.get(superseded_id(run_id)).reason}
        except NotFound:
            return None


def furnish(platform, world):
    """Put a world's desks into a plain platform, for tests of the API and its client."""
    platform.runs = world.runs
    platform.decisions = world.store.decisions
    platform.events = world.store.events
    platform.workbench.workflows = world.workflows
    platform.workbench.assignments = world.assignments
    platform.workbench.retention = world.retention
    platform.workbench.projects = SimpleNamespace(within=lambda project, principal: principal)
    return platform
