"""A registered workflow whose steps an outside scheduler starts: the exported program, in
processes of its own, against a real server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from platform_process import own, wait_for

pytestmark = pytest.mark.timeout(240)

STEPS = """
name: {name}
inputs:
  - {{name: n, type: number, default: "2"}}
  - {{name: words, default: ""}}
steps:
  - name: begin
    run: |
      echo "the words are $VOLANT_INPUT_WORDS"
      printf %s $((VOLANT_INPUT_N + 1)) > $VOLANT_RESULTS_DIR/sum
    inputs:
      - {{name: n, value: "{{{{ inputs.n }}}}"}}
      - {{name: words, value: "{{{{ inputs.words }}}}"}}
    outputs: [{{name: sum}}]
  - name: each
    foreach: "[1, 2, 3]"
    run: |
      printf %s $(({{{{ item }}}} * {{{{ steps.begin.outputs.sum }}}})) > $VOLANT_RESULTS_DIR/part
    outputs: [{{name: part}}]
  - name: seldom
    when: steps.begin.outputs.sum == '1000'
    run: exit 7
  - name: never
    needs: [seldom]
    run: exit 8
  - name: frail
    needs: [begin]
    run: echo trying; test -e {folder}/mended
  - name: long
    needs: [begin]
    run: touch {folder}/long; while ! test -e {folder}/go; do sleep 0.05; done
  - name: end
    run: echo "{{{{ steps.each.outputs.part }}}} {{{{ steps.begin.outputs.sum }}}}"
"""


class Scheduler:
    """Calls the exported program, as a scheduler's tasks do."""

    def __init__(self, platform, folder):
        self.platform = platform
        self.folder = folder
        self.name = own(folder.name[-40:].strip("_-"))
        source = STEPS.format(name=self.name, folder=folder)
        platform.post("/workflows", {"source": source})
        told = platform.get(f"/workflows/{self.name}/export", to="github-actions")
        (step, *_), *_ = [job["steps"] for job in yaml.safe_load(told["text"])["jobs"].values()]
        self.program = folder / "program.py"
        self.program.write_text(step["run"])

    def begin(self, step, key="one", **parameters):
        return subprocess.Popen(
            [sys.executable, self.program],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **{k: v for k, v in os.environ.items() if "proxy" not in k.lower()},
                "VOLANT_SERVER_URL": self.platform.url,
                "VOLANT_TOKEN": (self.platform.home / "token").read_text().strip(),
                "VOLANT_STEP": step,
                "VOLANT_KEY": f"{self.name} {key}",
                **parameters,
            },
        )

    def do(self, step, key="one", code=0, **parameters):
        process = self.begin(step, key, **parameters)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == code, said
        return said


@pytest.fixture(scope="module")
def platform(platforms):
    started = platforms().start(VOLANT_WORKERS="4")
    yield started
    started.down()


@pytest.fixture
def scheduler(platform, tmp_path):
    return Scheduler(platform, tmp_path)


def runs_of(scheduler, step):
    found = scheduler.platform.items("/runs", workflow=scheduler.name)
    return [run for run in found if run["workflow"]["steps"][0]["name"] == step]


def test_steps_get_what_those_before_gave(scheduler):
    assert "hasn't succeeded" in scheduler.do("end", code=1)
    told = scheduler.do("begin", VOLANT_PARAM_1="4", VOLANT_PARAM_2="a \"b\" 'c' $HOME")
    assert "the words are a \"b\" 'c' $HOME" in told
    same = {"VOLANT_PARAM_1": "4", "VOLANT_PARAM_2": "a \"b\" 'c' $HOME"}
    for step in ("each", "seldom", "never"):
        scheduler.do(step, **same)
    assert "skipped" in scheduler.do("never", **same)
    (run,) = runs_of(scheduler, "each")
    assert run["state"]["steps"][0]["outputs"]["part"] == ["5", "10", "15"]
    assert "[5, 10, 15] 5" in scheduler.do("end", **same)
    assert "other values of inputs" in scheduler.do("begin", code=1, VOLANT_PARAM_1="5")
    assert "no step 'ende'" in scheduler.do("ende", code=1, **same)
    # A turn of its own has inputs of its own.
    scheduler.do("begin", key="two", VOLANT_PARAM_1="7")


def test_the_same_again_is_the_same_and_what_failed_is_done_again(scheduler):
    scheduler.do("begin")
    scheduler.do("begin")
    assert len(runs_of(scheduler, "begin")) == 1
    said = scheduler.do("frail", code=1)
    assert "trying" in said
    assert "exit code 1" in said
    (scheduler.folder / "mended").touch()
    scheduler.do("frail")
    assert [run["state"]["status"] for run in runs_of(scheduler, "frail")] == [
        *("succeeded", "failed"),
    ]


def test_two_that_ask_for_one_step_follow_one_run(scheduler):
    scheduler.do("begin")
    both = [scheduler.begin("long") for _ in range(2)]
    wait_for("the step", (scheduler.folder / "long").exists)
    time.sleep(0.5)
    (scheduler.folder / "go").touch()
    assert all("succeeded" in process.communicate(timeout=60)[0] for process in both)
    assert len(runs_of(scheduler, "long")) == 1


def test_a_task_that_is_ended_ends_its_step(scheduler):
    scheduler.do("begin")
    process = scheduler.begin("long")
    wait_for("the step", (scheduler.folder / "long").exists)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    (run,) = runs_of(scheduler, "long")
    wait_for(
        "its end",
        lambda: scheduler.platform.get(f"/runs/{run['id']}")["state"]["status"] == "cancelled",
    )


@pytest.mark.slow
def test_a_server_that_dies_is_waited_for(platforms, tmp_path):
    platform = platforms().start()
    scheduler = Scheduler(platform, tmp_path)
    port = platform.url.rpartition(":")[2]
    scheduler.do("begin")
    process = scheduler.begin("long")
    wait_for("the step", (tmp_path / "long").exists)
    assert platform.process is not None
    platform.process.kill()
    platform.process.wait()
    (tmp_path / "long").unlink()
    platform.start("--port", port)
    wait_for("the step again", (tmp_path / "long").exists)
    (tmp_path / "go").touch()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    (run,) = runs_of(scheduler, "long")
    assert run["state"]["status"] == "succeeded"


def test_the_command_writes_a_file(scheduler, tmp_path):
    platform = scheduler.platform
    told = platform.cli("workflow", "export", scheduler.name, "--to", "tekton", "-o", "t.yaml")
    assert told.json["saved"] == "t.yaml"
    assert list(yaml.safe_load_all((platform.folder / "t.yaml").read_text()))[1]["kind"] == (
        "Pipeline"
    )
    file = tmp_path / "mine.yaml"
    file.write_text("name: unregistered\nsteps: [{name: a, run: 'true'}]\n")
    refused = platform.cli("workflow", "export", file, "--to", "argo", code=None)
    assert refused.code != 0
    assert "volant workflow create" in refused.err
    platform.cli("workflow", "create", file)
    argo = platform.cli("workflow", "export", file, "--to", "argo").json
    assert "kind: Workflow" in argo["text"]
    file.write_text("name: unregistered\nsteps: [{name: b, run: 'true'}]\n")
    changed = platform.cli("workflow", "export", file, "--to", "argo", code=None)
    assert "volant workflow update" in changed.err
