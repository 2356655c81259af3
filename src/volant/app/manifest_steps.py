"""Steps of registered workflows: commands, functions, containers, and what is built in."""

from __future__ import annotations

import json
import re
import shlex
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from volant.access.desk import LENT
from volant.adapters.local import callee
from volant.adapters.local.environments import READY
from volant.app.converter import Converter
from volant.app.jobs import job_of
from volant.app.predictor import Predictor
from volant.app.step_place import (
    OwnAccess,
    Place,
    as_declared,
    asks_for_own,
    collected,
    input_files,
    lay_out,
    with_environment,
)
from volant.app.step_rooms import Outputs, Rooms, outputs_of, run_kept, server_url
from volant.app.trainer import TOKEN as _TOKEN
from volant.app.trainer import Trainer
from volant.domain.job import Job
from volant.domain.masking import maskable
from volant.domain.principal import Role
from volant.domain.run import INPUT_FILES, TERMINAL, Run, RunStatus, StepRequest
from volant.durable import write_whole
from volant.errors import Conflict, InvalidInput, NotFound, StepFailed
from volant.workflows.images import ENVIRONMENT

_REMEMBERED = 256  # runs
_LOOK_S = 0.2
_HASH = re.compile(r"[0-9a-f]{8,64}")
# A module that imports one of these is called in a fork of a process that has them.
_HEAVY = re.compile(rb"^\s*(?:import|from)\s+(?:sklearn|numpy|lightgbm|pyarrow)\b", re.MULTILINE)
# What FuseML's builder takes and nothing here needs, with why.
_NOT_NEEDED = {
    "registry": "no image is pushed",
    "pull_registry": "no image is pulled",
    "repository": "no image is pushed",
    "miniconda_version": "conda isn't used",
    "base_image": "no image is built, what it has is installed where its name tells",
    "compressed_caching": "no image is built",
    "intel_optimized": "the wheels of the package index are taken",
}


class ManifestSteps:
    """`perform` for steps of registered workflows."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._cancelled: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()
        trainer = self._trainer = Trainer(rooms)
        predictor = Predictor(rooms, self._watch)
        self._uses: dict[str, Callable[[StepRequest, Place], Outputs]] = {
            "builder": self._build,
            "trainer": lambda request, place: trainer.train(
                request, place, self._environment(request)
            ),
            "predictor": predictor.predict,
            "converter": Converter(rooms).convert,
            "pass": lambda _request, place: dict(place.inputs),
            "loop": self._loop,
        }

    def takes(self, request: StepRequest) -> bool:
        """Whether the step is done here."""
        uses = request.step.uses
        return (uses is None or uses in self._uses) and request.version > 0

    def perform(self, request: StepRequest) -> Outputs:
        """Do the step's work. Raises what it failed of."""
        if request.step.uses == "pass":
            return self._declared(request, dict(request.inputs))
        with input_files(request), self._lent(request) as own:
            return self._done(request, self._place(request, own))

    def holds(self, request: StepRequest, outputs: Outputs) -> bool:
        """Whether what the step wrote once is still there."""
        if not self.takes(request) or _built_in(request) not in ("trainer", "converter"):
            return True
        return self._trainer.holds(outputs)

    def _place(self, request: StepRequest, own: OwnAccess | None) -> Place:
        workbench = self._rooms.workbench
        revealer = workbench.extensions.revealer(
            {_TOKEN: own.token} if own else None,
            project=request.project,
            user=request.started_by,
        )
        place = lay_out(request, workbench.codesets.checkout, revealer.text, own)
        secrets = maskable([own.token]) if own else ()
        return replace(place, mask=(*revealer.mask, *secrets))

    @contextmanager
    def _lent(self, request: StepRequest) -> Generator[OwnAccess | None]:
        """A token for a step that reaches this server, until it ends."""
        if _built_in(request) != "trainer" and not asks_for_own(request):
            yield None
            return
        access = self._rooms.desks.access
        borrower = f"{LENT}{request.run_id}/{request.step.name}"
        url = server_url(self._rooms.home)
        self._recall_ended()
        secret = access.lend(borrower, Role.DEVELOPER)
        try:
            yield OwnAccess(url, secret)
        finally:
            access.recall(borrower)

    def _recall_ended(self) -> None:
        """What a life that died had lent to runs that have ended meanwhile."""
        desks = self._rooms.desks
        for token in desks.access.tokens():
            if token.principal.startswith(LENT):
                run_id = token.principal.removeprefix(LENT).partition("/")[0]
                with suppress(NotFound):
                    if desks.runs.get(run_id)[1].status in TERMINAL:
                        desks.access.recall(token.principal)

    def _done(self, request: StepRequest, place: Place) -> Outputs:
        uses = _built_in(request)
        if uses is not None:
            return self._declared(request, self._uses[uses](request, place))
        job = self._job(request, place)
        if job.image is not None:  # a container has checkpoints only if its own code asks for them
            told = outputs_of(request, self._rooms.compute.run(job))
        else:
            told = run_kept(self._rooms, request, job)
        return collected(request, place, told)

    def cancel(self, run_id: str) -> None:
        """What waits for something else ends; nothing more of the run begins."""
        with self._lock:
            self._cancelled[run_id] = time.monotonic()
            while len(self._cancelled) > _REMEMBERED:
                self._cancelled.popitem(last=False)

    def _watch(self, run_id: str) -> Callable[[], None]:
        """What raises once the run is cancelled after now; a run may be resumed."""
        since = time.monotonic()

        def check() -> None:
            if self._cancelled.get(run_id, since) > since:
                raise Conflict(f"The run {run_id} was cancelled.", "Resume it.", code="cancelled")

        return check

    def _declared(self, request: StepRequest, outputs: Outputs) -> Outputs:
        missing = [name for name in request.step.outputs if name not in outputs]
        if missing:
            raise StepFailed(
                f"Step {request.step.name} declares the output {missing[0]}, which it doesn't"
                " write.",
                f"It writes: {', '.join(outputs) or 'nothing'}.",
                code="step.no_output",
                details={"missing": missing, "written": sorted(outputs)},
            )
        return outputs

    # commands, functions, containers

    def _job(self, request: StepRequest, place: Place) -> Job:
        step = request.step
        environment = self._environment(request)
        container = step.image if step.image and environment is None else None
        env = with_environment(place.env, environment)
        command, entry, profile = step.run, None, "command"
        inputs: dict[str, Any] = dict(place.inputs)
        if step.call is not None:
            if container is not None:
                raise InvalidInput(
                    f"Step {step.name} has a function to call and the image {container}.",
                    "Call it without an image, or in an environment that a builder made.",
                    code="step.call_in_container",
                )
            command, entry, profile, inputs = self._call(request, place, environment, env)
        return job_of(
            request,
            inputs,
            entry=entry,
            profile=profile,
            command=command,
            env=env,
            memory_bytes=step.memory_bytes,
            cwd=place.cwd,
            image=container,
            cpu=step.cpu,
            mask=place.mask,
            mounts=place.mounts if container is not None else {},
        )

    def _call(
        self, request: StepRequest, place: Place, environment: Path | None, env: dict[str, str]
    ) -> tuple[str | None, str | None, str, dict[str, Any]]:
        """(command, entry, profile, inputs) of a function's call; adds to `env`."""
        function = str(request.step.call)
        told = {
            "inputs": dict(place.inputs),
            "codesets": {each.input: str(each.folder) for each in place.codesets},
        }
        env[callee.FUNCTION] = function
        if environment is None:
            module = place.cwd / (function.partition(":")[0].replace(".", "/") + ".py")
            heavy = module.is_file() and _HEAVY.search(module.read_bytes()[: 1 << 20])
            return None, "volant.actions:call", "train" if heavy else "command", told
        file = request.workdir / INPUT_FILES / "call.json"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.write_text(json.dumps(told))
        env[callee.INPUTS] = str(file)
        python = shlex.quote(str(environment / "bin" / "python"))
        program = shlex.quote(str(Path(callee.__file__)))
        return f"exec {python} {program}", None, "command", dict(place.inputs)

    def _environment(self, request: StepRequest) -> Path | None:
        """The folder of the step's own environment, if it has one."""
        image = request.step.image or ""
        if not image.startswith(ENVIRONMENT):
            return None
        key = image.removeprefix(ENVIRONMENT)
        folder = self._rooms.home.environments / key
        if _HASH.fullmatch(key) is None or not (folder / READY).is_file():
            raise NotFound(
                f"The environment {image[:100]} isn't here.",
                "Run the workflow with --no-cache: its builder makes it again.",
                code="environment.not_found",
            )
        return folder

    # built in

    def _build(self, request: StepRequest, place: Place) -> Outputs:
        notes = [
            f"{name} isn't needed: {why}" for name, why in _NOT_NEEDED.items() if place.text(name)
        ]
        inputs = {
            "folder": str(place.cwd),
            "environments": str(self._rooms.home.environments),
            "strict": place.flag("strict"),
            "fresh": place.flag("fresh"),
            "verbose": place.flag("verbose"),
            "pip_first": bool(place.text("intel_optimized")),
            "base_image": place.text("base_image"),
            "notes": notes,
        }
        job = job_of(
            request,
            inputs,
            entry="volant.actions:prepare_environment",
            profile="command",
            env=place.env,
            memory_bytes=request.step.memory_bytes,
            mask=place.mask,
        )
        told = outputs_of(request, self._rooms.compute.run(job))
        return {
            **as_declared(request, f"{ENVIRONMENT}{told['key']}", "image"),
            "warnings": told["warnings"],
            "packages": told["packages"],
            "cached": told["cached"],
            "python": sys.version.split()[0],
        }

    def _loop(self, request: StepRequest, place: Place) -> Outputs:
        """A turn of a loop on its data's newest version, waited for."""
        name = place.text("name", "loop")
        check = self._watch(request.run_id)
        run_id = self._turn(request, name)
        runs = self._rooms.desks.runs
        while True:
            check()
            _, state = runs.get(run_id)
            if state.status in TERMINAL:
                break
            time.sleep(_LOOK_S)
        told = {step.name: step.outputs for step in state.steps}
        passed = bool(told.get("evaluate", {}).get("passed"))
        if state.status is not RunStatus.SUCCEEDED:
            what = str((state.error or {}).get("what") or f"it ended as {state.status.value}")
            raise StepFailed(
                f"The run {run_id} of the loop {name}: {what}",
                f"See its log: volant logs {run_id}",
                code="step.loop_failed",
                details={"run": run_id},
            )
        version = told.get("register", {}).get("version")
        served = next((d for d in self._rooms.deployments.list() if d["name"] == name), None)
        return {
            "run": run_id,
            "model": name,
            "version": version,
            "passed": passed,
            "url": served["infer_url"] if served else None,
        }

    def _turn(self, request: StepRequest, name: str) -> str:
        """The run's id, noted beside the step: a crash between the two costs one turn."""
        noted = request.workdir / f"loop.{request.attempt}"
        if noted.is_file():
            return noted.read_text()
        run: Run = self._rooms.desks.run_loop(name, f"run {request.run_id}")
        write_whole(noted, run.id)
        return run.id


def _built_in(request: StepRequest) -> str | None:
    """The built-in step that it is, if one: an environment alone is the trainer's."""
    step = request.step
    if step.uses is not None:
        return step.uses
    alone = step.call is None and step.run is None
    return "trainer" if alone and str(step.image).startswith(ENVIRONMENT) else None
