"""Registered workflows: create, update, look at, delete, and make runs of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from volant.domain.catalog import Assignment, RegisteredWorkflow, Wish, WorkflowVersion
from volant.domain.codec import to_plain
from volant.domain.codeset import CodesetRef
from volant.domain.event import WORKFLOW_CREATED, WORKFLOW_DELETED, WORKFLOW_UPDATED, Event
from volant.domain.manifest import ExtensionRequirement, Manifest
from volant.domain.run import Run, RunStatus
from volant.domain.trigger import Trigger
from volant.domain.workflow import ExtensionBinding, WorkflowSpec
from volant.errors import InvalidInput
from volant.ports.clock import Clock, Ids
from volant.ports.workflows import WorkflowRecords
from volant.workflows.bind import bind_inputs
from volant.workflows.compile import compile_workflow, requirements_of, strictly
from volant.workflows.dag import drawing, dry_run
from volant.workflows.desk import RunDesk
from volant.workflows.manifest import parse_manifest

_SOURCE = "volant/workflows"
FILE = "workflow.yaml"  # how errors call a manifest that came without its name
_HISTORY = 20  # newest runs that tell how long steps take
_ANY = CodesetRef("PROJECT", "CODESET", "HEAD", "")


class Resolve(Protocol):
    def __call__(self, project: str, name: str, version: str | None) -> CodesetRef:
        """A commit of a codeset, its head without `version`. Raises `NotFound`, also when
        nothing was pushed to it yet."""
        ...


class Choose(Protocol):
    def __call__(
        self,
        requirements: Mapping[str, ExtensionRequirement],
        project: str | None,
        user: str | None,
    ) -> Mapping[str, ExtensionBinding]:
        """An outside service for each requirement. Raises `NotFound`."""
        ...


@dataclass(frozen=True, slots=True)
class Rooms:
    """What workflows need of other rooms.

    `empty` tells whether nothing was pushed to (project, codeset) yet; `uses` are the
    built-in steps and what is registered as such, with the outputs they write; `expand`
    turns the latter into plain steps. `price_per_hour` is of one step at work.
    """

    resolve: Resolve
    empty: Callable[[str, str], bool]
    choose: Choose
    uses: Callable[[], Mapping[str, tuple[str, ...] | None]]
    expand: Callable[[Manifest], Manifest]
    price_per_hour: float | None = None


class WorkflowDesk:
    """The verbs on registered workflows.

    Args:
        workflows: Where they are stored.
        runs: Starts them, and knows how long steps took.
        rooms: Codesets, extensions, runnables.
        next_at: The first time after the given one at which a cron expression is due.
        clock: For the times of creation and change.
        ids: For events' and runs' identity.
    """

    def __init__(
        self,
        workflows: WorkflowRecords,
        runs: RunDesk,
        rooms: Rooms,
        *,
        next_at: Callable[[str, datetime], datetime],
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._workflows = workflows
        self._runs = runs
        self._rooms = rooms
        self._next_at = next_at
        self._clock = clock
        self._ids = ids

    # definitions

    def create(self, source: str, *, by: str | None = None, file: str = FILE) -> RegisteredWorkflow:
        """Store a new workflow; the same text again changes nothing.

        Raises `InvalidInput` with every fault of the manifest, `Conflict` when another
        text has its name.
        """
        return self._put(source, by, file, new=True)

    def update(
        self, source: str, *, by: str | None = None, file: str = FILE, name: str | None = None
    ) -> RegisteredWorkflow:
        """Store the next version of a workflow; its assignments stay, and runs under way
        go on as they began. The same text again changes nothing.

        Raises `InvalidInput` also when the manifest's name isn't `name`, `NotFound`.
        """
        return self._put(source, by, file, new=False, name=name)

    def get(self, name: str) -> RegisteredWorkflow:
        """Raises `NotFound` with the nearest name."""
        return self._workflows.get(name)

    def view(self, name: str, version: int | None = None) -> dict[str, Any]:
        """A workflow with what its manifest says of inputs, outputs and steps; with
        `problem` instead when it can't be read any more, as it uses a step that is gone."""
        stored = self._workflows.get(name)
        found = self._workflows.version(name, version)
        facts = {**to_plain(stored), "version": found.version}
        try:
            return {**to_plain(self._read(found.source, name)), **facts}
        except InvalidInput as error:
            nothing = {"inputs": [], "outputs": [], "steps": [], "triggers": None}
            return {**nothing, **facts, "problem": error.what}

    def list(self) -> Sequence[RegisteredWorkflow]:
        """All, by name."""
        return self._workflows.list()

    def version(self, name: str, version: int | None = None) -> WorkflowVersion:
        """A version with its text, the newest when `version` is None."""
        return self._workflows.version(name, version)

    def versions(self, name: str) -> Sequence[WorkflowVersion]:
        """Newest first."""
        return self._workflows.versions(name)

    def manifest(self, name: str, version: int | None = None) -> Manifest:
        """What a version's text says."""
        return self._read(self._workflows.version(name, version).source, name)

    def delete(self, name: str, *, by: str | None = None) -> Sequence[Assignment]:
        """Forget a workflow, its versions and its assignments, which are returned. Its
        runs stay, and those under way go on. Raises `NotFound`."""
        return self._workflows.delete(name, self._event(WORKFLOW_DELETED, name, by=by))

    def _put(
        self, source: str, by: str | None, file: str, *, new: bool, name: str | None = None
    ) -> RegisteredWorkflow:
        manifest = self._read(source, file)
        self._rooms.expand(manifest)  # so that its faults are told now
        if name is not None and name != manifest.name:
            raise InvalidInput(
                f"The manifest's name is {manifest.name!r}, but it was given for {name!r}.",
                f"Update {manifest.name}, or write name: {name}.",
                details={"manifest": manifest.name, "given": name},
            )
        version = WorkflowVersion(
            workflow=manifest.name,
            version=1,
            source=source,
            sha256=hashlib.sha256(source.encode()).hexdigest(),
            created_at=self._clock.now(),
            created_by=by,
        )
        event = self._event(WORKFLOW_CREATED if new else WORKFLOW_UPDATED, manifest.name, by=by)
        return self._workflows.put(
            version, manifest.description, self._triggers(manifest), event, new=new
        )

    def _triggers(self, manifest: Manifest) -> Sequence[Trigger]:
        """What starts it besides a push, which needs no row: the assignment is one."""
        now = self._clock.now()
        found: dict[str, Trigger] = {}
        for each in manifest.triggers or ():
            key = f"{manifest.name}/{each.kind}/{each.value}"
            if each.kind == "cron":
                due = self._next_at(each.value, now)
                found[key] = Trigger(key, manifest.name, "cron", cron=each.value, next_at=due)
            elif each.kind == "dataset":
                found[key] = Trigger(key, manifest.name, "data", dataset=each.value)
        return list(found.values())

    def _event(self, type: str, name: str, **data: Any) -> Event:
        return Event(
            id=self._ids.new("evt"),
            type=type,
            source=_SOURCE,
            subject=f"workflow/{name}",
            time=self._clock.now(),
            data={"workflow": name, **data},
        )

    # runs

    def resolve(self, project: str, codeset: str) -> CodesetRef | None:
        """A codeset's head; None when it has none. Raises `NotFound`."""
        if self._rooms.empty(project, codeset):
            return None
        return self._rooms.resolve(project, codeset, None)

    def compiled(self, wish: Wish) -> tuple[WorkflowSpec, CodesetRef | None]:
        """The workflow as it would run: inputs bound, services chosen; nothing is started.

        Raises:
            NotFound: The workflow, its version, the codeset or the commit isn't there.
            InvalidInput: An input is missing, unknown or of another type.
        """
        stored = self._workflows.version(wish.workflow, wish.version)
        manifest = self._read(stored.source, stored.workflow)
        return self._compiled(manifest, wish, stored.version)

    def _compiled(
        self,
        manifest: Manifest,
        wish: Wish,
        version: int,
        anything: CodesetRef | None = None,
    ) -> tuple[WorkflowSpec, CodesetRef | None]:
        ref = self._rooms.resolve(*wish.codeset, wish.commit) if wish.codeset else None
        inputs = bind_inputs(manifest, self._given(manifest, wish.inputs), ref or anything)
        project = ref.project if ref else None
        bindings = {
            step: self._rooms.choose(wanted, project, wish.by)
            for step, wanted in requirements_of(manifest, inputs).items()
        }
        expanded = self._rooms.expand(manifest)
        spec = compile_workflow(
            expanded, inputs, bindings, version=version, cache=not wish.no_cache
        )
        return (strictly(spec) if wish.strict else spec), ref

    def _given(self, manifest: Manifest, inputs: Mapping[str, str]) -> dict[str, Any]:
        """The inputs, a codeset that is written as text (`project/name@commit`) resolved."""
        codesets = {each.name for each in manifest.inputs if each.type == "codeset"}
        return {
            name: self._codeset(name, value) if name in codesets else value
            for name, value in inputs.items()
        }

    def _codeset(self, name: str, text: str) -> CodesetRef:
        codeset, sign, commit = text.partition("@")
        project, slash, own = codeset.partition("/")
        if not (project and slash and own) or (sign and not commit):
            raise InvalidInput(
                f"The input {name!r} is a codeset, and {text[:200]!r} names none.",
                "Write PROJECT/NAME, or PROJECT/NAME@COMMIT.",
                code="workflow.inputs",
                details={"input": name},
            )
        return self._rooms.resolve(project, own, commit or None)

    def _read(self, source: str, file: str) -> Manifest:
        return parse_manifest(source, file, self._rooms.uses())

    def plan(self, wish: Wish, *, source: str | None = None, file: str = FILE) -> dict[str, Any]:
        """What a run would do and cost, as `dry_run` tells it, and the graph's `drawing`.

        Args:
            wish: The run. Without a codeset, one that isn't there stands in its place.
            source: A manifest to look at instead of the registered workflow.
            file: Where that text is from.

        Raises as `compiled`.
        """
        if source is not None:
            manifest, version = self._read(source, file), 0
        else:
            stored = self._workflows.version(wish.workflow, wish.version)
            manifest, version = self._read(stored.source, stored.workflow), stored.version
        spec, _ = self._compiled(manifest, wish, version, anything=_ANY)
        told = dry_run(spec, self._seconds(manifest.name), self._rooms.price_per_hour)
        return {**told, "drawing": drawing(spec)}

    def _seconds(self, workflow: str) -> dict[str, float]:
        """How long each step took when it was last done."""
        found: dict[str, float] = {}
        for _, state in self._runs.with_states(self._runs.facts(_HISTORY, workflow=workflow)):
            for step in state.steps:
                done = step.status is RunStatus.SUCCEEDED and step.cached is None
                if done and step.started_at is not None and step.ended_at is not None:
                    took = (step.ended_at - step.started_at).total_seconds()
                    found.setdefault(step.name, took)
        return found

    def run(self, wish: Wish) -> Run:
        """Start a run; with a `run_id` that is known already, return that one.

        Runs of one workflow on one codeset go one after the other. Raises as `compiled`.
        """
        spec, ref = self.compiled(wish)
        codeset = f"{ref.project}/{ref.name}" if ref else None
        return self._runs.start(
            Run(
                id=wish.run_id or self._ids.new("run"),
                workflow=spec,
                created_at=self._clock.now(),
                event_id=wish.event_id,
                trigger=wish.trigger or (f"by {wish.by}" if wish.by else None),
                queue_key=queue_key(wish.workflow, codeset) if codeset else None,
                project=ref.project if ref else None,
                codeset=codeset,
                started_by=wish.by,
            )
        )


def queue_key(workflow: str, codeset: str) -> str:
    """What serialises the runs of a workflow on `project/name`."""
    return f"workflow/{workflow}/{codeset}"
