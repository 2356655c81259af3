"""`/metrics` on a deployment's own port: any replica answers for all of them."""

from __future__ import annotations

from volant.serving.counters import Counters
from volant.serving.exposition import Exposition, negotiated
from volant.serving.http import Exchange
from volant.serving.metrics import Counted, tell
from volant.serving.replica_spec import Assignment


class Scrape:
    def __init__(self, assignment: Assignment, counters: Counters) -> None:
        self._assignment = assignment
        self._counters = counters

    def handle(self, exchange: Exchange) -> None:
        """Answer in the format that the request's `Accept` prefers."""
        accept = exchange.headers.get(b"accept", b"").decode("latin-1")
        into = Exposition(openmetrics=negotiated(accept))
        own, revisions = self._counters.snapshots()
        tell(into, [Counted(self._assignment.deployment, self._assignment.model, own, revisions)])
        exchange.content_type = b"content-type: %s\r\n" % into.content_type.encode()
        exchange.answer(200, into.body())
