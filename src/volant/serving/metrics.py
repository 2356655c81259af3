"""What deployments counted, under the names that monitoring knows.

Ours are `volant_…`, one series a revision. Beside them stand the two that dashboards for
other servers ask for: KServe's `request_predict_seconds`, and MLServer's
`model_infer_request_success` and `…_failure`, one series a model version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from volant.serving.exposition import Exposition, Labels
from volant.serving.snapshot import Snapshot, added

# Revisions shown beside those that run. What is retired doesn't change any more, and a
# deployment that learns every day would otherwise grow by sixty series a day.
_NEWEST = 4


@dataclass(frozen=True, slots=True)
class Counted:
    """One deployment's numbers: as `Board.read` tells them."""

    deployment: str
    model: str
    own: Mapping[str, int]
    revisions: Sequence[Snapshot]


@dataclass(frozen=True, slots=True)
class _Series:
    labels: Labels
    counts: Snapshot


_COUNTERS: tuple[tuple[str, str, Callable[[Snapshot], float]], ...] = (
    ("volant_predicted_rows", "Rows predicted.", lambda s: s.rows),
    ("volant_predicted_batches", "Calls of the model.", lambda s: s.batches),
    ("volant_received_bytes", "Bytes of request bodies.", lambda s: s.bytes_in),
    ("volant_sent_bytes", "Bytes of answer bodies.", lambda s: s.bytes_out),
    (
        "volant_replica_cpu_seconds",
        "Processor time of the replicas, to the last second of each.",
        lambda s: s.cpu_us / 1e6,
    ),
    (
        "volant_forwarded_requests",
        "Requests that the live revision handed to this one.",
        lambda s: s.forwarded,
    ),
    (
        "volant_unreached_requests",
        "Requests meant for this revision that could not reach it; the live one answered.",
        lambda s: s.unreached,
    ),
    (
        "volant_shadow_compared",
        "Shadow answers compared with the live one's.",
        lambda s: s.shadowed,
    ),
    ("volant_shadow_differing", "Shadow answers that were another.", lambda s: s.differed),
    (
        "volant_shadow_dropped",
        "Copies not sent, because the shadow was too slow.",
        lambda s: s.dropped,
    ),
)

_GAUGES: tuple[tuple[str, str, Callable[[Snapshot], float]], ...] = (
    ("volant_replicas", "Replicas that run.", lambda s: s.replicas),
    ("volant_requests_in_flight", "Requests that wait for their answer.", lambda s: s.in_flight),
    ("volant_queue_rows", "Rows that wait for the model.", lambda s: s.queue_rows),
    (
        "volant_replica_memory_bytes",
        "Memory of the replicas, pages shared with others counted in part (PSS).",
        lambda s: s.memory_bytes,
    ),
)


def tell(into: Exposition, counted: Sequence[Counted]) -> None:
    """Add the families of these deployments."""
    series = [_of(one, each) for one in counted for each in _shown(one.revisions)]
    into.counter("volant_requests", "Requests answered, by status class.", _by_class(series))
    into.histogram(
        "volant_request_duration_seconds",
        "From the arrival of a whole request to its answer; refused ones (4xx) are left out.",
        [(s.labels, s.counts.latency, s.counts.latency_us) for s in series],
    )
    for name, help, value in _COUNTERS:
        into.counter(name, help, [(s.labels, value(s.counts)) for s in series])
    for name, help, value in _GAUGES:
        into.gauge(name, help, [(s.labels, value(s.counts)) for s in series])
    _of_deployments(into, counted)
    _of_others(into, counted)


def _shown(revisions: Sequence[Snapshot]) -> list[Snapshot]:
    newest = {each.revision for each in revisions[-_NEWEST:]}
    return [each for each in revisions if each.replicas or each.revision in newest]


def _of(one: Counted, counts: Snapshot) -> _Series:
    labels = {
        "deployment": one.deployment,
        "model": one.model,
        "version": str(counts.version),
        "revision": str(counts.revision),
    }
    return _Series(labels, counts)


def _by_class(series: Sequence[_Series]) -> list[tuple[Labels, float]]:
    return [
        ({**each.labels, "code": code}, value)
        for each in series
        for code, value in (
            ("2xx", each.counts.answered - each.counts.failed),
            ("4xx", each.counts.refused),
            ("5xx", each.counts.failed + each.counts.lost),
        )
    ]


def _of_deployments(into: Exposition, counted: Sequence[Counted]) -> None:
    def each(value: str, scale: float = 1.0) -> list[tuple[Labels, float]]:
        return [({"deployment": c.deployment}, c.own[value] / scale) for c in counted if c.own]

    into.counter(
        "volant_cold_starts", "Connections that found no replica and waited.", each("cold_starts")
    )
    into.counter(
        "volant_cold_start_seconds",
        "Time from such a connection to a ready replica, added up.",
        each("cold_us", 1e6),
    )
    into.counter("volant_replica_starts", "Replicas started.", each("starts"))
    into.counter(
        "volant_replica_losses", "Replicas that ended without being asked to.", each("losses")
    )


def _of_others(into: Exposition, counted: Sequence[Counted]) -> None:
    """One series a model version: several revisions may serve the same one."""
    versions = [
        (one.model, version, added(s for s in shown if s.version == version))
        for one in counted
        for shown in [_shown(one.revisions)]
        for version in sorted({s.version for s in shown})
    ]
    into.histogram(
        "request_predict_seconds",
        "Time that a request's prediction took in the model, as KServe names it.",
        [
            ({"model_name": model, "model_version": str(version)}, s.predict, s.predict_us)
            for model, version, s in versions
        ],
    )
    for word, value in (("success", _succeeded), ("failure", _failed)):
        into.counter(
            f"model_infer_request_{word}",
            f"Requests that ended as a {word}, as MLServer names it.",
            [({"model": m, "version": str(v)}, value(s)) for m, v, s in versions],
        )


def _succeeded(counts: Snapshot) -> float:
    return counts.answered - counts.failed


def _failed(counts: Snapshot) -> float:
    return counts.failed + counts.lost + counts.refused
