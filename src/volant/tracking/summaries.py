"""Experiments at a glance, with the metric that each is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from volant.domain.metric import GREATER_IS_BETTER, better_when_greater, plain_name
from volant.domain.tracking import ExperimentSummary, MetricSpan
from volant.ports.tracked import ExperimentSummaries

METRIC_TAG = "volant.metric"  # an experiment's own word for its main metric


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
    span = main_metric(summary.metrics, summary.experiment.tags.get(METRIC_TAG))
    if span is None:
        return summary
    greater = better_when_greater(span.key)
    best = None if greater is None else span.greatest if greater else span.least
    return replace(summary, metric=span.key, best=best)


def main_metric(spans: Sequence[MetricSpan], named: str | None = None) -> MetricSpan | None:
    """The one that the experiment names, else one that Volant knows (measured on the way
    or at the end), else any; of several, the one that most runs have, then the first."""

    def rank(span: MetricSpan) -> tuple[bool, bool, int]:
        return span.key == named, plain_name(span.key) in GREATER_IS_BETTER, span.runs

    usable = [span for span in spans if not span.key.startswith("system/")]
    return max(usable, key=rank, default=None)
