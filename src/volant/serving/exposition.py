"""The text that Prometheus and OpenMetrics scrapers read.

Both formats from one description: the classic text format (0.0.4) and OpenMetrics 1.0,
https://prometheus.io/docs/specs/om/open_metrics_spec/. They differ in where a counter's
`_total` stands, in `# UNIT`, and in the last line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from volant.serving.latency import BOUNDS_US, PER_OCTAVE

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# One bucket an octave: the factor of two is what a dashboard needs, and a scrape stays small.
_SHOWN = range(PER_OCTAVE, len(BOUNDS_US), PER_OCTAVE)

Labels = Mapping[str, str]


def negotiated(accept: str) -> bool:
    """Whether OpenMetrics is what the `Accept` header prefers."""
    best, chosen = 0.0, False
    for each in accept.lower().split(","):
        kind, _, parameters = each.strip().partition(";")
        weight = _weight(parameters)
        openmetrics = kind.strip() == "application/openmetrics-text"
        # On equal terms OpenMetrics wins: who names it at all can read it.
        if weight > best or (weight == best and weight > 0 and openmetrics):
            best, chosen = weight, openmetrics
    return chosen


def _weight(parameters: str) -> float:
    for each in parameters.split(";"):
        name, _, value = each.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


class Exposition:
    """Families in the order of their adding. `name` is without `_total` and with its
    unit: `volant_received_bytes`. A family without samples isn't written."""

    def __init__(self, *, openmetrics: bool) -> None:
        self._openmetrics = openmetrics
        self._lines: list[str] = []

    @property
    def content_type(self) -> str:
        return OPENMETRICS if self._openmetrics else TEXT

    def counter(self, name: str, help: str, samples: Sequence[tuple[Labels, float]]) -> None:
        """What only grows. Samples are `name_total`."""
        if samples:
            self._head(name if self._openmetrics else f"{name}_total", "counter", help)
            for labels, value in samples:
                self._sample(f"{name}_total", labels, value)

    def gauge(self, name: str, help: str, samples: Sequence[tuple[Labels, float]]) -> None:
        """What goes up and down."""
        if samples:
            self._head(name, "gauge", help)
            for labels, value in samples:
                self._sample(name, labels, value)

    def info(self, name: str, help: str, labels: Labels) -> None:
        """Facts as labels; the sample is `name_info`, and always 1."""
        if self._openmetrics:
            self._head(name, "info", help)
        else:
            self._head(f"{name}_info", "gauge", help)
        self._sample(f"{name}_info", labels, 1)

    def histogram(
        self, name: str, help: str, samples: Sequence[tuple[Labels, Sequence[int], int]]
    ) -> None:
        """Latencies in seconds: labels, counts in the buckets of `latency.py`, and the
        sum in microseconds."""
        if not samples:
            return
        self._head(name, "histogram", help)
        for labels, counts, sum_us in samples:
            total = seen = 0
            for place in _SHOWN:
                total += sum(counts[seen : place + 1])
                seen = place + 1
                bound = {**labels, "le": repr(BOUNDS_US[place] / 1e6)}
                self._sample(f"{name}_bucket", bound, total)
            total += sum(counts[seen:])
            self._sample(f"{name}_bucket", {**labels, "le": "+Inf"}, total)
            self._sample(f"{name}_sum", labels, sum_us / 1e6)
            self._sample(f"{name}_count", labels, total)

    def body(self) -> bytes:
        """The whole text."""
        end = ["# EOF"] if self._openmetrics else []
        return "\n".join([*self._lines, *end, ""]).encode()

    def _head(self, name: str, kind: str, help: str) -> None:
        self._lines.append(f"# HELP {name} {_escaped(help, quotes=False)}")
        self._lines.append(f"# TYPE {name} {kind}")
        if self._openmetrics:
            for unit in ("seconds", "bytes"):
                if name.endswith(f"_{unit}"):
                    self._lines.append(f"# UNIT {name} {unit}")

    def _sample(self, name: str, labels: Labels, value: float) -> None:
        pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        braces = f"{{{pairs}}}" if pairs else ""
        self._lines.append(f"{name}{braces} {value}")


def _escaped(text: str, *, quotes: bool = True) -> str:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quotes else escaped
