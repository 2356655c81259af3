"""Every route declares its permission; no route but health answers without a token."""

from __future__ import annotations

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute, iter_route_contexts

from volant.access.permissions import Permission
from volant.web.api.app import create_app
from volant.web.api.guard import GuardedRoute, Open, guard_of
from volant.web.mlflow.door import CALLS

# They only look, but with more than fits into an address.
ASKS = {
    "/api/v1/deployments/{name}/links",
    "/api/v1/extensions/resolve",
    "/api/v1/loops/plan",
    "/api/v1/workflows/plan",
}


def every_route(app):
    return list(iter_route_contexts(app.routes))


def concrete(path):
    return path.replace("{", "").replace("}", "")


def test_every_route_declares_its_permission(app):
    routes = every_route(app)
    assert len(routes) > 30
    for route in routes:
        original = route.original_route
        assert isinstance(original, APIRoute), f"{route.path} is not one of ours"
        guard = guard_of(original)
        assert guard is not None, f"{route.path} declares no permission"
        if isinstance(guard, Open):
            assert route.path == "/api/v1/health"
        else:
            assert guard.permission in set(Permission), f"{route.path}: {guard.permission}"


def test_every_route_that_changes_something_is_audited(app):
    for route in every_route(app):
        guard = guard_of(route.original_route)
        if isinstance(guard, Open):
            continue
        if route.methods != {"GET"} and route.path not in ASKS:
            assert guard.audit, f"{route.methods} {route.path} is not audited"
        else:
            assert guard.audit is None


def test_no_route_but_health_answers_without_a_token(app, call):
    for route in every_route(app):
        for method in route.methods or ():
            answer = call(method, concrete(route.path), role=None, content=b"{not json")
            if route.path == "/api/v1/health":
                assert answer.status_code == 200
                continue
            assert answer.status_code == 401, f"{method} {route.path}"
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"


def test_a_viewer_only_reads(app, call):
    for route in every_route(app):
        guard = guard_of(route.original_route)
        if isinstance(guard, Open) or guard.audit is None:
            continue
        for method in route.methods or ():
            answer = call(method, concrete(route.path), role="viewer", content=b"{not json")
            assert answer.status_code == 403, f"{method} {route.path}"


def test_a_route_without_a_permission_cannot_be_built(platform):
    api = APIRouter(route_class=GuardedRoute)
    with pytest.raises(LookupError, match="declares no permission"):
        api.get("/loose")(lambda: None)


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer", "Bearer ", "Bearer wrong"])
def test_a_broken_token_is_refused(call, header):
    answer = call("GET", "/api/v1/status", role=None, headers={"Authorization": header})
    assert answer.status_code == 401


def test_a_change_is_audited_with_its_outcome(platform, call):
    call("POST", "/api/v1/tokens", json={"principal": "eva", "role": "viewer"})
    call("DELETE", "/api/v1/tokens/nope", headers={"X-Request-Id": "mine"})
    call("DELETE", "/api/v1/loops/wine", role="viewer")
    call("DELETE", "/api/v1/loops/wine", role=None)
    told = [(e.principal, e.action, e.subject, e.outcome) for e in platform.access.entries]
    assert told == [
        ("admin", "tokens.create", "token", "ok"),
        ("admin", "tokens.revoke", "token/nope", "not_found"),
        ("viewer", "loops.delete", "loop/wine", "permission_denied"),
    ]
    assert platform.access.entries[1].request_id == "mine"


def test_reading_and_planning_are_not_audited(platform, call):
    call("GET", "/api/v1/loops")
    call("POST", "/api/v1/loops/plan", json={"source": "name: a"})
    assert platform.access.entries == []


def test_the_app_needs_no_hosts(platform):
    assert create_app(platform).state.platform is platform


def test_every_permission_is_asked_for_somewhere(app):
    guards = [guard_of(route.original_route) for route in every_route(app)]
    asked = {guard.permission for guard in guards if not isinstance(guard, Open)}
    asked |= {str(call.permission) for call in CALLS}
    assert asked == {str(each) for each in Permission}
