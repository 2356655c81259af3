"""What a deployment's page needs to know of its model, and the way to ask it."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

from volant.domain.codec import to_plain
from volant.domain.model import ModelVersion
from volant.errors import Conflict, NotFound, Unavailable, VolantError
from volant.serving.trial import Control, controls, trained_controls
from volant.web.api.verbs import Platform

OWN_ID = "volant-app"  # the id of the page's own questions, which the log's view leaves out
_SAMPLE = 2000  # rows that ranges are taken from where training recorded none
_LOGGED = 2000
_TIMEOUT_S = 60.0
_FRESH_S = 2.0
_MOST = 100
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it listens, asked on loopback


class AppModels:
    """Descriptions are kept by version: they never change, and reading rows is slow."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._lock = threading.Lock()
        self._described: dict[tuple[str, int], dict[str, Any]] = {}
        self._seen: dict[str, tuple[float, Mapping[str, Any]]] = {}

    def describe(self, name: str) -> dict[str, Any]:
        """deployment, model, version, task, classes, `controls` (see
        `volant.serving.trial`), `tensor` for a model that takes one matrix, dataset.
        Raises `NotFound`, and `Conflict` while nothing is live."""
        deployment = self._deployment(name)
        version = deployment["live_version"]
        if version is None:
            raise Conflict(
                f"The deployment {name} serves no model yet.",
                f"See how far it is: volant deployments show {name}",
                code="nothing_live",
            )
        key = (deployment["model"], version)
        known = self._described.get(key)
        if known is None:
            known = self._made(self._platform.models.get(*key))
            with self._lock:
                while len(self._described) >= _MOST:
                    del self._described[next(iter(self._described))]
                self._described[key] = known
        return {"deployment": name, "infer_url": deployment["infer_url"], **known}

    def infer(self, name: str, body: bytes, secret: str) -> tuple[int, bytes]:
        """The deployment's own answer, status and body."""
        deployment = self._deployment(name)
        host = str(deployment["host"])
        host = _ANYWHERE.get(host, host)
        connection = http.client.HTTPConnection(host, deployment["port"], timeout=_TIMEOUT_S)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {secret}"}
        path = f"/v2/models/{quote(deployment['model'], safe='')}/infer"
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(
                f"The deployment {name} gave no answer: {error or type(error).__name__}.",
                f"See what it does: volant deployments show {name}",
                code="endpoint_unreachable",
            ) from error
        finally:
            connection.close()

    def sent(self, name: str, described: Mapping[str, Any]) -> list[list[Any]]:
        """What clients sent last, by the prediction log, in the order of the model's
        columns and without the page's own questions."""
        found = self._platform.predictions.read(name, _LOGGED, None)
        places = {column: place for place, column in enumerate(found["columns"])}
        own, version = places.get("request_id"), places.get("version")
        wanted = [_place(places, control["name"]) for control in described["controls"]]
        return [
            [None if place is None else row[place] for place in wanted]
            for row in found["rows"]
            if (own is None or row[own] != OWN_ID)
            and (version is None or str(row[version]) == str(described["version"]))
        ]

    def _deployment(self, name: str) -> Mapping[str, Any]:
        """As the desk shows it; a page that is played with asks many times a second."""
        now = time.monotonic()
        seen = self._seen.get(name)
        if seen is None or now - seen[0] > _FRESH_S:
            seen = (now, self._platform.deployments.get(name))
            with self._lock:
                while len(self._seen) >= _MOST:
                    del self._seen[next(iter(self._seen))]
                self._seen[name] = seen
        return seen[1]

    def _made(self, version: ModelVersion) -> dict[str, Any]:
        signature, lineage = version.signature, version.lineage
        made, known = self._controls(version)
        tensors = signature.tensors.inputs if signature.tensors else ()
        return {
            "model": version.model,
            "version": version.version,
            "task": signature.task,
            "classes": list(signature.classes) if signature.classes is not None else None,
            "controls": made,
            "tensor": to_plain(tensors[0]) if tensors and made else None,
            "tensors": to_plain(tensors),
            "id": OWN_ID,
            "dataset": f"{lineage.dataset}, version {lineage.dataset_version}" if known else None,
        }

    def _controls(self, version: ModelVersion) -> tuple[list[Control], bool]:
        """The controls, and whether they show what the model was trained on."""
        with suppress(NotFound, Conflict):
            statistics = self._platform.registry.statistics(version.model, version.version)
            return trained_controls(version.signature, statistics), True
        lineage = version.lineage
        dataset = "" if "imported" in version.runtime else lineage.dataset  # another platform's
        rules, names, rows = self._data(dataset, lineage.dataset_version)
        return controls(version.signature, rules, names, rows), bool(rows)

    def _data(
        self, dataset: str, version: int
    ) -> tuple[Mapping[str, Any], Sequence[str], Sequence[Sequence[Any]]]:
        """The contract's rules by column, and rows of what the model was trained on. A
        dataset that is gone, or can't be read, makes a page without ranges."""
        if not dataset:
            return {}, (), ()
        try:
            contract = self._platform.data.get(dataset).contract
            rules = {rule.name: rule for rule in contract.columns} if contract else {}
        except NotFound:
            return {}, (), ()
        try:
            found = self._platform.data.rows(dataset, version, _SAMPLE)
        except VolantError:
            return rules, (), ()
        return rules, found["columns"], found["rows"]


def _place(places: Mapping[str, int], name: str) -> int | None:
    """A column of the log: one that is named like the log's own facts has a prefix."""
    return places.get(f"input_{name}", places.get(name))
