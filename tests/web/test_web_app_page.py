"""The test app's routes: a link once, then a cookie; nothing without it."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path

import httpx
import pytest

from volant.domain.contract import ColumnRule, ColumnType, Contract
from volant.domain.dataset import Dataset
from volant.errors import Conflict, Unauthenticated, Unavailable
from volant.testing import samples
from volant.web.api.app import create_app
from volant.web.api.app_models import AppModels
from volant.web.api.app_page import COOKIE, pages
from volant.web.api.app_sessions import AppSessions

NAME = "wine-quality"


class Model(BaseHTTPRequestHandler):
    """A deployment's address, which answers with what it was asked."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        wrong = b"wrong" in body
        self.send_response(400 if wrong else 200)
        self.end_headers()
        told = {"path": self.path, "token": self.headers["authorization"], "body": body.decode()}
        self.wfile.write(json.dumps({"error": "no"} if wrong else told).encode())

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def model():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    folder = str(Path(__file__).parent)
    if folder not in sys.path:
        sys.path.append(folder)
    return import_module("plain_platform").PlainPlatform(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def app(platform, model):
    """One for all: it takes a while to make, and sessions don't see each other."""
    shown = platform.deployments.get

    def get(name):
        return {**shown(name), "port": model.server_address[1], "live_version": "1"}

    platform.deployments.get = get
    rules = (ColumnRule("x", ColumnType.NUMBER, min=0, max=5),)
    contract = Contract((*rules, ColumnRule("color", ColumnType.STRING, values=("red", "blue"))))
    platform.data.datasets["wine"] = Dataset(
        "wine", contract, platform.models.versions[0].created_at
    )
    sessions = AppSessions()
    doors = pages(platform, sessions)
    return create_app(platform, hosts={"testserver"}, doors=doors, sessions=sessions)


class Browser:
    """Keeps cookies, follows nothing by itself."""

    def __init__(self, app):
        self._app = app
        self._jar = httpx.Cookies()

    def __call__(self, method, path, **kwargs):
        async def call():
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://testserver", cookies=self._jar
            ) as client:
                answer = await client.request(method, path, **kwargs)
                self._jar = client.cookies
                return answer

        return asyncio.run(call())


@pytest.fixture
def browser(app):
    return Browser(app)


@pytest.fixture
def link(call):
    return call("POST", f"/api/v1/deployments/{NAME}/links", role="viewer").json()["path"]


@pytest.fixture
def inside(browser, link):
    assert browser("GET", link).status_code == 303
    return browser


def test_a_link_opens_the_page_once(app, browser, link):
    went = browser("GET", link)
    assert (went.status_code, went.headers["location"]) == (303, f"/app/{NAME}")
    cookie = went.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert f"Path=/app/{NAME}" in cookie
    page = browser("GET", f"/app/{NAME}")
    assert page.status_code == 200
    assert "<h1>wine-quality</h1>" in page.text
    assert browser("GET", link).status_code == 303  # the same browser, again
    other = Browser(app)("GET", link)
    assert other.status_code == 404
    assert f"volant app {NAME}" in other.text


def test_the_page_runs_its_own_script_and_nothing_else(inside):
    first, second = inside("GET", f"/app/{NAME}"), inside("GET", f"/app/{NAME}")
    policy = first.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([^']+)'", policy)[1]
    assert first.text.count(f'nonce="{nonce}"') == 2
    assert nonce not in second.text
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    for outside in ("http://", "https://", "//cdn", "eval(", "innerHTML"):
        assert outside not in first.text.replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"\son\w+=|\sstyle=", first.text)
    assert first.headers["cache-control"] == "no-store"


def test_a_name_is_never_markup(browser):
    answer = browser("GET", "/app/%3Cscript%3Ealert(1)?key=x")
    assert answer.status_code in (401, 404)
    assert "<script>alert" not in answer.text


PATHS = [("GET", ""), ("GET", "/model"), ("GET", "/sent"), ("POST", "/infer"), ("POST", "/check")]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_nothing_without_a_session(browser, method, path):
    asked = {"json": {}} if method == "POST" else {}
    assert browser(method, f"/app/{NAME}{path}", **asked).status_code == 401
    bearer = {"Authorization": "Bearer vol_admin"}
    assert browser(method, f"/app/{NAME}{path}", headers=bearer, **asked).status_code == 401


def test_a_link_needs_a_token_and_a_deployment(call):
    assert call("POST", f"/api/v1/deployments/{NAME}/links", role=None).status_code == 401
    assert call("POST", "/api/v1/deployments/none/links").status_code == 404


def test_a_revoked_token_closes_the_page(inside, platform, monkeypatch):
    assert inside("GET", f"/app/{NAME}/model").status_code == 200

    def revoked(secret):
        raise Unauthenticated("The token was revoked.", "")

    monkeypatch.setattr(platform.access, "authenticate", revoked)
    assert inside("GET", f"/app/{NAME}/model").status_code == 401


def test_another_sites_page_is_refused(inside):
    for site in ("cross-site", "same-site"):
        headers = {"Sec-Fetch-Site": site}
        answer = inside("POST", f"/app/{NAME}/infer", json={}, headers=headers)
        assert answer.json()["code"] == "app.cross_site"
    form = inside("POST", f"/app/{NAME}/infer", data={"a": "b"})
    assert form.json()["code"] == "media_type"


def test_controls_are_of_the_training_data(platform, monkeypatch):
    def unread(*_):
        raise AssertionError("rows were read")

    monkeypatch.setattr(platform.data, "rows", unread)
    monkeypatch.setattr(platform.registry, "recorded", {1: samples.training_statistics()})
    told = AppModels(platform).describe(NAME)
    assert told["dataset"] == "wine, version 1"
    x, color = told["controls"]
    assert (x["min"], x["max"], x["value"], x["seen"]) == (1.0, 9.0, 4.0, 9)
    assert (color["values"], color["value"]) == (["red", "white"], "white")


def test_without_statistics_it_is_told_what_the_dataset_shows(inside):
    told = inside("GET", f"/app/{NAME}/model").json()
    assert (told["model"], told["version"], told["task"]) == (NAME, 1, "classification")
    assert told["classes"] == ["bad", "good"]
    x, color = told["controls"]
    assert (x["min"], x["max"], x["value"], x["nullable"]) == (0.5, 2.5, 1.5, True)
    assert color["values"] == ["red", "blue"]
    assert told["tensor"] is None


def test_a_question_goes_to_the_deployment_with_the_token(inside):
    answer = inside("POST", f"/app/{NAME}/infer", json={"inputs": []})
    assert answer.json() == {
        "path": f"/v2/models/{NAME}/infer",
        "token": "Bearer vol_viewer",
        "body": '{"inputs":[]}',
    }
    refused = inside("POST", f"/app/{NAME}/infer", json="wrong")
    assert (refused.status_code, refused.json()) == (400, {"error": "no"})


def test_a_deployment_that_is_gone_is_told(platform, monkeypatch):
    shown = platform.deployments.get
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    monkeypatch.setattr(platform.deployments, "get", lambda name: {**shown(name), "port": port})
    with pytest.raises(Unavailable, match=NAME):
        AppModels(platform).infer(NAME, b"{}", "vol_admin")


def test_a_deployment_without_a_model_is_told(platform, monkeypatch):
    shown = platform.deployments.get
    nothing = {"live_version": None}
    monkeypatch.setattr(platform.deployments, "get", lambda name: {**shown(name), **nothing})
    with pytest.raises(Conflict, match="no model yet"):
        AppModels(platform).describe(NAME)


def test_a_body_has_bounds(inside):
    answer = inside("POST", f"/app/{NAME}/infer", json={"a": "x" * (1 << 20)})
    assert answer.json()["code"] == "body_too_large"


def test_a_request_is_checked(inside):
    body = {"inputs": [{"name": "z", "shape": [1], "datatype": "FP64", "data": [1]}]}
    found = inside("POST", f"/app/{NAME}/check", json=body).json()["findings"]
    assert found[0]["level"] == "error"


def test_what_clients_sent(inside, platform, monkeypatch):
    asked = []

    def read(name, last, since):
        asked.append(name)
        columns = ["request_id", "version", "x", "color"]
        rows = [["volant-app", "1", 9.0, "red"], ["a", "1", 2.0, "red"], ["b", "2", 3.0, "red"]]
        return {"dataset": "d", "columns": columns, "rows": rows}

    monkeypatch.setattr(platform.predictions, "read", read)
    report = inside("GET", f"/app/{NAME}/sent").json()
    assert asked == [NAME]
    assert report["rows"] == 1  # not the page's own, and none of another version


def test_the_cookie_is_of_one_deployment(app, inside):
    assert COOKIE in str(inside._jar)
    assert inside("GET", "/app/other").status_code == 401
