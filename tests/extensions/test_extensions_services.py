"""Recipes against the real servers."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from urllib.parse import urlsplit

import httpx
import pytest

from volant.errors import PermissionDenied, Unavailable
from volant.extensions import probe_tcp
from volant.extensions.recipes import Recipe

pytestmark = pytest.mark.service
PASSWORD = "p@ss/w:rd1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def recipe(name, **given):
    return Recipe.of(name, given).record()


def started(command, port, tmp_path):
    """A server that listens, to be ended by the test."""
    with (tmp_path / "server.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, (tmp_path / "server.log").read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return process
        except OSError:
            time.sleep(0.05)
    process.kill()
    raise AssertionError("it doesn't listen")


@pytest.fixture
def redis(tmp_path):
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no Redis on this machine")
    port = free_port()
    words = ("--port", str(port), "--requirepass", PASSWORD, "--save", "", "--dir", str(tmp_path))
    process = started([binary, *words], port, tmp_path)
    yield f"redis://127.0.0.1:{port}"
    process.terminate()
    process.wait(30)


def test_redis(redis):
    made, found = recipe("redis", url=redis, password=PASSWORD)
    assert found == f"Redis {made.version}"
    assert made.version[0].isdigit()
    with pytest.raises(PermissionDenied, match="NOAUTH"):
        recipe("redis", url=redis)
    with pytest.raises(PermissionDenied, match="WRONGPASS"):
        recipe("redis", url=redis, user="nobody", password="wrong-one")
    with pytest.raises(Unavailable):
        recipe("postgres", url=redis.removeprefix("redis://"))


def test_postgres(postgres, monkeypatch):
    url = postgres.new_database()
    made, found = recipe("postgres", url=f"{url}?sslmode=prefer")
    assert found == f"PostgreSQL {made.version}"
    assert made.services[0].endpoints[0].configuration["PGUSER"] == "volant"
    with pytest.raises(PermissionDenied, match="does not exist") as error:
        recipe("postgres", url=f"{url}_none", password="hunter2")
    assert "hunter2" not in str(error.value)
    # Without psycopg, its first word is what is asked for.
    parts = urlsplit(url)
    target = Recipe.of("postgres", {"url": url}).target
    assert probe_tcp._postgres_greeting(target).told == "PostgreSQL; the login was not tried"
    with pytest.raises(Unavailable, match="doesn't answer as redis does"):
        recipe("redis", url=f"{parts.hostname}:{parts.port}")


def test_prometheus(tmp_path):
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no Prometheus on this machine")
    port = free_port()
    (tmp_path / "prometheus.yml").write_text("scrape_configs: []\n")
    words = (
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    process = started([binary, *words], port, tmp_path)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while not httpx.get(f"{url}/-/ready", trust_env=False).is_success:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        made, found = recipe("prometheus", url=url)
        assert found == f"Prometheus {made.version}"
        with pytest.raises(Unavailable, match="doesn't answer as mlflow does"):
            recipe("mlflow", url=url)
        with pytest.raises(Unavailable, match="no XML of S3's"):
            recipe("s3", url=url)
    finally:
        process.terminate()
        process.wait(30)
