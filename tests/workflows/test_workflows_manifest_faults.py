"""Manifests that are refused: each fault with its line and what to write instead."""

import pytest

from volant.errors import InvalidInput
from volant.workflows.manifest import parse_manifest


def problems(text):
    with pytest.raises(InvalidInput) as caught:
        parse_manifest(text, "w.yaml")
    assert caught.value.error_code == "workflow.invalid"
    return [(p["line"], f"{p['what']} {p['fix']}") for p in caught.value.details["problems"]]


def steps(text):
    """A manifest whose first step begins in line 3."""
    return f"name: w\nsteps:\n{text}"


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        # the file
        ("", 1, "volant workflow create --template"),
        ("- a", 1, "mapping of keys"),
        ("name: w", 1, "steps is missing"),
        ("steps: [{name: a, run: b}]", 1, "name is missing"),
        ("name:\nsteps: [{name: a, run: b}]", 1, "name is empty"),
        ("name: a/b\nsteps: [{name: a, run: b}]", 1, "'a/b' can't be a workflow's name"),
        ("name: w\nsteps: []", 2, "no steps"),
        ("name: w\nsteps:", 2, "no steps"),
        ("name: w\nsteps: {a: b}", 2, "must be a list"),
        (steps("  - {name: a, run: b}\nstep: c"), 4, "Did you mean steps?"),
        (steps("  - {name: a, run: b}\n---\nname: x"), 4, "one workflow"),
        # names
        (steps("  - {name: a, run: b}\n  - {name: a, run: c}"), 4, "two steps named 'a'"),
        (steps("  - {name: a.b, run: c}"), 3, "'a.b' can't be the name of a step"),
        ("name: w\ninputs: [{name: x}, {name: x}]\nsteps: [{name: a, run: b}]", 2, "two inputs"),
        ("name: w\noutputs: [{name: x}, {name: x}]\nsteps: [{name: a, run: b}]", 2, "two outputs"),
        (steps("  - {name: a, run: b, outputs: [{name: x}, {name: x}]}"), 3, "two outputs"),
        (
            steps("  - {name: a, run: b, inputs: [{name: x, value: 1}, {name: x, value: 2}]}"),
            3,
            "two inputs named 'x' with different values",
        ),
        (
            steps("  - {name: a, run: b, env: [{name: X, value: 1}, {name: X, value: 2}]}"),
            3,
            "two variables",
        ),
        # what a step is
        (steps("  - {name: a}"), 3, "Step 'a' doesn't say what it does"),
        (steps("  - {name: a, uses: pass, run: b}"), 3, "uses and run"),
        (steps("  - {name: a, uses: pass, image: b}"), 3, "image and uses"),
        (steps("  - {name: a, uses: trianer}"), 3, "Did you mean trainer?"),
        (steps("  - {name: a, call: fit}"), 3, "module:function"),
        (steps("  - {name: a, call: 'class:fit'}"), 3, "names no function"),
        (
            steps("  - {name: a, image: 'registry.example/fuseml/kserve-predictr:1'}"),
            3,
            "'kserve-predictor'",
        ),
        (steps("  - {name: a, image: 'A B'}"), 3, "no name of an image"),
        (steps("  - {name: a, image: }"), 3, "image is empty"),
        (steps("  - {name: a, run: ''}"), 3, "run is empty"),
        (steps("  - {name: a, run: [b]}"), 3, "must be one value"),
        (steps("  - {name: a, run: b, foo: 1}"), 3, "steps[0].foo is not a key"),
        # fields of a step
        (steps("  - {name: a, run: b, inputs: [{name: x}]}"), 3, "neither value nor codeset"),
        (steps("  - {name: a, run: b, inputs: [{value: x}]}"), 3, "name is missing"),
        (
            steps("  - {name: a, run: b, inputs: [{name: x, value: 1, codeset: {name: y}}]}"),
            3,
            "both value and codeset",
        ),
        (
            steps("  - {name: a, run: b, inputs: [{name: x, value: [1]}]}"),
            3,
            "one value, not a list",
        ),
        (steps("  - {name: a, run: b, inputs: [{codeset: {path: /x}}]}"), 3, "name is missing"),
        (steps("  - {name: a, run: b, inputs: [{codeset: {name: c}}]}"), 3, "no codeset input 'c'"),
        (steps("  - {name: a, run: b, env: [{name: X}]}"), 3, "value is missing"),
        (steps("  - {name: a, run: b, env: [{name: 'X=', value: 1}]}"), 3, "can't be a name"),
        (steps("  - {name: a, run: b, env: X}"), 3, "must be a list"),
        (steps("  - {name: a, run: b, env: {X=: 1}}"), 3, "name of a variable"),
        (steps("  - {name: a, run: b, env: {X: [1]}}"), 3, "must be one value"),
        (steps("  - {name: a, run: b, env: {X: '{{ inputs.x }}'}}"), 3, "no input 'x'"),
        (steps("  - {name: a, run: b, inputs: {x y: 1}}"), 3, "name of an input"),
        (steps("  - {name: a, run: b, inputs: {x: [1]}}"), 3, "must be one value"),
        (steps("  - {name: a, run: b, inputs: {x: {value: 1}}}"), 3, "codeset is missing"),
        (steps("  - {name: a, run: b, inputs: {x: {codeset: {name: y}}}}"), 3, "codeset input"),
        (steps("  - {name: a, run: b, inputs: {x: '{{ inputs.y }}'}}"), 3, "no input 'y'"),
        (steps("  - {name: a, run: b, outputs: [x, x]}"), 3, "two outputs"),
        (steps("  - {name: a, run: b, outputs: [x/y]}"), 3, "can't be the name"),
        (steps("  - {name: a, run: b, extensions: [{name: x}]}"), 3, "which service"),
        (
            steps("  - {name: a, run: b, outputs: [{name: x, image: {dockerfile: d}}]}"),
            3,
            "missing",
        ),
        (steps("  - {name: a, run: b, retries: x}"), 3, "whole number"),
        (steps("  - {name: a, run: b, timeout: 5}"), 3, "a duration"),
        (steps("  - {name: a, run: b, cache: maybe}"), 3, "true or false"),
        (steps("  - {name: a, run: b, resources: {limits: {memory: 100m}}}"), 3, "at least 1Mi"),
        (steps("  - {name: a, run: b, resources: {limits: {cpu: many}}}"), 3, "number of cores"),
        (steps("  - {name: a, run: b, resources: {requests: {disk: x}}}"), 3, "a quantity"),
        # references
        (steps("  - {name: a, run: '{{ inputs.x }}'}"), 3, "no input 'x'"),
        (steps("  - {name: a, run: '{{ input.x }}'}"), 3, "Did you mean 'inputs'"),
        (steps("  - {name: a, run: '{{ steps.b.outputs.c }}'}"), 3, "no step 'b'"),
        (steps("  - {name: a, run: '{{ steps.a }}'}"), 3, "whole reference"),
        (steps("  - {name: a, run: '{{ inputs. }}'}"), 3, "whole reference"),
        (steps("  - {name: a, run: '{{ inputs.x'}"), 3, "expected '}}'"),
        (steps("  - {name: a, run: b, when: 'inputs.x'}"), 3, "no input 'x'"),
        (steps("  - {name: a, run: b, when: '1 +'}"), 3, "expected"),
        (steps("  - {name: a, run: b, foreach: inputs.x}"), 3, "no input 'x'"),
        (steps("  - {name: a, image: '{{ inputs.x }}'}"), 3, "no input 'x'"),
        (steps("  - {name: a, run: b, env: [{name: X, value: '{{ inputs.x }}'}]}"), 3, "no input"),
        (steps("  - {name: a, run: '{{ item }}'}"), 3, "no foreach"),
        (steps("  - {name: a, run: b, foreach: '1,2', when: item}"), 3, "once for all"),
        (steps("  - {name: a, run: '{{ extensions.s.url }}'}"), 3, "no extension 's'"),
        (
            steps(
                "  - name: a\n    run: '{{ extensions.s.uri }}'\n"
                "    extensions: [{name: s, product: '{{ steps.a.outputs.x }}'}]"
            ),
            4,
            "'url'",
        ),
        (
            steps(
                "  - name: a\n    run: b\n"
                "    extensions: [{name: s, product: '{{ steps.a.outputs.x }}'}]"
            ),
            5,
            "isn't known when a run starts",
        ),
        # outputs, needs, circles
        (
            steps(
                "  - {name: a, run: b, outputs: [{name: url}]}\n"
                "  - {name: c, run: '{{ steps.a.outputs.ulr }}'}"
            ),
            4,
            "Step 'a' has no output 'ulr'. Did you mean 'url'?",
        ),
        (
            steps("  - {name: a, run: b}\n  - {name: c, run: '{{ steps.a.outputs.x }}'}"),
            4,
            "Add to its outputs: - name: x",
        ),
        (
            steps("  - {name: a, uses: loop}\n  - {name: c, run: '{{ steps.a.outputs.x }}'}"),
            4,
            "has no output 'x'. Known names",
        ),
        (steps("  - {name: a, uses: loop, outputs: [{name: modle}]}"), 3, "'model'"),
        (steps("  - {name: a, run: b, needs: [c]}"), 3, "isn't a step"),
        (steps("  - {name: a, run: b, needs: a}"), 3, "a → a"),
        (
            steps("  - {name: a, run: b, needs: c}\n  - {name: c, run: d, needs: a}"),
            3,
            "a → c → a",
        ),
        (
            "name: w\noutputs: [{name: x}]\nsteps: [{name: a, run: b}]",
            2,
            "No step has an output 'x'",
        ),
        (
            "name: w\noutputs: [{name: x, value: '{{ steps.q.outputs.x }}'}]\n"
            "steps: [{name: a, run: b}]",
            2,
            "no step 'q'",
        ),
        # inputs, triggers
        ("name: w\ninputs: [{name: x, type: text}]\nsteps: [{name: a, run: b}]", 2, "is no type"),
        (
            "name: w\ninputs: [{name: x, type: number, default: y}]\nsteps: [{name: a, run: b}]",
            2,
            "no number",
        ),
        ("name: w\nsteps: [{name: a, run: b}]\non: pull", 3, "no trigger"),
        ("name: w\nsteps: [{name: a, run: b}]\non: {pusch: }", 3, "Did you mean push?"),
        ("name: w\nsteps: [{name: a, run: b}]\non: {push: 1}", 3, "push: {branch: main}"),
        ("name: w\nsteps: [{name: a, run: b}]\non: {cron: }", 3, "says nothing"),
        ("name: w\nsteps: [{name: a, run: b}]\non: {cron: 61 * * * *}", 3, "no schedule"),
        ("name: w\nsteps: [{name: a, run: b}]\non: [push, push]", 3, "twice"),
    ],
)
def test_refused_with_its_line(text, line, said):
    found = problems(text)
    assert any(told == line and said in words for told, words in found), found


@pytest.mark.parametrize(
    ("codeset", "said"),
    [
        ("{{ inputs.text }}", "must be a codeset"),
        ("{{ inputs.code.name }}", "must be a codeset"),
        ("{{ inputs.code }}x", "one reference"),
        ("{{ not inputs.code }}", "one reference"),
        ("text", "no codeset input 'text'"),
    ],
)
def test_what_gives_no_codeset(codeset, said):
    found = problems(
        "name: w\ninputs: [{name: code, type: codeset}, {name: text}]\n"
        f"steps:\n  - {{name: a, run: b, inputs: [{{name: x, codeset: {{name: '{codeset}'}}}}]}}"
    )
    assert len(found) == 1
    assert said in found[0][1]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("inputs.code.branch", "no field 'branch'"),
        ("inputs.code.nmae", "'name'"),
        ("inputs.code.name.x", "no field 'name.x'"),
        ("inputs.text.name", "is a string, which has no field 'name'"),
    ],
)
def test_fields_that_inputs_do_not_have(reference, said):
    found = problems(
        "name: w\ninputs: [{name: code, type: codeset}, {name: text}]\n"
        f"steps:\n  - {{name: a, run: '{{{{ {reference} }}}}'}}"
    )
    assert [line for line, _ in found] == [4]
    assert said in found[0][1]


def test_a_reference_in_a_block_is_found_in_its_line():
    found = problems(steps("  - name: a\n    run: |\n      echo 1\n      echo {{ inputs.x }}\n"))
    assert [line for line, _ in found] == [6]


def test_every_problem_is_told_at_once():
    text = steps(
        "  - {name: a, uses: trian}\n"
        "  - {name: b, run: '{{ inputs.x }}', needs: [c], timeout: 1}\n"
        "  - {run: b, retries: -1}\n"
    )
    found = problems(text)
    assert [line for line, _ in found] == [3, 4, 4, 4, 5, 5]


def test_too_many_steps():
    text = steps("".join(f"  - {{name: s{i}, run: b}}\n" for i in range(501)))
    assert ["at most 500" in told for _, told in problems(text)] == [True]


def test_every_wrong_reference_of_a_text_is_told_once():
    run = "echo {{ foo.x }} {{ inputs.a }}\n      echo {{ bar.y }} {{ 1 + }} {{ foo.x }}"
    found = problems(steps(f"  - name: a\n    run: |\n      {run}\n"))
    assert [(line, told.partition(";")[0][:32]) for line, told in found] == [
        (4, "steps[0].run: expected '}}', fou"),
        (5, "steps[0].run: 'foo.x' refers to "),
        (5, "The workflow has no input 'a'. T"),
        (6, "steps[0].run: 'bar.y' refers to "),
    ]


def test_every_wrong_reference_of_a_written_list_is_told():
    found = problems(steps("  - {name: a, run: b, foreach: ['{{ x.y }}', '{{ inputs.z }}']}\n"))
    assert len(found) == 2


@pytest.mark.parametrize("uses", ["runnable/double", "runnable/doubel"])
def test_a_runnable_that_is_gone_is_all_that_is_wrong(uses):
    text = (
        f"name: w\noutputs: [{{name: twice}}]\nsteps:\n  - {{name: a, uses: {uses}}}\n"
        "  - {name: b, run: 'echo {{ steps.a.outputs.twice }}', needs: [a]}\n"
        f"  - {{name: c, uses: {uses}, outputs: [o]}}\n"
        "  - {name: d, run: 'echo {{ steps.c.outputs.other }}'}\n"
    )
    found = problems(text)
    assert [line for line, _ in found] == [4, 6]
    assert f"There is no runnable {uses.partition('/')[2]!r}. `volant runnable list`" in found[0][1]


def test_a_misspelt_runnable():
    with pytest.raises(InvalidInput, match="There is no runnable 'doubel'") as caught:
        parse_manifest("name: w\nsteps: [{name: a, uses: runnable/doubel}]", uses=DOUBLE)
    assert "Did you mean runnable/double?" in caught.value.fix


DOUBLE = {"runnable/double": ("twice",)}


def test_the_longest_allowed_is_read_within_reason():
    """Also a chain of steps, each of which refers to the one before."""
    text = steps(
        "  - {name: s0, run: b, outputs: [{name: o}]}\n"
        + "".join(
            f"  - {{name: s{i}, outputs: [{{name: o}}],"
            f" run: '{{{{ steps.s{i - 1}.outputs.o }}}}'}}\n"
            for i in range(1, 500)
        )
    )
    assert len(parse_manifest(text).steps) == 500
