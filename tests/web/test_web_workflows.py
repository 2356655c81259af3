"""Workflows, assignments, their runs and old runs over HTTP."""

from __future__ import annotations

import pytest
from catalog_world import MANIFEST, World, furnish

from volant.domain.run import RunStatus

AT = "/api/v1"


@pytest.fixture
def world(tmp_path, store):
    return World(tmp_path, store)


@pytest.fixture
def platform(platform, world):
    return furnish(platform, world)


def create(call, text=MANIFEST):
    return call("POST", f"{AT}/workflows", json={"source": text, "file": "flows/wf.yaml"})


def assign(call, codeset="p/c"):
    return call("PUT", f"{AT}/workflows/wf/assignments/{codeset}")


def test_a_workflow_is_created_shown_changed_and_deleted(call):
    created = create(call)
    assert (created.status_code, created.json()["version"]) == (201, 1)
    assert create(call).status_code == 201
    assert create(call, MANIFEST + "\n").status_code == 409
    changed = call("PUT", f"{AT}/workflows/wf", json={"source": MANIFEST + "\n"})
    assert changed.json()["version"] == 2
    [listed] = call("GET", f"{AT}/workflows").json()["items"]
    assert [each["name"] for each in listed["steps"]] == ["greet", "shout"]
    assert call("GET", f"{AT}/workflows/wf?version=1").json()["source"] == MANIFEST
    versions = call("GET", f"{AT}/workflows/wf/versions").json()["items"]
    assert [each["version"] for each in versions] == [2, 1]
    assign(call)
    [held] = call("DELETE", f"{AT}/workflows/wf").json()["items"]
    assert (held["project"], held["codeset"]) == ("p", "c")
    assert call("GET", f"{AT}/workflows/wf").status_code == 404


def test_faults_of_a_manifest_have_their_lines(call):
    answer = create(call, "name: x\nsteps:\n  - {name: a, runn: 'true'}\n")
    assert answer.status_code == 400
    body = answer.json()
    assert body["detail"].startswith("flows/wf.yaml")
    assert "3:" in body["detail"]


def test_assigning_starts_a_run_and_a_second_time_none(call, world):
    create(call)
    first = assign(call).json()
    assert first["assignment"]["created_by"] == "admin"
    assert first["run"]["codeset"] == "p/c"
    assert assign(call).json()["run"] is None
    [listed] = call("GET", f"{AT}/assignments?workflow=wf").json()["items"]
    assert listed["codeset"] == "c"
    assert call("DELETE", f"{AT}/workflows/wf/assignments/p/c").status_code == 204
    assert call("DELETE", f"{AT}/workflows/wf/assignments/p/c").status_code == 404
    assert assign(call, "p/nothing").status_code == 404
    assert call("GET", f"{AT}/assignments?workflow=nothing").status_code == 404


def test_runs_by_workflow_codeset_and_status(call, world):
    create(call)
    run = assign(call).json()["run"]
    other = call(
        "POST",
        f"{AT}/workflows/wf/runs",
        json={"project": "p", "codeset": "c", "commit": "abc", "inputs": {"who": "me"}},
    )
    assert other.status_code == 202
    world.engine.set(
        run["id"],
        RunStatus.SUCCEEDED,
        greet={"status": RunStatus.SUCCEEDED, "outputs": {"greeting": "hi"}},
    )

    def listed(query):
        return [each["id"] for each in call("GET", f"{AT}/runs?{query}").json()["items"]]

    both = [other.json()["id"], run["id"]]
    assert listed("workflow=wf") == listed("registered=true") == both
    assert listed("project=p&codeset=c") == both
    assert listed("workflow=wf&status=succeeded") == [run["id"]]
    assert listed("status=queued&status=running") == [other.json()["id"]]
    assert listed("status=failed") == []
    assert call("GET", f"{AT}/runs?codeset=c").status_code == 400
    assert call("GET", f"{AT}/runs?status=odd").status_code == 400
    assert call("GET", f"{AT}/runs/{run['id']}").json()["outputs"] == {"greeting": "hi"}
    told = call("GET", f"{AT}/runs/{run['id']}/diff/{other.json()['id']}").json()
    assert told["inputs"]["code.version"] == ["c0ffee", "abc"]
    assert told["inputs"]["who"] == ["world", "me"]


def test_pages_of_runs_with_a_status(call, world):
    """Each run comes once, however few of them a page is looked through for."""
    create(call)
    body = {"project": "p", "codeset": "c"}
    made = [call("POST", f"{AT}/workflows/wf/runs", json=body).json()["id"] for _ in range(7)]
    for run_id in made[::2]:
        world.engine.set(run_id, RunStatus.SUCCEEDED)
    found, before = [], ""
    while before is not None:
        page = call("GET", f"{AT}/runs?status=succeeded&limit=2{before}").json()
        found += [each["id"] for each in page["items"]]
        before = f"&before={page['next']}" if page["next"] else None
    assert found == made[::-2]


def test_a_plan_of_a_file_and_of_a_registered_workflow(call):
    create(call)
    for body in ({"name": "wf"}, {"source": MANIFEST}):
        told = call("POST", f"{AT}/workflows/plan", json=body).json()
        assert [step["name"] for step in told["steps"]] == ["greet", "shout"]
    assert call("POST", f"{AT}/workflows/plan", json={"name": "nothing"}).status_code == 404


def test_half_a_codeset_is_none(call):
    create(call)
    answer = call("POST", f"{AT}/workflows/wf/runs", json={"project": "p"})
    assert answer.status_code == 400
    assert "both" in answer.json()["fix"]


def test_why_a_run_was_not_started(call, world):
    create(call)
    assign(call)
    event = world.push("one")
    del world.codesets.heads["p", "c"]
    world.assignments.pushed(event)
    [decision] = call("GET", f"{AT}/workflows/wf/decisions").json()["items"]
    assert "p/c" in decision["reason"]


def test_old_runs_go_when_it_is_said(call, world):
    create(call)
    run = assign(call).json()["run"]
    world.engine.set(run["id"], RunStatus.FAILED)
    body = {"older_than_s": 0}
    [planned] = call("POST", f"{AT}/run-retention", json=body).json()["items"]
    assert (planned["reason"], planned["done"]) == (None, False)
    [gone] = call("POST", f"{AT}/run-retention", json=body | {"apply": True}).json()["items"]
    assert gone["done"]
    assert call("GET", f"{AT}/runs/{run['id']}").status_code == 404
    assert call("POST", f"{AT}/run-retention", json={}).status_code == 400


def test_who_may_do_what(call):
    create(call)
    for method, path, role, status in (
        ("GET", "workflows", "viewer", 200),
        ("POST", "workflows", "viewer", 403),
        ("PUT", "workflows/wf/assignments/p/c", "viewer", 403),
        ("PUT", "workflows/wf/assignments/p/c", "developer", 200),
        ("POST", "workflows/wf/runs", "viewer", 403),
        ("DELETE", "workflows/wf", "viewer", 403),
        ("POST", "run-retention", "developer", 403),
    ):
        answer = call(method, f"{AT}/{path}", role=role)
        assert answer.status_code == status, (method, path, role)


def test_what_changes_something_is_in_the_audit(call, platform):
    create(call)
    assign(call)
    told = [(entry.action, entry.subject) for entry in platform.access.entries]
    assert told == [("workflows.create", "workflow"), ("workflows.assign", "workflow/wf/p/c")]
