"""Manifests bound to what a run is given."""

from dataclasses import replace

import pytest
from tests.workflows.test_workflows_manifest import FUSEML, OURS, steps

from volant.domain.codeset import CodesetRef
from volant.domain.manifest import ExtensionRequirement
from volant.domain.workflow import ExtensionBinding
from volant.errors import InvalidInput
from volant.workflows.bind import bind_inputs
from volant.workflows.compile import compile_workflow, requirements_of, strictly
from volant.workflows.manifest import parse_manifest
from volant.workflows.plan import plan_workflow

CODE = CodesetRef("p", "c", "1f" * 20, "http://127.0.0.1/git/p/c")
PLAIN = {"project": "p", "name": "c", "version": "1f" * 20, "url": "http://127.0.0.1/git/p/c"}
STORE = ExtensionBinding("minio", "s3", cfg={"MLFLOW_S3_ENDPOINT_URL": "http://s3"})


def compiled(text, given=None, bindings=None, **more):
    manifest = parse_manifest(text)
    inputs = bind_inputs(manifest, given or {}, CODE)
    return compile_workflow(manifest, inputs, bindings or {}, **more)


def by_name(spec):
    return {step.name: step for step in spec.steps}


def bound_fuseml(**more):
    service = {"tracking": ExtensionBinding("mlflow", "t"), "store": STORE}
    bindings = {"trainer": service, "converter": {"store": STORE}}
    return compiled(FUSEML, bindings=bindings, **more)


def test_fusemls_shape_becomes_built_in_steps():
    spec = bound_fuseml(version=3)
    assert spec.version == 3
    found = by_name(spec)
    assert {name: (step.uses, step.image) for name, step in found.items()} == {
        "builder": ("builder", None),
        "trainer": (None, "{{ steps.builder.outputs.image }}"),
        "converter": ("converter", None),
        "ovms": ("predictor", None),
        "kserve": ("predictor", None),
        "seldon": ("predictor", None),
    }
    assert [found[name].inputs.get("flavor") for name in ("ovms", "kserve", "seldon")] == [
        "ovms",
        "kserve",
        "seldon",
    ]
    assert found["trainer"].outputs == ("model-url",)
    assert (found["trainer"].memory_bytes, found["trainer"].cpu) == (2 * 2**30, 0.5)
    assert found["builder"].cpu is None  # a request is no limit
    assert spec.outputs["kserve-url"] == "{{ steps.kserve.outputs.kserve-url }}"
    assert {name: step.cache for name, step in found.items() if not step.cache} == {
        "ovms": False,
        "kserve": False,
        "seldon": False,
    }


def test_what_a_step_gets():
    plan = plan_workflow(bound_fuseml())
    assert plan.order == ("builder", "trainer", "converter", "ovms", "kserve", "seldon")
    trainer = plan.rendered("trainer", {"builder": {"image": "env://abc"}})
    assert trainer.image == "env://abc"
    assert trainer.inputs == {
        "digits-code": {**PLAIN, "path": "/project"},
        "mlflow_entrypoint": "main",
        "alpha": "1.10",
    }
    kserve = plan.rendered("kserve", {"trainer": {"model-url": "mlflow-artifacts:/1"}})
    assert list(kserve.inputs) == ["flavor", "model", "app_name"]
    assert kserve.inputs["app_name"] == "c-p"
    converter = plan.rendered("converter", {"trainer": {"model-url": "m"}})
    assert converter.inputs["output_model"] == "m/ovms"
    assert converter.env == {"S3_ENDPOINT": "http://s3"}


def test_braces_in_what_a_run_is_given_are_no_expressions():
    text = "name: w\ninputs: [{name: x}]\nsteps: [{name: a, run: 'echo {{ inputs.x }}'}]"
    plan = plan_workflow(compiled(text, {"x": "{{ inputs.secret }}"}))
    assert plan.rendered("a", {}).run == "echo {{ inputs.secret }}"


def test_our_keys():
    given = {"base": "resnet", "rows": "wine"}
    spec = compiled(OURS, given)
    found = by_name(spec)
    assert (found["load"].retries, found["load"].timeout_s, found["load"].cache) == (2, 600, False)
    assert found["fit"].needs == ("load",)
    assert found["pick"].needs == ("fit",)
    assert found["shell"].needs == found["shell"].after == ()
    assert found["shell"].image == "alpine:3"
    plan = plan_workflow(spec)
    assert plan.items("fit", {}) == [1, 2]
    assert plan.items("shell", {}) == ["a", "1.10", 0.001]
    assert plan.rendered("load", {}).inputs["code"] == {**PLAIN, "path": "/project"}


def test_serial_order_and_no_cache():
    text = steps("  - {name: a, run: x}\n  - {name: b, run: x, cache: true}\n  - {name: c, run: x}")
    spec = compiled(text)
    assert [(step.needs, step.after) for step in spec.steps] == [
        ((), ()),
        ((), ("a",)),
        ((), ("b",)),
    ]
    assert all(step.cache for step in spec.steps)
    assert not any(step.cache for step in compiled(text, cache=False).steps)


def test_effects_are_cached_only_when_asked_for():
    text = steps("  - {name: a, uses: loop}\n  - {name: b, uses: predictor, cache: true}")
    assert [step.cache for step in compiled(text).steps] == [False, True]


@pytest.mark.parametrize(
    ("image", "uses", "code"),
    [
        ("registry.example/fuseml/{{ inputs.x }}-predictor:{{ inputs.y }}", "predictor", None),
        ("{{ inputs.x }}/{{ inputs.y }}", None, None),
        ("{{ inputs.x }}:{{ inputs.y }}:", None, "invalid_step"),
        ("registry.example/fuseml/{{ inputs.x }}-predictr:1", None, "invalid_step"),
    ],
)
def test_an_image_that_the_inputs_tell(image, uses, code):
    text = (
        "name: w\ninputs: [{name: x, default: kserve}, {name: y, default: v1}]\n"
        f"steps: [{{name: a, image: '{image}'}}]"
    )
    if code is None:
        assert compiled(text).steps[0].uses == uses
        return
    with pytest.raises(InvalidInput) as caught:
        compiled(text)
    assert caught.value.error_code == code


def test_an_image_with_a_command_is_a_container():
    text = steps("  - {name: a, image: registry.example/fuseml/kserve-predictor:1, run: ls}")
    [step] = compiled(text).steps
    assert (step.uses, step.image) == (None, "registry.example/fuseml/kserve-predictor:1")


def test_limits_from_inputs():
    text = (
        "name: w\ninputs: [{name: m, default: 1Gi}]\nsteps:\n"
        "  - {name: a, run: x, resources: {limits: {memory: '{{ inputs.m }}'}}}"
    )
    assert compiled(text).steps[0].memory_bytes == 2**30
    with pytest.raises(InvalidInput, match=r"limits\.memory can't be 'much'"):
        compiled(text, {"m": "much"})


def test_requirements_are_resolved_with_the_inputs():
    text = (
        "name: w\ninputs: [{name: zone, default: lab}]\nsteps:\n"
        "  - name: a\n    run: x\n"
        "    extensions: [{name: s, service_resource: s3, zone: '{{ inputs.zone }}'}]\n"
        "  - {name: b, run: x}"
    )
    manifest = parse_manifest(text)
    wanted = ExtensionRequirement("s", service_resource="s3", zone="lab")
    assert requirements_of(manifest, bind_inputs(manifest, {})) == {"a": {"s": wanted}}


def test_settings_that_a_service_does_not_have():
    bindings = {"trainer": {}, "converter": {"store": replace(STORE, cfg={"MLFLOW_S3_URL": "x"})}}
    with pytest.raises(InvalidInput) as caught:
        compiled(FUSEML, bindings=bindings)
    assert "minio/s3 has no setting 'MLFLOW_S3_ENDPOINT_URL'" in str(caught.value)
    assert "'MLFLOW_S3_URL'" in str(caught.value)
    with pytest.raises(InvalidInput, match="no service was chosen"):
        compiled(FUSEML)


BOUND = ExtensionBinding("minio", "s3", cfg={"KEY": "secret://minio/s3/main/KEY", "REGION": "eu"})
TAKES_ONE = """
name: w
inputs: [{name: code, type: codeset}]
steps:
  - name: a
    extensions: [{name: s, product: minio}]
    %s
"""


@pytest.mark.parametrize(
    ("line", "where", "fix"),
    [
        ("run: 'curl {{ extensions.s.cfg.KEY }}'", "a.run", 'The command has it as "$KEY" already'),
        ("when: extensions.s.cfg.KEY", "a.when", "inputs and its env"),
        ("foreach: '{{ extensions.s.cfg.KEY }}'", "a.foreach", "inputs and its env"),
        ("image: 'lab/{{ extensions.s.cfg.KEY }}'", "a.image", "inputs and its env"),
    ],
)
def test_a_secret_isnt_filled_in_where_others_see_it(line, where, fix):
    text = TAKES_ONE % (line if line.startswith("run") else f"run: x\n    {line}")
    with pytest.raises(InvalidInput, match="which is a secret") as caught:
        compiled(text, bindings={"a": {"s": BOUND}})
    assert caught.value.error_code == "workflow.secret"
    assert f"steps.{where} refers to extensions.s.cfg.KEY" in caught.value.what
    assert fix in caught.value.fix


def test_a_secret_whose_name_no_shell_can_write():
    binding = replace(BOUND, cfg={"MY-KEY": "a secret://minio/s3/main/MY-KEY"})
    with pytest.raises(InvalidInput) as caught:
        compiled(
            TAKES_ONE % "run: 'x {{ extensions.s.cfg.MY-KEY }}'", bindings={"a": {"s": binding}}
        )
    assert "as NAME: {{ extensions.s.cfg.MY-KEY }}" in caught.value.fix


def test_a_secret_may_stand_in_inputs_and_env_and_what_is_none_anywhere():
    line = (
        "run: 'x {{ extensions.s.cfg.REGION }}'\n"
        "    inputs: {dsn: 'x:{{ extensions.s.cfg.KEY }}'}\n"
        "    env: {KEY: '{{ extensions.s.cfg.KEY }}'}"
    )
    (step,) = compiled(TAKES_ONE % line, bindings={"a": {"s": BOUND}}).steps
    assert step.env == {"KEY": "{{ extensions.s.cfg.KEY }}"}


def test_an_output_of_the_same_name_is_the_last_steps():
    text = (
        "name: w\noutputs: [{name: url}, {name: both, value: '{{ steps.a.outputs.url }}!'}]\n"
        "steps:\n  - {name: a, run: x, outputs: [{name: url}]}\n"
        "  - {name: b, uses: pass, inputs: [{name: url, value: '1'}]}\n  - {name: c, run: x}"
    )
    assert compiled(text).outputs == {
        "url": "{{ steps.b.outputs.url }}",
        "both": "{{ steps.a.outputs.url }}!",
    }


def test_strictly_is_for_builders():
    spec = compiled(steps("  - {name: a, uses: builder}\n  - {name: b, run: c}"))
    assert [dict(step.inputs) for step in strictly(spec).steps] == [{"strict": "true"}, {}]
