"""MLflow's protocol over HTTP, on real rooms and a real store."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow_door import API, FILES, Door

from volant.domain.principal import Role
from volant.web.mlflow.door import CALLS, PREFIXES

SERVICE = pytest.mark.service
PROMPT = {"key": "mlflow.prompt.is_prompt", "value": "true"}


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=SERVICE)])
def door(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Door:
    home = tmp_path_factory.mktemp("mlflow")
    if request.param == "sqlite":
        return Door(home)
    return Door(home, request.getfixturevalue("postgres").new_database())


def test_every_call_answers_below_every_prefix(door: Door) -> None:
    for prefix in PREFIXES:
        found = door.ask("GET", f"{prefix}/experiments/get", params={"experiment_id": "0"})
        assert found.json()["experiment"]["name"] == "Default"
        assert door.ask("GET", f"{prefix}/server-info").json()["workspaces_enabled"] is True
        lost = door.ask("POST", f"{prefix}/no/such")
        assert (lost.status_code, lost.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    assert door.client.get("/health").text == "OK"
    assert door.client.get("/version").text.startswith("3.")


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {call.path}")
def test_nobody_comes_in_without_a_token(door: Door, call: Any) -> None:
    path = API + call.path.replace("{model_id}", "m").replace("{tag_key:path}", "k")
    answer = door.client.request(call.method, path)
    assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED")
    assert "MLFLOW_TRACKING_TOKEN" in answer.json()["message"]
    wrong = {"Authorization": "Bearer vlt_wrong"}
    assert door.client.request(call.method, path, headers=wrong).status_code == 401
    if str(call.permission).endswith(".read"):
        return
    refused = door.ask(call.method, path, Role.VIEWER, json={})
    assert (refused.status_code, refused.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_a_password_is_a_token(door: Door) -> None:
    word = base64.b64encode(f"anybody:{door.tokens[Role.VIEWER]}".encode()).decode()
    path, query = f"{API}/experiments/get", {"experiment_id": "0"}
    headers = {"Authorization": f"Basic {word}"}
    assert door.client.get(path, params=query, headers=headers).status_code == 200
    for bad in ("Basic !!!", "Basic " + base64.b64encode(b"\xff").decode(), "Digest x"):
        answer = door.client.get(path, params=query, headers={"Authorization": bad})
        assert answer.status_code == 401


def test_numbers_come_in_every_spelling(door: Door) -> None:
    run = door.run()["run_id"]
    for i, value in enumerate([1, "2.5", "NaN", "Infinity", "-Infinity"]):
        body = {"run_id": run, "key": f"m{i}", "value": value, "timestamp": "7", "step": str(i)}
        door("POST", "/runs/log-metric", body)
    data = door("GET", "/runs/get", {"run_id": run})["run"]["data"]
    assert [each["value"] for each in data["metrics"]] == [1, 2.5, "NaN", "Infinity", "-Infinity"]
    assert [each["step"] for each in data["metrics"]] == [0, 1, 2, 3, 4]
    by_number = {"run_uuid": run, "status": 3, "end_time": "1000"}
    assert door("POST", "/runs/update", by_number)["run_info"]["status"] == "FINISHED"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/runs/get", {}, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "/runs/get", {"run_id": "x"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "/runs/create", {"experiment_id": "9"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "/runs/create", {"start_time": 2**70}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", {"start_time": 2**62}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", {"tags": {"a": 1}}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", {"run_name": 2**70}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/create", {"run_name": 1.5}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "/experiments/create", {"name": "Default"}, 400, "RESOURCE_ALREADY_EXISTS"),
        ("POST", "/experiments/create", {"name": " "}, 400, "INVALID_PARAMETER_VALUE"),
        (
            "POST",
            "/experiments/create",
            {"name": "s3", "artifact_location": "s3://b"},
            400,
            "INVALID_PARAMETER_VALUE",
        ),
        ("POST", "/runs/search", {"filter": "x ="}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/search", {"max_results": 0}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/search", {"page_token": "x"}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/search", {"order_by": ["a b c"]}, 400, "INVALID_PARAMETER_VALUE"),
        ("POST", "/runs/search", {"run_view_type": "NO"}, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "/registered-models/get", {"name": "x"}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "/registered-models/create", {"name": "a/b"}, 400, "INVALID_PARAMETER_VALUE"),
        (
            "POST",
            "/registered-models/create",
            {"name": "p", "tags": [PROMPT]},
            404,
            "ENDPOINT_NOT_FOUND",
        ),
        ("GET", "/model-versions/search", {"order_by": "tags.a"}, 400, "INVALID_PARAMETER_VALUE"),
        (
            "POST",
            "/runs/search",
            {"experiment_ids": ["0"], "order_by": ["dataset.name"]},
            400,
            "INVALID_PARAMETER_VALUE",
        ),
        (
            "POST",
            "/logged-models/search",
            {"datasets": [{"dataset_digest": "x"}]},
            400,
            "INVALID_PARAMETER_VALUE",
        ),
        (
            "POST",
            "/logged-models/search",
            {"order_by": [{"field_name": "`name"}]},
            400,
            "INVALID_PARAMETER_VALUE",
        ),
        (
            "POST",
            "/logged-models/search",
            {"order_by": [{"field_name": "name"}] * 101},
            400,
            "INVALID_PARAMETER_VALUE",
        ),
        ("GET", "/logged-models/m-1", {}, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("PATCH", "/logged-models/m-1", {}, 400, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_refusals(door: Door, method: str, path: str, body: Any, status: int, code: str) -> None:
    assert door.refused(method, path, body) == (status, code)


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b'"x"', b"1"])
def test_bodies_that_are_no_object(door: Door, body: bytes) -> None:
    answer = door.ask("POST", f"{API}/runs/create", content=body)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_pages_follow_one_another(door: Door) -> None:
    experiment = door("POST", "/experiments/create", {"name": "paged"})["experiment_id"]
    made = {
        door("POST", "/runs/create", {"experiment_id": experiment})["run"]["info"]["run_id"]
        for _ in range(5)
    }
    seen: set[str] = set()
    token = ""
    for _ in range(3):
        page = door(
            "POST",
            "/runs/search",
            {"experiment_ids": [experiment], "max_results": 2, "page_token": token},
        )
        seen |= {run["info"]["run_id"] for run in page["runs"]}
        token = page.get("next_page_token", "")
    assert seen == made
    assert token == ""


def test_histories_are_paged_and_thinned(door: Door) -> None:
    run = door.run()["run_id"]
    points = [{"key": "m", "value": i, "timestamp": i, "step": i} for i in range(1000)]
    door("POST", "/runs/log-batch", {"run_id": run, "metrics": points})
    first = door(
        "GET", "/metrics/get-history", {"run_id": run, "metric_key": "m", "max_results": 600}
    )
    rest = door(
        "GET",
        "/metrics/get-history",
        {
            "run_id": run,
            "metric_key": "m",
            "max_results": 600,
            "page_token": first["next_page_token"],
        },
    )
    assert [len(first["metrics"]), len(rest["metrics"])] == [600, 400]
    thin = door(
        "GET",
        "/metrics/get-history-bulk-interval",
        {"run_ids": [run], "metric_key": "m", "max_results": 10},
    )["metrics"]
    assert 10 <= len(thin) <= 12
    assert (thin[0]["step"], thin[-1]["step"]) == (0, 999)


def test_logged_models_are_searched_by_metric_and_dataset(door: Door) -> None:
    run = door.run()["run_id"]
    made: list[str] = []
    for i, data in enumerate(("iris", "other")):
        body = {"experiment_id": "0", "name": f"searched-{i}"}
        model = door("POST", "/logged-models", body)["model"]["info"]["model_id"]
        point = {"run_id": run, "key": "f1", "value": i / 4, "timestamp": 1, "model_id": model}
        on = {"dataset_name": data, "dataset_digest": "d"}
        door("POST", "/runs/log-metric", {**point, **on})
        made.append(model)

    def found(**asked: Any) -> list[str]:
        body = {"experiment_ids": ["0"], "filter": "metrics.f1 >= 0", **asked}
        models = door("POST", "/logged-models/search", body)["models"]
        return [each["info"]["model_id"] for each in models]

    by = {"field_name": "metrics.f1"}
    assert found(order_by=[by]) == made  # ascending, as the protocol has it
    assert found(order_by=[{**by, "ascending": False}]) == made[::-1]
    assert found(order_by=[{**by, "dataset_name": "other"}]) == made[::-1]
    assert found(datasets=[{"dataset_name": "iris", "dataset_digest": "d"}]) == made[:1]
    assert found(datasets=[{"dataset_name": "iris"}]) == []


def test_artifacts_go_up_and_down(door: Door) -> None:
    root = door.run()["artifact_uri"].removeprefix("mlflow-artifacts:/")
    content = bytes(range(256)) * 20_000  # more than one piece
    for name, body in (("a/b/c d.txt", b"hi"), ("big.bin", content), ("empty", b"")):
        assert door.ask("PUT", f"{FILES}/{root}/{name}", content=body).status_code == 200
        found = door.ask("GET", f"{FILES}/{root}/{name}")
        assert found.content == body
        assert "attachment" in found.headers["content-disposition"]
    assert door.ask("PUT", f"{FILES}/{root}/empty", content=b"not now").status_code == 200
    assert door.ask("GET", f"{FILES}/{root}/empty").content == b"not now"
    listed = door.ask("GET", FILES, params={"path": root}).json()["files"]
    assert listed == [
        {"path": "a", "is_dir": True},
        {"path": "big.bin", "is_dir": False, "file_size": len(content)},
        {"path": "empty", "is_dir": False, "file_size": 7},
    ]
    assert door.ask("GET", FILES, params={"path": f"{root}/empty"}).json()["files"] == []
    assert door.ask("DELETE", f"{FILES}/{root}/a").status_code == 200
    assert door.ask("GET", f"{FILES}/{root}/a/b/c d.txt").status_code == 404
    assert door.ask("DELETE", f"{FILES}/{root}/a").status_code == 404
    refused = door.ask("PUT", f"{FILES}/{root}/x", Role.VIEWER, content=b"x")
    assert refused.status_code == 403
    refused = door.ask("DELETE", f"{FILES}/{root}/empty", Role.VIEWER)
    assert (refused.status_code, "tracking.delete" in refused.json()["message"]) == (403, True)


@pytest.mark.parametrize(
    "path",
    [
        "..%2Fvolant.db",
        "%2e%2e/volant.db",
        "a/..%2f..%2f..%2fvolant.db",
        "%2Fetc%2Fpasswd",
        "a%00b",
        "a%5C..%5Cb",
        ".incoming/x",
        "a//b",
        "x" * 256,
        "%2e",
        "%2e/%2e",
    ],
)
def test_paths_that_climb_out(door: Door, path: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        options = {"content": b"x"} if method == "PUT" else {}
        answer = door.ask(method, f"{FILES}/{path}", **options)
        assert answer.status_code in (400, 404), answer.text
    assert door.ask("GET", FILES, params={"path": "../artifacts"}).status_code == 400


def test_dots_for_the_folder_itself_are_read_through(door: Door) -> None:
    run = door.run()
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    door.ask("PUT", f"{FILES}/{root}/q/g.txt", content=b"x")
    for path in (".", "./", "././."):
        listed = door.ask("GET", FILES, params={"path": f"{root}/{path}"}).json()["files"]
        assert listed == [{"path": "q", "is_dir": True}]
    for path in ("./q", "q/.", "./q/"):
        listed = door.ask("GET", FILES, params={"path": f"{root}/{path}"}).json()["files"]
        assert [each["path"] for each in listed] == ["g.txt"]
    assert door.ask("GET", f"{FILES}/{root}/%2e/q/g.txt").content == b"x"
    asked = {"run_id": run["run_id"], "path": "./q"}
    assert door("GET", "/artifacts/list", asked)["files"][0]["path"] == "./q/g.txt"
    assert door("GET", "/artifacts/list", {**asked, "path": "."})["files"][0]["path"] == "./q"
    other = {"path": "./workspaces/other"}  # what stands before it opens no other's folder
    assert door.ask("GET", FILES, params=other).status_code == 400
    top = door.ask("GET", FILES, params={"path": "."}).json()
    assert top == door.ask("GET", FILES).json()
    for path in ("./..", "./../.."):
        answer = door.ask("GET", FILES, params={"path": f"{root}/{path}"})
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"


def test_a_defect_is_told_in_the_protocols_form(door: Door, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("nobody foresaw it")

    for verb in ("list", "draft", "folder"):
        monkeypatch.setattr(door.platform.artifact_files, verb, broken)
    create = FILES.replace("/artifacts", "/mpu/create/0")
    for method, path, options in (
        ("GET", FILES, {}),
        ("PUT", f"{FILES}/0/x", {"content": b"x"}),
        ("POST", create, {"json": {"path": "x", "num_parts": 1}}),
    ):
        answer = door.ask(method, path, **options)
        assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR")


def test_a_link_out_of_the_store_is_not_followed(door: Door, tmp_path: Path) -> None:
    run = door.run()
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    door.ask("PUT", f"{FILES}/{root}/file", content=b"x")
    (tmp_path / "secret").write_text("secret")
    home = door.home / "tracked" / root
    (home / "out").symlink_to(tmp_path)
    assert door.ask("GET", f"{FILES}/{root}/out/secret").status_code == 400
    listed = door.ask("GET", FILES, params={"path": root}).json()["files"]
    assert [each["path"] for each in listed] == ["file"]


def _logged(door: Door) -> tuple[str, str]:
    run = door.run()
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    signature = '[{"type": "double", "name": "x", "required": true}]'
    body = f"signature:\n  inputs: '{signature}'\n  outputs: '{signature}'\n"
    door.ask("PUT", f"{FILES}/{root}/model/MLmodel", content=body.encode())
    door.ask("PUT", f"{FILES}/{root}/model/model.txt", content=b"weights")
    return run["run_id"], f"{run['artifact_uri']}/model"


def test_a_registered_version_never_changes(door: Door) -> None:
    run, source = _logged(door)
    door("POST", "/registered-models/create", {"name": "A model", "description": "d"})
    made = door(
        "POST", "/model-versions/create", {"name": "A model", "source": source, "run_id": run}
    )["model_version"]
    assert (made["version"], made["run_id"], made["status"]) == ("1", run, "READY")
    root = source.removeprefix("mlflow-artifacts:/")
    door.ask("PUT", f"{FILES}/{root}/model.txt", content=b"other")
    uri = door("GET", "/model-versions/get-download-uri", {"name": "A model", "version": "1"})
    place = uri["artifact_uri"].removeprefix("mlflow-artifacts:/")
    assert door.ask("GET", f"{FILES}/{place}/model.txt").content == b"weights"
    assert door.ask("PUT", f"{FILES}/{place}/model.txt", content=b"x").status_code == 403
    assert door.ask("DELETE", f"{FILES}/{place}/model.txt").status_code == 403
    stored = door.store.models.get("A model", 1)
    assert [field.name for field in stored.signature.inputs] == ["x"]
    assert len(stored.files) == 2


def test_aliases_tags_stages_and_search(door: Door) -> None:
    _, source = _logged(door)
    name = "it's wine"
    door("POST", "/registered-models/create", {"name": name, "tags": [{"key": "a", "value": "1"}]})
    for _ in range(3):
        door("POST", "/model-versions/create", {"name": name, "source": source})
    door("POST", "/registered-models/alias", {"name": name, "alias": "best", "version": "2"})
    by_alias = door("GET", "/registered-models/alias", {"name": name, "alias": "best"})
    assert by_alias["model_version"]["version"] == "2"
    body = {"name": name, "version": "3", "stage": "production"}
    for version in ("1", "3"):
        moved = {**body, "version": version, "archive_existing_versions": True}
        door("POST", "/model-versions/transition-stage", moved)
    latest = door("GET", "/registered-models/get-latest-versions", {"name": name})
    found = {v["current_stage"]: v["version"] for v in latest["model_versions"]}
    assert found == {"None": "2", "Archived": "1", "Production": "3"}
    door(
        "POST",
        "/model-versions/set-tag",
        {"name": name, "version": "1", "key": "k", "value": "v"},
    )

    def versions(text: str) -> list[str]:
        page = door("GET", "/model-versions/search", {"filter": text})
        return sorted(each["version"] for each in page["model_versions"])

    assert versions("name = 'it''s wine'") == ["1", "2", "3"]
    assert versions("name = 'it''s wine' and tag.k = 'v'") == ["1"]
    models = door("GET", "/registered-models/search", {"filter": "name LIKE 'it%'"})
    assert [each["name"] for each in models["registered_models"]] == [name]
    # MLflow's own client never searches without saying that it wants no prompts.
    door("POST", "/registered-models/create", {"name": "said"})
    door("POST", "/registered-models/set-tag", {"name": "said", **PROMPT})
    for text, expected in (("!= 'true'", [name]), ("= 'false'", [name]), ("= 'true'", ["said"])):
        query = {"filter": f"name != 'A model' and tag.`mlflow.prompt.is_prompt` {text}"}
        models = door("GET", "/registered-models/search", query)
        assert [each["name"] for each in models["registered_models"]] == expected
    door("POST", "/registered-models/rename", {"name": name, "new_name": "wine 2"})
    renamed = door("GET", "/registered-models/get", {"name": "wine 2"})["registered_model"]
    assert renamed["aliases"] == [{"alias": "best", "version": "2"}]
    assert renamed["tags"] == [{"key": "a", "value": "1"}]
    door("DELETE", "/model-versions/delete", {"name": "wine 2", "version": "2"})
    assert door.refused("GET", "/registered-models/alias", {"name": "wine 2", "alias": "best"}) == (
        400,
        "INVALID_PARAMETER_VALUE",
    )
    fourth = door("POST", "/model-versions/create", {"name": "wine 2", "source": source})
    assert fourth["model_version"]["version"] == "4"  # numbers are never given again
    door("DELETE", "/registered-models/delete", {"name": "wine 2"})
    assert door.refused("GET", "/registered-models/get", {"name": "wine 2"})[0] == 404


def test_an_alias_that_is_not_there(door: Door) -> None:
    _, source = _logged(door)
    door("POST", "/registered-models/create", {"name": "aliased"})
    door("POST", "/model-versions/create", {"name": "aliased", "source": source})
    for i in range(12):
        alias = {"name": "aliased", "alias": f"{i:02}{'a' * 200}", "version": "1"}
        door("POST", "/registered-models/alias", alias)
    query = {"name": "aliased", "alias": "nope"}
    answer = door.ask("GET", f"{API}/registered-models/alias", params=query)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    message = answer.json()["message"]
    assert message.startswith("Registered model alias nope not found.")
    assert "and 2 more" in message
    assert len(message) < 600
    assert door.refused("GET", "/registered-models/alias", {**query, "name": "no"})[0] == 404


def test_what_is_no_stage(door: Door) -> None:
    door("POST", "/registered-models/create", {"name": "staged"})
    path = "/registered-models/get-latest-versions"
    assert door("POST", path, {"name": "staged", "stages": ["none", "Archived"]})
    refused = door.refused("POST", path, {"name": "staged", "stages": ["foo"]})
    assert refused == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize(
    "source",
    [
        "file:///etc",
        "/etc",
        "s3://bucket/model",
        "mlflow-artifacts:/../../etc",
        "mlflow-artifacts:/volant/../../x",
        "runs:/nothing/model",
        "models:/m-nothing",
        "models:/A model/x",
        "mlflow-artifacts:/0/nothing",
    ],
)
def test_sources_that_cannot_be(door: Door, source: str) -> None:
    door.ask("POST", f"{API}/registered-models/create", json={"name": "sourced"})
    body = {"name": "sourced", "source": source}
    assert door.refused("POST", "/model-versions/create", body)[0] in (400, 404)


def test_changes_of_the_registry_are_audited(door: Door) -> None:
    door("POST", "/registered-models/create", {"name": "audited"})
    entries, _ = door.store.audit.page(1)
    assert (entries[0].subject, entries[0].principal) == ("model/audited", "operator")


@given(
    st.sampled_from(CALLS),
    st.dictionaries(
        st.sampled_from(
            ["run_id", "name", "key", "value", "version", "tags", "metrics", "filter", "order_by"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=4), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        max_size=5,
    ),
)
def test_no_body_breaks_the_server(door: Door, call: Any, body: dict[str, Any]) -> None:
    path = API + call.path.replace("{model_id}", "m-1").replace("{tag_key:path}", "k")
    try:
        answer = door.ask(call.method, path, json=body)
    except (ValueError, OverflowError):
        return  # what the client itself can't write as JSON
    assert answer.status_code < 500, answer.text
