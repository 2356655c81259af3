"""Named crash points: where a process may die, and a switch that makes it die there.

`crash_point("data.appended")` costs one dictionary look-up. A test arms one by
setting `VOLANT_CRASH_AT=data.appended` and, so that the restarted process gets
past it, `VOLANT_CRASH_ONCE=<file>`: the process creates the file and then kills
itself with SIGKILL; with the file present nothing happens.
"""

from __future__ import annotations

import os
import signal

# name → what has and hasn't happened when the process dies there
CRASH_POINTS: dict[str, str] = {
    "push.staged": "the files lie in staging; no push row yet",
    "push.recorded": "the push row exists; its ingest run isn't started yet",
    "ingest.quarantined": "broken rows are in quarantine; good rows aren't in the table yet",
    "ingest.appended": "the table has its new version; nobody was told",
    "ingest.committed": "version row and event are stored; the event isn't dispatched yet",
    "events.fired": "the firing is recorded; its run isn't started yet",
    "events.started": "the run is started; the event isn't marked dispatched yet",
    "split.frozen": "the holdout file exists; the step hasn't answered yet",
    "predictions.begun": "a compaction noted its segments; nothing is in the table yet",
    "predictions.appended": "the logged rows are in the table; nobody was told",
    "predictions.recorded": "the dataset's version is stored; the segments are still there",
    "batch.chunk": "a chunk's predictions are on the disk; the state doesn't count it yet",
    "batch.predicted": "every chunk is predicted; the output isn't there",
    "batch.joined": "the output is there; the state doesn't say so",
    "checkpoint.stored": "a checkpoint's files are stored; the step's ledger doesn't name them",
    "checkpoint.recorded": "the ledger names a new checkpoint; the oldest is still there",
    "checkpoint.restored": "a checkpoint is laid out; the attempt hasn't begun",
    "checkpoint.cleared": "a run ended well and its ledgers are empty; checkpoints are there",
    "foreach.begun": "how many elements a step has is recorded; none of them is started yet",
    "foreach.ended": "every element of a step has ended; the step hasn't",
    "cache.committed": "a step's effects are stored; its outputs can't be taken over yet",
    "cache.stored": "a step's outputs can be taken over; the step isn't recorded as done",
    "step.checked_out": "a step's codesets are laid out; it hasn't begun",
    "environment.locked": "an environment's packages are chosen; nothing is installed",
    "environment.built": "an environment is installed; the step hasn't answered yet",
    "trainer.tracked": "a trainer's tracked run is there; its command hasn't begun",
    "trainer.ended": "a trainer's command has ended; its tracked run doesn't say so",
    "predictor.registered": "a predictor's version is stored; nothing is deployed",
    "predictor.deployed": "a predictor serves; its application isn't recorded",
    "train.fitted": "the model is fitted; its files aren't complete yet",
    "train.saved": "the model's files are complete; the step hasn't answered yet",
    "tune.asked": "a trial's parameters are recorded; its function hasn't begun",
    "tune.measured": "a trial is measured; its record doesn't say so yet",
    "tune.searched": "every trial has ended; the search hasn't answered yet",
    "tune.stored": "the search's decision is stored; the step isn't recorded as done",
    "evaluate.decided": "the decision is computed; it isn't stored yet",
    "evaluate.stored": "the decision is stored; the step isn't recorded as done",
    "workflow.assigned": "a workflow is assigned to a codeset; its first run isn't stored yet",
    "workflow.started": "an event's run is started; older ones that wait aren't cancelled yet",
    "workflow.superseded": "why a waiting run gives way is stored; it isn't cancelled yet",
    "runs.deleted": "old runs' rows are gone; their folders and states are still there",
    "runs.emptied": "old runs' folders are gone; the engine still knows them",
    "artifact.written": "an uploaded artifact is on the disk, not yet under its name",
    "register.copied": "the model's files are in the artifact store; no version row yet",
    "register.stored": "the version row exists; the step isn't recorded as done",
    "prepare.copied": "a prepared version's files are stored; it is still only registered",
    "prepare.stored": "a registered version is a candidate; nobody was told",
    "delete.recorded": "a version's row is deleted; its files are still there",
    "import.verified": "an imported file is verified and unpacked in staging; nothing is stored",
    "export.written": "an exported file is whole, not yet under its name",
    "deploy.requested": "the revision row exists; no replica yet",
    "deploy.ready": "a replica of the new revision is ready; it isn't live yet",
    "deploy.activated": "the revision is live in the database; old replicas still run",
    "application.undeployed": "an application's deployment is gone; its record is still there",
    "rollout.advanced": "a rollout's next step is stored; the replicas don't know it yet",
    "rollout.judged": "a revision's numbers are found bad; nothing is stored yet",
    "rollout.aborted": "a revision's end is stored; its replicas still run",
    "rollout.reverted": "going back is stored; the earlier version isn't started yet",
    "extensions.next_key": "a new key is on the disk; secrets are sealed with the old one",
    "extensions.resealed": "secrets are sealed with a new key that isn't under its name yet",
    "codeset.made": "a codeset's repository is there; it isn't stored yet",
    "codeset.received": "a push moved the branch; head and event aren't stored yet",
    "codeset.stored": "head and event of a push are stored; nothing was started yet",
    "codeset.begun": "the run that tests and applies a push is stored; the event isn't dispatched",
    "codeset.applied": "a push's manifest is applied; the decision isn't stored yet",
    "codeset.decided": "the decision on a push is stored; its workflows aren't started yet",
    "codeset.deleted": "a codeset is deleted; its repository is still there",
}


def crash_point(name: str) -> None:
    """Die here with SIGKILL if this point is armed, among others or alone; else do nothing."""
    armed = os.environ.get("VOLANT_CRASH_AT", "")
    if name not in armed.split(","):
        return
    if name not in CRASH_POINTS:
        raise LookupError(f"unknown crash point {name!r}")
    once = os.environ.get("VOLANT_CRASH_ONCE")
    if once:
        mark = f"{once}.{name}" if "," in armed else once  # each of several dies once
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
