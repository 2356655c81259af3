"""FuseML's walk-through by the command line, and the step contract of its workflows."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from platform_process import Platform
from small_codeset import small_codeset

ROOT = Path(__file__).parents[2]
APP = "mlflow-project-01-mlflow-test-mlflow-e2e"


@pytest.fixture(scope="module")
def platform(platforms, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuseml")
    platform = platforms().start()
    code = small_codeset(folder / "codesets" / "mlflow" / "stump")
    told = platform.cli(
        *("codeset", "register", "--name", "mlflow-test", "--project", "mlflow-project-01", code)
    )
    assert told.json["url"].endswith("/git/mlflow-project-01/mlflow-test.git")
    return platform


def _runs(platform: Platform, workflow: str) -> list[dict]:
    return platform.cli("workflow", "list-runs", "--name", workflow).json["items"]


def _run(platform: Platform, manifest: str):
    """The run of a new workflow on the codeset, ended: its steps by name."""
    made = platform.post("/workflows", {"source": manifest})
    wish = {"project": "mlflow-project-01", "codeset": "mlflow-test"}
    run = platform.post(f"/workflows/{made['name']}/runs", wish)
    return _ended(platform, run["id"])


def _ended(platform: Platform, run_id: str):
    platform.finished(run_id)
    found = platform.get(f"/runs/{run_id}")
    return found, {step["name"]: step for step in found["state"]["steps"]}


def _log(platform: Platform, run_id: str, step: str) -> str:
    lines = (platform.home / "runs" / run_id / step / "log.jsonl").read_text().splitlines()
    return "\n".join(json.loads(line)["text"] for line in lines)


def test_the_walk_through(platform: Platform) -> None:
    platform.cli("workflow", "create", ROOT / "examples" / "workflows" / "mlflow-e2e.yaml")
    platform.cli(
        *("workflow", "assign", "--name", "mlflow-e2e"),
        *("--codeset-name", "mlflow-test", "--codeset-project", "mlflow-project-01"),
    )
    run_id = _runs(platform, "mlflow-e2e")[0]["id"]
    _, steps = _ended(platform, run_id)
    assert {name: step["status"] for name, step in steps.items()} == {
        "builder": "succeeded",
        "trainer": "succeeded",
        "predictor": "succeeded",
    }
    built = steps["builder"]["outputs"]
    assert built["image"].startswith("env://")
    assert [line.partition(" →")[0] for line in built["warnings"]] == ["python=3.6"]
    trained = steps["trainer"]["outputs"]
    assert trained["mlflow-model-url"].startswith("mlflow-artifacts:/")
    assert trained["experiment"] == "mlflow-project-01.mlflow-test"
    url = steps["predictor"]["outputs"]["prediction-url"]
    assert url.endswith(f"/v2/models/{APP}/infer")
    (application,) = platform.cli("application", "list").json["items"]
    assert (application["name"], application["url"]) == (APP, url)
    asked = {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 0, 5, 0]}]}
    answer = httpx.post(url, json=asked, timeout=30).json()
    assert answer["outputs"][0]["data"] == pytest.approx([-1.0, 1.0])


def test_what_the_trainer_tracked_and_borrowed(platform: Platform) -> None:
    run_id = _runs(platform, "mlflow-e2e")[0]["id"]
    _, steps = _ended(platform, run_id)
    outputs = steps["trainer"]["outputs"]
    token = {"Authorization": f"Bearer {(platform.home / 'token').read_text().strip()}"}
    tracked = httpx.get(
        f"{platform.url}/api/2.0/mlflow/runs/get",
        params={"run_id": outputs["tracked_run"]},
        headers=token,
    ).json()["run"]
    assert tracked["info"]["status"] == "FINISHED"
    params = {one["key"]: one["value"] for one in tracked["data"]["params"]}
    assert params == {"limit": "3.0", "note": "none"}
    tags = {one["key"]: one["value"] for one in tracked["data"]["tags"]}
    assert tags["mlflow.project.entryPoint"] == "main"
    assert tags["mlflow.source.type"] == "PROJECT"
    assert len(tags["mlflow.source.git.commit"]) == 40
    assert outputs["metrics"]["gap"] == 2.0
    # Its token is gone, and no log kept it.
    assert "trained with the token ***" in _log(platform, run_id, "trainer")
    held = platform.cli("tokens", "list").json["items"]
    assert not [one for one in held if str(one["principal"]).startswith("run/")]


def test_a_second_run_is_taken_over_and_serves_the_same(platform: Platform) -> None:
    platform.cli("workflow", "run", "mlflow-e2e", "mlflow-project-01/mlflow-test", "--wait")
    _, steps = _ended(platform, _runs(platform, "mlflow-e2e")[0]["id"])
    assert steps["builder"]["cached"]
    assert steps["trainer"]["cached"]
    assert steps["predictor"]["outputs"]["version"] == 1
    assert platform.get(f"/deployments/{APP}")["live_revision"] == 1


def test_a_converter_hands_on_what_it_doesnt_convert(platform: Platform) -> None:
    url = f"models:/{APP}/1"
    run, steps = _run(
        platform,
        f"""
name: hand-on-model
steps:
  - name: it
    image: registry.example/fuseml/ovms-converter:v0.3.0
    inputs: [{{name: input_model, value: '{url}'}}, {{name: batch, value: 1}}]
    outputs: [{{name: ovms-model-url}}]
""",
    )
    assert steps["it"]["outputs"] == {"ovms-model-url": url}
    said = _log(platform, run["id"], "it")
    assert "batch isn't needed: any number of rows is taken" in said
    assert f"{url} is MLflow, lightgbm: it is handed on as it is" in said


CONTRACT = """
name: contract
inputs:
  - name: code-set
    type: codeset
  - name: flag
    default: false
steps:
  - name: shell
    run: |
      pwd; ls; echo "$FUSEML_NUMBER $FUSEML_ENV_WORKFLOW_NAME $FUSEML_ENV_WORKFLOW_NAMESPACE"
      env | grep '^FUSEML_HY'
      touch mine && test ! -e other
      echo "$FUSEML_FLAG" > "$VOLANT_RESULTS_DIR/$TASK_RESULT"
      printf '{"more": [1, 2]}' > "$VOLANT_OUTPUTS"
    inputs:
      - name: number
        value: 7
      - name: flag
        value: "{{ inputs.flag }}"
      - name: hy-phen
        value: kept
      - codeset:
          name: "{{ inputs.code-set }}"
          path: /project
    outputs:
      - name: flag-text
    env:
      - name: OWN
        value: "{{ inputs.code-set.name }}"
  - name: function
    call: functions:twice
    inputs:
      - name: number
        value: "{{ steps.shell.outputs.flag-text }}"
      - name: code-set
        codeset:
          name: "{{ inputs.code-set }}"
    outputs:
      - name: text
  - name: hand-on
    uses: pass
    inputs:
      - name: it
        value: "{{ steps.function.outputs.text }}"
    outputs:
      - name: it
"""


def test_the_step_contract(platform: Platform) -> None:
    run, steps = _run(platform, CONTRACT)
    assert steps["shell"]["outputs"] == {"flag-text": "false", "more": [1, 2]}
    said = _log(platform, run["id"], "shell").splitlines()
    assert said[0].endswith("/code/project")
    assert "train.py" in said
    assert "7 contract volant" in said
    assert "FUSEML_HY_PHEN=kept" in said
    called = steps["function"]["outputs"]
    assert called["text"] == "falsefalse"
    assert called["code"] == called["here"]
    assert steps["hand-on"]["outputs"] == {"it": "falsefalse"}


ENVIRONMENT = """
name: own-environment
inputs:
  - name: code
    type: codeset
steps:
  - name: builder
    uses: builder
    inputs:
      - codeset:
          name: "{{ inputs.code }}"
    outputs:
      - name: image
  - name: function
    image: "{{ steps.builder.outputs.image }}"
    call: functions:twice
    inputs:
      - name: number
        value: ab
      - codeset:
          name: "{{ inputs.code }}"
    outputs:
      - name: text
  - name: shell
    image: "{{ steps.builder.outputs.image }}"
    run: command -v python > $VOLANT_RESULTS_DIR/python
    outputs:
      - name: python
"""


def test_functions_and_commands_in_an_environment(platform: Platform) -> None:
    _, steps = _run(platform, ENVIRONMENT)
    key = steps["builder"]["outputs"]["image"].removeprefix("env://")
    folder = platform.home / "envs" / key
    assert steps["function"]["outputs"]["text"] == "abab"
    assert steps["function"]["outputs"]["python"] == str(folder)
    assert steps["shell"]["outputs"]["python"] == str(folder / "bin" / "python")


@pytest.mark.parametrize(
    ("name", "step", "what"),
    [
        ("no-output", "run: 'true'\n    outputs: [{name: it}]", "didn't write its output it"),
        ("no-such-function", "call: functions:missing", "isn't in the codeset"),
        ("wrong-return", "call: functions:wrong", "returned list"),
        ("lost-environment", "image: env://0123456789ab\n    run: 'true'", "isn't here"),
        ("strict", "uses: builder", "python=3.6"),
        ("no-artifact", "uses: trainer", "logged no artifact"),
        ("fails", "uses: trainer", "exit code 3"),
        ("no-such-entry", "uses: trainer", "no entry point 'mian'"),
        ("no-model", "uses: predictor", "There is no model at"),
        ("no-engine", "uses: predictor", "isn't known"),
    ],
)
def test_what_goes_wrong_is_said(platform: Platform, name: str, step: str, what: str) -> None:
    more = {
        "strict": {"strict": "true"},
        "no-artifact": {"mlflow_entrypoint": "silent"},
        "fails": {"mlflow_entrypoint": "broken"},
        "no-such-entry": {"mlflow_entrypoint": "mian"},
        "no-model": {"model": "mlflow-artifacts:/1/2/artifacts/model"},
        "no-engine": {"model": "functions.py", "predictor": "sklaern"},
    }.get(name, {})
    inputs = "".join(f"\n      - name: {k}\n        value: '{v}'" for k, v in more.items())
    manifest = f"""
name: {name}
inputs: [{{name: code, type: codeset}}]
steps:
  - name: it
    {step}
    inputs:
      - codeset: {{name: "{{{{ inputs.code }}}}", path: /project}}{inputs}
"""
    _, steps = _run(platform, manifest)
    assert steps["it"]["status"] == "failed"
    assert what in f"{steps['it']['error']['what']} {steps['it']['error']['fix']}"
