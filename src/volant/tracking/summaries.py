"""Experiments at a glance, with the metric that each is about."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from volant.domain.metric import GREATER_IS_BETTER, better_when_greater, plain_name
from volant.domain.tracking import ExperimentSummary, MetricSpan
from volant.ports.tracked import ExperimentSummaries

# Tags of an experiment: a person's word for its main metric and which way is better of it
# (`maximize` or `minimize`), and what the newest search there looked for.
METRIC_TAG = "volant.metric"
DIRECTION_TAG = "volant.direction"
SEARCH_METRIC_TAG = "volant.search.metric"
SEARCH_DIRECTION_TAG = "volant.search.direction"

_GREATER = {"maximize": True, "minimize": False}


class SummaryDesk:
    """What a person asks first of experiments."""

    def __init__(self, summaries: ExperimentSummaries) -> None:
        self._summaries = summaries

    def page(
        self, limit: int, offset: int = 0, *, name: str | None = None
    ) -> tuple[Sequence[ExperimentSummary], bool]:
        """Active experiments, those with the newest runs first; and whether there are more."""
        found, more = self._summaries.page(limit, offset, name=name)
        return [_with_best(summary) for summary in found], more


def _with_best(summary: ExperimentSummary) -> ExperimentSummary:
    tags = summary.experiment.tags
    numbers = {span.key for span in summary.metrics if _is_a_number(span)}
    named = [tags[METRIC_TAG]] if METRIC_TAG in tags else []
    named += [tags[SEARCH_METRIC_TAG]] if tags.get(SEARCH_METRIC_TAG) in numbers else []
    span = main_metric(summary.metrics, *named)
    if span is None:
        return summary
    greater = _greater(tags, span.key)
    best = None if greater is None else span.greatest if greater else span.least
    return replace(summary, metric=span.key, best=best, greater=greater)


def _greater(tags: Mapping[str, str], key: str) -> bool | None:
    """Which way is better: as the experiment tells of this metric, else as its name does."""
    for metric, direction in (
        (METRIC_TAG, DIRECTION_TAG),
        (SEARCH_METRIC_TAG, SEARCH_DIRECTION_TAG),
    ):
        told = _GREATER.get(tags.get(direction, "").lower())
        if told is not None and tags.get(metric) == key:
            return told
    return better_when_greater(key)


def main_metric(spans: Sequence[MetricSpan], *named: str) -> MetricSpan | None:
    """The first that the experiment names, else one that Volant knows (measured on the way
    or at the end), else any; of several, the one that most runs have, then the first. One
    that is a number in no run is only chosen by its name."""
    places = {key: -place for place, key in reversed(list(enumerate(named)))}

    def rank(span: MetricSpan) -> tuple[int, bool, int]:
        known = plain_name(span.key) in GREATER_IS_BETTER
        return places.get(span.key, -len(named)), known, span.runs

    usable = [
        span
        for span in spans
        if span.key in places or (not span.key.startswith("system/") and _is_a_number(span))
    ]
    return max(usable, key=rank, default=None)


def _is_a_number(span: MetricSpan) -> bool:
    ends = (span.least, span.greatest)
    return any(end is not None and math.isfinite(end) for end in ends)
