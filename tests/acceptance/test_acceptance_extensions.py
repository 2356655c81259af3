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
READER = """\
id: reader
container:
  entrypoint: sh -c
  args:
    - 'cat "$0"; touch "$1/begun"; while ! [ -e "$1/end" ]; do sleep 0.05; done'
    - "{{ inputs.token.path }}"
    - "{{ inputs.signs }}"
inputs: {token: {}, signs: {}}
"""
READING = """\
name: reading
inputs: [{name: signs}]
steps:
  - name: read
    uses: runnable/reader
    inputs: {token: '{{ extensions.s.cfg.SECRET_KEY }}', signs: '{{ inputs.signs }}'}
    extensions: [{name: s, extension_id: bucket}]
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


def test_a_secret_in_a_file_is_gone_with_its_step_even_after_a_kill(platform, tmp_path):
    for name, text in (("reader", READER), ("reading", READING)):
        (platform.folder / f"{name}.yaml").write_text(text)
    platform.cli("runnable", "register", platform.folder / "reader.yaml")
    platform.cli("workflow", "create", platform.folder / "reading.yaml")
    begun = tmp_path / "begun"
    runs = [_begun(platform, tmp_path)["id"] for _ in range(2)]  # one goes on, one is cancelled
    assert len(_holding(platform)) == 2
    platform.process.kill()
    platform.process.wait()
    assert len(_holding(platform)) == 2
    begun.unlink()
    platform.start()
    platform.cli("runs", "cancel", runs[1])
    wait_for("the step's second beginning", begun.exists)
    (tmp_path / "end").touch()
    assert platform.finished(runs[0])["state"]["status"] == "succeeded"
    assert platform.finished(runs[1])["state"]["status"] == "cancelled"
    wait_for("the files to be gone", lambda: not _holding(platform))
    assert _holding(platform) == []


def _begun(platform, signs):
    (signs / "begun").unlink(missing_ok=True)
    run = platform.post("/workflows/reading/runs", {"inputs": {"signs": str(signs)}})
    wait_for("the step's beginning", (signs / "begun").exists)
    return run


def _holding(platform):
    """The files of this platform, its temporary ones among them, that have the secret."""
    files = [*platform.home.rglob("*"), *platform.temp.rglob("*")]
    return [file for file in files if file.is_file() and SECRET.encode() in file.read_bytes()]


def test_a_secret_in_a_command_stops_the_run_before_it_starts(platform):
    (platform.folder / "shown.yaml").write_text(
        "name: shown\nsteps:\n  - name: show\n    run: 'echo {{ extensions.s.cfg.SECRET_KEY }}'\n"
        "    extensions: [{name: s, extension_id: bucket}]\n"
    )
    platform.cli("workflow", "create", platform.folder / "shown.yaml")
    refused = platform.cli("workflow", "run", "shown", code=None)
    assert refused.code == 2, refused
    assert "steps.show.run refers to extensions.s.cfg.SECRET_KEY, which is a secret" in refused.err
    assert 'The command has it as "$SECRET_KEY" already' in refused.err


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
