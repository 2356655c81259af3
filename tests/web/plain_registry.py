"""The registry's verbs on plain objects: one model, `wine`, with two versions."""

from __future__ import annotations

from dataclasses import replace

from plain_runs import NOW, missing

from volant.domain.model import Stage
from volant.errors import Conflict
from volant.registry.diff import difference
from volant.registry.exporting import Export
from volant.registry.registration import Registration
from volant.registry.retention import Kept


class PlainRegistry:
    def __init__(self, models):
        self.models = models
        self.deleted = []
        self.tags = {}
        self.aliases = {}
        self.recorded = {}  # statistics by version

    def _number(self, name, version):
        return self.models.get(name, version).version

    def delete(self, name, version):
        number = self._number(name, version)
        if number == 1:
            raise Conflict("Version 1 is the champion.", "Retire it.", code="model.in_use")
        self.deleted.append((name, number))

    def retire(self, name, version, by):
        self.retired_by = by
        return replace(self.models.get(name, version), stage=Stage.RETIRED)

    def tag(self, name, version, tags):
        self._number(name, version)
        self.tags |= {key: value for key, value in tags.items() if value is not None}
        return self.tags

    def alias(self, name, alias, version):
        if version is None:
            del self.aliases[alias]
        else:
            self.aliases[alias] = self._number(name, str(version))
        return self.aliases

    def check(self, name, version):
        number = 1 if version is None else self._number(name, version)
        state = "right" if number == 1 else "changed"
        return [{"version": number, "file": "model.onnx", "state": state}]

    def diff(self, a, b):
        return difference(self.models.get(*a), self.models.get(*b), (10, None))

    def statistics(self, name, version):
        number = self._number(name, str(version))
        if number not in self.recorded:
            raise missing("statistics", f"{name} {number}")
        return self.recorded[number]

    def card(self, name, version, form):
        self._number(name, version)
        return "<h1>wine</h1>" if form == "html" else "# wine\n"

    def export(self, name, version, *, without_pickles=False):
        self._number(name, version)
        return Export("wine-1.volant", 6, iter([b"abc", b"def"]))

    def import_file(self, name, upload, trusted_by=None):
        if upload != "model-1":
            raise missing("upload", upload)
        self.trusted_by = trusted_by
        return Registration("registration-1", name, "running", "waiting", NOW)

    def prune(self, keep, name, *, apply):
        return [
            Kept("wine", 2, Stage.CHAMPION, "it has the alias champion"),
            Kept(name or "wine", 1, Stage.REFUSED, None, done=apply),
        ]
