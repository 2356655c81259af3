"""What starts a run, and what is told when one ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from volant.data.desk import RELEASE
from volant.domain.dataset import DatasetVersion, Push, run_id_of
from volant.domain.decision import Decision, DecisionKind, Outcome
from volant.domain.event import DATASET_COMMITTED, Event
from volant.domain.loop import Loop
from volant.domain.run import Run, RunStatus
from volant.domain.trigger import Trigger
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.errors import NotFound
from volant.loops.compile import compile_loop
from volant.ports.clock import Clock, Ids
from volant.store import Store
from volant.workflows.desk import finished_event


class Turns:
    """Makes runs out of pushes, events and people's wishes; keeps a record of their ends."""

    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._start: Callable[[Run], Any] = _unbound

    def bind(self, start: Callable[[Run], Any]) -> None:
        """Give it the verb that stores and starts a run."""
        self._start = start

    def start_ingest(self, push: Push, options: Mapping[str, Any]) -> str:
        """The run that works a push off, one at a time for each dataset; again: the same."""
        action = "release" if push.source == RELEASE else "ingest"
        step = StepSpec(
            name=action,
            uses=action,
            inputs={"push_id": push.id, "options": "{{ inputs.options }}"},
            timeout_s=3600.0,
        )
        run = Run(
            id=run_id_of(push.id),
            workflow=WorkflowSpec(
                name=f"{action}-{push.dataset}", steps=(step,), inputs={"options": dict(options)}
            ),
            created_at=self._clock.now(),
            queue_key=f"dataset/{push.dataset}",
        )
        self._start(run)
        return run.id

    def why_not(self, trigger: Trigger, event: Event) -> str | None:
        """Why `trigger` has nothing to do for `event`; None if it has."""
        dataset = self._store.loops.get(trigger.loop).spec.data.dataset
        if self._store.datasets.get(dataset).latest_version is None:
            return f"The dataset {dataset} has no data yet."
        return None

    def start_for(self, trigger: Trigger, event: Event, run_id: str) -> None:
        """The run that `trigger` asks for because of `event`."""
        loop = self._store.loops.get(trigger.loop)
        if event.type == DATASET_COMMITTED:
            version = self._store.versions.get(event.data["dataset"], event.data["version"])
        else:
            version = self._newest(loop)
        self._turn(loop, version, run_id, event_id=event.id, trigger=trigger.kind)

    def start_by_hand(self, loop: Loop, principal: str) -> Run:
        """A run on the newest version, because `principal` wants it."""
        version = self._newest(loop)
        return self._turn(loop, version, self._ids.new("run"), trigger=f"by {principal}")

    def _newest(self, loop: Loop) -> DatasetVersion:
        dataset = self._store.datasets.get(loop.spec.data.dataset)
        if dataset.latest_version is None:
            raise NotFound(
                f"The dataset {dataset.name} has no data yet.",
                f"Push some: volant data push {dataset.name} FILE",
                code="dataset.empty",
            )
        return self._store.versions.get(dataset.name, dataset.latest_version)

    def _turn(
        self,
        loop: Loop,
        version: DatasetVersion,
        run_id: str,
        *,
        event_id: str | None = None,
        trigger: str,
    ) -> Run:
        workflow = compile_loop(
            loop, dataset_version=version.version, table_version=version.table_version
        )
        run = Run(
            id=run_id,
            workflow=workflow,
            created_at=self._clock.now(),
            loop=loop.name,
            generation=loop.generation,
            event_id=event_id,
            trigger=trigger,
            queue_key=f"loop/{loop.name}",
        )
        self._start(run)
        return run

    def ended(self, run_id: str, status: RunStatus, error: Mapping[str, Any] | None) -> None:
        """Store that a run ended; a loop's failure is also a line in its `why`."""
        run = self._store.runs.get(run_id)
        now = self._clock.now()
        event = finished_event(run, status, error, now)
        concerned = self._concerned(run) if status is RunStatus.FAILED else ()
        if not concerned:
            self._store.events.append(event)
        for loop in concerned:
            decision = Decision(
                id=f"end-{run_id}" if run.loop else f"end-{run_id}-{loop}",
                kind=DecisionKind.RUN,
                subject=f"loop/{loop}",
                outcome=Outcome.FAILED,
                reason=_failure(run, error or {}),
                time=now,
                loop=loop,
                run_id=run_id,
                event_id=run.event_id,
                details={"error": dict(error or {})},
            )
            self._store.decisions.record(decision, event)

    def _concerned(self, run: Run) -> Sequence[str]:
        """The loops whose `why` tells of a failure of `run`: its own, or for data that
        couldn't be taken in, those that wait for it."""
        if run.loop is not None:
            return (run.loop,)
        dataset = str(run.queue_key).removeprefix("dataset/")
        return [loop.name for loop in self._store.loops.list() if loop.spec.data.dataset == dataset]


def _failure(run: Run, error: Mapping[str, Any]) -> str:
    """What failed, where, and what to do: a sentence each."""
    step = error.get("details", {}).get("step")
    name = "The run" if run.loop else f"The run {run.workflow.name}"
    where = f"{name} failed in its step {step}" if step else f"{name} failed"
    told = f"{where}: {error.get('what', 'no reason is known.')}"
    if told[-1] not in ".!?":
        told += "."
    return f"{told} {error['fix']}" if error.get("fix") else told


def _unbound(run: Run) -> Any:
    raise LookupError("Turns.bind wasn't called")
