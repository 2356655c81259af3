"""What each noun's routes answer."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from volant.domain.codec import to_plain
from volant.testing import samples

SOURCE = "kind: Loop\nname: wine-quality\n"


def test_an_upload_is_streamed_in_blocks(platform, call):
    async def body():
        for _ in range(40):
            yield b"0123456789abcdef" * 4096  # 64 KiB

    answer = call("POST", "/api/v1/datasets/wine/uploads?filename=big.csv", content=body())
    assert answer.status_code == 201
    found = answer.json()
    assert found["bytes"] == 40 * 65536
    assert found["sha256"] == hashlib.sha256(b"0123456789abcdef" * 4096 * 40).hexdigest()
    assert (platform.data.staging / found["id"]).stat().st_size == found["bytes"]
    assert max(platform.data.blocks) <= 1 << 18
    assert len(platform.data.blocks) == 10


def test_an_empty_upload_reaches_the_room(call):
    answer = call("POST", "/api/v1/datasets/wine/uploads?filename=none.csv")
    assert answer.status_code == 201
    assert answer.json()["bytes"] == 0


def test_a_push_and_what_became_of_it(platform, call):
    upload = call("POST", "/api/v1/datasets/wine/uploads?filename=a.csv", content=b"x,y\n1,a\n")
    body = {"uploads": [upload.json()["id"]], "options": {"delimiter": ";"}, "key": "k"}
    push = call("POST", "/api/v1/datasets/wine/pushes", json=body)
    assert push.status_code == 202
    assert platform.data.options == {"delimiter": ";"}
    call("GET", f"/api/v1/pushes/{push.json()['id']}")
    done = call("GET", f"/api/v1/pushes/{push.json()['id']}").json()
    assert done["status"] == "committed"
    assert done["files"] == ["a.csv"]
    dataset = call("GET", "/api/v1/datasets/wine").json()
    assert dataset["contract"]["columns"][0] == {
        "name": "x",
        "type": "number",
        "nullable": True,
        "min": 0.0,
        "max": 5.0,
        "values": None,
        "unique": False,
    }
    assert call("GET", "/api/v1/datasets").json()["items"] == [dataset]
    assert call("GET", "/api/v1/datasets/wine/pushes").json()["items"][0]["id"] == done["id"]


def test_a_push_of_an_unknown_upload(call):
    answer = call("POST", "/api/v1/datasets/wine/pushes", json={"uploads": ["nope"]})
    assert answer.status_code == 404
    assert "nope" in answer.json()["detail"]


def test_pages_follow_the_cursor(platform, call):
    platform.data.datasets["wine"] = None
    first = call("GET", "/api/v1/datasets/wine/versions?limit=2").json()
    assert [item["version"] for item in first["items"]] == [5, 4]
    second = call("GET", f"/api/v1/datasets/wine/versions?limit=3&before={first['next']}").json()
    assert [item["version"] for item in second["items"]] == [3, 2, 1]
    assert second["next"] is None


def test_rows_with_numbers_that_json_has_not(platform, call):
    platform.data.datasets["wine"] = None
    answer = call("GET", "/api/v1/datasets/wine/rows").json()
    assert answer == {"columns": ["x", "y"], "rows": [[1.5, "a"], [None, "b"]], "version": 1}


def test_quarantine_and_release(platform, call):
    platform.data.datasets["wine"] = None
    assert call("GET", "/api/v1/datasets/wine/quarantine").json()["items"][0]["row_number"] == 7
    body = {"rows": ["q-1"], "force": True}
    assert call("POST", "/api/v1/datasets/wine/release", json=body).status_code == 202
    assert platform.data.released == (None, ["q-1"], True)
    refused = call("POST", "/api/v1/datasets/wine/release", role="developer", json=body)
    assert refused.status_code == 403


def test_a_loop_is_planned_applied_read_and_deleted(platform, call):
    plan = call("POST", "/api/v1/loops/plan", json={"source": SOURCE}).json()
    assert plan["creates"] is True
    code = base64.b64encode(b"tar").decode()
    applied = call("PUT", "/api/v1/loops/wine-quality", json={"source": SOURCE, "code": code})
    assert applied.status_code == 200
    assert applied.json()["generation"] == 1
    assert platform.loops.code == b"tar"
    assert call("GET", "/api/v1/loops/wine-quality").json()["spec"]["data"]["target"] == "y"
    assert len(call("GET", "/api/v1/loops").json()["items"]) == 1
    run = call("POST", "/api/v1/loops/wine-quality/runs")
    assert run.status_code == 202
    decisions = call("GET", "/api/v1/loops/wine-quality/decisions").json()["items"]
    assert [d["outcome"] for d in decisions] == ["refused", "fired"]
    assert decisions[0]["rules"][0]["value"] == 0.91
    assert call("DELETE", "/api/v1/loops/wine-quality").status_code == 204
    assert call("GET", "/api/v1/loops/wine-quality").status_code == 404
    assert call("GET", "/api/v1/loops/wine-quality/decisions").status_code == 404


def test_a_loop_under_another_name_is_refused(call):
    answer = call("PUT", "/api/v1/loops/other", json={"source": SOURCE})
    assert answer.status_code == 400
    assert "'wine-quality'" in answer.json()["detail"]


@pytest.mark.parametrize("code", ["%%%", "¦t ÿ", "YQ", "YQ==\n"])
def test_code_that_is_not_base64(call, code):
    answer = call("PUT", "/api/v1/loops/wine-quality", json={"source": SOURCE, "code": code})
    assert answer.status_code == 400
    assert "base64" in answer.json()["detail"]


def test_a_fault_in_the_file_keeps_its_line(call):
    answer = call("POST", "/api/v1/loops/plan", json={"source": "name: a\nnonsense: 1"})
    assert answer.json()["details"] == {"line": 2, "key": "nonsense"}


def test_runs(platform, call):
    platform.runs.add("run-1")
    first = call("GET", "/api/v1/runs/run-1").json()
    assert first["loop"] == "wine-quality"
    assert first["state"]["status"] == "running"
    assert [s["status"] for s in first["state"]["steps"]] == ["succeeded", "running", "queued"]
    assert call("POST", "/api/v1/runs/run-1/cancel").json()["state"]["status"] == "cancelled"
    assert call("POST", "/api/v1/runs/run-1/cancel").status_code == 409
    assert call("POST", "/api/v1/runs/run-1/resume").status_code == 200
    retried = call("POST", "/api/v1/runs/run-1/retry", json={"from_step": "train"})
    assert retried.json()["retry_of"] == "run-1"
    assert call("POST", "/api/v1/runs/run-1/retry").status_code == 202
    assert len(call("GET", "/api/v1/runs?loop=wine-quality").json()["items"]) == 2
    assert call("GET", "/api/v1/runs?loop=other").json()["items"] == []
    logs = call("GET", "/api/v1/runs/run-1/logs?step=train").json()
    assert logs["after"] == "1"
    assert logs["lines"][0]["text"] == "[red]not markup[/red]"


def test_models(call):
    assert len(call("GET", "/api/v1/models").json()["items"]) == 2
    assert len(call("GET", "/api/v1/models/wine-quality/versions").json()["items"]) == 2
    champion = call("GET", "/api/v1/models/wine-quality/versions/champion").json()
    assert champion["version"] == 1
    assert champion["metrics"] == {"accuracy": 0.91, "roc_auc": None}
    assert call("GET", "/api/v1/models/wine-quality/versions/9").status_code == 404


def test_aliases_are_given_and_taken(call, platform):
    path = "/api/v1/models/wine-quality/aliases"
    assert call("PUT", f"{path}/best", json={"version": 1}).json() == {"best": 1}
    assert call("PUT", f"{path}/new", json={"version": "2"}).json() == {"best": 1, "new": 2}
    assert call("DELETE", f"{path}/best").json() == {"new": 2}
    assert call("PUT", f"{path}/best", json={"version": None}).status_code == 400
    assert call("PUT", f"{path}/best", json={"version": 9}).status_code == 404


def test_model_versions_are_moved_described_and_deleted(call, platform):
    base = "/api/v1/models/wine-quality/versions"
    refused = call("DELETE", f"{base}/1")
    assert (refused.status_code, refused.json()["code"]) == (409, "model.in_use")
    assert refused.json()["fix"]
    assert call("DELETE", f"{base}/2").status_code == 204
    assert platform.registry.deleted == [("wine-quality", 2)]
    assert call("POST", f"{base}/1/retire").json()["stage"] == "retired"
    assert platform.registry.retired_by
    tags = {"tags": {"card.limits": "few", "gone": None}}
    assert call("POST", f"{base}/1/tags", json=tags).json() == {"card.limits": "few"}
    assert call("POST", f"{base}/1/tags", json={"tags": {}}).status_code == 400
    files = call("GET", "/api/v1/models/wine-quality/files?version=2").json()["items"]
    assert files == [{"version": 2, "file": "model.onnx", "state": "changed"}]
    found = call("GET", f"{base}/1/diff?to_version=2").json()
    assert found["metrics"][0]["name"] == "accuracy"
    told = call("POST", "/api/v1/model-retention", json={"keep": 1, "model": "beer"}).json()
    assert told["items"][1] == {
        "model": "beer", "version": 1, "stage": "refused", "reason": None, "done": False,
    }  # fmt: skip
    assert call("POST", "/api/v1/model-retention", json={"keep": 0}).status_code == 400


def test_statistics_of_training_data(call, platform, monkeypatch):
    path = "/api/v1/models/wine-quality/versions/1/statistics"
    assert call("GET", path).status_code == 404
    found = samples.training_statistics()
    monkeypatch.setattr(platform.registry, "recorded", {1: found})
    answer = call("GET", path, role="viewer")
    assert answer.json() == to_plain(found)
    assert call("GET", path, role=None).status_code == 401


def test_cards_and_exports_come_as_what_they_are(call):
    base = "/api/v1/models/wine-quality/versions/1"
    assert call("GET", f"{base}/card").headers["content-type"].startswith("text/markdown")
    page = call("GET", f"{base}/card?format=html")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert call("GET", f"{base}/card?format=pdf").status_code == 400
    file = call("GET", f"{base}/export")
    assert file.content == b"abcdef"
    assert file.headers["content-length"] == "6"
    assert 'filename="wine-1.volant"' in file.headers["content-disposition"]
    imports = "/api/v1/models/wine-quality/imports"
    assert call("POST", imports, json={"upload": "model-1"}).status_code == 202
    assert call("POST", imports, json={"upload": "up-0"}).status_code == 404


def test_the_status_lists_the_deployments_once(call, platform, monkeypatch):
    asked = []
    listed = platform.deployments.list
    monkeypatch.setattr(platform.deployments, "list", lambda: asked.append(1) or listed())
    (found,) = call("GET", "/api/v1/status").json()["deployments"]
    assert found["name"] == "wine-quality"
    assert "limits" not in found  # only what is shown
    assert len(asked) == 1


def test_deployments_tracking_decisions_events(call):
    assert call("GET", "/api/v1/deployments").json()["items"][0]["live_version"] == 1
    assert call("GET", "/api/v1/deployments/wine-quality").json()["url"]
    assert call("DELETE", "/api/v1/deployments/wine-quality").status_code == 204
    assert call("GET", "/api/v1/tracking/runs/track-1").json()["params"] == {"depth": "3"}
    assert call("GET", "/api/v1/decisions/dec-1").json()["kind"] == "trigger"
    assert len(call("GET", "/api/v1/decisions").json()["items"]) == 2
    assert call("GET", "/api/v1/events?subject=dataset/wine").json()["items"][0]["id"] == "evt-1"


def test_tokens_never_show_their_hash(call):
    made = call("POST", "/api/v1/tokens", json={"principal": "eva", "role": "operator"})
    assert made.status_code == 201
    assert made.json()["secret"].startswith("vol_")
    listed = call("GET", "/api/v1/tokens")
    assert "sha256" not in listed.text
    assert "secret" not in json.dumps(listed.json())
    assert call("DELETE", f"/api/v1/tokens/{made.json()['id']}").status_code == 204
    assert call("POST", "/api/v1/tokens", json={"principal": "e", "role": "god"}).status_code == 400


def test_the_audit(call):
    call("POST", "/api/v1/tokens", json={"principal": "eva", "role": "viewer"})
    assert call("GET", "/api/v1/audit").json()["items"][0]["action"] == "tokens.create"
    assert call("GET", "/api/v1/audit", role="operator").status_code == 403


def test_deployments_are_steered_by_who_asked(call, platform):
    base = "/api/v1/deployments/wine-quality"
    wanted = {
        "model": "wine-quality",
        "version": "champion",
        "rollout": {"canary": [10, 50], "bake_s": 5, "sticky": {"header": "X-User"}},
        "replicas": {"max": 3},
    }
    answer = call("POST", f"{base}/revisions", json=wanted)
    assert answer.status_code == 202
    assert answer.json()["number"] == 2
    assert answer.json()["numbers"]["requests"] == 40
    verb, name, given = platform.deployments.asked[-1]
    assert (verb, name, given["by"], given["version"]) == (
        "deploy",
        "wine-quality",
        "admin",
        "champion",
    )
    assert given["changes"] == {"max": 3}
    assert given["rollout"].canary == (10.0, 50.0)
    assert given["rollout"].sticky.header == "x-user"
    for verb in ("promote", "abort", "rollback"):
        answer = call("POST", f"{base}/{verb}", json={"reason": "so"}, role="operator")
        assert answer.status_code == (202 if verb == "rollback" else 200)
        assert platform.deployments.asked[-1][2]["by"] == "operator"
        assert call("POST", f"{base}/{verb}", json={}, role="developer").status_code == 403
    assert call("PATCH", f"{base}/replicas", json={"min": 1}).json()["limits"]["min"] == 1
    free = {"memory_bytes": None, "cpu": None, "min": None}
    assert call("PATCH", f"{base}/replicas", json=free).status_code == 200
    changes = {"memory_bytes": None, "cpu": None}  # the others can't be none
    assert platform.deployments.asked[-1] == (
        *("scale", "wine-quality"),
        {"changes": changes, "by": "admin"},
    )
    for given in ({"log": "off", "keep": 3}, {"log": {"sample": 0.1}}, {"log": {}}):
        assert call("PATCH", f"{base}/settings", json=given, role="operator").status_code == 200
        told = {"changes": given, "by": "operator"}
        assert platform.deployments.asked[-1] == ("set", "wine-quality", told)
    assert call("PATCH", f"{base}/settings", json={}, role="developer").status_code == 403
    for verb, status in (("unload", "unloaded"), ("load", "starting")):
        assert call("POST", f"{base}/{verb}", role="operator").json()["status"] == status
        assert platform.deployments.asked[-1][2] == {"loaded": verb == "load", "by": "operator"}
        assert call("POST", f"{base}/{verb}", role="developer").status_code == 403
    assert call("GET", f"{base}/revisions").json()["items"][0]["asked_by"] == "ann"
    assert call("GET", f"{base}/revisions/9").status_code == 404
    assert call("GET", f"{base}/decisions").status_code == 200
    actions = [entry.action for entry in platform.access.entries]
    assert "deployments.deploy" in actions
    assert "deployments.rollback" in actions


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"model": "m", "rollout": "later"},
        {"model": "m", "rollout": {"canary": [0]}},
        {"model": "m", "rollout": {"canary": [100]}},
        {"model": "m", "rollout": {"shadow": 101}},
        {"model": "m", "replicas": {"max": 0}},
        {"model": "m", "settings": {"log": "on"}},
        {"model": "m", "settings": {"log": {"sample": 0}}},
        {"model": "m", "settings": {"keep": 21}},
        {"model": "m", "zebra": 1},
    ],
)
def test_deploying_what_cant_be_is_refused(call, platform, wrong):
    answer = call("POST", "/api/v1/deployments/m/revisions", json=wrong)
    assert answer.status_code in (400, 422)
    assert platform.deployments.asked == []
