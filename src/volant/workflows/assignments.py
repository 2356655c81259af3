"""Workflows assigned to codesets: what starts their runs, and which run gives way.

A run that an event asks for has an id that follows from event, workflow and codeset, so
that the event may be handled again after a crash. Of the runs of one workflow on one
codeset one works at a time, and of those that wait only the newest: older ones that an
event started are cancelled. Runs that somebody started by hand are let be.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from volant.domain.catalog import Assignment, Wish
from volant.domain.decision import Decision, DecisionKind, Outcome
from volant.domain.event import (
    CODESET_PUSHED,
    WORKFLOW_ASSIGNED,
    WORKFLOW_UNASSIGNED,
    Event,
)
from volant.domain.manifest import Manifest
from volant.domain.run import Run, RunStatus
from volant.errors import Conflict, InvalidInput, NotFound, PermissionDenied, VolantError
from volant.faults import crash_point
from volant.ports.clock import Clock, Ids
from volant.ports.records import DecisionRecords, EventRecords
from volant.ports.workflows import AssignmentRecords, WorkflowTriggerRecords
from volant.workflows.bind import bind_inputs
from volant.workflows.catalog import WorkflowDesk
from volant.workflows.desk import RunDesk

_SOURCE = "volant/workflows"
_HOPELESS = (InvalidInput, NotFound, Conflict, PermissionDenied)  # trying again won't help
_LOOKED_AT = 100  # newest runs of a workflow on a codeset

log = logging.getLogger(__name__)


class AssignmentDesk:
    """Assign and unassign; start what events ask for.

    Args:
        assignments: Where they are stored.
        triggers: The schedules and datasets that workflows name.
        workflows: Makes the runs.
        runs: Looks at them, and cancels.
        events: To tell which of two pushes came later.
        decisions: Where it is told why a run wasn't started, or was cancelled.
        clock: For times.
        ids: For events' identity.
    """

    def __init__(
        self,
        assignments: AssignmentRecords,
        triggers: WorkflowTriggerRecords,
        workflows: WorkflowDesk,
        runs: RunDesk,
        *,
        events: EventRecords,
        decisions: DecisionRecords,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._assignments = assignments
        self._triggers = triggers
        self._workflows = workflows
        self._runs = runs
        self._events = events
        self._decisions = decisions
        self._clock = clock
        self._ids = ids

    def assign(
        self, workflow: str, project: str, codeset: str, *, by: str | None = None
    ) -> tuple[Assignment, Run | None]:
        """From now on each push to the codeset runs the workflow; its head does at once.

        Assigning again changes nothing and starts nothing. The run is None for that, and
        for a codeset without a commit.

        Raises:
            NotFound: There is no such workflow, or no such codeset.
            InvalidInput: The workflow takes no codeset, or needs inputs that neither it
                nor its manifest gives.
        """
        manifest = self._workflows.manifest(workflow)
        _check_takes_codeset(manifest)
        ref = self._workflows.resolve(project, codeset)
        if ref is not None:
            bind_inputs(manifest, {}, ref)
        now = self._clock.now()
        assignment = Assignment(workflow, project, codeset, now, by)
        event = self._event(WORKFLOW_ASSIGNED, assignment, by)
        if not self._assignments.add(assignment, event):
            [stored] = self._assignments.list(workflow=workflow, project=project, codeset=codeset)
            return stored, None
        crash_point("workflow.assigned")
        return assignment, self.assigned(event) if ref is not None else None

    def unassign(self, workflow: str, project: str, codeset: str, *, by: str | None = None) -> None:
        """Pushes to the codeset don't run the workflow any more; runs under way go on.
        Raises `NotFound` when it isn't assigned."""
        self._workflows.get(workflow)
        assignment = Assignment(workflow, project, codeset, self._clock.now(), by)
        event = self._event(WORKFLOW_UNASSIGNED, assignment, by)
        self._assignments.remove(workflow, project, codeset, event)

    def list(
        self,
        workflow: str | None = None,
        project: str | None = None,
        codeset: str | None = None,
    ) -> Sequence[Assignment]:
        """By workflow, then by codeset. Raises `NotFound` for an unknown workflow."""
        if workflow is not None:
            self._workflows.get(workflow)
        return self._assignments.list(workflow=workflow, project=project, codeset=codeset)

    # what events ask for; each may be handled again, and does nothing the second time

    def assigned(self, event: Event) -> Run | None:
        """Run a newly assigned workflow on the codeset's head."""
        data = event.data
        found = self._assignments.list(
            workflow=data["workflow"], project=data["project"], codeset=data["codeset"]
        )
        for each in found:  # it may have been taken back meanwhile
            if self._workflows.resolve(each.project, each.codeset) is not None:
                return self._start(event, each, trigger="assigned", by=data.get("by"))
        return None

    def pushed(self, event: Event) -> Sequence[Run]:
        """Run each workflow that is assigned to the codeset on the commit that came."""
        data = event.data
        if not data.get("after"):  # a branch was deleted
            return []
        found = self._assignments.list(project=data["project"], codeset=data["name"])
        wanted = [each for each in found if self._listens(each.workflow, event)]
        return self._start_each(event, wanted, trigger="push", commit=data["after"])

    def due(self, event: Event) -> Sequence[Run]:
        """Run a workflow whose schedule came due, on each codeset it is assigned to."""
        workflow = event.data.get("workflow")
        return self._on_heads(event, [workflow], "cron") if workflow else []

    def committed(self, event: Event) -> Sequence[Run]:
        """Run the workflows that listen to a dataset which got a version."""
        found = self._triggers.for_dataset(str(event.data["dataset"]))
        return self._on_heads(event, sorted({each.loop for each in found}), "data")

    def deleted(self, event: Event) -> None:
        """Take back the assignments of a codeset that is gone."""
        data = event.data
        for each in self._assignments.list(project=data["project"], codeset=data["name"]):
            try:
                self.unassign(each.workflow, each.project, each.codeset)
            except NotFound:  # somebody was faster
                continue

    # inside

    def _listens(self, workflow: str, event: Event) -> bool:
        """Whether a push starts it, which is always one to the codeset's own branch: it
        does without an `on:`, or where that names a push to this branch or to any."""
        try:
            triggers = self._workflows.manifest(workflow).triggers
        except VolantError:  # the start will say what is wrong with it
            return True
        if triggers is None:
            return True
        branches = {each.value for each in triggers if each.kind == "push"}
        return "" in branches or event.data.get("branch") in branches

    def _on_heads(self, event: Event, workflows: Sequence[str], trigger: str) -> Sequence[Run]:
        runs: list[Run] = []
        for workflow in workflows:
            found = self._assignments.list(workflow=workflow)
            runs += self._start_each(event, found or [workflow], trigger=trigger)
        return runs

    def _start_each(
        self,
        event: Event,
        wanted: Sequence[Assignment | str],
        *,
        trigger: str,
        commit: str | None = None,
    ) -> Sequence[Run]:
        """All that can be started are, also when one can't be now: then it raises."""
        started: list[Run] = []
        trouble: VolantError | None = None
        for each in wanted:
            try:
                run = self._start(event, each, trigger=trigger, commit=commit)
            except VolantError as error:
                trouble = error
                continue
            started += [run] if run is not None else []
        if trouble is not None:
            raise trouble
        return started

    def _start(
        self,
        event: Event,
        what: Assignment | str,
        *,
        trigger: str,
        commit: str | None = None,
        by: str | None = None,
    ) -> Run | None:
        """The run for an event, None when it can't be or needn't be started: then a
        decision says why. Raises when trying again may help."""
        assignment = what if isinstance(what, Assignment) else None
        workflow = assignment.workflow if assignment else str(what)
        wish = Wish(
            workflow=workflow,
            codeset=(assignment.project, assignment.codeset) if assignment else None,
            commit=commit,
            by=by or event.data.get("by"),
            trigger=trigger,
            run_id=run_id_of(event, what),
            event_id=event.id,
        )
        try:
            if self._overtaken(wish, event):
                return None
            run = self._workflows.run(wish)
        except _HOPELESS as error:
            self._refuse(wish, error)
            return None
        crash_point("workflow.started")
        self._supersede(run)
        return run

    def _overtaken(self, wish: Wish, event: Event) -> bool:
        """Whether a later push has its run already, so that this one, which had to wait
        for its turn, must not come after it."""
        if event.type != CODESET_PUSHED or self._runs.known(str(wish.run_id)):
            return False
        for run in self._of(wish.workflow, "/".join(wish.codeset or ())):
            if run.event_id is None or run.event_id == event.id:
                continue
            other = self._events.get(run.event_id)
            if other.type == CODESET_PUSHED and other.time > event.time:
                self._decide(
                    f"overtaken-{wish.run_id}",
                    wish.workflow,
                    Outcome.SUPERSEDED,
                    f"No run for commit {str(wish.commit)[:12]}: run {run.id} has a later one.",
                    event_id=event.id,
                )
                return True
        return False

    def _supersede(self, run: Run) -> None:
        """Cancel the older runs that still wait and that nobody asked for by hand."""
        if run.codeset is None:
            return
        for older, state in self._runs.with_states(self._older(run)):
            by_hand = older.event_id is None or older.retry_of is not None
            if state.status is not RunStatus.QUEUED or by_hand:
                continue
            # Told first: a run that is found cancelled must be able to say why.
            self._decide(
                superseded_id(older.id),
                run.workflow.name,
                Outcome.SUPERSEDED,
                f"Run {older.id} still waited when the newer run {run.id} was started.",
                run_id=older.id,
                event_id=run.event_id,
                details={"by": run.id},
            )
            crash_point("workflow.superseded")
            try:
                self._runs.cancel(older.id)
            except Conflict:  # it has ended meanwhile
                log.info("Run %s ended before it could be superseded.", older.id)

    def _older(self, run: Run) -> Sequence[Run]:
        found = list(self._of(run.workflow.name, str(run.codeset)))
        places = [place for place, each in enumerate(found) if each.id == run.id]
        return found[places[0] + 1 :] if places else []

    def _of(self, workflow: str, codeset: str) -> Iterator[Run]:
        """The newest runs of a workflow on a codeset, newest first."""
        yield from self._runs.facts(_LOOKED_AT, workflow=workflow, codeset=codeset)

    def _refuse(self, wish: Wish, error: VolantError) -> None:
        on = f" on {'/'.join(wish.codeset)}" if wish.codeset else ""
        log.warning("Event %s could not start %s%s: %s", wish.event_id, wish.workflow, on, error)
        self._decide(
            f"refused-{wish.run_id}",
            wish.workflow,
            Outcome.FAILED,
            f"The run{on} could not be started: {error.what}",
            run_id=wish.run_id,
            event_id=wish.event_id,
            details={"error": error.to_dict(), "commit": wish.commit},
        )

    def _decide(
        self,
        id: str,
        workflow: str,
        outcome: Outcome,
        reason: str,
        *,
        run_id: str | None = None,
        event_id: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self._decisions.record(
            Decision(
                id=id,
                kind=DecisionKind.TRIGGER,
                subject=f"workflow/{workflow}",
                outcome=outcome,
                reason=reason,
                time=self._clock.now(),
                run_id=run_id,
                event_id=event_id,
                details=details or {},
            )
        )

    def _event(self, type: str, assignment: Assignment, by: str | None) -> Event:
        data = {
            "workflow": assignment.workflow,
            "project": assignment.project,
            "codeset": assignment.codeset,
            "by": by,
        }
        return Event(
            id=self._ids.new("evt"),
            type=type,
            source=_SOURCE,
            subject=f"workflow/{assignment.workflow}",
            time=assignment.created_at,
            data=data,
        )


def run_id_of(event: Event, what: Assignment | str) -> str:
    """The id of the run that an event starts of a workflow, or of an assigned one."""
    parts = [event.id]
    if isinstance(what, Assignment):
        parts += [what.workflow, what.project, what.codeset]
    else:
        parts += [what]
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return f"run-{hashlib.sha256(text.encode()).hexdigest()[:24]}"


def superseded_id(run_id: str) -> str:
    """The id of the decision to cancel a run in favour of a newer one."""
    return f"superseded-{run_id}"


def _check_takes_codeset(manifest: Manifest) -> None:
    if any(each.type == "codeset" for each in manifest.inputs):
        return
    raise InvalidInput(
        f"The workflow {manifest.name!r} has no input of type codeset, so it can't be"
        " assigned to one.",
        "Add one to its manifest: inputs: [{name: code, type: codeset}]; or run it as it is:"
        f" volant workflow run {manifest.name}",
        code="no_codeset_input",
        details={"workflow": manifest.name},
    )
