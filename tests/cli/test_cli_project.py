"""FuseML's verbs on projects, applications and runnables, and the page of a deployment."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from volant.adapters.system import SortableIds, SystemClock
from volant.cli import app as app_command
from volant.cli import current
from volant.projects.applications import ApplicationDesk
from volant.projects.desk import ProjectDesk
from volant.projects.runnables import RunnableDesk
from volant.store import Store, sqlite_url
from volant.web.api.app import create_app

RUNNABLE = """
id: double
kind: trainer
description: Doubles
container: {entrypoint: "echo {{ inputs.n }}"}
inputs: {n: {type: number, default: 2}}
labels: {function: math, team: blue}
"""


@pytest.fixture(autouse=True)
def bench(platform, serving, tmp_path):
    with Store(sqlite_url(tmp_path / "projects.db")) as store:
        store.migrate()
        clock, ids = SystemClock(), SortableIds()
        bench = platform.workbench
        bench.projects = ProjectDesk(store.projects, clock, ids)
        bench.applications = ApplicationDesk(
            store.applications, clock, ids, undeploy=platform.deployments.delete
        )
        bench.runnables = RunnableDesk(store.runnables, clock, ids)
        bench.workflows = SimpleNamespace(list=list)
        serving.app = create_app(platform)
        yield bench


def test_projects(volant, tmp_path):
    assert volant("project", "list").err == "There are no projects.\n"
    made = volant("project", "create", "-n", "winery", "-d", "Wines")
    assert made.out == "Project winery successfully created.\n"
    assert volant("project", "create", "--name", "winery").code == 4
    told = volant("project", "add-member", "-n", "winery", "-p", "bob", "--role", "viewer")
    assert told.out == "bob is a viewer in the project winery.\n"
    assert volant("project", "list").out.split() == [
        *("NAME", "DESCRIPTION", "USERS", "winery", "Wines", "bob", "(viewer)")
    ]
    volant("project", "update", "-n", "winery", "-d", "Red")
    shown = volant("project", "get", "-n", "winery").out
    assert "Red\nMembers: bob (viewer)\nHolds: nothing\n" in shown
    assert volant("project", "remove-member", "-n", "winery", "-p", "bob").code == 0
    home = tmp_path / "home"
    assert volant("project", "set", "--name", "winery").out == "Current project set to winery.\n"
    assert current.read(home, "project") == "winery"
    assert volant("project", "set", "--name", "none").code == 3
    assert volant("project", "delete", "-n", "winery").out == (
        "Project winery successfully deleted\n"
    )
    assert current.read(home, "project") is None


def test_the_current_project_survives_a_file_that_cant_be_read(tmp_path):
    current.write(tmp_path, "project", "a")
    current.write(tmp_path, "other", "b")
    assert current.read(tmp_path, "project") == "a"
    for text in ("", "[]", "{", '{"project": 7}'):
        (tmp_path / current.FILE).write_text(text)
        assert current.read(tmp_path, "project") is None
    current.write(tmp_path, "project", "c")
    assert current.read(tmp_path, "project") == "c"


def test_applications(volant, bench):
    url = "http://127.0.0.1:9/v2/models/app/infer"
    bench.applications.record(
        "app", description="It predicts", url=url, workflow="e2e", project="winery"
    )
    listed = volant("application", "list", "--format", "csv").out
    assert listed == f"name,type,description,url,workflow\napp,predictor,It predicts,{url},e2e\n"
    assert volant("application", "list", "-t", "web").err == "There are no applications.\n"
    assert volant("application", "list", "--workflow", "e2e", "--json").json["items"]
    assert url in volant("application", "get", "-n", "app").out
    assert volant("project", "delete", "-n", "winery").code == 4
    assert volant("application", "delete", "--name", "app").out == (
        "Application app successfully deleted\n"
    )
    assert volant("application", "get", "--name", "app").code == 3


def test_runnables(volant, tmp_path):
    file = tmp_path / "double.yaml"
    file.write_text(RUNNABLE)
    assert volant("runnable", "register", file).out == "Runnable double successfully registered\n"
    shown = volant("runnable", "get", "--id", "double").out
    assert "a process here  echo {{ inputs.n }}" in shown
    assert "number  no" in shown
    for match in ([], ["-i", "dou.*"], ["-k", "trainer"], ["-l", "function:m.*"]):
        assert "double" in volant("runnable", "list", *match).out
    for miss in (["-i", "dou"], ["-k", "custom"], ["--label", "function:x"], ["-l", "none:x"]):
        assert volant("runnable", "list", *miss).err == "There are no runnables.\n"
    for wrong in (["-i", "("], ["-l", "function"]):
        assert volant("runnable", "list", *wrong).code == 2
    file.write_text(RUNNABLE.replace("Doubles", "Twice"))
    assert "generation 2" in volant("runnable", "update", file).out
    file.write_text("id: double\nkind: nothing\n")
    refused = volant("runnable", "register", file)
    assert refused.code == 2
    assert "double.yaml:2" in refused.err
    assert volant("runnable", "register", tmp_path / "none.yaml").code == 2
    assert volant("runnable", "delete", "-i", "double").code == 0
    assert volant("runnable", "get", "-i", "double").code == 3


def test_a_runnable_that_goes_names_the_workflows_that_use_it(volant, bench, serving, platform):
    def step(uses):
        return {"steps": [{"uses": None}, {"uses": uses}]}

    views = {
        "math": step("runnable/double"),
        "third": step("runnable/doubled"),
        "broken": {"steps": [], "problem": "It can't be read."},
    }
    bench.workflows = SimpleNamespace(
        list=lambda: [SimpleNamespace(name=name) for name in views],
        view=lambda name: {"name": name, **views[name]},
    )
    serving.app = create_app(platform)
    for _ in range(2):
        bench.runnables.register(RUNNABLE)
        told = volant("runnable", "delete", "-i", "double")
        assert told.out == "Runnable double successfully deleted\n"
        assert "The workflow math uses it" in told.err
        assert "third" not in told.err
    bench.runnables.register(RUNNABLE)
    document = volant("runnable", "delete", "-i", "double", "--json").json
    assert document == {"deleted": "double", "workflows": ["math"]}


def test_the_page_of_a_deployment(volant, serving):
    told = volant("app", "wine-quality", "--no-open")
    assert told.out.startswith(f"{serving.url}/app/wine-quality?key=")
    document = volant("app", "wine-quality", "--json").json
    assert document["expires_s"] == 300
    assert json.dumps(document["url"]) not in told.out
    assert volant("app", "none").code == 3


def test_a_browser_opens_only_where_somebody_sits(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    assert not app_command._has_screen()
