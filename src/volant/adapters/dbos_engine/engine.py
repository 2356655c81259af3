"""The engine of runs on DBOS Transact: one row a run, one row a step, both durable."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, SetEnqueueOptions, SetWorkflowID
from dbos._serialization import DBOSPortableJSON
from dbos._utils import INTERNAL_QUEUE_NAME
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from volant.adapters.dbos_engine import entry
from volant.adapters.dbos_engine.board import Board
from volant.adapters.dbos_engine.database import Halt, Tables, open_database, translated
from volant.adapters.dbos_engine.fanout import FanOut
from volant.adapters.dbos_engine.heartbeat import Heartbeat
from volant.adapters.dbos_engine.mend import Mender
from volant.adapters.dbos_engine.outcome import step_id
from volant.adapters.dbos_engine.resume import partition, resume
from volant.adapters.dbos_engine.slots import Slots
from volant.adapters.dbos_engine.states import States
from volant.adapters.dbos_engine.wake import QueueWorker, internal_queue
from volant.adapters.dbos_engine.walk import Walker
from volant.adapters.dbos_engine.work import Registry, StepWorker
from volant.domain.run import TERMINAL, Run, RunState, RunStatus
from volant.domain.workflow import WorkflowSpec
from volant.errors import Conflict, NotFound, Unavailable
from volant.ports.engine import Plan, StepExecutor
from volant.ports.step_cache import Reuse

log = logging.getLogger(__name__)

RUNS_QUEUE = "volant-runs"
# Pinned: DBOS' default is a hash of the source, which would strand runs at every edit.
# Raise it only when runs under way can't be gone on with by new code.
APPLICATION_VERSION = "volant-1"
REMEMBERED_RUNS = 512
CANCEL_AGAIN_S = 1.0
TELL_END_ATTEMPTS = 60  # seconds that a locked database may keep a run's end waiting


def _nothing(*_: Any) -> None:
    return None


class DbosEngine:
    """`RunEngine` on DBOS. One may be open in a process.

    Args:
        database: The URL of the SQLite file or Postgres database that DBOS' tables are
            in, or a SQLAlchemy engine of it.
        executor: Does the steps.
        home: Steps work in `home/runs/<run>/<step>`.
        load_run: A run's facts by id; raises `NotFound`.
        plan: Checks a workflow and orders its steps.
        workers: How many steps may be at work at once in this process.
        on_cancel: Ends the processes of a cancelled run that run here; may be called
            several times, until none of its steps is at work.
        on_end: Told `(run_id, status, error)` before a run's end is stored; may be told
            twice after a crash.
        executor_id: This worker's name. On SQLite one name for good, so that a restart
            finds its own work; on Postgres a new one for each process.
        heartbeat_s: How often this worker shows its peers that it lives; None never,
            which is the default on SQLite.
        mend_s: How often it looks for work that lost its thread; see mend.py.
        reuse: Where steps with `cache` find and leave outputs; None, and they are done.
    """

    def __init__(
        self,
        database: str | sa.Engine,
        executor: StepExecutor,
        home: Path,
        load_run: Callable[[str], Run],
        plan: Callable[[WorkflowSpec], Plan],
        *,
        workers: int = 4,
        on_cancel: Callable[[str], None] = _nothing,
        on_end: Callable[[str, RunStatus, Mapping[str, Any] | None], None] = _nothing,
        executor_id: str | None = None,
        heartbeat_s: float | None = None,
        dead_after_s: float = 30.0,
        timeout_grace_s: float = 30.0,
        mend_s: float = 2.0,
        reuse: Reuse | None = None,
    ) -> None:
        self._engine = open_database(database)
        shared = self._engine.dialect.name == "postgresql"
        self._executor_id = executor_id or (_unique_name() if shared else "local")
        self._load_run = load_run
        self._plan = plan
        self._workers = workers
        self._on_cancel = on_cancel
        self._on_end = on_end
        self._mend_s = mend_s
        self._poll_s = 1.0 if shared else 5.0  # on SQLite nobody else enqueues
        self._shared = shared
        self._waiting: set[str] = set()  # runs that aren't walked yet; of SQLite's one worker
        if heartbeat_s is None and shared:
            heartbeat_s = 5.0
        self._heartbeat: Heartbeat | None = None
        if heartbeat_s is not None:
            self._heartbeat = Heartbeat(
                self._engine,
                self._executor_id,
                self._wake,
                every_s=heartbeat_s,
                dead_after_s=dead_after_s,
            )
        self._remembered: OrderedDict[str, tuple[Run, Plan]] = OrderedDict()
        self._remembered_lock = threading.Lock()
        self._boards: dict[str, Board] = {}
        self._queues: list[QueueWorker] = []
        self._launched = False
        self._closed = False
        self._tables = Tables(self._engine)
        self._states = States(self._tables)
        self._slots = Slots(workers)
        self._registry = Registry()
        self._walker = Walker(
            load=self._load,
            states=self._states.read,
            slots=self._slots,
            registry=self._registry,
            boards=self._boards,
            on_end=self._tell_end,
            executor_id=self._executor_id,
        )
        self._worker = StepWorker(
            executor=executor,
            load=self._load,
            tables=self._tables,
            slots=self._slots,
            registry=self._registry,
            runs_dir=home / "runs",
            fan_out=FanOut(self._slots, self._boards, self._executor_id, self._registry.closing),
            reuse=reuse,
            timeout_grace_s=timeout_grace_s,
        )

    def launch(self) -> None:
        """Open the database and begin to work: first what was under way, then new runs.

        Raises `Conflict` when an engine is open in this process, `Unavailable` when the
        database can't be used.
        """
        entry.occupy(self)
        try:
            with translated():
                self._launch()
        except BaseException:
            DBOS.destroy()
            entry.vacate(self)
            raise
        self._launched = True

    def _launch(self) -> None:
        dbos = DBOS(
            config={
                "name": "volant",
                "system_database_engine": self._engine,
                "application_version": APPLICATION_VERSION,
                "executor_id": self._executor_id,
                "serializer": DBOSPortableJSON,
                "enable_otlp": False,
                "log_level": "WARNING",
                # Only how long closing takes depends on it: we use no notifications.
                "notification_listener_polling_interval_sec": 0.25,
                "scheduler_polling_interval_sec": 3600.0,
                "use_listen_notify": False,
            }
        )
        DBOS.listen_queues([])  # our own threads do; see wake.py
        DBOS.launch()
        if not self._shared:
            self._waiting.update(self._tables.under_way(RUNS_QUEUE))
        runs = DBOS.register_queue(
            RUNS_QUEUE,
            partition_concurrency=1,
            worker_concurrency=2 * self._workers,
            polling_interval_sec=self._poll_s,
            on_conflict="always_update",
        )
        self._queues = [QueueWorker(dbos, runs), QueueWorker(dbos, internal_queue(dbos))]
        for queue in self._queues:
            queue.start()
        if self._heartbeat is not None:
            self._heartbeat.start()
        self._in_background(self._watch)
        self._in_background(self._mender(dbos).run)
        # DBOS puts what was under way back on the queues a moment from now.
        self._in_background(self._wake_in, 0.02, 0.1, 0.5)

    # the port

    def warm(self) -> None:
        """Nothing: it is ready."""

    def start(self, run: Run) -> None:
        """Enqueue `run`; the same id again does nothing. Raises `InvalidInput` when its
        workflow can't be run."""
        self._check_open()
        plan = self._plan(run.workflow)
        self._remember(run, plan)
        names = [step.name for step in run.workflow.steps]

        def enqueue() -> None:
            key = partition(run)
            with SetWorkflowID(run.id), SetEnqueueOptions(queue_partition_key=key):
                DBOS.enqueue_workflow(RUNS_QUEUE, entry.run_workflow, run.id, names, run.from_step)

        with translated():
            self._tables.check_writable()
            self._await(run.id)
            entry.outside(enqueue)
        self._wake_runs()

    def cancel(self, run_id: str) -> None:
        """Stop the run: nothing of it is started or recorded any more, its processes end.

        Raises `NotFound`, or `Conflict` when it has ended.
        """
        parts = self._parts_of(run_id)
        before = self.states([run_id])[run_id].status
        if before not in TERMINAL:
            with translated():
                self._tables.check_writable()
                entry.outside(DBOS.cancel_workflows, [run_id, *parts])
                after = self._tables.statuses([run_id])[run_id][0]
            if after == "CANCELLED":
                self._cancelled(run_id)
                return
            before = self.states([run_id])[run_id].status
        raise Conflict(
            f"Run {run_id} has ended already: it is {before.value}.",
            "There is nothing to cancel; start it anew with `volant runs retry`."
            if before is not RunStatus.CANCELLED
            else "Go on with it with `volant runs resume`.",
            details={"run": run_id, "status": before.value},
        )

    def resume(self, run_id: str) -> None:
        """Go on with a cancelled or failed run; what succeeded isn't done again.

        Raises `NotFound`, or `Conflict` when it is under way or has succeeded.
        """
        parts = self._parts_of(run_id)
        status = self.states([run_id])[run_id].status
        if status not in (RunStatus.CANCELLED, RunStatus.FAILED):
            raise Conflict(
                f"Run {run_id} is {status.value}; only a cancelled or failed run can go on.",
                "Start it anew with `volant runs retry`."
                if status is RunStatus.SUCCEEDED
                else "Wait for its end, or cancel it first.",
                details={"run": run_id, "status": status.value},
            )
        run, _ = self._load(run_id)
        with translated():
            self._tables.check_writable()
            self._registry.revive(run_id)
            self._await(run_id)
            entry.outside(resume, run, parts, RUNS_QUEUE)
        self._wake()

    def states(self, run_ids: Sequence[str]) -> Mapping[str, RunState]:
        """The present state of each run; ids that aren't known are left out."""
        self._check_open()
        with translated():
            return entry.outside(self._states.read, run_ids)

    def forget(self, run_ids: Sequence[str]) -> None:
        """Remove all that is stored of runs that have ended, each in one transaction.

        Raises `Conflict`, having removed nothing, when one is under way.
        """
        states = self.states(run_ids)
        for run_id, state in states.items():
            if state.status not in TERMINAL:
                raise Conflict(
                    f"Run {run_id} is {state.status.value}; only a run that has ended can go.",
                    "Wait for its end, or cancel it first.",
                    details={"run": run_id, "status": state.status.value},
                )
        with translated():
            self._tables.check_writable()
            for run_id, parts in entry.outside(self._states.workflows_of, run_ids).items():
                entry.outside(DBOS.delete_workflows, [*parts, run_id])
                with self._remembered_lock:
                    self._remembered.pop(run_id, None)

    def close(self) -> None:
        """Stop working. Steps at work are left pending for the next launch; whoever runs
        their processes ends those next."""
        if self._closed or not self._launched:
            self._closed = True
            return
        self._closed = True
        self._registry.closing.set()
        self._registry.busy.set()
        for queue in self._queues:
            queue.stop()
        self._slots.close()
        for board in list(self._boards.values()):
            board.wake.set()
        if self._heartbeat is not None:
            with translated():
                self._heartbeat.leave()
        DBOS.destroy()
        # Threads that wait on a run elsewhere would go on asking the database for ever.
        event.listen(self._engine, "checkout", _refuse)
        self._engine.dispose()
        entry.vacate(self)

    # the workflows' side: see entry.Host

    def walk(self, run_id: str, from_step: str | None) -> dict[str, Any]:
        """Called by DBOS: the workflow of a run."""
        self._waiting.discard(run_id)
        try:
            with self._unless_closing():
                return self._walker.walk(run_id, from_step)
        finally:
            if self._shared or self._waiting:  # else there is nothing to look for
                self._in_background(self._wake_after, run_id)

    def work(self, run_id: str, step: str, task: Mapping[str, Any]) -> dict[str, Any]:
        """Called by DBOS: the workflow of a step."""
        with self._unless_closing():
            return self._worker.work(run_id, step, task)

    @contextmanager
    def _unless_closing(self) -> Generator[None]:
        """While DBOS is being taken down under a workflow, its errors are no outcome."""
        closing = self._registry.closing
        if closing.is_set():
            raise Halt
        try:
            yield
        except Exception as error:
            # Nor is it one that the database won't take a record: see mend.py.
            if closing.is_set() or isinstance(error, DBAPIError):
                raise Halt from error
            raise

    # inside

    def _load(self, run_id: str) -> tuple[Run, Plan]:
        with self._remembered_lock:
            known = self._remembered.get(run_id)
            if known is not None:
                self._remembered.move_to_end(run_id)
                return known
        run = self._load_run(run_id)
        plan = self._plan(run.workflow)
        self._remember(run, plan)
        return run, plan

    def _remember(self, run: Run, plan: Plan) -> None:
        with self._remembered_lock:
            self._remembered[run.id] = (run, plan)
            while len(self._remembered) > REMEMBERED_RUNS:
                self._remembered.popitem(last=False)

    def _parts_of(self, run_id: str) -> Sequence[str]:
        """The workflows of a run's steps and of their elements."""
        self._check_open()
        with translated():
            parts = entry.outside(self._states.workflows_of, [run_id]).get(run_id)
        if parts is None:
            raise NotFound(f"There is no run {run_id!r}.", "List the runs with `volant runs`.")
        return parts

    def _cancelled(self, run_id: str) -> None:
        self._registry.cancel(run_id)
        self._waiting.discard(run_id)
        for name, board in list(self._boards.items()):
            if name == run_id or name.startswith(step_id(run_id, "")):
                board.look = True
                board.wake.set()
        self._on_cancel(run_id)
        self._wake()
        self._on_end(run_id, RunStatus.CANCELLED, None)

    def _tell_end(self, run_id: str, status: RunStatus, error: Mapping[str, Any] | None) -> None:
        """A run's end is the engine's to store, whatever the listener makes of it."""
        for _ in range(TELL_END_ATTEMPTS):
            try:
                self._on_end(run_id, status, error)
            except Unavailable:
                self._registry.pause(run_id, time.time() + 1)
                continue
            except Exception:  # a listener's defect
                log.exception("the end of run %s couldn't be told", run_id)
            return

    def _watch(self) -> None:
        """While steps are at work here, end those whose run was cancelled: by a peer, or
        in the moment before the step's row or its process was there to be ended."""
        closing = self._registry.closing
        while not closing.is_set():
            self._registry.busy.wait()
            if closing.wait(CANCEL_AGAIN_S):
                return
            at_work = self._registry.snapshot()
            try:
                rows = self._tables.statuses([*at_work, *set(at_work.values())])
            except SQLAlchemyError:
                continue
            stopped = {name for name, row in rows.items() if row[0] == "CANCELLED"}
            for run_id in {run for step, run in at_work.items() if {step, run} & stopped}:
                try:
                    self._on_cancel(run_id)
                except Exception:  # the next look tries again
                    log.exception("couldn't end the processes of run %s", run_id)

    def _mender(self, dbos: DBOS) -> Mender:
        active = dbos._active_workflows_set  # pyright: ignore[reportPrivateUsage]
        database = dbos._sys_db  # pyright: ignore[reportPrivateUsage]

        def enqueue(name: str) -> None:
            database.reenqueue_for_recovery(name, [self._executor_id], INTERNAL_QUEUE_NAME)

        return Mender(
            self._tables,
            executor_id=self._executor_id,
            active=active.activeList,
            enqueue=enqueue,
            wake=self._wake,
            closing=self._registry.closing,
            look_s=self._mend_s,
        )

    def _in_background(self, call: Callable[..., None], *args: Any) -> None:
        threading.Thread(target=call, args=args, name=call.__name__, daemon=True).start()

    def _wake_after(self, run_id: str) -> None:
        """The next run may start once DBOS has stored this one's end, soon from now."""
        try:
            for tried in range(12):
                if self._registry.closing.wait(0.001 * 2**tried):
                    return
                if self._tables.statuses([run_id])[run_id][0] != "PENDING":
                    break
        except (SQLAlchemyError, Halt):
            return
        self._wake_runs()
        if not self._registry.closing.wait(0.05):
            self._wake_runs()

    def _wake_in(self, *delays_s: float) -> None:
        for delay_s in delays_s:
            if not self._registry.closing.wait(delay_s):
                self._wake()

    def _wake(self) -> None:
        for queue in self._queues:
            queue.wake()

    def _await(self, run_id: str) -> None:
        """A run is about to be enqueued. With several workers any of them may walk it."""
        if not self._shared:
            self._waiting.add(run_id)

    def _wake_runs(self) -> None:
        """A run was enqueued, or may start now; nothing is on the other queue for it."""
        self._queues[0].wake()

    def _check_open(self) -> None:
        if self._closed or not self._launched:
            raise Unavailable(
                "The run engine isn't open.", "Wait until the platform is up, then try again."
            )


def _unique_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def _refuse(*_: Any) -> None:
    raise Halt


__all__ = ["APPLICATION_VERSION", "DbosEngine"]
