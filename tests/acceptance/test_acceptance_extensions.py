"""A secret on its way from the command line to a step, and nowhere else."""

from __future__ import annotations

import os
import secrets
import subprocess

import pytest
from platform_process import ENDED, VOLANT, Told, wait_for

ADD = "extension credentials add --id main --stdin SECRET_KEY"
READS = ("/extensions", "/extensions/bucket", "/runs", "/audit", "/events")
KEY = secrets.token_urlsafe(32)
SECRET = "Tr0ub4dor-and-3/more"
RECORD = """\
id: bucket
product: minio
version: 4.1.3
services:
  - id: s3
    resource: s3
    category: object-storage
    auth_required: True
    configuration: {REGION: eu}
    endpoints:
      - url: http://bucket:9000
        configuration: {AWS_ENDPOINT_URL: http://bucket:9000}
"""
WORKFLOW = """\
name: leaky
steps:
  - name: show
    run: |
      test "$DSN $ZONE" = "s3://id:$SECRET_KEY@4.1.3 eu" || exit 3
      test "$AWS_ENDPOINT_URL" = http://bucket:9000 || exit 4
      env | grep -q '^VOLANT_SECRET_KEY' && exit 5
      echo "out $DSN"
      echo "err $SECRET_KEY" >&2
      printf '{"said": "%s"}' "$SECRET_KEY" > "$VOLANT_OUTPUTS"
      rm -f "$VOLANT_RESULTS_DIR"/*
    extensions:
      - name: s
        product: minio
        version: ^4
        service_resource: s3
    env:
      - name: DSN
        value: 's3://id:{{ extensions.s.cfg.SECRET_KEY }}@{{ extensions.s.version }}'
      - name: ZONE
        value: '{{ extensions.s.cfg.REGION }}'
  - name: fail
    needs: [show]
    run: 'echo "no luck with $SECRET_KEY" >&2; exit 1'
    extensions:
      - name: s
        extension_id: bucket
"""


@pytest.fixture(scope="module")
def platform(platforms):
    return platforms().start(VOLANT_SECRET_KEY=KEY)


def typed(platform, text, words):
    """A command that reads `text`."""
    done = subprocess.run(
        [*VOLANT, *words.split(), "--home", str(platform.home)],
        input=text,
        capture_output=True,
        text=True,
        env=platform.environment(),
        timeout=120,
        check=True,
    )
    return Told(done.returncode, done.stdout, done.stderr)


def ran(platform, name="leaky"):
    started = platform.cli("workflow", "run", name, "--json").json
    path = f"/runs/{started.get('id') or started['run']['id']}"

    def look():
        run = platform.get(path)
        return run if run["state"]["status"] in ENDED else None

    return wait_for(f"the end of {path}", look)


def test_a_secret_reaches_its_step_and_nothing_else(platform, tmp_path):
    (platform.folder / "bucket.yaml").write_text(RECORD)
    (platform.folder / "leaky.yaml").write_text(WORKFLOW)
    told = [
        platform.cli("extension", "register", platform.folder / "bucket.yaml"),
        typed(platform, f"{SECRET}\n", f"{ADD} --scope user --user admin bucket s3"),
        platform.cli("extension", "resolve", "-r", "s3"),
        platform.cli("workflow", "create", platform.folder / "leaky.yaml"),
    ]
    run = ran(platform)
    steps = {step["name"]: step for step in run["state"]["steps"]}
    assert steps["show"]["status"] == "succeeded", steps["show"]["error"]
    assert steps["fail"]["status"] == "failed"
    told += [
        platform.cli("logs", run["id"]),
        platform.cli("extension", "rekey"),
    ]
    logs = told[-2].out
    assert "out s3://id:***@4.1.3" in logs
    assert "err ***" in logs
    assert "no luck with ***" in logs
    assert told[-1].json == {"secrets": 1}
    texts = [part for each in told for part in (each.out, each.err)]
    texts += [
        platform.ask("GET", path).text for path in ("/extensions", "/runs", "/audit", "/events")
    ]
    assert not any(SECRET in text for text in texts)
    found = [
        os.path.relpath(file, platform.home)
        for file in platform.home.rglob("*")
        if file.is_file() and any(text.encode() in file.read_bytes() for text in (SECRET, KEY))
    ]
    assert found == []


def test_credentials_that_are_gone_or_anothers_are_told(platform):
    platform.cli("extension", "credentials", "update", "--user", "carl", "bucket", "s3", "main")
    refused = platform.cli("workflow", "run", "leaky", code=None)
    assert refused.code == 3
    assert "it has no credentials for user admin" in refused.err
    (platform.folder / "copied.yaml").write_text(
        "name: copied\nsteps:\n  - name: take\n    run: 'true'\n    env:\n"
        "      - {name: P, value: 'secret://bucket/s3/main/SECRET_KEY'}\n"
    )
    platform.cli("workflow", "create", platform.folder / "copied.yaml")
    error = ran(platform, "copied")["state"]["steps"][0]["error"]
    assert error["code"] == "extensions.scope"
    assert SECRET not in str(error)
