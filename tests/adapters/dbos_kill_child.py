"""A process to kill: forks, on command, a child that opens an engine and does two runs.

Reads JSON lines `{"home", "kill", "after_s", "shared"}` and answers each with the child's
exit code: 0 when the runs ended, -9 when it was killed. `kill` names the point where the
child kills itself; `after_s` is when the parent kills it; `shared` is the database of
several workers and this one's name.
"""

import json
import os
import signal
import sqlite3
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from volant.adapters.dbos_engine.engine import DbosEngine
from volant.domain.run import TERMINAL, Run
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.errors import StepFailed
from volant.workflows.plan import plan_workflow

WORKFLOW = WorkflowSpec(
    "killed",
    (
        StepSpec("first", uses="x", inputs={"n": 1}),
        StepSpec("left", uses="x", inputs={"n": "{{ steps.first.outputs.n }}"}),
        StepSpec(
            "right",
            uses="x",
            inputs={"n": "{{ steps.first.outputs.n }}"},
            retries=1,
            backoff_s=0.01,
        ),
        StepSpec(
            "join",
            uses="x",
            inputs={"n": "{{ steps.left.outputs.n }}{{ steps.right.outputs.n }}"},
        ),
        StepSpec("never", uses="x", when="steps.join.outputs.n == 0"),
        StepSpec("last", uses="x", inputs={"n": "{{ steps.join.outputs.n }}"}),
    ),
)
RUNS = {
    name: Run(name, WORKFLOW, datetime(2030, 1, 1, second=index, tzinfo=UTC), queue_key="k")
    for index, name in enumerate(("run-1", "run-2"))
}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Effects:
    """Counts calls, and keeps one effect for each run and step."""

    def __init__(self, home, kill):
        self.path = home / "effects.db"
        self.kill = kill
        self.once = home / "killed"
        with self.open() as db:
            db.execute("CREATE TABLE IF NOT EXISTS calls (run, step, what)")
            db.execute(
                "CREATE TABLE IF NOT EXISTS effects"
                " (id INTEGER PRIMARY KEY, run, step, n, UNIQUE (run, step))"
            )

    def open(self):
        db = sqlite3.connect(self.path, timeout=30)
        db.execute("PRAGMA journal_mode=WAL")
        return db

    def at(self, point):
        if self.kill == point and not self.once.exists():
            self.once.touch()
            die()

    def call(self, request, what):
        with self.open() as db:
            db.execute(
                "INSERT INTO calls VALUES (?, ?, ?)", (request.run_id, request.step.name, what)
            )

    def perform(self, request):
        self.call(request, "perform")
        time.sleep(0.01)
        self.at(f"perform {request.run_id} {request.step.name}")
        if request.step.name == "right" and request.attempt == 1:
            raise StepFailed("the first attempt", "Try again.")
        return {"n": request.inputs.get("n")}

    def commit(self, request, outputs):
        self.at(f"before commit {request.run_id} {request.step.name}")
        self.call(request, "commit")
        with self.open() as db:
            key = (request.run_id, request.step.name)
            db.execute(
                "INSERT OR IGNORE INTO effects (run, step, n) VALUES (?, ?, ?)",
                (*key, outputs["n"]),
            )
        self.at(f"in commit {request.run_id} {request.step.name}")
        with self.open() as db:
            query = "SELECT id FROM effects WHERE run = ? AND step = ?"
            (effect,) = db.execute(query, key).fetchone()
        return {**outputs, "effect": effect}


class KillingPlan:
    """A plan that kills the process at the n-th time it is asked what a step needs."""

    def __init__(self, plan, effects):
        self.plan = plan
        self.effects = effects
        self.asked = 0

    @property
    def needs(self):
        self.asked += 1
        self.effects.at(f"loop {self.asked}")
        return self.plan.needs

    def __getattr__(self, name):
        return getattr(self.plan, name)


def run_all(home, kill, database=None, worker=None):
    effects = Effects(home, kill)
    beats = {"executor_id": worker, "heartbeat_s": 0.1, "dead_after_s": 1.0} if worker else {}
    engine = DbosEngine(
        database or f"sqlite:///{home}/runs.db",
        effects,
        home,
        RUNS.__getitem__,
        lambda workflow: KillingPlan(plan_workflow(workflow), effects),
        **beats,
    )
    engine.launch()
    for run in RUNS.values():
        engine.start(run)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        states = engine.states(list(RUNS))
        if len(states) == len(RUNS) and all(s.status in TERMINAL for s in states.values()):
            report = {
                run: {step.name: [step.status, dict(step.outputs)] for step in state.steps}
                for run, state in states.items()
            }
            (home / "states.json").write_text(json.dumps(report))
            engine.close()
            return 0
        time.sleep(0.01)
    return 1


def main():
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            os.dup2(2, 1)  # nothing but answers on stdout
            code = 2
            try:
                code = run_all(Path(order["home"]), order["kill"], *order.get("shared", ()))
            finally:
                os._exit(code)
        if order["after_s"] is not None:
            time.sleep(order["after_s"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
