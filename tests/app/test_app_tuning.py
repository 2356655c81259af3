"""A search over trials that a made-up compute ends as it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from volant.app.tuning import Searches
from volant.domain.codec import to_plain
from volant.domain.job import Job, JobResult, JobStatus
from volant.domain.loop import SearchRange, TuneSpec
from volant.domain.run import StepRequest, StepSpecRef
from volant.errors import InvalidInput, StepFailed, Unavailable, VolantError
from volant.training.trial_records import Records

DONE = JobResult(JobStatus.SUCCEEDED)
FAILURE = JobResult(JobStatus.FAILED, error=StepFailed("It broke.", "Mend it.").to_dict())


class Told:
    """A `SearchDesk` that takes everything in."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Trials:
    """A `Compute` whose jobs are trials that `end` decides: a value, or how they failed."""

    def __init__(self, end: Callable[[int, Records], float | JobResult]) -> None:
        self.end = end
        self.jobs: list[Job] = []

    def run(self, job: Job) -> JobResult:
        self.jobs.append(job)
        number, records = int(job.inputs["number"]), Records(Path(job.inputs["records"]))
        records.write(number, "began")
        ended = self.end(number, records)
        if isinstance(ended, JobResult):
            return ended
        records.end(number, "complete", value=ended, metrics={})
        return DONE

    def cancel(self, run_id: str) -> None:
        pass


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Callable[..., tuple[Trials, Any]]]:
    """What a search with these trials answers, or raises."""

    def call(
        end: Callable[[int, Records], float | JobResult], *, points: int = 6, parallel: int = 1
    ) -> tuple[Trials, Any]:
        space = {"depth": SearchRange("int", 1.0, float(points))}
        spec = TuneSpec(space, 20, parallel, "grid", "none", None, "loss", "minimize")
        inputs = {"tune": to_plain(spec), "task": "classification", "seed": 0}
        inputs["trial_timeout_s"] = 60.0
        request = StepRequest("run-1", StepSpecRef("tune"), inputs, 1, tmp_path, loop="wine")
        trials = Trials(end)
        try:
            return trials, Searches(trials, Told()).perform(request, {})  # type: ignore[arg-type]
        except VolantError as error:
            return trials, error

    yield call
    assert not [t for t in threading.enumerate() if t.name.startswith("volant-trial-")]


def test_a_good_trial_at_work_is_waited_for_before_a_search_is_given_up(search: Any) -> None:
    """Three that fail at once say nothing while the first one is still at it; and those that
    had to wait go on side by side when it turns out well."""
    failed, both = threading.Semaphore(0), threading.Barrier(2)

    def end(number: int, records: Records) -> float | JobResult:
        if number == 0:
            for _ in range(3):
                assert failed.acquire(timeout=30)
            return 0.5
        if number <= 3:
            records.end(number, "failed", error="It broke.")
            failed.release()
            return DONE
        both.wait(30)
        return float(number)

    trials, answer = search(end, parallel=4)
    assert answer["search"]["best"]["trial"] == 0
    assert (answer["search"]["complete"], answer["search"]["failed"]) == (3, 3)
    assert sorted(int(job.inputs["number"]) for job in trials.jobs) == list(range(6))


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_search_whose_trials_all_fail_is_given_up_with_their_number(
    search: Any, parallel: int
) -> None:
    trials, error = search(lambda number, records: FAILURE, points=9, parallel=parallel)
    assert isinstance(error, StepFailed)
    assert 3 <= len(trials.jobs) <= parallel + 2
    assert error.what == f"None of {len(trials.jobs)} trials was completed. Most often: It broke."


def test_a_trial_under_way_before_a_crash_is_done_before_a_search_is_given_up(
    search: Any, tmp_path: Path
) -> None:
    records = Records(tmp_path / "trials")
    records.write(0, "began")
    for number in (1, 2, 3):
        records.write(number, "began")
        records.end(number, "failed", error="It broke.")
    _, answer = search(lambda number, records: 1.0 + number)
    assert answer["search"]["best"]["trial"] == 0
    assert answer["search"]["complete"] == 3


def test_what_one_trial_alone_cannot_do_is_its_own_failure(search: Any) -> None:
    none = InvalidInput("'train:fit' returned a NoneType.", "Return it.").to_dict()
    bad = JobResult(JobStatus.FAILED, error=none)
    trials, answer = search(lambda number, records: bad if number == 2 else float(number))
    assert (answer["search"]["complete"], answer["search"]["failed"]) == (5, 1)
    assert Records(Path(trials.jobs[0].inputs["records"])).get(2).error == none["what"]


def test_what_the_first_trial_cannot_do_ends_the_search_at_once(search: Any) -> None:
    none = InvalidInput("'train:fit' didn't measure 'loss'.", "Report it.").to_dict()
    bad = JobResult(JobStatus.FAILED, error=none)
    trials, error = search(lambda number, records: bad)
    assert isinstance(error, InvalidInput)
    assert len(trials.jobs) == 1


def test_a_lost_trial_is_named_and_the_step_goes_on_later(search: Any) -> None:
    lost = JobResult(JobStatus.LOST, error=Unavailable("Trial 0 was lost: …", "…").to_dict())
    trials, error = search(lambda number, records: lost)
    assert error.details["lost"] is True
    assert [job.title for job in trials.jobs] == ["Trial 0"]
