"""MLflow's workspaces over HTTP: they are projects, and what is in one is of it alone."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from mlflow_door import API, FILES, Door

from volant.app.tracked_files import forgetting
from volant.domain.event import PROJECT_DELETED
from volant.domain.principal import Role
from volant.web.mlflow.door import CALLS

SERVICE = pytest.mark.service
NUMBER = count()
LOST = (404, "RESOURCE_DOES_NOT_EXIST")
WRONG = (400, "INVALID_PARAMETER_VALUE")
DENIED = (403, "PERMISSION_DENIED")


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=SERVICE)])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Door:
    home = tmp_path_factory.mktemp("workspaces")
    if request.param == "sqlite":
        return Door(home)
    return Door(home, request.getfixturevalue("postgres").new_database())


def made(door: Door, **more: str) -> str:
    """The name of a new workspace."""
    name = f"team-{next(NUMBER)}"
    answer = door.ask("POST", f"{API}/workspaces", json={"name": name, **more})
    assert answer.status_code == 201, answer.text
    assert answer.json()["workspace"]["name"] == name
    return name


def experiment(door: Door, name: str, workspace: str | None = None) -> str:
    body = {"name": name}
    return door("POST", "/experiments/create", body, workspace=workspace)["experiment_id"]


def run_in(door: Door, workspace: str | None, experiment_id: str = "0") -> dict[str, Any]:
    body = {"experiment_id": experiment_id}
    return door("POST", "/runs/create", body, workspace=workspace)["run"]["info"]


def names(door: Door, workspace: str | None, **more: Any) -> set[str]:
    found = door("POST", "/experiments/search", more, workspace=workspace)
    return {each["name"] for each in found["experiments"]}


# the workspaces themselves


def test_a_workspace_is_a_project(door: Door) -> None:
    name = made(door, description="red")
    project = door.platform.workbench.projects.get(name)
    assert project.description == "red"
    assert door("GET", f"/workspaces/{name}")["workspace"] == {"name": name, "description": "red"}
    changed = door("PATCH", f"/workspaces/{name}", {"description": "white"})["workspace"]
    assert changed["description"] == "white"
    door.platform.workbench.projects.create(f"by-hand-{name}")
    listed = [each["name"] for each in door("GET", "/workspaces")["workspaces"]]
    assert {name, f"by-hand-{name}", "default"} <= set(listed)
    assert listed == sorted(listed)
    gone = door.ask("DELETE", f"{API}/workspaces/{name}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert door.refused("GET", f"/workspaces/{name}") == LOST


def test_the_default_one_is_always_there(door: Door) -> None:
    assert door("GET", "/workspaces/default")["workspace"]["name"] == "default"
    assert door.refused("POST", "/workspaces", {"name": "default"}) == WRONG
    assert door.refused("DELETE", "/workspaces/default") == WRONG
    told = door("PATCH", "/workspaces/default", {"description": "all the rest"})["workspace"]
    assert told == {"name": "default", "description": "all the rest"}
    assert door("GET", "/workspaces/default")["workspace"] == told
    assert door("GET", "/experiments/get", {"experiment_id": "0"}, workspace="default")


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("POST", "", {}, WRONG),
        ("POST", "", {"name": "No Name"}, WRONG),
        ("POST", "", {"name": "taken"}, (400, "RESOURCE_ALREADY_EXISTS")),
        ("POST", "", {"name": "x1", "default_artifact_root": "s3://b"}, WRONG),
        ("POST", "", {"name": "x2", "trace_archival_config": {"retention": "30d"}}, WRONG),
        ("GET", "/nothing", {}, LOST),
        ("PATCH", "/nothing", {"description": ""}, LOST),
        ("PATCH", "/taken", {}, WRONG),
        ("PATCH", "/taken", {"default_artifact_root": "s3://b"}, WRONG),
        ("DELETE", "/nothing", {}, LOST),
        ("DELETE", "/taken", {"mode": "SET_DEFAULT"}, WRONG),
        ("DELETE", "/taken", {"mode": "SOMEHOW"}, WRONG),
    ],
)
def test_refusals(door: Door, method: str, path: str, body: Any, expected: tuple[int, str]) -> None:
    door.platform.workbench.projects.ensure("taken")
    assert door.refused(method, f"/workspaces{path}", body) == expected
    assert not {"x1", "x2"} & {each["name"] for each in door("GET", "/workspaces")["workspaces"]}


def test_clearing_a_root_that_isnt_there_changes_nothing(door: Door) -> None:
    name = made(door, default_artifact_root="")
    body = {"description": "d", "default_artifact_root": " ", "trace_archival_config": {}}
    assert door("PATCH", f"/workspaces/{name}", body)["workspace"]["description"] == "d"


def test_a_call_for_no_workspace_is_refused(door: Door) -> None:
    assert door.refused("POST", "/experiments/search", workspace="nothing") == LOST
    asked = door.ask("GET", f"{API}/server-info", workspace="nothing")
    assert asked.json()["workspaces_enabled"] is True
    # Whose path names the workspace isn't for the header's.
    assert door("GET", "/workspaces", workspace="nothing")["workspaces"]
    assert names(door, "  ") == names(door, None) == names(door, "default")


# experiments, runs, models


def test_each_has_its_own_experiments(door: Door) -> None:
    a, b = made(door), made(door)
    ids = [experiment(door, f"wine {a}", each) for each in (None, a, b)]
    assert len(set(ids)) == 3
    assert names(door, a) == names(door, b) == {f"wine {a}"}
    assert {f"wine {a}", "Default"} <= names(door, None)
    for workspace, own in zip((None, a, b), ids, strict=True):
        by_name = {"experiment_name": f"wine {a}"}
        found = door("GET", "/experiments/get-by-name", by_name, workspace=workspace)
        assert found["experiment"]["experiment_id"] == own
    body = {"name": f"wine {a}"}
    again = door.refused("POST", "/experiments/create", body, workspace=a)
    assert again == (400, "RESOURCE_ALREADY_EXISTS")
    placed = {"name": "placed", "artifact_location": "mlflow-artifacts:/there"}
    assert door.refused("POST", "/experiments/create", placed, workspace=a) == WRONG
    for stolen in (f"workspaces/{a}/x", f"/%77orkspaces/{a}", "workspaces"):
        placed["artifact_location"] = f"mlflow-artifacts:/{stolen}"
        assert door.refused("POST", "/experiments/create", placed) == WRONG


def test_a_run_without_an_experiment_is_in_the_workspaces_own(door: Door) -> None:
    a = made(door)
    zero = {"experiment_id": "0"}
    assert door.refused("GET", "/experiments/get", zero, workspace=a) == LOST
    assert "runs" in door("POST", "/runs/search", {"experiment_ids": ["0"]}, workspace=a)
    runs = [run_in(door, a), door("POST", "/runs/create", {}, workspace=a)["run"]["info"]]
    own = runs[0]["experiment_id"]
    assert own not in ("0", "")
    assert runs[1]["experiment_id"] == own
    told = door("GET", "/experiments/get", zero, workspace=a)["experiment"]
    assert (told["experiment_id"], told["name"]) == (own, "Default")
    found = door("POST", "/runs/search", {"experiment_ids": ["0"]}, workspace=a)["runs"]
    assert {each["info"]["run_id"] for each in found} == {each["run_id"] for each in runs}
    model = door("POST", "/logged-models", {"name": "m"}, workspace=a)["model"]["info"]
    assert model["experiment_id"] == own
    assert run_in(door, None)["experiment_id"] == "0"


def test_a_search_sees_its_own_alone(door: Door) -> None:
    a = made(door)
    here, there = run_in(door, a), run_in(door, None)
    body = {"experiment_ids": [here["experiment_id"], there["experiment_id"]]}
    for path, key in (("/runs/search", "runs"), ("/logged-models/search", "models")):
        if key == "models":
            for workspace in (a, None):
                door("POST", "/logged-models", {"name": "m"}, workspace=workspace)
        for workspace, own in ((a, here), (None, there)):
            found = door("POST", path, body, workspace=workspace)[key]
            assert {each["info"]["experiment_id"] for each in found} == {own["experiment_id"]}


_FREE = {
    "/experiments/create",
    "/experiments/get-by-name",
    "/experiments/search",
    "/runs/search",
    "/logged-models/search",
    "/registered-models/create",
    "/registered-models/search",
    "/model-versions/search",
}
_CLOSED = [c for c in CALLS if c.path not in _FREE and not c.path.startswith("/workspaces")]


@pytest.fixture(scope="module")
def theirs(door: Door) -> dict[str, Any]:
    """What is in a workspace, by the names of the fields."""
    a = made(door)
    run = run_in(door, a)
    model = door("POST", "/logged-models", {"name": "m"}, workspace=a)["model"]["info"]
    door("POST", "/registered-models/create", {"name": f"net {a}"}, workspace=a)
    return {
        "workspace": a,
        "experiment_id": run["experiment_id"],
        "run_id": run["run_id"],
        "run_ids": [run["run_id"]],
        "model_id": model["model_id"],
        "name": f"net {a}",
    }


def _known_by(path: str) -> list[str]:
    if path.startswith(("/registered-models", "/model-versions")):
        return ["name"]
    if path.endswith("bulk-interval"):
        return ["run_ids"]
    if path.startswith("/experiments/") or path in ("/runs/create", "/logged-models"):
        return ["experiment_id"]
    return [] if "{model_id}" in path else ["run_id"]


@pytest.mark.parametrize("call", _CLOSED, ids=lambda call: f"{call.method} {call.path}")
@pytest.mark.parametrize("outside", [None, "other"])
def test_no_call_reaches_into_another(
    door: Door, theirs: dict[str, Any], call: Any, outside: str | None
) -> None:
    """By the only id that it goes by."""
    door.platform.workbench.projects.ensure("other")
    path = API + call.path.replace("{model_id}", theirs["model_id"]).replace("{tag_key:path}", "k")
    body = {"version": "1", "alias": "x", "key": "k", "metric_key": "m"}
    body |= {key: theirs[key] for key in _known_by(call.path)}
    key = "params" if call.method == "GET" else "json"
    answer = door.ask(call.method, path, Role.ADMIN, workspace=outside, **{key: body})
    assert answer.status_code == 404, answer.text
    assert f"it is in '{theirs['workspace']}'" in answer.json()["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/runs/log-metric", {"key": "k", "value": 1, "timestamp": 1, "model_id": "MODEL"}),
        (
            "/runs/log-batch",
            {"metrics": [{"key": "k", "value": 1, "timestamp": 1, "model_id": "MODEL"}]},
        ),
        ("/runs/log-inputs", {"models": [{"model_id": "MODEL"}]}),
        ("/runs/outputs", {"models": [{"model_id": "MODEL", "step": 0}]}),
    ],
)
def test_a_run_has_no_part_in_anothers_model(
    door: Door, theirs: dict[str, Any], path: str, body: dict[str, Any]
) -> None:
    def put(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: put(each) for key, each in value.items()}
        if isinstance(value, list):
            return [put(each) for each in value]
        return theirs["model_id"] if value == "MODEL" else value

    body = {"run_id": run_in(door, None)["run_id"], **put(body)}
    assert door.refused("POST", path, body) == LOST
    body["run_id"] = theirs["run_id"]
    door("POST", path, body, workspace=theirs["workspace"])


def test_a_models_name_is_one_in_all_workspaces(door: Door) -> None:
    a, b = made(door), made(door)
    name = f"net {a}"
    door("POST", "/registered-models/create", {"name": name}, workspace=a)
    answer = door.ask("POST", f"{API}/registered-models/create", workspace=b, json={"name": name})
    assert (answer.status_code, answer.json()["error_code"]) == (400, "RESOURCE_ALREADY_EXISTS")
    assert f"in the workspace '{a}'" in answer.json()["message"]
    door("POST", "/registered-models/create", {"name": f"net {b}"}, workspace=b)
    renamed = {"name": f"net {b}", "new_name": name}
    refused = door.refused("POST", "/registered-models/rename", renamed, workspace=b)
    assert refused == (400, "RESOURCE_ALREADY_EXISTS")
    for workspace, own in ((a, {name}), (b, {f"net {b}"})):
        found = door("GET", "/registered-models/search", workspace=workspace)["registered_models"]
        assert {each["name"] for each in found} == own
    everywhere = door("GET", "/registered-models/search")["registered_models"]
    assert not {name, f"net {b}"} & {each["name"] for each in everywhere}


def test_versions_are_made_of_the_workspaces_own(door: Door) -> None:
    a, b = made(door), made(door)
    name = f"net {a}"
    run = run_in(door, a)
    place = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    door.ask("PUT", f"{FILES}/{place}/model/MLmodel", content=b"flavors: {}\n", workspace=a)
    door("POST", "/registered-models/create", {"name": name}, workspace=a)
    door("POST", "/registered-models/create", {"name": f"net {b}"}, workspace=b)
    sources = (f"{run['artifact_uri']}/model", f"runs:/{run['run_id']}/model")
    for number, source in enumerate(sources, 1):
        body = {"name": name, "source": source}
        told = door("POST", "/model-versions/create", body, workspace=a)["model_version"]
        assert told["version"] == str(number)
    for source in (*sources, f"models:/{name}/1", "mlflow-artifacts:/0/x/artifacts"):
        status, _ = door.refused(
            "POST", "/model-versions/create", {"name": f"net {b}", "source": source}, workspace=b
        )
        assert status in (400, 404), source
    for workspace, found in ((a, 2), (b, 0), (None, 0)):
        query = {"filter": f"name = '{name}'"}
        versions = door("GET", "/model-versions/search", query, workspace=workspace)
        assert len(versions["model_versions"]) == found
    told = door("GET", "/model-versions/get-download-uri", {"name": name, "version": "1"},
                workspace=a)  # fmt: skip
    file = told["artifact_uri"].removeprefix("mlflow-artifacts:/") + "/MLmodel"
    assert door.ask("GET", f"{FILES}/{file}", workspace=a).content == b"flavors: {}\n"


# artifacts


def test_artifacts_lie_in_the_workspaces_folder(door: Door) -> None:
    a, b = made(door), made(door)
    place = run_in(door, a)["artifact_uri"].removeprefix("mlflow-artifacts:/")
    assert place.startswith(f"workspaces/{a}/")
    assert door.ask("PUT", f"{FILES}/{place}/x.txt", content=b"x", workspace=a).status_code == 200
    assert door.ask("GET", f"{FILES}/{place}/x.txt", workspace=a).content == b"x"
    # A path without the folder is below it, as on MLflow's own server.
    short = place.removeprefix(f"workspaces/{a}/")
    assert door.ask("GET", f"{FILES}/{short}/x.txt", workspace=a).content == b"x"
    listed = door.ask("GET", FILES, workspace=a, params={"path": ""}).json()["files"]
    assert [each["path"] for each in listed] == [short.split("/")[0]]
    for workspace in (b, None, "default"):
        for method in ("GET", "PUT", "DELETE"):
            answer = door.ask(method, f"{FILES}/{place}/x.txt", workspace=workspace)
            assert (answer.status_code, answer.json()["error_code"]) == WRONG
            assert f"targets workspace '{a}'" in answer.json()["message"]
        query = {"path": f"workspaces/{a}"}
        assert door.ask("GET", FILES, workspace=workspace, params=query).status_code == 400
    assert door.ask("GET", f"{FILES}/{short}/x.txt").status_code == 404
    assert door.ask("GET", f"{FILES}/workspaces", workspace=None).status_code == 400
    for climbing in (f"workspaces/{b}/../{a}/x", f"workspaces/{b}//x", f"%2e%2e/{a}/x"):
        assert door.ask("GET", f"{FILES}/{climbing}", workspace=b).status_code in (400, 404)
    root = door.ask("GET", FILES, params={"path": ""}).json()["files"]
    assert "workspaces" not in {each["path"] for each in root}
    assert door.ask("DELETE", f"{FILES}/{place}/x.txt", workspace=a).status_code == 200


def test_a_large_artifact_in_parts(door: Door) -> None:
    a = made(door)
    place = run_in(door, a)["artifact_uri"].removeprefix("mlflow-artifacts:/")
    at = FILES.replace("/artifacts", "/mpu")
    begun = door.ask("POST", f"{at}/create/{place}/deep", json={"path": "/tmp/big", "num_parts": 1},
                     workspace=a).json()  # fmt: skip
    url = begun["credentials"][0]["url"].removeprefix("http://test")
    tag = door.client.request("PUT", url, content=b"part").headers["ETag"]
    parts = [{"part_number": 1, "etag": tag, "url": url}]
    body = {"path": "/tmp/big", "upload_id": begun["upload_id"], "parts": parts}
    away = door.ask("POST", f"{at}/complete/{place}/deep", json=body)
    assert away.status_code == 400
    done = door.ask("POST", f"{at}/complete/{place}/deep", json=body, workspace=a)
    assert done.status_code == 200, done.text
    assert door.ask("GET", f"{FILES}/{place}/deep/big", workspace=a).content == b"part"


# who may


def test_members_may_there_what_their_role_says(door: Door) -> None:
    a = made(door)
    projects = door.platform.workbench.projects
    run = run_in(door, a)
    place = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    projects.set_member(a, "developer", Role.VIEWER)
    dev = Role.DEVELOPER
    writes = [
        ("POST", "/runs/create", {}),
        ("POST", "/experiments/create", {"name": "x"}),
        ("POST", "/runs/set-tag", {"run_id": run["run_id"], "key": "k", "value": "v"}),
        ("POST", "/registered-models/create", {"name": f"no {a}"}),
    ]
    for method, path, body in writes:
        answer = door.ask(method, API + path, dev, workspace=a, json=body)
        assert (answer.status_code, answer.json()["error_code"]) == DENIED
        assert f"viewer in the workspace '{a}'" in answer.json()["message"]
    file = door.ask("PUT", f"{FILES}/{place}/x", dev, workspace=a, content=b"x")
    assert (file.status_code, file.json()["error_code"]) == DENIED
    # No other workspace's header opens it.
    assert door.ask("PUT", f"{FILES}/{place}/x", dev, content=b"x").status_code == 400
    tag = {"run_id": run["run_id"], "key": "k", "value": "v"}
    assert door.ask("POST", f"{API}/runs/set-tag", dev, json=tag).status_code == 404
    read = {"run_id": run["run_id"]}
    assert door.ask("GET", f"{API}/runs/get", dev, workspace=a, params=read).status_code == 200
    assert door.ask("POST", f"{API}/runs/create", dev, json={}).status_code == 200
    projects.remove_member(a, "developer")
    assert door.ask("POST", f"{API}/runs/create", dev, workspace=a, json={}).status_code == 200


def test_the_default_projects_members_too(door: Door) -> None:
    projects = door.platform.workbench.projects
    projects.ensure("default")
    projects.set_member("default", "developer", Role.VIEWER)
    try:
        answer = door.ask("POST", f"{API}/runs/create", Role.DEVELOPER, json={})
        assert (answer.status_code, answer.json()["error_code"]) == DENIED
        assert door.ask("POST", f"{API}/runs/create", Role.ADMIN, json={}).status_code == 200
    finally:
        projects.remove_member("default", "developer")
    assert door.ask("POST", f"{API}/runs/create", Role.DEVELOPER, json={}).status_code == 200


def test_a_members_role_bounds_the_workspace_itself(door: Door) -> None:
    a = made(door)
    door.platform.workbench.projects.set_member(a, "operator", Role.DEVELOPER)
    for method, body in (("PATCH", {"description": "x"}), ("DELETE", {})):
        assert door.refused(method, f"/workspaces/{a}", body) == DENIED
    refused = door.ask("POST", f"{API}/workspaces", Role.VIEWER, json={"name": "never"})
    assert refused.status_code == 403
    assert door.ask("DELETE", f"{API}/workspaces/{a}", Role.ADMIN).status_code == 204


def test_the_audit_tells_the_workspace(door: Door) -> None:
    a = made(door)
    experiment(door, "audited", a)
    experiment(door, f"audited {a}")
    told = [each.subject for each in door.store.audit.page(3)[0]]
    assert told == [f"experiment/audited {a}", f"project/{a}/experiment/audited", f"project/{a}"]


# the end of one


def test_what_is_in_it_holds_it(door: Door, tmp_path: Path) -> None:
    a = made(door)
    run = run_in(door, a)
    place = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    door.ask("PUT", f"{FILES}/{place}/x", content=b"x", workspace=a)
    door("POST", "/registered-models/create", {"name": f"net {a}"}, workspace=a)
    assert door.refused("DELETE", f"/workspaces/{a}") == (409, "RESOURCE_CONFLICT")
    cascade = f"{API}/workspaces/{a}?mode=CASCADE"
    held = door.ask("DELETE", cascade)
    assert held.status_code == 409
    assert f"model net {a}" in held.json()["message"]
    assert "experiment" not in held.json()["message"].partition(".")[0]
    assert door("GET", "/runs/get", {"run_id": run["run_id"]}, workspace=a)
    door("DELETE", "/registered-models/delete", {"name": f"net {a}"}, workspace=a)
    assert door.ask("DELETE", cascade).status_code == 204
    assert door.refused("GET", "/runs/get", {"run_id": run["run_id"]}, workspace=a) == LOST
    # Another of that name is empty, and keeps its own when the old one's files go.
    door.ask("POST", f"{API}/workspaces", json={"name": a})
    assert names(door, a) == set()
    new = run_in(door, a)["artifact_uri"].removeprefix("mlflow-artifacts:/")
    door.ask("PUT", f"{FILES}/{new}/x", content=b"new", workspace=a)
    told = [e for e in door.store.events.pending(1000) if e.type == PROJECT_DELETED]
    event = next(each for each in told if each.data["project"] == a)
    assert event.data["experiments"] == [run["experiment_id"]]
    for _ in range(2):
        forgetting(door.platform.artifact_files)[PROJECT_DELETED](event)
    assert door.ask("GET", f"{FILES}/{place}/x", workspace=a).status_code == 404
    assert door.ask("GET", f"{FILES}/{new}/x", workspace=a).content == b"new"


@pytest.mark.parametrize("bad", ["\0", "\ud800", "'", "x" * 5000, "ñ", "%"])
def test_what_can_be_no_id_is_the_callers_mistake(door: Door, bad: str) -> None:
    bodies = [
        ("/runs/update", {"run_id": bad}),
        ("/runs/create", {"experiment_id": bad}),
        ("/logged-models", {"experiment_id": bad, "name": "m"}),
        ("/registered-models/set-tag", {"name": bad, "key": "k"}),
        ("/model-versions/create", {"name": "n", "source": f"runs:/{bad}/x"}),
        ("/model-versions/create", {"name": "n", "source": f"models:/{bad}"}),
        ("/runs/log-inputs", {"run_id": "r", "models": [{"model_id": bad}]}),
    ]
    for path, body in bodies:
        for workspace in (None, "taken"):
            door.platform.workbench.projects.ensure("taken")
            content = json.dumps(body).encode()
            answer = door.ask("POST", API + path, workspace=workspace, content=content)
            assert answer.status_code in (400, 404), (path, answer.text)
    named = quote(bad, errors="surrogatepass")
    assert door.ask("GET", f"{API}/workspaces/{named}").status_code in (400, 404)
