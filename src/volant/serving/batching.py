"""Opportunistic micro-batching: what arrived while the last prediction ran is
predicted together. Nothing ever waits for company.

One batcher lives on one event loop. Predictions that are expected to be short run on
the loop itself (a hand-over to a thread costs more than they do); longer ones run in
one thread, so that the loop goes on reading, queueing and answering health checks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from time import perf_counter, time

import numpy as np

from volant.serving.counter_map import QUEUE_ROWS
from volant.serving.counters import Counters
from volant.serving.datatypes import Array
from volant.serving.limits import BatchLimits
from volant.serving.prediction_log import PredictionLog
from volant.serving.query import Answer, Query
from volant.serving.refusal import Refusal

Predict = Callable[[Sequence[Array]], Answer]
Done = Callable[[Query, "Answer | Exception"], None]


class Work:
    """One request in the queue. A cancelled one is skipped."""

    __slots__ = ("cancelled", "done", "query")

    def __init__(self, query: Query, done: Done) -> None:
        self.query = query
        self.done = done
        self.cancelled = False

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        self.cancelled = True


@dataclass(slots=True)
class Totals:
    """What was predicted since the start: seconds of `predict`, and `time` of the last."""

    requests: int = 0
    rows: int = 0
    batches: int = 0
    seconds: float = 0.0
    last: float = 0.0


class Batcher:
    def __init__(
        self,
        predict: Predict,
        loop: asyncio.AbstractEventLoop,
        limits: BatchLimits,
        counters: Counters | None = None,
        log: PredictionLog | None = None,
    ) -> None:
        self.log = log
        self._counters = counters or Counters.private()
        self._predict = predict
        self._loop = loop
        self._limits = limits
        self._queue: deque[Work] = deque()
        self._rows = 0
        self._bytes = 0
        self._scheduled = False
        self._thread: ThreadPoolExecutor | None = None
        self.totals = Totals()
        self._seconds_per_row = limits.inline_s  # until it is measured
        self._recent: deque[float] = deque(maxlen=8)  # seconds of the last batches

    def submit(self, query: Query, done: Done) -> Work:
        """Queue `query`; `done` is called on the loop, once, with the answer or the
        exception; should that raise, once more, with an exception. Raises `Refusal` (503)
        when too much waits already: it is the replica that is busy, whoever asks, so it
        isn't a 429."""
        limits = self._limits
        if self._rows and (
            self._rows + query.rows > limits.queue_rows
            or self._bytes + query.size > limits.queue_bytes
        ):
            raise Refusal(
                503,
                f"Too busy: {self._rows} rows of {self._bytes} bytes wait already (at most "
                f"{limits.queue_rows} rows, {limits.queue_bytes} bytes). Try again in a second.",
                b"retry-after: 1\r\n",
            )
        work = Work(query, done)
        if not query.asked:
            query.asked = perf_counter()
        self._queue.append(work)
        self._rows += query.rows
        self._bytes += query.size
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._next)
        else:
            self._counters.set(QUEUE_ROWS, self._rows)
        return work

    def close(self) -> None:
        """End the thread; call it when nothing is queued."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)

    def _next(self) -> None:
        """Take what waits and predict it; goes on until the queue is empty."""
        batch, rows = self._take()
        if not batch:
            self._scheduled = False
            return
        if self._is_short(rows):
            outcomes, seconds = self._run(batch)
            self._finish(batch, outcomes, rows, seconds)
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        try:
            future = self._thread.submit(self._run, batch)
        except RuntimeError as error:  # no thread can be had now; the next batch tries again
            self._thread = None
            self._answer(batch, [error] * len(batch))
            return

        def back(future: Future[tuple[list[Answer | Exception], float]]) -> None:
            outcomes, seconds = future.result()
            self._loop.call_soon_threadsafe(self._finish, batch, outcomes, rows, seconds)

        future.add_done_callback(back)

    def _take(self) -> tuple[list[Work], int]:
        batch: list[Work] = []
        rows = size = 0
        key: Hashable = None
        queue, limits = self._queue, self._limits
        while queue:
            work = queue[0]
            query = work.query
            if batch and (
                rows + query.rows > limits.batch_rows
                or size + query.size > limits.batch_bytes
                or query.batch_key != key
            ):
                break
            queue.popleft()
            self._rows -= query.rows
            self._bytes -= query.size
            if work.cancelled:
                continue
            batch.append(work)
            rows += query.rows
            size += query.size
            key = query.batch_key
        self._counters.set(QUEUE_ROWS, self._rows)
        return batch, rows

    def _is_short(self, rows: int) -> bool:
        """Whether it won't take longer than `inline_s`: no less than the quickest of the
        last batches did (some models cost the same for one row as for a hundred), and in
        proportion to the rows."""
        longest, recent = self._limits.inline_s, self._recent
        if self._seconds_per_row * rows > longest or not recent:
            return False
        return recent[-1] <= longest or min(recent) <= longest

    def _finish(
        self, batch: list[Work], outcomes: list[Answer | Exception], rows: int, seconds: float
    ) -> None:
        # The last cost counts half: it follows a change within a few batches, and one
        # odd batch doesn't send everything to the thread for long.
        self._seconds_per_row = (self._seconds_per_row + seconds / rows) / 2
        self._recent.append(seconds)
        totals = self.totals
        totals.requests += len(batch)
        totals.rows += rows
        totals.batches += 1
        totals.seconds += seconds
        totals.last = time()
        self._counters.predicted(len(batch), rows, seconds)
        self._answer(batch, outcomes)

    def _answer(self, batch: list[Work], outcomes: Sequence[Answer | Exception]) -> None:
        """Give them their answers; then the next batch."""
        for work, outcome in zip(batch, outcomes, strict=True):
            try:
                work.done(work.query, outcome)
            except Exception as error:  # the others of the batch, and the queue, go on
                _tell(work, error)
        if self._queue:
            self._loop.call_soon(self._next)
        else:
            self._scheduled = False

    def _run(self, batch: list[Work]) -> tuple[list[Answer | Exception], float]:
        """Never raises: without an outcome the queue would stand still for good."""
        started = perf_counter()
        outcomes: list[Answer | Exception]
        try:
            outcomes = self._outcomes(batch)
        except BaseException as error:
            outcomes = [_failure(error)] * len(batch)
        return outcomes, perf_counter() - started

    def _outcomes(self, batch: list[Work]) -> list[Answer | Exception]:
        if len(batch) == 1:
            return [self._alone(batch[0])]
        rows = sum(work.query.rows for work in batch)
        try:
            feeds = [
                np.concatenate(parts)
                for parts in zip(*(work.query.feeds for work in batch), strict=True)
            ]
            answer = self._predict(feeds)
            whole = all(len(array) == rows for array in answer.outputs)
        except BaseException:
            # One of them spoils the batch: each gets its own answer or its own error.
            return [self._alone(work) for work in batch]
        if not whole:  # it can't be divided
            return [self._alone(work) for work in batch]
        if (log := self.log) is not None:
            log.answered([work.query for work in batch], feeds, answer.outputs)
        return _parts(answer, batch)

    def _alone(self, work: Work) -> Answer | Exception:
        query = work.query
        outcome: Answer | Exception
        try:
            outcome = self._predict(query.feeds)
        except BaseException as error:
            outcome = _failure(error)
        if (log := self.log) is not None:
            if isinstance(outcome, Answer):
                log.answered((query,), query.feeds, outcome.outputs)
            else:
                status = outcome.status if isinstance(outcome, Refusal) else 500
                log.answered((query,), query.feeds, (), status)
        return outcome


def _failure(error: BaseException) -> Exception:
    """What a request's client is told of. A model that leaves (`SystemExit`) or cancels
    ends its own request with that, and neither the thread nor the process."""
    if isinstance(error, Exception):
        return error
    failure = RuntimeError(f"The model raised {type(error).__name__}.")
    failure.__cause__ = error
    return failure


def _tell(work: Work, error: Exception) -> None:
    """Its answer couldn't be given: it is told that, if that much is possible."""
    failure = RuntimeError("The answer couldn't be given.")
    failure.__cause__ = error
    with suppress(Exception):
        work.done(work.query, failure)


def _parts(answer: Answer, batch: list[Work]) -> list[Answer | Exception]:
    slices: list[slice] = []
    start = 0
    for work in batch:
        end = start + work.query.rows
        slices.append(slice(start, end))
        start = end
    each = [[array[rows] for rows in slices] for array in answer.outputs]
    return [Answer(arrays) for arrays in zip(*each, strict=True)]
