"""What answers before the API is built, and that it is built once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from volant import __version__
from volant.web.front import Front


async def door(request: Request) -> PlainTextResponse:
    return PlainTextResponse("door " + request.path_params["name"])


async def rest(request: Request) -> PlainTextResponse:
    return PlainTextResponse("api " + request.url.path)


class Built:
    def __init__(self) -> None:
        self.times = 0
        self.fails = False

    def __call__(self) -> Starlette:
        self.times += 1
        threading.Event().wait(0.1)  # others come meanwhile
        if self.fails:
            raise RuntimeError("not today")
        every = ["GET", "POST"]
        return Starlette(routes=[Route("/{path:path}", rest, methods=every)])


@pytest.fixture
def built() -> Built:
    return Built()


@pytest.fixture
def front(built: Built) -> Front:
    return Front([Route("/door/{name}", door, methods=["GET"])], built, {"testserver"})


def asked(front: Front, *calls: tuple[str, str], **options: Any) -> list[httpx.Response]:
    """The answers to calls that are made at once."""

    async def drive() -> list[httpx.Response]:
        way = httpx.ASGITransport(front, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=way, base_url="http://testserver") as client:
            return await asyncio.gather(*(client.request(*call, **options) for call in calls))

    return asyncio.run(drive())


def test_doors_and_health_need_no_api(front: Front, built: Built) -> None:
    [answer] = asked(front, ("GET", "/door/a"), headers={"X-Request-Id": "mine"})
    assert (answer.text, answer.headers["X-Request-Id"]) == ("door a", "mine")
    [health] = asked(front, ("GET", "/api/v1/health"))
    assert health.json() == {"status": "ok", "version": __version__}
    [wrong] = asked(front, ("GET", "/door/a"), headers={"Host": "evil.example"})
    assert wrong.status_code == 421
    assert built.times == 0


def test_all_else_is_the_apis_which_is_built_once(front: Front, built: Built) -> None:
    answers = asked(front, *(("GET", f"/other/{i}") for i in range(8)), ("POST", "/door/a"))
    texts = [f"api /other/{i}" for i in range(8)]
    assert [answer.text for answer in answers] == [*texts, "api /door/a"]
    assert built.times == 1


def test_what_could_not_be_built_is_tried_again(front: Front, built: Built) -> None:
    built.fails = True
    assert asked(front, ("GET", "/other"))[0].status_code == 500
    built.fails = False
    assert asked(front, ("GET", "/other"))[0].text == "api /other"
