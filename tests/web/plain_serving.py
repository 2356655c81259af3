"""The plain platform's deployments, and what is seen of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from plain_runs import NOW, missing

from volant.domain.codec import to_plain
from volant.domain.deployment import Revision, RevisionStatus


class PlainDeployments:
    def __init__(self):
        self.url = "http://127.0.0.1:9"
        self.asked = []
        self.course = []
        status = RevisionStatus.PENDING
        self.rows = [Revision("wine-quality", 2, 3, "models/x", "k", status, NOW, asked_by="ann")]

    def list(self):
        return [self.get("wine-quality")]

    def delete(self, name, by=None):
        self.get(name)

    def _asked(self, verb, name, **more):
        self.asked.append((verb, name, more))
        return self.rows[-1]

    def request(self, name, model, version, **more):
        return self._asked("deploy", name, model=model, version=version, **more)

    def promote(self, name, **more):
        self.get(name)
        return self._asked("promote", name, **more)

    def abort(self, name, **more):
        self.get(name)
        return self._asked("abort", name, **more)

    def rollback(self, name, **more):
        self.get(name)
        return self._asked("rollback", name, **more)

    def scale(self, name, changes, by):
        self._asked("scale", name, changes=changes, by=by)
        found = self.get(name)
        return {**found, "limits": {**found["limits"], **changes}}

    def set(self, name, changes, by):
        self._asked("set", name, changes=changes, by=by)
        log = None if changes.get("log") == "off" else {"sample": 0.1, "max_bytes": 10**9}
        settings = {"log": log, "keep": changes.get("keep", 0)}
        return {**self.get(name), "settings": settings}

    def load(self, name, *, loaded, by):
        self._asked("load", name, loaded=loaded, by=by)
        return {**self.get(name), "status": "starting" if loaded else "unloaded"}

    def revision(self, name, number):
        row = next((r for r in self.rows if r.number == number), None)
        if row is None:
            raise missing("revision", number)
        # One that waits goes on a step each time it is looked at.
        if self.course:
            row = self.rows[-1] = replace(row, **self.course.pop(0))
        return {**to_plain(row), "numbers": {"requests": 40, "errors": 2}}

    def revisions(self, name, limit, before=None):
        self.get(name)
        return [self.revision(name, r.number) for r in reversed(self.rows)][:limit], None

    def get(self, name):
        if name != "wine-quality":
            raise missing("deployment", name)
        return {
            "name": name,
            "model": "wine-quality",
            "url": self.url,
            "infer_url": f"{self.url}/v2/models/wine-quality/infer",
            "host": "127.0.0.1",
            "port": 9,
            "status": "serving",
            "reason": None,
            "requests": 12,
            "errors": 1,
            "refused": 3,
            "recent": {
                "seconds": 60.0,
                "requests": 9,
                "rps": 0.15,
                "p50_ms": 0.5,
                "p95_ms": 2.25,
                "p99_ms": 1500.0,
                "errors": 1,
                "refused": 2,
                "in_flight": 1,
                "queue_rows": 4,
            },
            "cold_starts": {"count": 2, "last_ms": 48.2},
            "live_revision": 1,
            "live_version": 1,
            "created_at": NOW.isoformat(),
            "limits": {"min": 0, "max": 2, "idle_s": 60.0, "memory_bytes": None},
            "replicas": [
                {
                    "deployment": name,
                    "revision": 1,
                    "pid": 4242,
                    "state": "ready",
                    "age_s": 75.0,
                    "memory_bytes": 91_000_000,
                    "requests": 12,
                    "in_flight": 0,
                    "errors": 0,
                    "cpu_s": 3.5,
                    "cpu_percent": 12.4,
                }
            ],
            "revisions": [
                {
                    "number": 1,
                    "model_version": 1,
                    "status": "live",
                    "created_at": NOW.isoformat(),
                }
            ],
        }


class PlainMonitoring:
    def __init__(self, deployments):
        self._deployments = deployments
        self.lines = [
            {
                "time": NOW.isoformat(),
                "request_id": "r-1",
                "method": "POST",
                "path": "/v2",
                "status": 400,
            },
            {"text": "printed"},
        ]

    def history(self, name, since, step_s):
        self._deployments.get(name)
        point = {
            "minute": NOW.isoformat(),
            "requests": 120,
            "errors": 1,
            "refused": 2,
            "p50_ms": 0.4,
            "p95_ms": 2.5,
            "p99_ms": 1200.0,
            "rps_peak": 9.0,
            "rps": 2.0,
            "cold_starts": 1,
            "memory_bytes": 40_000_000,
            "cpu_s": 0.5,
            "replicas": 1,
        }
        return {
            "deployment": name,
            "since": (NOW - timedelta(minutes=3)).isoformat(),
            "until": (NOW + timedelta(minutes=2)).isoformat(),
            "step_s": step_s or 60,
            "points": [point],
        }

    def log(self, name, limit, after):
        self._deployments.get(name)
        return {"lines": self.lines[int(after or 0) :][-limit:], "after": str(len(self.lines))}


class PlainPredictions:
    def __init__(self):
        self.asked = []

    def read(self, deployment, limit, since):
        self.asked.append((deployment, limit, since))
        return {"dataset": f"predictions/{deployment}", "columns": ["x"], "rows": [[1.5]]}


class PlainBatches:
    def __init__(self, runs):
        self.runs = runs
        self.asked = []

    def start(self, name, request, by):
        self.asked.append((name, dict(request), by))
        return {"state": "started", "run": self.runs.add("batch-1")}
