"""What `volant runs show` says of a step that took several attempts."""

from __future__ import annotations

from volant.cli.attempts import lines, number

TOLD = {
    "attempts": [
        {"ended": "preempted", "took_s": 10.12, "resumed_from": None, "saved": 17},
        {"ended": None, "took_s": 0.0, "resumed_from": 17, "saved": None},
    ],
    "preemptions": 1,
    "spared_s": 9.88,
}


def test_a_step_with_one_attempt_says_nothing():
    assert list(lines({"name": "train", "outputs": {}, "error": None})) == []
    assert list(lines({"name": "own", "outputs": {"survived": "mine"}, "error": None})) == []


def test_each_attempt_and_what_was_spared():
    step = {"name": "train", "outputs": {"survived": TOLD}, "error": None}
    assert list(lines(step)) == [
        "train attempt 1: preempted after 10.1 s, left checkpoint 17",
        "train attempt 2: at work after 0.0 s, went on from checkpoint 17",
        "train: 9.9 s of work not repeated",
    ]


def test_elements_tell_it_each():
    step = {"name": "fit", "outputs": {"survived": [None, TOLD]}, "error": None}
    assert next(lines(step)).startswith("fit/1 attempt 1: preempted")
    failed = {"details": {"survived": TOLD, "element": 3}}
    assert next(lines({"name": "fit", "outputs": {}, "error": failed})).startswith("fit/3 attempt")


def test_the_attempts_of_a_step_have_one_number():
    """The engine begins an attempt that went down with the control plane again by its number."""
    none = {"name": "train", "status": "succeeded", "attempt": 3, "outputs": {}, "error": None}
    done = {**none, "attempt": 1, "outputs": {"survived": TOLD}}
    at_work = {
        **none,
        "attempt": 2,
        "status": "running",
        "error": {"details": {"survived": TOLD}},
    }
    each = {**none, "attempt": 1, "outputs": {"survived": [None, TOLD]}}
    assert [number(step) for step in (none, done, at_work, each)] == [3, 2, 3, 2]


def test_a_failed_step_tells_it_too_and_a_price_makes_it_money():
    told = {**TOLD, "price_per_hour": 3.06, "spared_cost": 0.0084}
    step = {"name": "train", "outputs": {}, "error": {"details": {"survived": told}}}
    assert list(lines(step))[-1] == (
        "train: 9.9 s of work not repeated, worth 0.0084 at 3.06 an hour"
    )
