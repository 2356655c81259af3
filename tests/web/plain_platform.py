"""A platform of plain objects in memory, for the tests of the API and of its client.

It keeps what it is given, and its runs go one step further each time they are looked at.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace

from plain_registry import PlainRegistry
from plain_runs import NOW, PlainRuns, missing
from plain_serving import PlainBatches, PlainDeployments, PlainMonitoring, PlainPredictions

from volant.access import permissions
from volant.domain.contract import ColumnRule, ColumnType, Contract
from volant.domain.dataset import Dataset, DatasetVersion, Push, PushStatus
from volant.domain.decision import Decision, DecisionKind, Outcome
from volant.domain.event import DATASET_COMMITTED, Event
from volant.domain.loop import DataSpec, Loop, LoopSpec
from volant.domain.model import Field, Lineage, ModelVersion, Signature, Stage
from volant.domain.principal import AuditEntry, Principal, Role, Token
from volant.domain.tracking import TrackedRun, TrackingStatus
from volant.errors import InvalidInput, Unauthenticated
from volant.registry.registration import Registration
from volant.serving.exposition import Exposition, negotiated
from volant.store import Store, sqlite_url
from volant.tracking.desk import TrackingDesk
from volant.tracking.experiments import ExperimentDesk
from volant.tracking.runs import TrackedRunDesk
from volant.tracking.searches import SearchDesk
from volant.tracking.summaries import SummaryDesk

SECRETS = {role.name.lower(): f"vol_{role.name.lower()}" for role in Role}


class PlainData:
    def __init__(self, staging: Path):
        self.staging = staging
        self.uploads = {}
        self.pushed = {}
        self.datasets = {}
        self.verdict = PushStatus.COMMITTED
        self.polls = 0
        self.blocks = []

    def upload(self, dataset, filename, chunks):
        digest = hashlib.sha256()
        size = 0
        upload_id = f"up-{len(self.uploads)}"
        with (self.staging / upload_id).open("wb") as target:
            for chunk in chunks:
                self.blocks.append(len(chunk))
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
        self.uploads[upload_id] = filename
        return {
            "id": upload_id,
            "filename": filename,
            "bytes": size,
            "sha256": digest.hexdigest(),
        }

    def push(self, dataset, upload_ids, options, key=None, source="http"):
        for upload_id in upload_ids:
            if upload_id not in self.uploads:
                raise missing("upload", upload_id)
        self.options = options
        push = Push(
            id=f"push-{len(self.pushed)}",
            dataset=dataset,
            source=source,
            files=tuple(self.uploads[each] for each in upload_ids),
            status=PushStatus.RECEIVED,
            created_at=NOW,
            run_id="run-2",
        )
        self.pushed[push.id] = push
        self.datasets.setdefault(dataset, Dataset(dataset, None, NOW))
        return push

    def get_push(self, push_id):
        try:
            push = self.pushed[push_id]
        except KeyError:
            raise missing("push", push_id) from None
        self.polls += 1
        if self.polls % 2 or push.status is not PushStatus.RECEIVED:
            return push
        rejected = self.verdict is PushStatus.REJECTED
        done = replace(
            push,
            status=self.verdict,
            version=None if rejected else 1,
            rows_added=0 if rejected else 98,
            rows_quarantined=100 if rejected else 2,
            reason="every row broke the contract" if rejected else None,
        )
        self.pushed[push_id] = done
        if not rejected:
            contract = Contract(
                (
                    ColumnRule("x", ColumnType.NUMBER, min=0, max=5),
                    ColumnRule("y", ColumnType.STRING, nullable=False, values=("a", "b")),
                ),
                inferred=True,
            )
            self.datasets[push.dataset] = Dataset(push.dataset, contract, NOW, 1, 98, 2)
        return done

    def pushes(self, dataset, limit, before):
        self.get(dataset)
        return [p for p in self.pushed.values() if p.dataset == dataset][:limit], None

    def list(self):
        return list(self.datasets.values())

    def get(self, name):
        try:
            return self.datasets[name]
        except KeyError:
            raise missing("dataset", name) from None

    def versions(self, name, limit, before):
        self.get(name)
        every = [
            DatasetVersion(name, n, n - 1, 10, 10 * n, 0, f"push-{n}", NOW) for n in (5, 4, 3, 2, 1)
        ]
        start = 0 if before is None else int(before)
        following = start + limit
        return every[start:following], str(following) if following < len(every) else None

    def rows(self, name, version, limit):
        self.get(name)
        rows = [[1.5, "a"], [float("nan"), "b"]]
        return {"columns": ["x", "y"], "rows": rows[:limit], "version": version or 1}

    def quarantine(self, name, push, limit):
        self.get(name)
        return [
            {
                "id": "q-1",
                "push_id": "push-0",
                "row_number": 7,
                "source": "bad.csv",
                "raw": '{"x": "[bold]oops[/bold]", "y": "a"}',
                "reasons": ["x: 'oops' is not a number"],
            }
        ][:limit]

    def release(self, name, push, rows, force):
        self.get(name)
        self.released = (push, rows, force)
        self.uploads.setdefault("release", "quarantine")
        return self.push(name, ["release"], {})


class PlainLoops:
    def __init__(self):
        self.loops = {}
        self.code = None

    def spec(self, source):
        if "nonsense" in source:
            raise InvalidInput(
                "volant.yaml, line 2: unknown key `nonsense`.",
                "Did you mean `name`?",
                details={"line": 2, "key": "nonsense"},
            )
        name = next(
            line.split(":")[1].strip() for line in source.splitlines() if line.startswith("name:")
        )
        return LoopSpec(name=name, data=DataSpec("wine", "y"))

    def plan(self, source, code=None):
        name = self.spec(source).name
        creates = name not in self.loops
        changes = [
            {"path": "train.automl.budget", "before": "30s", "after": "60s"},
            {"path": "gate.champion", "before": None, "after": {"better_by": 0}},
            {"path": "deploy.replicas.max", "before": 4, "after": None},
        ]
        same = not creates and self.loops[name].source == source
        return {
            "loop": name,
            "creates": creates,
            "changes": [] if same else changes,
            "workflow": {"steps": [{"name": "split"}, {"name": "train"}]},
            "warnings": ["The dataset has no rows yet."] if creates else [],
        }

    def apply(self, source, code=None, *, name=None):
        told = self.spec(source).name
        if name not in (None, told):
            raise InvalidInput(f"The file's name is {told!r}.", f"Apply it as {told}.")
        name = told
        self.code = code
        old = self.loops.get(name)
        generation = old.generation + 1 if old else 1
        loop = Loop(name, generation, source, self.spec(source), NOW, NOW)
        self.loops[name] = loop
        return loop

    def get(self, name):
        try:
            return self.loops[name]
        except KeyError:
            raise missing("loop", name) from None

    def list(self):
        return list(self.loops.values())

    def delete(self, name):
        self.get(name)
        del self.loops[name]


class PlainModels:
    def __init__(self):
        self.versions = [self._version(2, Stage.REFUSED), self._version(1, Stage.CHAMPION)]

    @staticmethod
    def _version(number, stage):
        return ModelVersion(
            model="wine-quality",
            version=number,
            stage=stage,
            uri=f"models/wine-quality/{number}",
            files={"model.onnx": "ab" * 32},
            signature=Signature(
                (Field("x", "number", nullable=True), Field("color", "string")),
                (Field("prediction", "string"),),
                "classification",
                ("bad", "good"),
            ),
            metrics={"accuracy": 0.9 + number / 100, "roc_auc": float("nan")},
            lineage=Lineage("run-1", "wine", number, "ff" * 32, "c0de", "e0e0"),
            created_at=NOW,
            aliases=("champion",) if stage is Stage.CHAMPION else (),
        )

    def get(self, name, version):
        for each in self.versions:
            if each.model == name and version in (str(each.version), *each.aliases):
                return each
        raise missing("model version", f"{name} {version}")

    def page(self, limit, before=None, *, name=None):
        return [v for v in self.versions if name in (None, v.model)][:limit], None


class PlainTracking:
    """One run, and those of a real store."""

    def __init__(self, platform):
        self._platform = platform

    def get(self, run_id):
        if run_id != "track-1":
            return TrackingDesk(tracking=self._platform.store.tracking).get(run_id)
        return TrackedRun(run_id, "1", "wine", TrackingStatus.FINISHED, NOW, params={"depth": "3"})

    def history(self, run_id, key):
        return self._platform.store.tracking.history(self.get(run_id).id, key)


class PlainDecisions:
    def __init__(self):
        self.decisions = [
            Decision(
                id="dec-2",
                kind=DecisionKind.GATE,
                subject="model/wine-quality",
                outcome=Outcome.REFUSED,
                reason="The challenger's rmse 0.91 is above 0.75.",
                time=NOW,
                loop="wine-quality",
                run_id="run-1",
                rules=(
                    {
                        "rule": "thresholds",
                        "passed": False,
                        "metric": "rmse",
                        "value": 0.91,
                        "max": 0.75,
                        "reason": "rmse 0.91 is above 0.75",
                    },
                    {
                        "rule": "champion",
                        "passed": True,
                        "gain": 0.0123456,
                        "lower": 0.001,
                        "reason": "better by 0.012 (95% sure of at least 0.001)",
                    },
                ),
            ),
            Decision(
                id="dec-1",
                kind=DecisionKind.TRIGGER,
                subject="loop/wine-quality",
                outcome=Outcome.FIRED,
                reason="Dataset wine has version 1.",
                time=NOW - timedelta(minutes=5),
                loop="wine-quality",
                run_id="run-1",
                event_id="evt-1",
            ),
        ]

    def get(self, decision_id):
        for decision in self.decisions:
            if decision.id == decision_id:
                return decision
        raise missing("decision", decision_id)

    def page(self, limit, before, *, loop):
        return [d for d in self.decisions if loop in (None, d.loop)][:limit], None


class PlainEvents:
    def page(self, limit, before, *, subject):
        event = Event("evt-1", DATASET_COMMITTED, "volant", "dataset/wine", NOW, {"version": 1})
        return [event] if subject in (None, event.subject) else [], None


class PlainAccess:
    def __init__(self):
        self.entries = []
        self.stored = {}
        for name, secret in SECRETS.items():
            self._store(f"tok-{name}", name, Role[name.upper()], secret)

    def _store(self, token_id, principal, role, secret):
        sha256 = hashlib.sha256(secret.encode()).hexdigest()
        token = Token(token_id, principal, role, sha256, NOW)
        self.stored[token_id] = token
        return token

    def authenticate(self, secret):
        sha256 = hashlib.sha256(secret.encode()).hexdigest()
        for token in self.stored.values():
            if token.sha256 == sha256:
                return Principal(token.principal, token.role)
        raise Unauthenticated("This token is not known.", "Make one: volant tokens create")

    def allow(self, principal, permission):
        permissions.allow(principal, permission)

    def note(self, principal, action, subject, outcome, request_id=""):
        self.entries.append(AuditEntry(NOW, principal, action, subject, outcome, request_id))

    def audit_page(self, limit, before):
        return self.entries[:limit], None

    def tokens(self):
        return list(self.stored.values())

    def issue(self, principal, role):
        secret = f"vol_secret_{len(self.stored)}"
        return self._store(f"tok-{len(self.stored)}", principal, role, secret), secret

    def revoke(self, token_id):
        if token_id not in self.stored:
            raise missing("token", token_id)
        return self.stored.pop(token_id)


class PlainRegistrations:
    def upload(self, name, filename, chunks):
        return {"id": "model-1", "filename": filename, "bytes": len(b"".join(chunks)), "sha256": ""}

    def register(self, name, upload, wishes):
        return Registration("registration-1", name, "running", "waiting", NOW)

    def prepare(self, name, version, wishes):
        return Registration("registration-1", name, "running", "waiting", NOW)

    def get(self, name, registration_id):
        if registration_id != "registration-1":
            raise missing("registration", registration_id)
        return Registration(registration_id, name, "done", "done", NOW, version=3)


class PlainWorkbench:
    """Its rooms are given by the tests that need them; any other has no verbs."""

    def __getattr__(self, name):
        if name == "projects":  # nobody has fewer rights in one than elsewhere
            return SimpleNamespace(within=lambda _project, principal: principal)
        return SimpleNamespace()


class PlainPlatform:
    def __init__(self, folder: Path):
        folder.mkdir(exist_ok=True)
        self.home = folder
        self.data = PlainData(folder)
        self.loops = PlainLoops()
        self.runs = PlainRuns()
        self.models = PlainModels()
        self.registrations = PlainRegistrations()
        self.registry = PlainRegistry(self.models)
        self.deployments = PlainDeployments()
        self.monitoring = PlainMonitoring(self.deployments)
        self.predictions = PlainPredictions()
        self.batches = PlainBatches(self.runs)
        self.tracking = PlainTracking(self)
        self.decisions = PlainDecisions()
        self.events = PlainEvents()
        self.access = PlainAccess()
        self.workbench = PlainWorkbench()
        self.broken = None

    @cached_property
    def store(self):
        """A real one, for those tests that need it."""
        store = Store(sqlite_url(self.home / "volant.db"))
        store.migrate()
        return store

    @property
    def experiments(self):
        return ExperimentDesk(self.store.experiments)

    @property
    def summaries(self):
        return SummaryDesk(self.store.experiment_summaries)

    @property
    def searches(self):
        store = self.store
        return SearchDesk(store.tracking, store.tracked_runs, store.run_data)

    @property
    def tracked_runs(self):
        store = self.store
        return TrackedRunDesk(store.tracked_runs, store.run_data, store.experiments)

    def status(self):
        if self.broken:
            raise self.broken
        return {
            "version": "0.1.0",
            "home": "/somewhere",
            "database": "sqlite:///somewhere/volant.db",
            "started_at": NOW.isoformat(),
            "datasets": [{"name": "biopsies", "version": 3, "rows": 568, "quarantined": 4}],
            "deployments": self.deployments.list(),
            "loops": [
                {
                    "name": "tumours",
                    "dataset": "biopsies",
                    "champion": 2,
                    "metrics": {"accuracy": 0.974, "log_loss": 0.081},
                    "deployment": "serving",
                    "url": "http://127.0.0.1:9/v2/models/tumours/infer",
                    "last_run": {"id": "run-0ah4m2k9", "status": "succeeded"},
                    "last_decision": "The challenger is better by 0.012.",
                }
            ],
        }

    def metrics(self, accept):
        into = Exposition(openmetrics=negotiated(accept))
        into.gauge("volant_runs", "Runs.", [({"status": "running"}, 1)])
        return into.body(), into.content_type

    def run_loop(self, name, principal):
        self.loops.get(name)
        return self.runs.add(f"run-{len(self.runs.facts) + 1}", loop=name)
