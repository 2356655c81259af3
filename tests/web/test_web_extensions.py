"""The routes of extensions, over a real registry."""

from __future__ import annotations

import pytest

from volant.adapters.system import SortableIds, SystemClock
from volant.extensions.builtin import built_in
from volant.extensions.desk import ExtensionDesk
from volant.extensions.sealing import Keyring

ROOT = "/api/v1/extensions"
SECRETS = ("s3cr3t-key", "an0ther-one")
BODY = {
    "id": "minio",
    "product": "minio",
    "version": "4.1.3",
    "services": [
        {
            "id": "s3",
            "resource": "s3",
            "auth_required": True,
            "endpoints": [{"url": "http://minio:9000/a/b?c=d", "configuration": {"A": "b"}}],
            "credentials": [
                {
                    "id": "default",
                    "scope": "project",
                    "projects": ["alpha"],
                    "configuration": {"KEY": SECRETS[0]},
                }
            ],
        }
    ],
}


@pytest.fixture
def platform(platform, store, tmp_path):
    platform.workbench.extensions = ExtensionDesk(
        store.extensions,
        Keyring(tmp_path),
        lambda: built_in("http://127.0.0.1:8400"),
        SystemClock(),
        SortableIds(),
    )
    return platform


@pytest.fixture
def asked(call):
    """Calls, and sees to it that no answer has a secret in it."""

    def ask(method, path="", status=200, **request):
        answer = call(method, ROOT + path, **request)
        assert answer.status_code == status, answer.text
        assert not any(secret in answer.text for secret in SECRETS)
        return answer.json() if answer.content else None

    return ask


def test_a_record_from_its_making_to_its_end(asked, platform):
    made = asked("POST", status=201, json=BODY)
    [service] = made["services"]
    assert service["credentials"] == [
        {
            "id": "default",
            "scope": "project",
            "default": False,
            "projects": ["alpha"],
            "users": [],
            "keys": ["KEY"],
        }
    ]
    assert asked("GET", "/minio") == made
    assert asked("POST", status=409, json=BODY)["code"] == "extensions.exists"
    listed = asked("GET", "?service_resource=s3")["items"]
    assert [(each["id"], each["builtin"]) for each in listed] == [
        ("minio", False),
        ("mlflow", True),
    ]
    assert asked("GET", "?version=%5E4")["items"] == [made]
    changed = asked("PUT", "/minio", json={"zone": "east"})
    assert (changed["zone"], changed["product"]) == ("east", "minio")
    asked("DELETE", "/minio", status=204)
    asked("GET", "/minio", status=404)
    asked("DELETE", "/kserve", status=409)


def test_parts(asked, platform):
    asked("POST", status=201, json=BODY)
    asked("POST", "/minio/services", status=201, json={"id": "ui", "resource": "ui"})
    assert [each["id"] for each in asked("GET", "/minio/services")["items"]] == ["s3", "ui"]
    asked("PUT", "/minio/services/ui", json={"category": "UI"})
    assert asked("GET", "/minio/services/ui")["category"] == "UI"
    point = "/minio/services/ui/endpoints/http%3A%2F%2Fh%3A1%2Fa%3Fb"
    asked("POST", "/minio/services/ui/endpoints", status=201, json={"url": "http://h:1/a?b"})
    assert asked("GET", point)["url"] == "http://h:1/a?b"
    assert asked("PUT", point, json={"type": "internal"})["type"] == "internal"
    assert len(asked("GET", "/minio/services/ui/endpoints")["items"]) == 1
    asked("DELETE", point, status=204)
    asked("GET", point, status=404)
    inside = "/minio/services/ui/credentials"
    body = {"id": "c", "configuration": {"P": SECRETS[1]}}
    assert asked("POST", inside, status=201, json=body)["keys"] == ["P"]
    asked("PUT", f"{inside}/c", json={"scope": "user", "users": ["ann"]})
    assert asked("GET", f"{inside}/c")["users"] == ["ann"]
    assert [each["id"] for each in asked("GET", inside)["items"]] == ["c"]
    revealed = platform.workbench.extensions.reveal("secret://minio/ui/c/P", user="ann")
    assert revealed == SECRETS[1]
    asked("DELETE", f"{inside}/c", status=204)
    asked("DELETE", "/minio/services/ui", status=204)


def test_what_a_step_would_get(asked):
    asked("POST", status=201, json=BODY)
    wanted = {"requirements": [{"name": "x", "service_resource": "s3"}]}
    found = asked("POST", "/resolve", json={**wanted, "project": "alpha"})
    assert found["bindings"]["x"]["cfg"]["KEY"] == "secret://minio/s3/default/KEY"
    assert found["notes"] == ["x: minio/s3 was chosen; mlflow/mlflow-store would do as well."]
    assert asked("POST", "/resolve", json=wanted)["bindings"]["x"]["extension"] == "mlflow"
    refused = {"requirements": [{"name": "x", "product": "nothing"}]}
    assert asked("POST", "/resolve", status=404, json=refused)["code"] == "extensions.none"


REFUSED = (
    {"id": "x", "configurations": {"P": SECRETS[0]}},
    {"services": [{"credentials": [{"configuration": {"P": [SECRETS[0]]}}]}]},
    {"services": [{"credentials": [{"password": SECRETS[0]}]}]},
    {"services": [{"credentials": SECRETS[0]}]},
    {"services": [{"credentials": [{"configuration": {"a b": SECRETS[0]}}]}]},
    {"services": [{"credentials": [{"configuration": {"P": SECRETS[0] + "\0"}}]}]},
    SECRETS[0],
)


def test_a_refusal_does_not_tell_a_secret(asked, quiet_log):
    for body in REFUSED:
        asked("POST", status=400, json=body)
    assert SECRETS[0] not in repr(quiet_log)


def test_a_recipe(asked):
    body = {"url": f"redis://u:{SECRETS[0]}@nowhere:1", "check": False}
    made = asked("POST", "/recipes/redis", status=201, json=body)
    assert made["found"] == "not checked"
    keys = made["extension"]["services"][0]["credentials"][0]["keys"]
    assert keys == ["REDIS_PASSWORD", "REDIS_URL", "REDIS_USERNAME"]
    bad = {"url": f"http://u:{SECRETS[0]}@nowhere:1"}
    asked("POST", "/recipes/redis", status=400, json=bad)


def test_a_new_key_is_an_admins(asked):
    asked("POST", status=201, json=BODY)
    assert asked("POST", "/rekey") == {"secrets": 1}
    asked("POST", "/rekey", status=403, role="operator")
    asked("POST", status=403, role="viewer", json=BODY)
    assert asked("GET", "/minio", role="viewer")["id"] == "minio"
