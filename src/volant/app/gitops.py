"""A push to a codeset: its `volant.yaml` is tested, then applied, then workflows start.

A push whose commit has no `volant.yaml` starts its workflows at once. One that has one
becomes a run of two steps, `tests` and `apply`, which the engine brings to an end whatever
dies; its id follows from the push's event, so that the event may come again. What the run
decides is stored under ids that follow from the event too.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from volant.app.jobs import error_of, job_of
from volant.codesets.desk import CodesetDesk
from volant.codesets.manifest import FILE, tests_of
from volant.domain.decision import Decision, DecisionKind, Outcome
from volant.domain.event import Event
from volant.domain.job import JobStatus
from volant.domain.loop import LoopSpec
from volant.domain.run import Run, StepRequest
from volant.domain.workflow import StepSpec, WorkflowSpec
from volant.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    PermissionDenied,
    VolantError,
)
from volant.faults import crash_point
from volant.loops.desk import LoopDesk
from volant.ports.clock import Clock
from volant.ports.compute import Compute
from volant.ports.records import DecisionRecords, EventRecords

TESTS, APPLY = "codeset_tests", "codeset_apply"
TEST_S = 1800.0
MAX_MANIFEST = 1 << 20
MAX_FILE = 5_000_000  # bytes; anything larger is data, which code doesn't bring along

Outputs = Mapping[str, Any]
Then = Callable[[Event], Any]


class GitOps:
    """What a push does before it starts workflows.

    Args:
        codesets: Where the commits are.
        events: The pushes.
        decisions: Where it is told what became of them.
        clock: For times of runs and decisions.
    """

    def __init__(
        self,
        codesets: CodesetDesk,
        events: EventRecords,
        decisions: DecisionRecords,
        clock: Clock,
    ) -> None:
        self._codesets = codesets
        self._events = events
        self._decisions = decisions
        self._clock = clock
        self._start: Callable[[Run], Any] = _unbound
        self._then: Then = _unbound
        self._loops: LoopDesk | None = None

    def bind(self, start: Callable[[Run], Any], then: Then) -> None:
        """`start` stores and starts a run; `then` starts what is assigned to a codeset."""
        self._start = start
        self._then = then

    def bind_loops(self, loops: LoopDesk) -> None:
        """Where manifests are applied."""
        self._loops = loops

    # the event

    def pushed(self, event: Event) -> None:
        """What a push asks for; again: the same, once."""
        data = event.data
        project, name, commit = data["project"], data["name"], data["after"]
        try:
            found = self._codesets.read(project, name, commit, FILE, MAX_MANIFEST)
        except NotFound:
            return  # the codeset is gone, and all that would be done with it
        except InvalidInput as error:
            self._refuse(event, error)
            return
        if found is None:
            self._then(event)
            return
        try:
            tests, spec = self._read(found)
        except InvalidInput as error:
            self._refuse(event, error)
            return
        self._start(self._run(event, tests, spec))
        crash_point("codeset.begun")

    def _read(self, manifest: bytes) -> tuple[tuple[str, ...], LoopSpec | None]:
        """Its tests, and the loop that it holds, if it is one's."""
        try:
            text = manifest.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(
                f"{FILE} isn't UTF-8 at byte {error.start}.", "Save it as UTF-8."
            ) from None
        tests = tests_of(text)
        if tests is not None:
            return tests, None
        assert self._loops is not None
        spec = self._loops.spec(text)
        return spec.tests, spec

    def _run(self, event: Event, tests: tuple[str, ...], spec: LoopSpec | None) -> Run:
        data = event.data
        place = f"{data['project']}/{data['name']}"
        told = {"event": event.id}
        steps = [
            StepSpec("tests", uses=TESTS, inputs=told, timeout_s=TEST_S),
            StepSpec("apply", uses=APPLY, inputs=told, needs=("tests",) if tests else ()),
        ]
        return Run(
            id=f"run-{_digest(event.id, 'gitops')}",
            workflow=WorkflowSpec(
                name=f"push-{data['name']}",
                steps=tuple(steps if tests else steps[1:]),
                inputs={"commit": data["after"], "loop": spec.name if spec else ""},
                description=f"The push of {str(data['after'])[:12]} to {place}",
            ),
            created_at=self._clock.now(),
            event_id=event.id,
            trigger="push",
            queue_key=f"push/{place}",
            project=data["project"],
            codeset=place,
            started_by=data.get("by"),
        )

    # the steps

    def test(self, request: StepRequest, compute: Compute) -> Outputs:
        """Run the tests on the commit's files. Red ones are decided on here and now: the
        step fails, and what needs it isn't done."""
        event = self._event(request)
        tests, spec = self._read(self._manifest(event))
        code = self._code(request, event)
        result = compute.run(
            job_of(
                request,
                {},
                command="\n".join(["set -e", *tests]),
                env={"VOLANT_COMMIT": str(event.data["after"]), **request.step.env},
                cwd=code,
            )
        )
        if result.status is JobStatus.SUCCEEDED:
            return {"tests": len(tests), "seconds": round(result.wall_s, 3)}
        see = f"See what they printed: volant logs {request.run_id} --step tests"
        error = error_of(result, "They", see)
        if result.status not in (JobStatus.LOST, JobStatus.CANCELLED):
            reason = f"The tests of {_what(event)} failed; nothing was applied. {error}"
            loop = spec.name if spec else None
            run_id = request.run_id
            self._decide(event, Outcome.FAILED, reason, error=error, loop=loop, run_id=run_id)
        raise error

    def apply(self, request: StepRequest, outputs: Outputs) -> Outputs:
        """Apply the commit's manifest, tell of it, start the workflows: each of it once,
        however often this is called."""
        event = self._event(request)
        tests, spec = self._read(self._manifest(event))
        green = f"{len(tests)} {'test' if len(tests) == 1 else 'tests'} passed" if tests else ""
        done: dict[str, Any] = {}
        reason = f"{_what(event)}: {green}."
        if spec is not None:
            try:
                generation = self._applied(request, event, spec)
            except (InvalidInput, Conflict, NotFound, PermissionDenied) as error:
                self._refuse(event, error, loop=spec.name, run_id=request.run_id)
                raise
            done = {"loop": spec.name, "generation": generation}
            told = f"The loop {spec.name} is as {_what(event)} has it (generation {generation})"
            reason = f"{told}; {green}." if green else f"{told}."
        crash_point("codeset.applied")
        loop = spec.name if spec else None
        self._decide(event, Outcome.ACCEPTED, reason, loop=loop, run_id=request.run_id)
        crash_point("codeset.decided")
        self._then(event)
        return done

    def _applied(self, request: StepRequest, event: Event, spec: LoopSpec) -> int:
        assert self._loops is not None
        source = self._manifest(event).decode()
        archive = packed(self._code(request, event)) if spec.train.call else None
        return self._loops.apply(source, archive, name=spec.name).generation

    def _event(self, request: StepRequest) -> Event:
        return self._events.get(str(request.inputs["event"]))

    def _manifest(self, event: Event) -> bytes:
        data = event.data
        place = (data["project"], data["name"], data["after"])
        return self._codesets.read(*place, FILE, MAX_MANIFEST) or b""

    def _code(self, request: StepRequest, event: Event) -> Path:
        data, folder = event.data, request.workdir / "code"
        self._codesets.checkout(data["project"], data["name"], data["after"], folder)
        return folder

    # decisions

    def _refuse(
        self,
        event: Event,
        error: VolantError,
        *,
        loop: str | None = None,
        run_id: str | None = None,
    ) -> None:
        reason = f"{_what(event)} wasn't applied: {error.what} {error.fix}".rstrip()
        self._decide(event, Outcome.REFUSED, reason, error=error, loop=loop, run_id=run_id)

    def _decide(
        self,
        event: Event,
        outcome: Outcome,
        reason: str,
        *,
        error: VolantError | None = None,
        loop: str | None = None,
        run_id: str | None = None,
    ) -> None:
        data = event.data
        self._decisions.record(
            Decision(
                id=f"dec-{_digest(event.id, outcome.value)}",
                kind=DecisionKind.PUSH,
                subject=event.subject,
                outcome=outcome,
                reason=reason,
                time=self._clock.now(),
                loop=loop,
                run_id=run_id,
                event_id=event.id,
                details={
                    "commit": data["after"],
                    "by": data.get("by"),
                    **({"error": error.to_dict()} if error else {}),
                },
            )
        )


def _what(event: Event) -> str:
    data = event.data
    return f"{data['project']}/{data['name']} at {str(data['after'])[:12]}"


def packed(folder: Path) -> bytes:
    """The files that a user's function may need, as a .tar.gz that loops take: the same
    files give the same bytes. Links, and files too large to be code, are left out."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(_files(folder)):
            entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
            content = path.read_bytes()
            entry.size = len(content)
            entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(raw.getvalue(), compresslevel=6, mtime=0)


def _files(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where) / name
            if not path.is_symlink() and path.stat().st_size <= MAX_FILE:
                yield path


def _digest(*parts: str) -> str:
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _unbound(*_given: Any) -> Any:
    raise LookupError("GitOps.bind wasn't called")
