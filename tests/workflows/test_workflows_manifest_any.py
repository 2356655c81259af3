"""Any text is a manifest or a list of problems, and every manifest compiles and is planned."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.workflows.test_workflows_manifest import FUSEML, OURS

from volant.domain.codec import from_plain, to_plain
from volant.domain.codeset import CodesetRef
from volant.domain.manifest import Manifest
from volant.domain.workflow import ExtensionBinding, WorkflowSpec
from volant.errors import InvalidInput
from volant.workflows.bind import bind_inputs
from volant.workflows.compile import compile_workflow, requirements_of
from volant.workflows.dag import drawing, dry_run
from volant.workflows.manifest import parse_manifest
from volant.workflows.plan import plan_workflow

CODE = CodesetRef("p", "c", "0" * 40, "http://127.0.0.1/git/p/c")
_WORDS = """
name description inputs outputs steps on type default labels value codeset path image dockerfile
uses call run extensions extension_id service_id product version zone service_resource env
resources requests limits cpu memory needs when foreach retries backoff timeout cache push cron
dataset branch
"""
_words = st.sampled_from(_WORDS.split())
_values = st.one_of(
    st.sampled_from(
        [
            *("a", "b", "code", "pass", "loop", "train:fit", "codeset", "number", "2Gi", "500m"),
            *("{{ inputs.a }}", "{{ steps.a.outputs.b }}", "{{ item }}", "inputs.a == 'b'", "30s"),
            *(
                "{{ extensions.a.cfg.b }}",
                "registry.example/fuseml/ovms-converter:1",
                "0 2 * * *",
                "{{",
            ),
        ]
    ),
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
)
_documents = st.recursive(
    _values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_words, inner, max_size=6),
    max_leaves=25,
)


def manifest_or_invalid(text: str) -> None:
    manifest = invalid = None
    try:
        manifest = parse_manifest(text)
    except InvalidInput as error:
        invalid = error
    if manifest is not None:
        assert from_plain(Manifest, to_plain(manifest)) == manifest
        runs_or_invalid(manifest)
    else:
        assert invalid is not None
        assert invalid.fix
        assert invalid.details["problems"]
        str(invalid).encode()  # no lone surrogate gets into a message


def runs_or_invalid(manifest: Manifest) -> None:
    """What a run is given may still be wrong for it; else it is planned and drawn."""
    given = {wanted.name: "1" for wanted in manifest.inputs if wanted.type != "codeset"}
    try:
        inputs = bind_inputs(manifest, given, CODE)
        bindings = {
            step: {name: ExtensionBinding("e", "s") for name in wanted}
            for step, wanted in requirements_of(manifest, inputs).items()
        }
        spec = compile_workflow(manifest, inputs, bindings)
    except InvalidInput:
        return
    plan_workflow(spec)
    dry_run(spec, {step.name: 1.0 for step in spec.steps}, 1.0)
    drawing(spec)
    assert from_plain(WorkflowSpec, to_plain(spec)) == spec


@given(_documents)
def test_any_document(document: Any) -> None:
    manifest_or_invalid(yaml.safe_dump(document, allow_unicode=True))


@given(st.sampled_from([FUSEML, OURS]), st.dictionaries(_words, _documents, max_size=3))
def test_any_change_at_the_top(text: str, changed: dict[str, Any]) -> None:
    document = yaml.load(text, yaml.BaseLoader)
    manifest_or_invalid(yaml.safe_dump({**document, **changed}, allow_unicode=True))


@given(
    st.sampled_from([FUSEML, OURS]),
    st.integers(0, 5),
    st.dictionaries(_words, _documents, max_size=3),
)
def test_any_change_of_a_step(text: str, index: int, changed: dict[str, Any]) -> None:
    document = yaml.load(text, yaml.BaseLoader)
    index %= len(document["steps"])
    document["steps"][index] = {**document["steps"][index], **changed}
    manifest_or_invalid(yaml.safe_dump(document, allow_unicode=True))


@given(
    st.sampled_from([FUSEML, OURS]),
    st.floats(0, 1),
    st.integers(0, 30),
    st.text(max_size=10) | st.sampled_from(["{{", "}}", "{{ item }}", "\n", "  - ", "'", '"']),
)
def test_any_edit_of_the_text(text: str, where: float, cut: int, new: str) -> None:
    start = int(where * len(text))
    manifest_or_invalid(text[:start] + new + text[start + cut :])


@given(st.text())
def test_any_text(text: str) -> None:
    manifest_or_invalid(text)
