"""Projects, applications and runnables over HTTP, with the rights that members have."""

from __future__ import annotations

import pytest

from volant.adapters.system import SortableIds, SystemClock
from volant.domain.principal import Role
from volant.projects.applications import ApplicationDesk
from volant.projects.desk import ProjectDesk
from volant.projects.runnables import RunnableDesk
from volant.store import Store, sqlite_url
from volant.web.api.app import create_app

RUNNABLE = "id: a\ncontainer: {image: x}\ninputs: {n: {type: number}}\n"


@pytest.fixture
def bench(platform, tmp_path):
    """The plain platform with real desks for what is tried here."""
    with Store(sqlite_url(tmp_path / "projects.db")) as store:
        store.migrate()
        clock, ids = SystemClock(), SortableIds()
        bench = platform.workbench
        bench.projects = ProjectDesk(store.projects, clock, ids)
        bench.applications = ApplicationDesk(
            store.applications, clock, ids, undeploy=platform.deployments.delete
        )
        bench.runnables = RunnableDesk(store.runnables, clock, ids)
        yield bench


@pytest.fixture
def app(platform, bench):
    return create_app(platform, hosts={"testserver"})


def test_a_project_and_its_members(call):
    made = call("POST", "/api/v1/projects", json={"name": "winery", "description": "Wines"})
    assert made.status_code == 201
    assert call("POST", "/api/v1/projects", json={"name": "winery"}).status_code == 409
    path = "/api/v1/projects/winery"
    assert call("PATCH", path, json={"description": "Red"}).json()["description"] == "Red"
    changed = call("PUT", f"{path}/members/bob", json={"role": "viewer"}).json()
    assert changed["members"] == [{"principal": "bob", "role": "viewer"}]
    assert call("GET", path).json()["holds"] == []
    assert call("GET", "/api/v1/projects").json()["items"] == [changed]
    assert call("DELETE", f"{path}/members/bob").status_code == 204
    assert call("DELETE", path).status_code == 204
    assert call("GET", path).json()["code"] == "not_found"


def test_a_member_with_fewer_rights_is_refused_there(call, bench):
    for name in ("winery", "other"):
        bench.projects.create(name)
    bench.projects.set_member("winery", "operator", Role.VIEWER)
    assert call("GET", "/api/v1/projects/winery", role="operator").status_code == 200
    refused = call("PATCH", "/api/v1/projects/winery", role="operator", json={"description": "x"})
    assert refused.status_code == 403
    assert "viewer" in refused.json()["detail"]
    allowed = call("PATCH", "/api/v1/projects/other", role="operator", json={"description": "x"})
    assert allowed.status_code == 200
    # Its own membership can't be changed by it, nor can an admin's take an admin's rights.
    mine = "/api/v1/projects/winery/members/operator"
    assert call("PUT", mine, role="operator", json={"role": "admin"}).status_code == 403
    bench.projects.set_member("winery", "admin", Role.VIEWER)
    assert call("PUT", mine, json={"role": "operator"}).status_code == 200


def test_applications(call, bench, platform):
    facts = {"name": "app", "url": "http://127.0.0.1:9/v2", "workflow": "e2e", "project": "winery"}
    made = call("POST", "/api/v1/applications", json={**facts, "deployment": "wine-quality"})
    assert made.status_code == 201
    assert made.json()["type"] == "predictor"
    unknown = call("POST", "/api/v1/applications", json={**facts, "deployment": "none"})
    assert unknown.status_code == 404
    assert call("GET", "/api/v1/applications?workflow=none").json()["items"] == []
    assert call("GET", "/api/v1/applications?type=predictor").json()["items"] == [made.json()]
    assert call("DELETE", "/api/v1/projects/winery").json()["code"] == "project_in_use"
    bench.projects.set_member("winery", "operator", Role.VIEWER)
    path = "/api/v1/applications/app"
    assert call("DELETE", path, role="operator").status_code == 403
    assert call("POST", "/api/v1/applications", role="operator", json=facts).status_code == 403
    assert call("GET", path).json() == made.json()
    assert call("DELETE", path).status_code == 204
    assert call("GET", path).status_code == 404


def test_runnables(call):
    made = call("POST", "/api/v1/runnables", json={"source": RUNNABLE, "file": "r.yaml"})
    assert made.status_code == 201
    assert made.json()["inputs"]["n"]["type"] == "number"
    wrong = call("POST", "/api/v1/runnables", json={"source": "id: 7 7", "file": "r.yaml"})
    assert wrong.status_code == 400
    assert "r.yaml:1" in wrong.json()["detail"]
    changed = RUNNABLE.replace("image: x", "image: y")
    assert call("POST", "/api/v1/runnables", json={"source": changed}).status_code == 409
    assert call("PUT", "/api/v1/runnables", json={"source": changed}).json()["generation"] == 2
    assert call("GET", "/api/v1/runnables/a").json()["container"]["image"] == "y"
    assert len(call("GET", "/api/v1/runnables?kind=custom").json()["items"]) == 1
    assert call("GET", "/api/v1/runnables?kind=trainer").json()["items"] == []
    assert call("DELETE", "/api/v1/runnables/a", role="developer").status_code == 403
    assert call("DELETE", "/api/v1/runnables/a").status_code == 204
