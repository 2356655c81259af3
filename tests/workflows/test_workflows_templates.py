"""The templates that come with the package."""

import textwrap

import pytest

from volant.domain.codeset import CodesetRef
from volant.errors import NotFound
from volant.loops.parse import parse
from volant.workflows.bind import bind_inputs
from volant.workflows.compile import compile_workflow
from volant.workflows.manifest import parse_manifest
from volant.workflows.plan import plan_workflow
from volant.workflows.templates import template, template_names


def test_the_templates():
    assert template_names() == ["batch", "fine-tune", "mlproject", "table"]


@pytest.mark.parametrize("name", template_names())
def test_each_compiles(name):
    manifest = parse_manifest(template(name), name)
    assert manifest.name == name
    assert manifest.description
    assert all(given.description for given in manifest.inputs)
    given = {i.name: "x" for i in manifest.inputs if i.default is None and i.type != "codeset"}
    inputs = bind_inputs(manifest, given, CodesetRef("p", "c", "1f", "u"))
    spec = compile_workflow(manifest, inputs, {})
    plan_workflow(spec)
    assert set(spec.outputs) == {output.name for output in manifest.outputs}


@pytest.mark.parametrize("name", ["table", "fine-tune"])
def test_the_loop_in_a_templates_comment_is_one(name):
    lines = [line[1:] for line in template(name).splitlines() if line.startswith("#")]
    start = next(i for i, line in enumerate(lines) if "kind: Loop" in line)
    end = next(i for i in range(start, len(lines)) if not lines[i].strip())
    loop = parse(textwrap.dedent("\n".join(lines[start:end])))
    assert loop.triggers == ()


def test_an_unknown_one():
    with pytest.raises(NotFound, match="'tabel'") as caught:
        template("tabel")
    assert "'table'" in caught.value.fix
