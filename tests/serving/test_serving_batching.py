"""Batches: together, in order, bounded, and nobody pays for a neighbour."""

from __future__ import annotations

import asyncio
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volant.domain.loop import ReplicaSpec
from volant.serving.batching import Batcher
from volant.serving.limits import BatchLimits
from volant.serving.query import Answer, Query
from volant.serving.refusal import Refusal
from volant.serving.scale import Demand, backoff_s, wanted_replicas

POISON = -1.0


class Doubler:
    """A model that doubles its only column, and can't stand `POISON`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[int] = []
        self.seconds = seconds

    def __call__(self, feeds):
        (rows,) = feeds
        self.batches.append(len(rows))
        time.sleep(self.seconds)
        if (rows == POISON).any():
            raise ValueError("poison")
        return Answer((rows[:, 0] * 2, rows))


def run(sizes: list[list[float]], model, limits: BatchLimits | None = None, log=None):
    """Submit all at once; the outcome of each."""

    async def main():
        loop = asyncio.get_running_loop()
        batcher = Batcher(model, loop, limits or BatchLimits(), log=log)
        futures = []
        for values in sizes:
            future = loop.create_future()
            query = Query(len(values), (np.array(values).reshape(-1, 1),))
            batcher.submit(query, lambda _, outcome, f=future: f.set_result(outcome))
            futures.append(future)
        outcomes = await asyncio.gather(*futures)
        batcher.close()
        return outcomes

    return asyncio.run(main())


@pytest.mark.parametrize("inline_s", [0.0, 10.0], ids=["in the thread", "on the loop"])
@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()])
def test_serving_a_model_that_leaves_fails_its_request_and_goes_on(error, inline_s):
    def leaving(feeds):
        if (feeds[0] == POISON).any():
            raise error
        return Answer((feeds[0],))

    asked = [[1.0], [POISON], [2.0]]
    for limits in (BatchLimits(inline_s=inline_s, batch_rows=most) for most in (1, 9)):
        first, failed, last = run(asked, leaving, limits)
        assert isinstance(failed, RuntimeError)
        assert failed.__cause__ is error
        assert [o.outputs[0].tolist() for o in (first, last)] == [[[1.0]], [[2.0]]]


class Sulking:
    """A prediction log that breaks its word."""

    def answered(self, *_):
        raise OSError("no room")


@pytest.mark.parametrize("inline_s", [0.0, 10.0], ids=["in the thread", "on the loop"])
def test_serving_whatever_breaks_beside_the_model_answers_its_batch(inline_s):
    outcomes = run([[1.0], [2.0]], Doubler(), BatchLimits(inline_s=inline_s), log=Sulking())
    assert [str(o) for o in outcomes] == ["no room", "no room"]


def test_serving_without_a_thread_the_batch_is_told_and_the_next_tries_again(monkeypatch):
    started = threading.Thread.start

    def start(thread):
        monkeypatch.setattr(threading.Thread, "start", started)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    first, second = run([[1.0], [2.0]], Doubler(), BatchLimits(batch_rows=1))
    assert str(first) == "can't start new thread"
    assert second.outputs[0].tolist() == [4.0]


def test_serving_what_no_thread_was_had_for_says_nothing_of_the_models_speed(monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    model = Doubler()
    outcomes = run([[1.0]] * 30, model, BatchLimits(batch_rows=1))
    assert {type(outcome) for outcome in outcomes} == {RuntimeError}
    assert model.batches == []  # it would be on the loop


def test_serving_an_answer_that_cant_be_given_holds_nobody_up():
    async def main():
        batcher = Batcher(Doubler(), asyncio.get_running_loop(), BatchLimits())
        told, answered = [], asyncio.get_running_loop().create_future()

        def done(_, outcome):
            told.append(outcome)
            if isinstance(outcome, Answer):
                raise TypeError("no such text")

        def other(_, outcome):
            answered.set_result(outcome)

        batcher.submit(Query(1, (np.ones((1, 1)),)), done)
        batcher.submit(Query(1, (np.ones((1, 1)),)), other)
        outcome = await answered
        batcher.close()
        return told, outcome

    (_, failure), outcome = asyncio.run(main())
    assert str(failure) == "The answer couldn't be given."
    assert isinstance(outcome, Answer)


values = st.lists(st.sampled_from([POISON, 1.0, 2.0, 3.5]), min_size=1, max_size=5)


@settings(max_examples=100, deadline=None)
@given(st.lists(values, min_size=1, max_size=20), st.integers(1, 12))
def test_serving_each_request_gets_its_own_answer(sizes, batch_rows):
    model = Doubler()
    outcomes = run(sizes, model, BatchLimits(batch_rows=batch_rows, inline_s=10.0))
    for asked, outcome in zip(sizes, outcomes, strict=True):
        if POISON in asked:
            assert isinstance(outcome, ValueError)
        else:
            assert outcome.outputs[0].tolist() == [v * 2 for v in asked]
            assert outcome.outputs[1].shape == (len(asked), 1)
    most = max(batch_rows, *(len(s) for s in sizes))
    assert max(model.batches) <= most


def test_serving_what_waited_is_predicted_together():
    model = Doubler()
    run([[1.0]] * 50, model)
    assert model.batches == [50]


def test_serving_a_slow_model_leaves_the_loop_free():
    async def main():
        loop = asyncio.get_running_loop()
        batcher = Batcher(Doubler(0.2), loop, BatchLimits())
        done = loop.create_future()
        batcher.submit(Query(1, (np.ones((1, 1)),)), lambda _, o: done.set_result(o))
        turns = 0
        while not done.done():
            await asyncio.sleep(0)
            turns += 1
        batcher.close()
        return turns

    assert asyncio.run(main()) > 10


def test_serving_a_full_queue_says_so_and_cancelled_work_is_skipped():
    async def main():
        loop = asyncio.get_running_loop()
        model = Doubler()
        batcher = Batcher(model, loop, BatchLimits(queue_rows=3))
        answered = []
        query = Query(2, (np.ones((2, 1)),))
        gone = batcher.submit(query, lambda _, o: answered.append(o))
        gone.cancelled = True
        with pytest.raises(Refusal) as caught:
            batcher.submit(query, lambda _, o: answered.append(o))
        assert (caught.value.status, caught.value.headers) == (503, b"retry-after: 1\r\n")
        batcher.submit(Query(1, (np.ones((1, 1)),)), lambda _, o: answered.append(o))
        while not answered:
            await asyncio.sleep(0.001)
        batcher.close()
        return model.batches, len(answered)

    assert asyncio.run(main()) == ([1], 1)


def test_serving_batches_and_the_queue_are_bounded_by_bytes_too():
    async def main():
        loop = asyncio.get_running_loop()
        model, answered = Doubler(), []
        limits = BatchLimits(batch_bytes=100, queue_bytes=300)
        batcher = Batcher(model, loop, limits)
        rows = np.ones((2, 1))
        # 40 + 40 | 60 + 30 | one that is larger than a batch, alone | what is left
        for size in (40, 40, 60, 30, 101, 20):
            batcher.submit(Query(2, (rows,), size=size), lambda _, o: answered.append(o))
        with pytest.raises(Refusal, match=r"of 291 bytes wait already .* 300 bytes") as caught:
            batcher.submit(Query(1, (rows[:1],), size=10), lambda _, o: answered.append(o))
        assert (caught.value.status, caught.value.headers) == (503, b"retry-after: 1\r\n")
        while len(answered) < 6:
            await asyncio.sleep(0.001)
        batcher.submit(Query(1, (rows[:1],), size=999), lambda _, o: answered.append(o))
        while len(answered) < 7:
            await asyncio.sleep(0.001)
        batcher.close()
        return model.batches

    assert asyncio.run(main()) == [4, 4, 2, 2, 1]


@given(st.integers(0, 10_000), st.integers(0, 5), st.integers(1, 8))
def test_serving_wanted_replicas_stay_within_bounds(demand, least, more):
    spec = ReplicaSpec(min=least, max=least + more)
    wanted = wanted_replicas(demand, spec)
    assert max(1, spec.min) <= wanted <= spec.max
    assert wanted <= wanted_replicas(demand + 1, spec)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 100)), min_size=1, max_size=30))
def test_serving_demand_is_the_highest_of_the_window(steps):
    demand, now, seen = Demand(10.0), 0.0, []
    for pause, value in steps:
        now += pause
        demand.add(now, value)
        seen.append((now, value))
        assert demand.highest(now) == max(v for t, v in seen if now - t <= 10.0)


def test_serving_backoff_grows_to_half_a_minute():
    waits = [backoff_s(n) for n in range(1, 15)]
    assert waits == sorted(waits)
    assert (waits[0], waits[1], waits[-1]) == (0.0, 0.25, 30.0)
