"""Registered workflows whose steps an outside scheduler starts, one by one.

All steps that are started under one key belong together: the first one fixes the inputs,
the codeset's commit and the services for all, in a file. Each step then is a run of its
own with that step alone, which is given the outputs of the steps before. Its id follows
from workflow, key, step and the number of the try, so that asking again, after a crash of
either side, starts nothing twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from volant.domain.catalog import Wish
from volant.domain.codec import from_plain, to_plain
from volant.domain.manifest import Manifest
from volant.domain.run import TERMINAL, Run, RunStatus, StepState
from volant.domain.workflow import WorkflowSpec
from volant.durable import write_whole
from volant.errors import Conflict, InvalidInput, NotFound
from volant.ports.clock import Clock
from volant.ports.records import RunRecords
from volant.workflows.catalog import WorkflowDesk
from volant.workflows.desk import RunDesk
from volant.workflows.export import TARGETS, export
from volant.workflows.export.outline import outline_of
from volant.workflows.expressions import nearest
from volant.workflows.plan import plan_workflow

_KEPT_S = 90 * 86400.0  # a turn that began this long ago isn't gone on with
_LONGEST_KEY = 300
_DONE = (RunStatus.SUCCEEDED, RunStatus.SKIPPED)


class OutsideDesk:
    """Write a workflow for another scheduler, and do its steps when that asks for them.

    Args:
        folder: A file a turn: what its first step fixed.
        workflows: The registered workflows.
        runs: Starts the steps' runs and knows their states.
        records: The stored facts of runs.
        expand: Turns steps that use runnables into plain ones.
        clock: For the runs' times.
    """

    def __init__(
        self,
        folder: Path,
        workflows: WorkflowDesk,
        runs: RunDesk,
        records: RunRecords,
        *,
        expand: Callable[[Manifest], Manifest],
        clock: Clock,
    ) -> None:
        self._folder = folder
        self._workflows = workflows
        self._runs = runs
        self._records = records
        self._expand = expand
        self._clock = clock

    def export(self, workflow: str, to: str, version: int | None = None) -> dict[str, Any]:
        """A file of the system `to`, which has this server do the workflow's steps.

        Raises `InvalidInput` for an unknown system, `NotFound` for an unknown workflow.
        """
        if to not in TARGETS:
            raise InvalidInput(
                f"Workflows can't be exported to {to[:100]!r}.",
                nearest(to, list(TARGETS)),
                code="export.unknown_target",
                details={"known": list(TARGETS)},
            )
        stored = self._workflows.version(workflow, version)
        manifest = self._expand(self._workflows.manifest(workflow, stored.version))
        text, file = export(outline_of(manifest, stored.version), to)
        return {
            "workflow": workflow,
            "version": stored.version,
            "to": to,
            "file": file,
            "text": text,
            "sha256": stored.sha256,
        }

    def start(self, wish: Wish, step: str, key: str) -> Run:
        """Do a step of the turn `key`. While it runs, or when it has succeeded, that run is
        the answer; a step that failed or was cancelled is done again.

        Raises:
            NotFound: The workflow, its version, the codeset or the step isn't there.
            InvalidInput: The key is none; an input is missing, unknown or of another type.
            Conflict: The turn began with other inputs, or a step before this one hasn't
                succeeded.
        """
        if not key.strip() or len(key) > _LONGEST_KEY:
            raise InvalidInput(
                f"A turn's key has 1 to {_LONGEST_KEY} characters; this one has {len(key)}.",
                "Give what the outside scheduler calls its own run.",
            )
        turn = hashlib.sha256(f"{wish.workflow}\0{key}".encode()).hexdigest()[:20]
        fixed = self._fixed(turn, wish, key) or self._first(wish, key)
        spec = from_plain(WorkflowSpec, fixed["spec"])
        plan = plan_workflow(spec)
        if step not in plan.steps:
            raise NotFound(
                f"Workflow {wish.workflow} has no step {step[:100]!r}.",
                nearest(step, list(plan.order)),
                details={"workflow": wish.workflow, "step": step},
            )
        newest, number = self._newest(turn, step)
        if newest is not None and newest[1] not in (RunStatus.FAILED, RunStatus.CANCELLED):
            return newest[0]
        before = {need: self._ended(turn, need, step, key) for need in sorted(plan.needs[step])}
        # Only now, so that a step which comes too early fixes nothing.
        self._store(self._folder / f"{turn}.json", fixed)
        return self._runs.start(
            Run(
                id=_run_id(turn, step, number + 1),
                workflow=alone(spec, step, before),
                created_at=self._clock.now(),
                trigger=f"outside {key}"[:200],
                project=fixed["project"],
                codeset=fixed["codeset"],
                started_by=wish.by,
            )
        )

    def _first(self, wish: Wish, key: str) -> Mapping[str, Any]:
        """What the first step of a turn fixes for all."""
        spec, ref = self._workflows.compiled(wish)
        return {
            "key": key,
            "asked": _asked(wish),
            "spec": to_plain(spec),
            "project": ref.project if ref else None,
            "codeset": f"{ref.project}/{ref.name}" if ref else None,
        }

    def _fixed(self, turn: str, wish: Wish, key: str) -> Mapping[str, Any] | None:
        """What the turn's first step fixed; None while there was none."""
        try:
            fixed = json.loads((self._folder / f"{turn}.json").read_text())
        except FileNotFoundError:
            return None
        asked = _asked(wish)
        if fixed["asked"] != asked:
            different = sorted(name for name in asked if fixed["asked"][name] != asked[name])
            raise Conflict(
                f"The turn {key} of workflow {wish.workflow} began with other values of"
                f" {', '.join(different)}.",
                "Give all steps of one turn the same, or begin a turn with a key of its own.",
                code="outside.other_inputs",
                details={"different": different},
            )
        return fixed

    def _store(self, path: Path, body: Mapping[str, Any]) -> None:
        """Whole or not at all, and the first of several writers wins."""
        if path.exists():
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        old = time.time() - _KEPT_S
        for each in self._folder.iterdir():
            if each.stat().st_mtime < old:
                each.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):
            write_whole(path, json.dumps(body), over=False)

    def _newest(self, turn: str, step: str) -> tuple[tuple[Run, RunStatus] | None, int]:
        """The step's last run with its status, and how many it had."""
        found: Run | None = None
        number = 0
        while True:
            try:
                found = self._records.get(_run_id(turn, step, number + 1))
            except NotFound:
                break
            number += 1
        if found is None:
            return None, 0
        _, state = self._runs.get(found.id)
        ended = state.status in TERMINAL
        return (found, state.status if ended else RunStatus.RUNNING), number

    def _ended(self, turn: str, need: str, step: str, key: str) -> StepState:
        newest, _ = self._newest(turn, need)
        if newest is not None:
            _, state = self._runs.get(newest[0].id)
            ended = next((each for each in state.steps if each.name == need), None)
            if ended is not None and ended.status in _DONE and state.status in TERMINAL:
                return ended
        raise Conflict(
            f"Step {step} comes after {need}, which hasn't succeeded in the turn {key}.",
            f"Start {need} first, and wait for its end.",
            code="outside.too_early",
            details={"step": step, "needs": need},
        )


def _asked(wish: Wish) -> dict[str, Any]:
    return {
        "version": wish.version,
        "codeset": list(wish.codeset) if wish.codeset else None,
        "commit": wish.commit,
        "inputs": dict(wish.inputs),
    }


def _run_id(turn: str, step: str, number: int) -> str:
    """In the form of every run's id; `number` counts the tries from 1."""
    return f"run-{turn}-{step}-{number}"


def alone(spec: WorkflowSpec, step: str, before: Mapping[str, StepState]) -> WorkflowSpec:
    """The workflow with one step, given what those before it gave. As in a whole run, it is
    skipped if one that it needs was; not if one that it only comes after was."""
    own = next(each for each in spec.steps if each.name == step)
    skipped = {name for name, state in before.items() if state.status is RunStatus.SKIPPED}
    when = "false" if skipped - set(own.after) else own.when
    return replace(
        spec,
        steps=(replace(own, needs=(), after=(), when=when),),
        outputs={},
        given={name: dict(state.outputs) for name, state in before.items()},
    )
