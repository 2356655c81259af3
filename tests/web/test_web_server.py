"""The server as a process: it serves, tells where it is, logs, and stops on a signal."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from plain_platform import PlainPlatform
from volant.web import serverlog
from volant.web.listener import Address, bind
from volant.web.server import serve

home = Path({home!r})

class Living(PlainPlatform):
    def start(self):
        {start}
        print("started", flush=True)

    def close(self):
        print("closed", flush=True)

serverlog.configure(home / "logs" / "server.log", terminal=True)
address = Address(port=0)
serve(
    Living(home), bind(address, home), address, home, ready=lambda url: print(url, flush=True)
)
print("left", flush=True)
"""


def start(home, before="pass"):
    code = SCRIPT.format(tests=str(Path(__file__).parent), home=str(home), start=before)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_serves_until_a_signal(tmp_path, signum):
    server = start(tmp_path)
    assert server.stdout.readline() == "started\n"
    url = server.stdout.readline().strip()
    record = json.loads((tmp_path / "server.json").read_text())
    assert (record["pid"], record["url"]) == (server.pid, url)
    headers = {"Authorization": "Bearer vol_viewer", "X-Request-Id": "mine-1"}
    assert httpx.get(f"{url}/api/v1/status", headers=headers).status_code == 200
    assert httpx.get(f"{url}/api/v1/status", headers={"Host": "evil.example"}).status_code == 421
    server.send_signal(signum)
    out, err = server.communicate(timeout=30)
    assert out == "closed\nleft\n"
    assert err == ""
    assert server.returncode == 0
    assert not (tmp_path / "server.json").exists()
    logged = [json.loads(line) for line in (tmp_path / "logs/server.log").read_text().splitlines()]
    request = next(entry for entry in logged if entry.get("request_id") == "mine-1")
    assert request["event"] == "request"
    assert (request["path"], request["status"]) == ("/api/v1/status", 200)
    assert request["principal"] == "viewer"


def test_a_signal_while_it_starts_ends_the_start(tmp_path):
    server = start(tmp_path, before="print('starting', flush=True); import time; time.sleep(60)")
    assert server.stdout.readline() == "starting\n"
    server.send_signal(signal.SIGTERM)
    out, _ = server.communicate(timeout=30)
    assert out == "closed\nleft\n"
    assert server.returncode == 0


def test_a_start_that_fails_closes_what_was_opened(tmp_path):
    server = start(tmp_path, before="raise RuntimeError('no')")
    out, err = server.communicate(timeout=30)
    assert out == "closed\n"
    assert "RuntimeError: no" in err
    assert server.returncode == 1
    assert not (tmp_path / "server.json").exists()
