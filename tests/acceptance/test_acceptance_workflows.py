"""Workflows by the command line alone: create, assign, push, list, compare, retry, stop."""

from __future__ import annotations

import pytest
from platform_process import Platform, wait_for
from workflow_flows import Flow, told, work_folder

pytestmark = pytest.mark.timeout(300)  # for a busy machine: alone, each takes seconds


@pytest.fixture(scope="module")
def platform(platforms) -> Platform:
    return platforms().start()


def text(platform, *arguments):
    """A command as a person sees it."""
    return platform.shell(*arguments, "--home", str(platform.home)).out


def test_from_a_manifest_to_a_run_for_every_push(platform):
    flow = Flow(platform, "greet")
    flow.open()
    flow.push(1)
    assert text(platform, "workflow", "create", flow.file) == (
        'Workflow "greet" successfully created\n'
    )
    named = ("--name", "greet", "--codeset-name", "greet", "--codeset-project", "p")
    assert text(platform, "workflow", "assign", *named) == (
        'Workflow "greet" assigned to codeset "p/greet"\n'
    )
    [first] = flow.ended(1)
    flow.push(2)
    second, _ = flow.ended(2)
    assert [told(second), told(first)] == ["world 2", "world 1"]

    listed = text(platform, "workflow", "list-runs", "--name", "greet").splitlines()
    assert listed[0].split() == ["NAME", "WORKFLOW", "STARTED", "DURATION", "STATUS"]
    assert [line.split()[0] for line in listed[1:]] == [second["id"], first["id"]]
    assert [line.split()[-1] for line in listed[1:]] == ["Succeeded", "Succeeded"]
    failed = text(platform, "workflow", "list-runs", "--name", "greet", "--status", "Failed")
    assert failed == ""

    differs = platform.cli("runs", "diff", first["id"], second["id"]).json
    assert list(differs["inputs"]) == ["code.version"]
    assert differs["outputs"] == {"told": ["world 1", "world 2"]}
    log = text(platform, "logs", second["id"], "--step", "tell")
    assert log == "telling\n"

    # The same commit again: what was done is taken over, but for what mustn't be.
    by_hand = ("workflow", "run", "greet", "p/greet", "--wait")
    again = platform.cli(*by_hand).json
    cached = {step["name"]: step["cached"] for step in again["state"]["steps"]}
    assert cached == {"read": second["id"], "wait": None, "tell": second["id"]}
    assert told(platform.cli(*by_hand, "--input", "who=you", "--no-cache").json) == "you 2"

    assert platform.cli("workflow", "unassign", "greet", "p/greet").code == 0
    flow.push(3)
    assert platform.cli("workflow", "list-assignments").json["items"] == []
    assert len(flow.ended(4)) == 4


def test_one_run_at_a_time_and_the_newest_waits(platform):
    flow = Flow(platform, "queue")
    flow.push(1)
    platform.cli("workflow", "create", flow.file)
    run = platform.cli("workflow", "assign", "queue", "p/queue").json["run"]
    flow.at(run["id"], "wait", "running")
    for number in (2, 3, 4):
        flow.push(number)
    wait_for(
        "the newest alone to wait",
        lambda: flow.statuses() == ["queued", "cancelled", "cancelled", "running"],
    )
    newest, third, *_ = flow.runs()
    why = text(platform, "workflow", "get", "queue")
    assert newest["id"] in why
    shown = platform.shell("runs", "show", third["id"], "--home", str(platform.home))
    assert newest["id"] in shown.err
    flow.open()
    runs = flow.ended(4)
    assert [told(runs[0]), told(runs[-1])] == ["world 4", "world 1"]


def test_an_update_is_for_the_next_run_and_keeps_the_assignment(platform):
    flow = Flow(platform, "update")
    flow.push(1)
    platform.cli("workflow", "create", flow.file)
    run = platform.cli("workflow", "assign", "update", "p/update").json["run"]
    flow.at(run["id"], "wait", "running")
    flow.file.write_text(flow.file.read_text().replace("default: world", "default: all"))
    assert platform.cli("workflow", "update", flow.file).json["version"] == 2
    assert platform.cli("workflow", "update", flow.file).json["version"] == 2
    flow.push(2)
    flow.open()
    second, first = flow.ended(2)
    assert [told(second), told(first)] == ["all 2", "world 1"]
    versions = platform.cli("workflow", "versions", "update").json["items"]
    assert [each["version"] for each in versions] == [2, 1]
    assert platform.cli("workflow", "run", "update", "p/update", "--version", "1", "--wait").json[
        "outputs"
    ] == {"told": "world 2"}


def test_stop_retry_and_prune(platform):
    flow = Flow(platform, "steer")
    flow.push(1)
    platform.cli("workflow", "create", flow.file)
    run = platform.cli("workflow", "run", "steer", "p/steer").json["id"]
    flow.at(run, "wait", "running")
    platform.cli("runs", "cancel", run)
    cancelled = platform.cli("workflow", "list-runs", "-n", "steer", "-s", "Cancelled").json
    assert [each["id"] for each in cancelled["items"]] == [run]
    flow.open()
    retried = platform.cli("runs", "retry", run, "--from", "wait").json["id"]
    done, _ = flow.ended(2)
    assert (done["id"], told(done)) == (retried, "world 1")
    for _ in range(2):
        platform.cli("workflow", "run", "steer", "p/steer", "--no-cache", "--wait")
    plan = platform.cli("runs", "prune", "--keep", "2").json["items"]
    of = {each["run"]: each["reason"] for each in plan if each["of"] == "steer"}
    assert of[retried] is None
    assert work_folder(platform, retried).is_dir()
    platform.cli("runs", "prune", "--keep", "2", "--apply")
    wait_for("its folder to be gone", lambda: not work_folder(platform, retried).exists())
    assert len(flow.runs()) == 2
    assert platform.cli("runs", "show", retried, code=None).code != 0


EACH = """\
name: each
inputs: [{name: bad}]
outputs: [{name: told}, {name: ok}]
steps:
  - name: fit
    foreach: [a, b, c]
    cache: false
    inputs: {file: '{{ item }}', bad: '{{ inputs.bad }}'}
    outputs: [told]
    run: |
      echo "fitting $FUSEML_FILE"
      test "$FUSEML_FILE" != "$FUSEML_BAD" && echo "$FUSEML_FILE" > "$VOLANT_RESULTS_DIR/told"
  - name: ok
    needs: [fit]
    outputs: [ok]
    run: |
      echo '{"ok": true}' > "$VOLANT_OUTPUTS"
"""


def test_what_a_step_does_for_each_element_is_shown_and_logged(platform):
    manifest = platform.folder / "each.yaml"
    manifest.write_text(EACH)
    platform.cli("workflow", "create", manifest)
    run = ("workflow", "run", "each", "--wait", "--home", str(platform.home), "--input")
    shown = platform.shell(*run, "bad=none").out.splitlines()
    assert shown[-2:] == ['told = ["a", "b", "c"]', "ok = true"]
    assert any("fit" in line and line.endswith("  3 elements") for line in shown)
    failed = platform.shell(*run, "bad=b", code=1)
    assert "  1 of 3 elements failed: Element fit/1: " in failed.out
    assert "fit 2/3" in text(platform, "runs", "--workflow", "each").splitlines()[1]
    run, _ = platform.items("/runs", workflow="each")
    name = run["id"]
    assert run["state"]["steps"][0]["elements"] == {"total": 3, "ended": 3, "failed": 1}
    with (work_folder(platform, name) / "fit" / "2" / "log.jsonl").open("a") as log:
        log.write('{"time": "20')  # as a writer that was killed leaves it
    for words in ((), ("--step", "fit", "-f")):
        lines = text(platform, "logs", name, *words).splitlines()
        assert {f"fit/{n}      | fitting {item}" for n, item in enumerate("abc")} < set(lines)
        assert 'fit/2      | {"time": "20' in lines
    none = platform.shell("logs", name, "--step", "fit/3", "--home", str(platform.home), code=3)
    assert "fit/0 to fit/2" in none.err


def test_what_cannot_be_done_says_what_to_do(platform):
    flow = Flow(platform, "trouble")
    flow.push(1)
    bad = platform.folder / "bad.yaml"
    bad.write_text(flow.file.read_text().replace("steps.read.", "steps.raed."))
    told_of = platform.shell("workflow", "create", bad, "--home", str(platform.home), code=None)
    assert told_of.code != 0
    assert "bad.yaml:" in told_of.err
    assert "read" in told_of.err
    platform.cli("workflow", "create", flow.file)
    for words, near in (
        (("workflow", "run", "troubel"), "trouble"),
        (("workflow", "assign", "trouble", "p/troubel"), "p/trouble"),
        (("workflow", "run", "trouble", "p/trouble", "--input", "woh=x"), "who"),
    ):
        found = platform.shell(*words, "--home", str(platform.home), code=None)
        assert found.code != 0
        assert near in found.err, words
    # A manifest that no longer fits its pushes: told, and nothing else is stopped.
    platform.cli("workflow", "assign", "trouble", "p/trouble")
    flow.open()
    flow.ended(1)
    flow.file.write_text(flow.file.read_text().replace(", default: world", ""))
    platform.cli("workflow", "update", flow.file)
    flow.push(2)
    wait_for(
        "why it wasn't started", lambda: "'who'" in text(platform, "workflow", "get", "trouble")
    )
    assert len(flow.runs()) == 1
    deleted = platform.cli("workflow", "delete", "--name", "trouble").json
    assert [each["codeset"] for each in deleted["assignments"]] == ["trouble"]
    assert platform.cli("workflow", "get", "trouble", code=None).code != 0
