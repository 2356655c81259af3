"""A real Prometheus that scrapes a real platform and its deployment."""

from __future__ import annotations

import shutil
import socket
import subprocess

import httpx
import pytest
from platform_process import loop_file, own, table, wait_for, write_csv

pytestmark = [pytest.mark.service, pytest.mark.timeout(400)]
NAME = own("scraped")
CONFIG = """\
global:
  scrape_interval: 1s
scrape_configs:
  - job_name: volant
    authorization:
      credentials_file: {folder}/scrape.token
    static_configs:
      - targets: ["{platform}"]
  - job_name: deployment
    static_configs:
      - targets: ["{deployment}"]
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def platform(platforms):
    made = platforms().start()
    made.apply(loop_file(NAME))
    made.turn(NAME, NAME, write_csv(made.folder / "data.csv", table(120, seed=1)))
    return made


@pytest.fixture
def prometheus(platform, tmp_path):
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no Prometheus on this machine")
    token = platform.cli("tokens", "create", "prometheus", "--role", "viewer").json["secret"]
    (tmp_path / "scrape.token").write_text(token)
    port = free_port()
    url = platform.get(f"/deployments/{NAME}")["url"]
    server = httpx.URL(platform.cli("status", "--json").json["url"])
    config = tmp_path / "prometheus.yml"
    config.write_text(
        CONFIG.format(folder=tmp_path, platform=f"{server.host}:{server.port}", deployment=url[7:])
    )
    process = subprocess.Popen(
        [
            binary,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(30)


def test_prometheus_scrapes_the_platform_and_a_deployment(platform, prometheus):
    http = httpx.Client(base_url=prometheus, trust_env=False, timeout=10)

    def asked(query: str) -> float | None:
        try:
            found = http.get("/api/v1/query", params={"query": query}).json()["data"]["result"]
        except httpx.HTTPError:
            return None
        return float(found[0]["value"][1]) if found else None

    wait_for("both targets", lambda: asked('sum(up{job=~"volant|deployment"})') == 2)
    row = dict.fromkeys(("height", "weight", "age"), 1.0)
    for _ in range(7):
        platform.predict(NAME, row)
    counted = f'sum(volant_requests_total{{job="%s",deployment="{NAME}",code="2xx"}})'
    for job in ("volant", "deployment"):
        wait_for(f"the requests in job {job}", lambda job=job: asked(counted % job) == 7)
    series = f'volant_request_duration_seconds_bucket{{job="volant",deployment="{NAME}"}}'
    slow = f"histogram_quantile(0.95, sum by (le) ({series}))"
    assert 0 < asked(slow) < 60
    assert asked('volant_runs_finished_total{status="succeeded"}') == 2
    assert asked(f'volant_dataset_rows{{dataset="{NAME}"}}') == 120
    assert asked(f'request_predict_seconds_count{{job="deployment",model_name="{NAME}"}}') == 7
