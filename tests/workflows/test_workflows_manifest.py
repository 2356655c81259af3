"""Manifests: FuseML's files as they are, ours beside them, and what is refused, where."""

import pytest

from volant.domain.codec import from_plain, to_plain
from volant.domain.manifest import (
    CodesetInput,
    ExtensionRequirement,
    Manifest,
    ManifestInput,
    ManifestTrigger,
    OutputImage,
    StepInput,
    StepOutput,
)
from volant.errors import InvalidInput
from volant.workflows.manifest import parse_manifest

# Of the same shape as FuseML's own: an input without a name, values of other types than text,
# an input that stands twice, an extension that is found by its resource.
FUSEML = """\
name: digits-multi
description: |
  Trains digits and serves them
  three times.
inputs:
  - name: digits-code
    description: code of the digits
    type: codeset
    labels: [mlflow-project]
  - name: entry_point
    default: main
  - name: engine
    type: string
    default: auto
  - name: note
    default: null
outputs:
  - name: ovms-url
    description: "where to ask"
    type: string
  - name: kserve-url
    type: string
  - name: seldon-url
steps:
  - name: builder
    image: registry.example.com:5000/fuseml/mlflow-builder:v0.3.0
    inputs:
      - codeset:
          name: '{{ inputs.digits-code }}'
          path: /project
      - name: verbose
        value: false
    outputs:
      - name: image
  - name: trainer
    image: '{{ steps.builder.outputs.image }}'
    inputs:
      - name: digits-code
        codeset:
          name: '{{ inputs.digits-code }}'
          path: '/project'
      - name: mlflow_entrypoint
        value: '{{ inputs.entry_point }}'
      - name: alpha
        value: 1.10
    outputs:
      - name: model-url
    extensions:
      - name: tracking
        product: mlflow
        service_resource: mlflow-tracking
      - name: store
        product: mlflow
        version: ">=1.19"
        service_resource: s3
    env:
      - name: TF_ENABLE_ONEDNN_OPTS
        value: 1
    resources:
      requests:
        cpu: 1
      limits:
        memory: 2Gi
        cpu: 500m
        nvidia.com/gpu: 1
  - name: converter
    image: registry.example/fuseml/ovms-converter:v0.3.0
    inputs:
      - name: input_model
        value: '{{ steps.trainer.outputs.model-url }}'
      - name: output_model
        value: '{{ steps.trainer.outputs.model-url }}/ovms'
      - name: batch
        value: 1 # text all the same
    outputs:
      - name: ovms-model
    extensions:
      - name: store
        service_resource: s3
    env:
      - name: S3_ENDPOINT
        value: '{{ extensions.store.cfg.MLFLOW_S3_ENDPOINT_URL }}'
  - name: ovms
    image: registry.example/fuseml/ovms-predictor:v0.3.0
    inputs:
      - name: model
        value: '{{ steps.converter.outputs.ovms-model }}'
      - name: verbose
        value: false
      - name: resources
        value: '{"requests": {"cpu": 1}}'
      - name: verbose
        value: false
    outputs:
      - name: ovms-url
  - name: kserve
    image: registry.example/fuseml/kserve-predictor:v0.3.0
    inputs:
      - name: model
        value: '{{ steps.trainer.outputs.model-url }}'
      - name: app_name
        value: '{{ inputs.digits-code.name }}-{{ inputs.digits-code.project }}'
    outputs:
      - name: kserve-url
  - name: seldon
    image: registry.example/fuseml/seldon-core-predictor:v0.3.0
    inputs:
      - name: model
        value: '{{ steps.trainer.outputs.model-url }}'
      - name: predictor
        value: '{{ inputs.engine }}'
    outputs:
      - name: seldon-url
"""

OURS = """\
name: ours
inputs:
  - {name: code, type: codeset}
  - {name: sizes, default: "[1, 2]"}
  - {name: rate, type: number, default: 1e-3}
  - {name: base, type: model}
  - {name: rows, type: dataset}
on:
  - push: {branch: main}
  - cron: ["0 2 * * *", "0  4 * * 1"]
  - dataset: wine
outputs:
  - name: best
    value: "{{ steps.pick.outputs.best.name }} of {{ inputs.code.version }}"
steps:
  - name: load
    run: |
      python load.py
      echo done > $VOLANT_RESULTS_DIR/rows
    inputs: [{codeset: {name: code}}]
    outputs: [{name: rows}]
    env: [{name: A.b, value: ""}]
    retries: 2
    backoff: 500ms
    timeout: 10m
    cache: false
  - name: fit
    call: train:fit
    foreach: "{{ inputs.sizes }}"
    inputs:
      - {name: size, value: "{{ item }}"}
      - {name: rows, value: "{{ steps.load.outputs.rows }}"}
  - name: pick
    uses: pass
    needs: fit
    when: steps.fit.outputs and not (inputs.rate == 0)
    inputs: [{name: best, value: "{{ steps.fit.outputs.score.0 }}"}]
  - name: shell
    image: alpine:3
    run: echo {{ item.a }}
    needs: []
    foreach: [a, 1.10, "{{ inputs.rate }}"]
    outputs: [{name: made, image: {name: "r/{{ inputs.code.name }}:1", dockerfile: Dockerfile}}]
"""


def problems(text):
    with pytest.raises(InvalidInput) as caught:
        parse_manifest(text, "w.yaml")
    assert caught.value.error_code == "workflow.invalid"
    return [(p["line"], f"{p['what']} {p['fix']}") for p in caught.value.details["problems"]]


def steps(text):
    """A manifest whose first step begins in line 3."""
    return f"name: w\nsteps:\n{text}"


def test_fusemls_shape_is_read_as_it_is():
    read = parse_manifest(FUSEML)
    assert (read.name, read.description) == (
        "digits-multi",
        "Trains digits and serves them\nthree times.\n",
    )
    assert read.inputs == (
        ManifestInput("digits-code", "codeset", "code of the digits", labels=("mlflow-project",)),
        ManifestInput("entry_point", default="main"),
        ManifestInput("engine", default="auto"),
        ManifestInput("note", default=""),
    )
    assert [output.name for output in read.outputs] == ["ovms-url", "kserve-url", "seldon-url"]
    assert read.triggers is None
    builder, trainer, _, ovms, *_ = read.steps
    # The codeset's input has the name of the workflow's; every value is as it was written.
    assert builder.inputs == (
        StepInput("digits-code", codeset=CodesetInput("{{ inputs.digits-code }}", "/project")),
        StepInput("verbose", "false"),
    )
    assert trainer.inputs[2] == StepInput("alpha", "1.10")
    assert trainer.env == {"TF_ENABLE_ONEDNN_OPTS": "1"}
    assert trainer.extensions[1] == ExtensionRequirement(
        "store", product="mlflow", version=">=1.19", service_resource="s3"
    )
    assert trainer.resources.requests == {"cpu": "1"}
    assert trainer.resources.limits == {"memory": "2Gi", "cpu": "500m", "nvidia.com/gpu": "1"}
    assert ovms.inputs[2].value == '{"requests": {"cpu": 1}}'
    assert len(ovms.inputs) == 3
    assert all(step.needs is None and step.cache is None for step in read.steps)


def test_nulls_that_fusemls_answers_have():
    text = """\
created: "2021-04-15T16:31:36+02:00"
name: w
description: null
inputs: [{name: code, type: codeset, default: null, labels: null, description: null}]
outputs: null
steps:
  - name: a
    image: alpine
    inputs:
      - {name: null, value: null, codeset: {name: '{{ inputs.code }}', path: null}}
      - {name: x, value: y, codeset: null}
      - {name: empty, value: null}
    outputs: [{name: o, image: null}]
    env: null
    extensions: null
    resources: {requests: null, limits: null}
"""
    [step] = parse_manifest(text).steps
    assert step.inputs == (
        StepInput("code", codeset=CodesetInput("{{ inputs.code }}")),
        StepInput("x", "y"),
        StepInput("empty", ""),
    )


def test_our_keys():
    read = parse_manifest(OURS)
    load, fit, pick, shell = read.steps
    assert load.inputs == (StepInput("code", codeset=CodesetInput("code", "/project")),)
    assert (load.retries, load.backoff_s, load.timeout_s, load.cache) == (2, 0.5, 600.0, False)
    assert load.env == {"A.b": ""}
    assert (fit.call, fit.foreach) == ("train:fit", "{{ inputs.sizes }}")
    assert pick.needs == ("fit",)
    assert shell.needs == ()
    assert shell.foreach == '["a", "1.10", "{{ inputs.rate }}"]'
    assert shell.outputs == (
        StepOutput("made", OutputImage("r/{{ inputs.code.name }}:1", "Dockerfile")),
    )
    assert read.triggers == (
        ManifestTrigger("push", "main"),
        ManifestTrigger("cron", "0 2 * * *"),
        ManifestTrigger("cron", "0 4 * * 1"),
        ManifestTrigger("dataset", "wine"),
    )
    assert from_plain(Manifest, to_plain(read)) == read


def test_the_short_forms_say_the_same():
    top = "name: w\ninputs: [{name: code, type: codeset}]\n"
    long = top + steps(
        "  - name: a\n    run: b\n    outputs: [{name: x}, {name: y}]\n"
        "    inputs:\n      - {name: n, value: 1.10}\n"
        "      - {name: c, codeset: {name: '{{ inputs.code }}', path: /x}}\n"
        "    env: [{name: A, value: '{{ inputs.code.name }}'}]\n"
    ).removeprefix("name: w\n")
    short = top + steps(
        "  - name: a\n    run: b\n    outputs: [x, y]\n"
        "    inputs: {n: 1.10, c: {codeset: {name: '{{ inputs.code }}', path: /x}}}\n"
        "    env: {A: '{{ inputs.code.name }}'}\n"
    ).removeprefix("name: w\n")
    assert parse_manifest(short) == parse_manifest(long)


@pytest.mark.parametrize(
    ("on", "triggers"),
    [
        ("on:", None),
        ("on: push", (ManifestTrigger("push"),)),
        ("on: [push]", (ManifestTrigger("push"),)),
        ("on: {push: true}", (ManifestTrigger("push"),)),
        ("on: {push: }", (ManifestTrigger("push"),)),
        ("on: []", ()),
        (
            "on: {dataset: [a, b]}",
            (ManifestTrigger("dataset", "a"), ManifestTrigger("dataset", "b")),
        ),
    ],
)
def test_triggers(on, triggers):
    assert parse_manifest(f"name: w\nsteps: [{{name: a, run: b}}]\n{on}\n").triggers == triggers
