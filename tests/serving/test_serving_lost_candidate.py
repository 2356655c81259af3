"""A candidate whose process is killed is started again; a model that kills it is refused."""

from __future__ import annotations

import os
import signal

import pytest

from volant.domain.deployment import RevisionStatus
from volant.errors import StepFailed, Unavailable
from volant.serving.served import Patience


class Losing:
    """The real launcher, but its first replicas are lost: killed, or never started."""

    def __init__(self, launcher, *how):
        self._launcher = launcher
        self._how = list(how)

    def launch(self, order, listen_fd, control_fd):
        how = self._how.pop(0) if self._how else None
        if how == "zygote":
            raise Unavailable("The zygote died.", "Try again.", code="zygote_died")
        pid = self._launcher.launch(order, listen_fd, control_fd)
        if how == "replica":
            os.kill(pid, signal.SIGKILL)
        return pid

    def prepared(self, profile):
        return self._launcher.prepared(profile)

    def ended(self, pid, wait_s):
        return self._launcher.ended(pid, wait_s)

    def warm(self, profile):
        self._launcher.warm(profile)


@pytest.fixture
def losing(platform, launcher, tmp_path, models):
    """A platform that loses replicas in the ways given, with version 1 of m registered."""
    made = []

    def make(*how):
        (tmp_path / "losing").mkdir()
        new = type(platform)(tmp_path / "losing", Losing(launcher, *how), Patience(idle_s=1.0))
        made.append(new)
        new.begin()
        # It imports scikit-learn first: long enough to be killed before it is ready.
        new.register("m", models("native"), "r1")
        return new

    yield make
    for each in made:
        each.end()
        each.store.close()


@pytest.mark.parametrize("how", ["replica", "zygote"])
def test_serving_a_lost_candidate_is_started_again(losing, how):
    platform = losing(how, how)
    revision = platform.desk.deploy("m", "m", 1, key="r1:deploy")
    assert revision.status is RevisionStatus.LIVE
    decisions, _ = platform.store.decisions.page(10, loop="m")
    assert [d.outcome.value for d in decisions] == ["activated"]


def test_serving_a_candidate_that_is_always_lost_is_refused(losing):
    platform = losing("replica", "replica", "replica")
    with pytest.raises(StepFailed, match="ended by SIGKILL"):
        platform.desk.deploy("m", "m", 1, key="r1:deploy")
