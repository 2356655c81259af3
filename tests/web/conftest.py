from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from pathlib import Path

import httpx
import pytest

from volant.web import serverlog
from volant.web.api.app import create_app


def _plain():
    """The plain platform, which the tests of the API and of its client share."""
    folder = str(Path(__file__).parent)
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("plain_platform")


@pytest.fixture
def platform(tmp_path):
    return _plain().PlainPlatform(tmp_path / "plain")


@pytest.fixture
def app(platform):
    return create_app(platform, hosts={"testserver", "127.0.0.1"})


class Caller:
    """Calls the application in process, each time in a loop of its own."""

    def __init__(self, app):
        self.app = app

    def __call__(self, method, path, role="admin", **kwargs):
        headers = dict(kwargs.pop("headers", {}))
        if role is not None:
            headers.setdefault("Authorization", f"Bearer vol_{role}")

        async def call():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://testserver"
            ) as client:
                return await client.request(method, path, headers=headers, **kwargs)

        return asyncio.run(call())


@pytest.fixture
def call(app):
    return Caller(app)


@pytest.fixture(autouse=True)
def quiet_log():
    """Log lines as structured events in a list, not on the terminal."""
    lines = []
    kept = logging.Handler()
    kept.emit = lambda record: lines.append(serverlog.line(record))
    logger = logging.getLogger("volant")
    level = logger.level
    logger.addHandler(kept)
    logger.setLevel(logging.DEBUG)
    yield lines
    logger.removeHandler(kept)
    logger.setLevel(level)
