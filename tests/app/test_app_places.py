from __future__ import annotations

import pytest

from volant.adapters.local.zygote import ZygoteLauncher
from volant.app.home import Home
from volant.app.places import open_places, preemption
from volant.domain.job import Job, JobStatus
from volant.settings import Settings


@pytest.fixture
def places(tmp_path, monkeypatch):
    launcher = ZygoteLauncher({"light": ("json",)})
    settings = Settings(home=tmp_path / "home", container_engine="no-such-engine")
    opened = open_places(settings, launcher, Home(tmp_path / "home"))
    yield opened
    opened.close()
    launcher.close()


def job(folder, **changes):
    return Job("r:s:1", "s", "r", 1, folder, folder / "log.jsonl", {}, command="true", **changes)


def test_a_job_with_an_image_goes_to_the_container_engine(places, tmp_path):
    assert places.run(job(tmp_path / "here")).status is JobStatus.SUCCEEDED
    result = places.run(job(tmp_path / "there", image="localhost/x:1"))
    assert result.status is JobStatus.FAILED
    assert result.error is not None
    assert result.error["code"] == "container.no_engine"
    assert "'no-such-engine'" in result.error["what"]
    places.cancel("r")  # on both sides, where nothing runs any more
    places.warm("light")


def test_only_the_local_compute_knows_of_preemption(tmp_path):
    assert preemption(Settings(home=tmp_path, compute="elsewhere")) == {}
    told = preemption(Settings(home=tmp_path, preempt_grace_s=7, spot_every_s=2))
    assert told["preempt_grace_s"] == 7
    assert told["spot"].every_s == 2
