"""A real Prometheus that scrapes a real platform and its deployment."""

from __future__ import annotations

import shutil
import socket
import subprocess

import httpx
import pytest
from platform_process import loop_file, own, table, wait_for, write_csv
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from volant.serving.exposition import OPENMETRICS, TEXT

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


@pytest.fixture(scope="module")
def platform(platforms):
    """A loop that has turned once, and its deployment with a replica that stays."""
    made = platforms().start()
    made.apply(loop_file(NAME, more="deploy:\n  replicas: {min: 1, max: 1}\n"))
    made.turn(NAME, NAME, write_csv(made.folder / "data.csv", table(120, seed=1)))
    wait_for("a replica", lambda: made.get(f"/deployments/{NAME}")["replicas"])
    return made


@pytest.fixture(scope="module")
def targets(platform):
    """The base addresses of the platform and of the deployment, and what a scraper of
    each sends as its token."""
    secret = platform.cli("tokens", "create", "prometheus", "--role", "viewer").json["secret"]
    server = platform.cli("status", "--json").json["url"]
    return {
        "volant": (server, secret),
        "deployment": (platform.get(f"/deployments/{NAME}")["url"], None),
    }


@pytest.fixture
def prometheus(targets, tmp_path):
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no Prometheus on this machine")
    (tmp_path / "scrape.token").write_text(targets["volant"][1])
    port = free_port()
    hosts = {job: url.removeprefix("http://") for job, (url, _) in targets.items()}
    config = tmp_path / "prometheus.yml"
    config.write_text(
        CONFIG.format(folder=tmp_path, platform=hosts["volant"], deployment=hosts["deployment"])
    )
    with (tmp_path / "prometheus.log").open("wb") as output:
        process = subprocess.Popen(
            [
                binary,
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=output,
            stderr=output,
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as http:

        def ready() -> bool:
            assert process.poll() is None, (tmp_path / "prometheus.log").read_text()
            try:
                return http.get("/-/ready").is_success
            except httpx.TransportError:
                return False

        try:
            wait_for("Prometheus", ready, 60)
            yield http
        finally:
            process.terminate()
            process.wait(30)


def scraped(target, accept: str) -> httpx.Response:
    url, secret = target
    headers = {"accept": accept, **({"authorization": f"Bearer {secret}"} if secret else {})}
    answer = httpx.get(f"{url}/metrics", headers=headers, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def test_prometheus_scrapes_the_platform_and_a_deployment(platform, prometheus):
    def asked(query: str) -> float | None:
        answer = prometheus.get("/api/v1/query", params={"query": query})
        answer.raise_for_status()
        found = answer.json()["data"]["result"]
        return float(found[0]["value"][1]) if found else None

    wait_for("both targets", lambda: asked('sum(up{job=~"volant|deployment"})') == 2, 60)
    row = dict.fromkeys(("height", "weight", "age"), 1.0)
    for _ in range(7):
        platform.predict(NAME, row)
    refused = httpx.post(
        platform.get(f"/deployments/{NAME}")["infer_url"], json={}, trust_env=False, timeout=30
    )
    assert refused.status_code == 400
    counted = f'sum(volant_requests_total{{job="%s",deployment="{NAME}",code="%s"}})'
    for job in ("volant", "deployment"):
        for code, count in (("2xx", 7), ("4xx", 1), ("5xx", 0)):
            query = counted % (job, code)
            wait_for(f"{count} {code} in {job}", lambda q=query, n=count: asked(q) == n, 60)
    series = f'volant_request_duration_seconds_bucket{{job="volant",deployment="{NAME}"}}'
    slow = f"histogram_quantile(0.95, sum by (le) ({series}))"
    assert 0 < asked(slow) < 60
    assert asked('volant_runs_finished_total{status="succeeded"}') == 2
    assert asked(f'volant_dataset_rows{{dataset="{NAME}"}}') == 120
    assert asked(f'request_predict_seconds_count{{job="deployment",model_name="{NAME}"}}') == 7
    replicas = f'volant_replicas{{job="volant",deployment="{NAME}",version="1"}}'
    assert asked(replicas) == 1
    memory = f'volant_replica_memory_bytes{{job="volant",deployment="{NAME}"}}'
    wait_for("the replica's memory", lambda: (asked(memory) or 0) > 1e6, 60)
    active = prometheus.get("/api/v1/targets").json()["data"]["activeTargets"]
    assert {each["lastError"] for each in active} == {""}
    described = prometheus.get("/api/v1/metadata").json()["data"]
    assert described["volant_request_duration_seconds"][0]["type"] == "histogram"


@pytest.mark.parametrize("job", ["volant", "deployment"])
def test_promtool_finds_nothing_to_say_of_what_is_scraped(targets, job):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on this machine")
    answer = scraped(targets[job], "text/plain")
    assert answer.headers["content-type"] == TEXT
    assert f'deployment="{NAME}"' in answer.text
    done = subprocess.run(
        [promtool, "check", "metrics"],
        input=answer.text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("job", ["volant", "deployment"])
def test_openmetrics_is_told_to_those_who_prefer_it(targets, job):
    answer = scraped(targets[job], "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert answer.headers["content-type"] == OPENMETRICS
    assert answer.text.endswith("# EOF\n")
    families = {each.name: each for each in text_string_to_metric_families(answer.text)}
    assert families["volant_request_duration_seconds"].unit == "seconds"
    assert families["volant_requests"].type == "counter"
    assert all(each.documentation for each in families.values())
