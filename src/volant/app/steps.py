"""Step names bound to rooms: for each, its work (`perform`) and its effects (`commit`).

Work that needs numbers runs in a step process through compute; effects are stored
here, in the control plane, by guarded writes. Both halves are idempotent by run and
step, so the engine may repeat either after a crash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from volant.adapters.local.environments import python_of
from volant.app.batch_files import with_whole_paths
from volant.app.batches import CHUNK_ROWS, as_typed, check_paths, version_of, with_table_version
from volant.app.deliveries import Deliveries
from volant.app.gitops import APPLY, TESTS
from volant.app.jobs import job_of
from volant.app.manifest_steps import ManifestSteps
from volant.app.step_rooms import Outputs, Rooms, outputs_of, run_kept, step_log
from volant.app.survival import SURVIVED, resumed_decision
from volant.app.tuning import Searches, tune_decision
from volant.data.commit import commit_push, verdict_of
from volant.domain.codec import from_plain, to_plain
from volant.domain.decision import Decision, DecisionKind, Outcome
from volant.domain.deployment import Settings
from volant.domain.event import GATE_DECIDED, Event
from volant.domain.job import Job
from volant.domain.loop import ReplicaSpec
from volant.domain.model import Lineage, Signature
from volant.domain.run import StepRequest
from volant.durable import write_whole
from volant.errors import InvalidInput, VolantError
from volant.faults import crash_point
from volant.ports.compute import Compute
from volant.serving.told import going
from volant.tracking.desk import TrainingFacts, tracking_id
from volant.tracking.searches import SearchDesk

Perform = Callable[[StepRequest], Outputs]
Commit = Callable[[StepRequest, Outputs], Outputs]

# Splitting needs no learner, so it runs while the `train` zygote still imports them.
DATA_ACTIONS = frozenset({"ingest", "release", "read_rows", "read_quarantine", "split"})


class Executor:
    """`StepExecutor` over the rooms: looks a step's name up and calls its halves."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        store = rooms.store
        desk = SearchDesk(store.tracking, store.tracked_runs, store.run_data)
        self._searches = Searches(rooms.compute, desk)
        steps = Steps(rooms, self._searches)
        self._manifests = ManifestSteps(rooms)
        self._perform: dict[str, Perform] = {
            "ingest": steps.ingest,
            "release": steps.release,
            "split": steps.split,
            "tune": steps.tune,
            "train": steps.train,
            "evaluate": steps.evaluate,
            "register": lambda _request: {},
            "deploy": steps.deploy,
            "batch": steps.batch,
            TESTS: lambda request: rooms.workbench.gitops.test(request, rooms.compute),
            APPLY: lambda _request: {},
        }
        self._commit: dict[str, Commit] = {
            "ingest": steps.commit_push,
            "release": steps.commit_push,
            "tune": steps.choose,
            "train": steps.track,
            "evaluate": steps.decide,
            "register": steps.register,
            "batch": Deliveries(rooms).deliver,
            APPLY: rooms.workbench.gitops.apply,
        }

    def perform(self, request: StepRequest) -> Outputs:
        """Do the step's work."""
        uses = request.step.uses
        if self._manifests.takes(request):
            return self._manifests.perform(request)
        if uses is None:
            return run_kept(self._rooms, request, _job(request, request.inputs))
        return self._perform[uses](request)

    def cancel(self, run_id: str) -> None:
        """End what this run has on compute, and begin nothing more of it."""
        self._searches.cancel(run_id)
        self._manifests.cancel(run_id)
        self._rooms.compute.cancel(run_id)

    def holds(self, request: StepRequest, outputs: Outputs) -> bool:
        """Whether what the step wrote once may be taken over."""
        return self._manifests.holds(request, outputs)

    def commit(self, request: StepRequest, outputs: Outputs) -> Outputs:
        """Store the step's effects."""
        if self._manifests.takes(request):
            return outputs
        commit = self._commit.get(request.step.uses or "")
        final = outputs if commit is None else commit(request, outputs)
        if request.loop and outputs.get(SURVIVED):
            decision = resumed_decision(request, outputs[SURVIVED], self._rooms.clock.now())
            self._rooms.store.decisions.record(decision)
        return final


def run_job(compute: Compute, request: StepRequest, inputs: Mapping[str, Any]) -> Outputs:
    """Run a step on compute; its failure becomes the error that the step raised."""
    return outputs_of(request, compute.run(_job(request, inputs)))


def _job(request: StepRequest, inputs: Mapping[str, Any]) -> Job:
    step = request.step
    return job_of(
        request,
        inputs,
        entry=f"volant.actions:{step.uses}" if step.uses else step.call,
        profile=_profile(step.uses),
        command=step.run,
        env=step.env,
        memory_bytes=step.memory_bytes,
    )


def _profile(uses: str | None) -> str:
    if uses in DATA_ACTIONS:
        return "data"
    return "batch" if uses == "batch" else "train"


class Steps:
    """The built-in steps, one method a half."""

    def __init__(self, rooms: Rooms, searches: Searches) -> None:
        self._rooms = rooms
        self._searches = searches

    def _job(self, request: StepRequest, **paths: Any) -> Outputs:
        return run_job(self._rooms.compute, request, self._inputs(request, **paths))

    def _inputs(self, request: StepRequest, **paths: Any) -> dict[str, Any]:
        return {
            **request.inputs,
            "tables": self._rooms.tables,
            "tables_root": str(self._rooms.home.tables),
            **paths,
        }

    # data

    def ingest(self, request: StepRequest) -> Outputs:
        """Check and append a push's staged files; training will follow, so warm it."""
        self._rooms.compute.warm("train")
        push = self._rooms.store.pushes.get(request.inputs["push_id"])
        if (verdict := verdict_of(push)) is not None:
            return verdict
        dataset = self._rooms.store.datasets.get(push.dataset)
        files = [{"path": path, "name": Path(path).name} for path in push.files]
        return self._job(
            request, dataset=dataset.name, files=files, contract=to_plain(dataset.contract)
        )

    def release(self, request: StepRequest) -> Outputs:
        """Check quarantined rows against the contract as it is now."""
        push = self._rooms.store.pushes.get(request.inputs["push_id"])
        if (verdict := verdict_of(push)) is not None:
            return verdict
        dataset = self._rooms.store.datasets.get(push.dataset)
        return self._job(request, dataset=dataset.name, contract=to_plain(dataset.contract))

    def commit_push(self, request: StepRequest, outputs: Outputs) -> Outputs:
        """The push's verdict, the version and the event, in one transaction."""
        rooms = self._rooms
        push_id = request.inputs["push_id"]
        return commit_push(push_id, outputs, rooms.store.pushes, rooms.clock)

    # training

    def split(self, request: StepRequest) -> Outputs:
        """Training rows and the loop's frozen holdout."""
        return self._job(request, holdout_dir=str(self._rooms.home.holdouts / str(request.loop)))

    def tune(self, request: StepRequest) -> Outputs:
        """The best parameters of a search."""
        self._revive(request)
        inputs = self._rooms.store.runs.get(request.run_id).workflow.inputs
        tags = {
            "volant.loop": str(request.loop),
            "volant.dataset": str(inputs["dataset"]),
            "volant.data_version": str(inputs["dataset_version"]),
        }
        return self._searches.perform(request, tags)

    def choose(self, request: StepRequest, outputs: Outputs) -> Outputs:
        """The search's end, and its line in `why`."""
        self._searches.commit(request)
        self._rooms.store.decisions.record(tune_decision(request, outputs, self._rooms.clock.now()))
        crash_point("tune.stored")
        return outputs

    def train(self, request: StepRequest) -> Outputs:
        """Fit; its model will be served soon, so wake that side meanwhile."""
        self._rooms.launcher.warm("serve")
        return run_kept(self._rooms, request, _job(request, self._inputs(request)))

    def track(self, request: StepRequest, outputs: Outputs) -> Outputs:
        """The training run in the tracking tables."""
        run = self._rooms.store.runs.get(request.run_id)
        facts = TrainingFacts(
            run_id=request.run_id,
            loop=str(request.loop),
            dataset=run.workflow.inputs["dataset"],
            dataset_version=run.workflow.inputs["dataset_version"],
            code_hash=outputs["code_hash"],
            environment_hash=outputs["environment_hash"],
            call=request.inputs.get("call"),
        )
        search = request.inputs.get("search")
        self._revive(request)
        ended = self._rooms.clock.now()
        tracked = self._rooms.tracking.record(
            facts,
            params=outputs["params"],
            metrics=outputs["metrics"],
            history=outputs["history"],
            artifact_uri=f"artifacts:/models/{request.loop}/{request.run_id}",
            tags={"volant.search_run": search["run"]} if search else {},
            started_at=ended - timedelta(seconds=outputs["fit_s"]),
            ended_at=ended,
        )
        return {**outputs, "tracking_run": tracked.id}

    def _revive(self, request: StepRequest) -> None:
        """What a run records is found again, whatever an MLflow client deleted meanwhile."""
        told = self._rooms.tracking.revive(str(request.loop))
        if told is not None:
            with step_log(self._rooms, request) as note:
                note(told)

    # the gate

    def evaluate(self, request: StepRequest) -> Outputs:
        """Challenger against thresholds and champion, on the same rows."""
        champion = self._rooms.models.champion(str(request.loop))
        if champion is None:
            return self._job(request, champion_dir=None, champion_version=None)
        try:
            self._rooms.artifacts.verify(champion.uri, champion.files)
        except VolantError as error:
            if not request.inputs["gate"].get("champion"):
                return self._job(request, champion_dir=None, champion_version=None)
            error.fix = (
                "Restore it from a backup; or, to judge the next model without this champion,"
                " set gate.champion to false for one run."
            )
            raise
        if "format" in champion.runtime:
            # Registered from files: it has no pipeline that the holdout's rows go through.
            if not request.inputs["gate"].get("champion"):
                return self._job(request, champion_dir=None, champion_version=None)
            raise InvalidInput(
                f"The champion of {request.loop}, version {champion.version}, was registered from"
                " files; the gate can't measure it on the holdout.",
                "Set gate.champion to false for one run: the next model is then judged alone.",
                code="gate.champion_foreign",
            )
        folder = self._rooms.artifacts.local_path(champion.uri)
        outputs = self._job(request, champion_dir=str(folder), champion_version=champion.version)
        return {**outputs, "champion_version": champion.version}

    def decide(self, request: StepRequest, outputs: Outputs) -> Outputs:
        """The gate's immutable record."""
        now = self._rooms.clock.now()
        outcome = Outcome.ACCEPTED if outputs["passed"] else Outcome.REFUSED
        decision = Decision(
            id=f"gate-{request.run_id}",
            kind=DecisionKind.GATE,
            subject=f"loop/{request.loop}",
            outcome=outcome,
            reason=outputs["reason"],
            time=now,
            loop=request.loop,
            run_id=request.run_id,
            rules=tuple(outputs["rules"]),
            details={
                "metrics": outputs["metrics"],
                "champion_metrics": outputs["champion_metrics"],
                "champion_version": outputs.get("champion_version"),
                "slices": outputs.get("slices") or {},
            },
        )
        event = Event(
            id=f"evt-gate-{request.run_id}",
            type=GATE_DECIDED,
            source="volant/evaluation",
            subject=f"loop/{request.loop}",
            time=now,
            data={"run": request.run_id, "outcome": outcome.value, "reason": outputs["reason"]},
        )
        stored = self._rooms.store.decisions.record(decision, event)
        crash_point("evaluate.stored")
        return {**outputs, "decision": stored.id}

    # registry and serving

    def register(self, request: StepRequest, outputs: Outputs) -> Outputs:
        """The model version, with its files, signature, metrics and lineage."""
        given = request.inputs
        champion = self._rooms.models.champion(str(request.loop))
        version = self._rooms.models.register(
            Path(given["model_dir"]),
            str(request.loop),
            passed=bool(given["passed"]),
            signature=from_plain(Signature, given["signature"]),
            metrics=given["metrics"],
            params=given["params"],
            runtime=given["runtime"],
            lineage=Lineage(
                run_id=request.run_id,
                dataset=given["dataset"],
                dataset_version=given["dataset_version"],
                holdout_sha256=given["holdout_sha256"],
                code_hash=given["code_hash"],
                environment_hash=given["environment_hash"],
                tracking_run=tracking_id(request.run_id),
                parent_version=champion.version if champion else None,
            ),
            decision_id=f"gate-{request.run_id}",
        )
        return {"model": version.model, "version": version.version, "stage": version.stage.value}

    def deploy(self, request: StepRequest) -> Outputs:
        """A new revision that has traffic when this returns: live, or the first step of
        its rollout, which goes on without the run."""
        given = request.inputs
        name = str(request.loop)
        deployments = self._rooms.deployments
        deployments.ensure(
            name,
            name,
            from_plain(ReplicaSpec, given["replicas"]),
            from_plain(Settings, given.get("settings", {})),
        )
        key = f"{request.run_id}:{request.step.name}"
        revision = deployments.deploy(name, name, given["version"], key=key)
        outputs = {"revision": revision.number, "status": revision.status.value}
        if revision.percent is None:
            return outputs
        reason = f"Its rollout has begun: revision {revision.number} serves {going(revision)}."
        return {**outputs, "percent": revision.percent, "reason": reason}

    # whole files

    def batch(self, request: StepRequest) -> Outputs:
        """Predictions for a file or dataset, with the version that the first attempt found:
        an alias may move while it works."""
        rooms, given = self._rooms, as_typed(request.inputs)
        pinned = request.workdir / "version.json"
        try:
            told = json.loads(pinned.read_text())
        except FileNotFoundError:
            given = with_whole_paths(request, given, rooms.workbench.codesets.checkout)
            given.setdefault("chunk_rows", CHUNK_ROWS)
            model = version_of(rooms.store, rooms.models, given["name"], given.get("version"))
            told = with_table_version(rooms.store, given)
            told |= {"model": model.model, "version": model.version}
            check_paths(told)
            request.workdir.mkdir(parents=True, exist_ok=True)
            write_whole(pinned, json.dumps(told))
        model = rooms.models.get(told["model"], told["version"])
        folder = rooms.artifacts.local_path(model.uri)
        request = replace(request, inputs=told)
        own = model.runtime.get("environment") or {}
        python = None
        if own.get("kind") == "own":
            python = str(python_of(rooms.home.environments, str(own["key"])))
        return self._job(request, model_dir=str(folder), files=dict(model.files), python=python)
