"""Applications: recorded as often as a step repeats it, deleted with their deployment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from volant.errors import InvalidInput, NotFound

URL = "http://127.0.0.1:2000/v2/models/wine/infer"


def record(applications, name="wine", **more):
    facts = {"type": "predictor", "url": URL, "workflow": "e2e", "project": "winery"}
    return applications.record(name, **{**facts, **more})


def test_the_same_again_changes_nothing(applications, projects, store):
    first = record(applications, deployment="wine")
    assert record(applications, deployment="wine") == first
    assert applications.get("wine") == first
    assert projects.get("winery").name == "winery"  # made by the way
    told = [event.type for event in store.events.pending(10)]
    assert told == ["volant.project.created", "volant.application.recorded"]


def test_what_is_new_replaces_what_was(applications, store):
    first = record(applications)
    later = record(applications, url="https://far.example/x", description="Now elsewhere")
    assert later.created_at == first.created_at
    assert later.updated_at > first.updated_at
    assert applications.get("wine") == later
    assert len(store.events.pending(10)) == 3


def test_lists_by_type_workflow_and_project(applications):
    record(applications, "b")
    record(applications, "a", type="web")
    record(applications, "c", workflow="other", project=None)
    assert [each.name for each in applications.list()] == ["a", "b", "c"]
    assert [each.name for each in applications.list(type="predictor")] == ["b", "c"]
    assert [each.name for each in applications.list(workflow="e2e")] == ["a", "b"]
    assert [each.name for each in applications.list(project="winery", type="web")] == ["a"]
    assert applications.list(type="none") == []


@pytest.mark.parametrize(
    "wrong",
    [{"name": ""}, {"name": "a b"}, {"name": "-a"}, {"type": ""}, {"url": ""}, {"url": "ftp://x"}],
)
def test_what_cant_be_recorded(applications, wrong):
    name = wrong.pop("name", "wine")
    with pytest.raises(InvalidInput):
        record(applications, name, **wrong)
    assert applications.list() == []


def test_its_deployment_goes_first(applications, undeployed):
    record(applications, deployment="wine")
    applications.delete("wine", by="ann")
    assert undeployed == [("wine", "ann")]
    with pytest.raises(NotFound):
        applications.delete("wine")


def test_a_deployment_that_another_has_stays(applications, undeployed):
    record(applications, "a", deployment="wine")
    record(applications, "b", deployment="wine")
    applications.delete("a")
    assert undeployed == []
    applications.delete("b")
    assert undeployed == [("wine", None)]


def test_a_deployment_that_is_gone_is_no_hindrance(applications, monkeypatch):
    def gone(name, by):
        raise NotFound("There is no deployment.", "")

    monkeypatch.setattr(applications, "_undeploy", gone)
    record(applications, deployment="wine")
    applications.delete("wine")
    assert applications.list() == []


def test_what_fails_can_be_repeated(applications, monkeypatch):
    def broken(name, by):
        raise RuntimeError("the power went")

    record(applications, deployment="wine")
    with monkeypatch.context() as patched:
        patched.setattr(applications, "_undeploy", broken)
        with pytest.raises(RuntimeError):
            applications.delete("wine")
    assert applications.get("wine").deployment == "wine"
    applications.delete("wine")


DELETE = """
import sys
from pathlib import Path
from volant.adapters.system import SortableIds, SystemClock
from volant.projects.applications import ApplicationDesk
from volant.store import Store
def undeploy(name, by):
    Path(sys.argv[2]).write_text(name)
with Store(sys.argv[1]) as store:
    desk = ApplicationDesk(store.applications, SystemClock(), SortableIds(), undeploy=undeploy)
    desk.delete("wine")
"""


def test_dying_in_between_leaves_it_to_delete_again(applications, store, tmp_path):
    record(applications, deployment="wine")
    undeployed, once = tmp_path / "undeployed", tmp_path / "once"
    url = f"sqlite:///{store.location}"
    env = {
        **os.environ,
        "VOLANT_CRASH_AT": "application.undeployed",
        "VOLANT_CRASH_ONCE": str(once),
    }
    command = [sys.executable, "-c", DELETE, url, str(undeployed)]
    died = subprocess.run(command, env=env, check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert undeployed.read_text() == "wine"
    assert applications.get("wine").deployment == "wine"
    assert subprocess.run(command, env=env, check=False, timeout=60).returncode == 0
    assert applications.list() == []
