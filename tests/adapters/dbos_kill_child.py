"""A process to kill: forks, on command, a child that opens an engine and does two runs.

Reads JSON lines `{"home", "kill", "after_s", "shared", "workflow", "arm"}` and answers each
with the child's exit code: 0 when the runs ended, -9 when it was killed. `kill` names the
point where the child kills itself, and `work_s` how long the step works that it names, by
default long enough to be recorded; `after_s` is when the parent kills it; `shared` is the
database of several workers and this one's name; `arm` is a point of volant.faults.
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
from volant.adapters.dbos_engine.work import RECORDED_MS
from volant.domain.run import TERMINAL, Run
from volant.domain.step_key import step_key
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.errors import StepFailed
from volant.ports.step_cache import CachedStep
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
FAN = WorkflowSpec(
    "fan",
    (
        StepSpec("first", uses="x", inputs={"n": 1}, cache=True),
        StepSpec(
            "each",
            uses="y",
            foreach="[2, 3, 4, 5, 6]",
            inputs={"n": "{{ steps.first.outputs.n }}{{ item }}"},
        ),
        StepSpec("last", uses="z", inputs={"n": "{{ steps.each.outputs.n }}"}),
    ),
)


def runs_of(workflow):
    return {
        name: Run(name, workflow, datetime(2030, 1, 1, second=index, tzinfo=UTC), queue_key="k")
        for index, name in enumerate(("run-1", "run-2"))
    }


RUNS = {None: runs_of(WORKFLOW), "fan": runs_of(FAN)}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Effects:
    """Counts calls, and keeps one effect for each run and step."""

    def __init__(self, home, kill, work_s):
        self.path = home / "effects.db"
        self.kill = kill
        self.work_s = work_s
        self.once = home / "killed"
        with self.open() as db:
            db.execute("CREATE TABLE IF NOT EXISTS calls (run, step, what)")
            db.execute(
                "CREATE TABLE IF NOT EXISTS effects"
                " (id INTEGER PRIMARY KEY, run, step, n, UNIQUE (run, step))"
            )
            db.execute("CREATE TABLE IF NOT EXISTS kept (key PRIMARY KEY, outputs, run, step)")

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
        named = self.kill is not None and self.kill.endswith(
            f" {request.run_id} {request.step.name}"
        )
        time.sleep(self.work_s if named else 0.01)
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
                (*key, json.dumps(outputs["n"])),
            )
        self.at(f"in commit {request.run_id} {request.step.name}")
        with self.open() as db:
            query = "SELECT id FROM effects WHERE run = ? AND step = ?"
            (effect,) = db.execute(query, key).fetchone()
        return {**outputs, "effect": effect}


class Kept:
    """`Reuse` beside the effects."""

    def __init__(self, effects):
        self.effects = effects

    def key(self, request):
        return step_key(request, "", lambda project, name, version: version)

    def find(self, key, request):
        with self.effects.open() as db:
            row = db.execute("SELECT * FROM kept WHERE key = ?", (key,)).fetchone()
        now = datetime.now(UTC)
        return row and CachedStep(row[0], json.loads(row[1]), row[2], row[3], now, now)

    def keep(self, key, request, outputs, *, anew):
        row = (key, json.dumps(outputs), request.run_id, request.step.name)
        with self.effects.open() as db:
            db.execute("INSERT OR IGNORE INTO kept VALUES (?, ?, ?, ?)", row)


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


def run_all(home, kill, work_s, workflow, database=None, worker=None):
    effects = Effects(home, kill, work_s)
    runs = RUNS[workflow]
    beats = {"executor_id": worker, "heartbeat_s": 0.1, "dead_after_s": 1.0} if worker else {}
    engine = DbosEngine(
        database or f"sqlite:///{home}/runs.db",
        effects,
        home,
        runs.__getitem__,
        lambda workflow: KillingPlan(plan_workflow(workflow), effects),
        reuse=Kept(effects) if workflow else None,
        **beats,
    )
    engine.launch()
    for run in runs.values():
        engine.start(run)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        states = engine.states(list(runs))
        if len(states) == len(runs) and all(s.status in TERMINAL for s in states.values()):
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
            if order.get("arm"):
                os.environ["VOLANT_CRASH_AT"] = order["arm"]
                os.environ["VOLANT_CRASH_ONCE"] = f"{order['home']}/crashed"
            what = (order["kill"], order.get("work_s", 2 * RECORDED_MS / 1000))
            try:
                code = run_all(
                    Path(order["home"]), *what, order.get("workflow"), *order.get("shared", ())
                )
            finally:
                os._exit(code)
        if order["after_s"] is not None:
            time.sleep(order["after_s"])
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
