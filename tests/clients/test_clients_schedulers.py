"""Exported workflows: Airflow runs its DAG for real; the other files against the schemas of
their systems, and Jenkins' also by a stand-in that knows the words of its language."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from platform_process import own

PROGRAMS = Path(__file__).parent / "programs"

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]

SOURCE = """
name: {name}
description: Sums up "things", it's a test.
inputs:
  - {{name: first-number, type: number, default: "2", description: "Where to begin: here"}}
  - {{name: greeting, default: "it's \\"good\\" & $HOME"}}
steps:
  - name: begin
    run: |
      echo "the greeting is $VOLANT_INPUT_GREETING"
      printf %s $((VOLANT_INPUT_N + 1)) > $VOLANT_RESULTS_DIR/sum
    inputs:
      - {{name: n, value: "{{{{ inputs.first-number }}}}"}}
      - {{name: greeting, value: "{{{{ inputs.greeting }}}}"}}
    outputs: [{{name: sum}}]
  - name: left_side
    run: printf %s $(({{{{ steps.begin.outputs.sum }}}} * 10)) > $VOLANT_RESULTS_DIR/product
    outputs: [{{name: product}}]
  - name: right
    run: printf %s $(({{{{ steps.begin.outputs.sum }}}} * 100)) > $VOLANT_RESULTS_DIR/product
    outputs: [{{name: product}}]
  - name: seldom
    when: steps.begin.outputs.sum == '1000'
    run: exit 7
  - name: end
    run: >-
      printf %s $(({{{{ steps.left_side.outputs.product }}}} +
      {{{{ steps.right.outputs.product }}}})) > $VOLANT_RESULTS_DIR/total
    outputs: [{{name: total}}]
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    from platform_process import platforms

    with platforms() as make:
        yield make().start()


@pytest.fixture(scope="module")
def workflow(platform):
    name = own("sums")
    platform.post("/workflows", {"source": SOURCE.format(name=name)})
    return name


@pytest.fixture
def exported(platform, workflow, tmp_path):
    def write(to: str, file: str) -> Path:
        path = tmp_path / file
        platform.cli("workflow", "export", workflow, "--to", to, "-o", path)
        return path

    return write


def asks(platform, **extra: str) -> dict[str, str]:
    """The environment of somebody who asks the platform."""
    kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
    token = (platform.home / "token").read_text().strip()
    return {**kept, "VOLANT_SERVER_URL": platform.url, "VOLANT_TOKEN": token, **extra}


def totals(platform, workflow) -> list[str]:
    """What the last step's runs gave, newest first."""
    runs = platform.items("/runs", workflow=workflow)
    steps = [run["state"]["steps"][0] for run in runs]
    return [step["outputs"]["total"] for step in steps if step["name"] == "end"]


def test_airflow_runs_the_dag(platform, workflow, exported, environment, tmp_path):
    home = tmp_path / "airflow"
    (home / "dags").mkdir(parents=True)
    exported("airflow", "dag.py").rename(home / "dags" / "dag.py")
    python = environment("airflow")
    environ = asks(
        platform,
        AIRFLOW_HOME=str(home),
        AIRFLOW__CORE__LOAD_EXAMPLES="False",
        AIRFLOW__CORE__DAGS_FOLDER=str(home / "dags"),
        AIRFLOW__USAGE_DATA_COLLECTION__ENABLED="False",
        PATH=f"{python.parent}:{os.environ['PATH']}",
    )

    def airflow(*words: str) -> str:
        done = subprocess.run(
            [str(python.parent / "airflow"), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environ,
            cwd=home,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        return done.stdout

    airflow("db", "migrate")
    said = airflow("dags", "test", workflow, "--conf", '{"first-number": "7"}')
    assert "state=success" in said
    assert 'the greeting is it\'s "good" & $HOME' in said
    assert totals(platform, workflow)[0] == "880"  # (7 + 1) * 10 + (7 + 1) * 100


def test_github_actions_schema(exported, environment, command):
    file = exported("github-actions", "sums.yml")
    checker = environment("schedulers").parent / "check-jsonschema"
    command([checker, "--builtin-schema", "vendor.github-workflows", file])
    broken = file.with_name("broken.yml")
    broken.write_text(file.read_text().replace("runs-on:", "runs-of:"))
    command([checker, "--builtin-schema", "vendor.github-workflows", broken], code=1)


@pytest.mark.parametrize(
    ("to", "program", "broken"),
    [("argo", "argo_model.py", "  source:"), ("tekton", "tekton_model.py", "  script:")],
)
def test_schema(to, program, broken, exported, environment, command):
    file = exported(to, "sums.yaml")
    python = environment("schedulers")
    assert command([python, PROGRAMS / program, file]).splitlines()[-1] == "fine"
    wrong = file.with_name("wrong.yaml")
    wrong.write_text(file.read_text().replace(broken, "  unheard-of:"))
    assert "isn't known" in command([python, PROGRAMS / program, wrong], code=1)


@pytest.mark.skipif(not shutil.which("groovy"), reason="no groovy")
def test_jenkins(platform, workflow, exported, tmp_path):
    """Groovy reads the file, and each `sh` of it really runs; Jenkins itself isn't here."""
    file = exported("jenkins", "Jenkinsfile")
    java = Path(shutil.which("java") or "java").resolve().parent.parent
    done = subprocess.run(
        ["groovy", PROGRAMS / "declarative.groovy", file, tmp_path, "jenkins-1", "first_number=9"],
        capture_output=True,
        text=True,
        env=asks(
            platform,
            JAVA_HOME=os.environ.get("JAVA_HOME", str(java)),
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        ),
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "[stage] Side by side 2" in done.stdout
    assert totals(platform, workflow)[0] == "1100"
