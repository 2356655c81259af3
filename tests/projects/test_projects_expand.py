"""Steps that use runnables: what they are given is checked, and what runs does as it says."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volant.domain.manifest import (
    CodesetInput,
    Manifest,
    ManifestInput,
    ManifestStep,
    StepInput,
    StepOutput,
)
from volant.domain.run import INPUT_FILES
from volant.domain.runnable import Implementation, Port, RunnableSpec
from volant.errors import InvalidInput, NotFound
from volant.projects.expand import expand, expand_manifest
from volant.projects.runnable_file import read_runnable

NUMBERS = RunnableSpec(
    "double",
    Implementation(entrypoint="cp", args=("/dev/null", "{{ outputs.twice }}")),
    inputs=(Port("n", "number"), Port("unit", optional=True, default="m")),
    outputs=(Port("twice", "number"), Port("words")),
)


def step(*inputs, uses="runnable/double", name="s", **more):
    given_inputs = tuple(StepInput(key, value) for key, value in inputs)
    return ManifestStep(name, uses=uses, inputs=given_inputs, **more)


def manifest(*steps, inputs=()):
    return Manifest("w", steps, inputs=inputs)


def run(made, tmp_path, *, cwd=None, **env):
    """What the engine does with the step, once expressions are filled in."""
    results = tmp_path / "results"
    results.mkdir(exist_ok=True)
    done = subprocess.run(
        ["/bin/sh", "-c", made.run],
        cwd=cwd or tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "TMPDIR": str(tmp_path / "nowhere"),
            "VOLANT_RESULTS_DIR": str(results),
            "VOLANT_WORKDIR": str(tmp_path),
            **made.env,
            **env,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done, {path.name: path.read_text() for path in results.iterdir()}


def test_other_steps_stay_as_they_are():
    plain = ManifestStep("a", image="x")
    whole = manifest(plain)
    assert expand_manifest(whole, {}.__getitem__) is whole
    both = expand_manifest(manifest(plain, step(("n", "1"))), lambda _id: NUMBERS)
    assert both.steps[0] is plain
    assert both.steps[1].uses is None


def test_its_outputs_and_defaults_become_the_steps():
    made = expand(step(("n", "1"), env={"A": "b"}, retries=3), NUMBERS)
    assert made.inputs == (StepInput("n", "1"), StepInput("unit", "m"))
    assert made.outputs == (StepOutput("twice"), StepOutput("words"))
    assert made.image is None
    assert made.env["A"] == "b"
    assert made.retries == 3


@pytest.mark.parametrize(
    ("inputs", "code", "words"),
    [
        ([], "runnable.input_missing", "gives no n"),
        ([("m", "1")], "runnable.input_unknown", "It has: n, unit"),
        ([("n", "many")], "runnable.input_type", "the text 'many'"),
        ([("n", "{{ steps.first.outputs.words }}")], "runnable.input_type", "a string"),
        ([("n", "{{ steps.first.outputs.wards }}")], "runnable.output_unknown", "words"),
        ([("n", "{{ inputs.code }}")], "runnable.input_type", "a codeset"),
    ],
)
def test_what_isnt_as_declared_is_refused(inputs, code, words):
    given_inputs = (ManifestInput("code", "codeset"), ManifestInput("text"))
    whole = manifest(step(("n", "1"), name="first"), step(*inputs), inputs=given_inputs)
    with pytest.raises(InvalidInput) as told:
        expand_manifest(whole, lambda _id: NUMBERS)
    assert told.value.error_code == code
    assert words in str(told.value)


@pytest.mark.parametrize(
    "value",
    [
        "2",
        " -1e3 ",
        "{{ inputs.text }}",
        "{{ steps.first.outputs.twice }}",
        "{{ steps.plain.outputs.x }}",
        "{{ item }}",
        "1{{ inputs.text }}",
    ],
)
def test_what_may_be_right_is_taken(value):
    whole = manifest(
        step(("n", "1"), name="first"),
        ManifestStep("plain", image="x"),
        step(("n", value)),
        inputs=(ManifestInput("text"),),
    )
    expand_manifest(whole, lambda _id: NUMBERS)


def test_a_codeset_is_wanted_as_one():
    spec = replace(NUMBERS, inputs=(Port("code", "codeset"),))
    code = StepInput("code", codeset=CodesetInput("{{ inputs.code }}"))
    expand(ManifestStep("s", uses="runnable/double", inputs=(code,)), spec)
    with pytest.raises(InvalidInput, match="codeset"):
        expand(step(("code", "text")), spec)


def test_outputs_that_it_doesnt_have():
    wrong = step(("n", "1"), outputs=(StepOutput("twise"),))
    with pytest.raises(InvalidInput, match="Did you mean 'twice'"):
        expand(wrong, NUMBERS)


def test_a_runnable_that_isnt_there(runnables):
    with pytest.raises(NotFound, match="runnable 'double'"):
        runnables.expand(manifest(step(("n", "1"))))


def test_an_image_alone_keeps_its_own_command():
    spec = RunnableSpec("bare", Implementation(image="registry.example.io/x:1"))
    made = expand(step(uses="runnable/bare"), spec)
    assert (made.image, made.run) == ("registry.example.io/x:1", None)


ECHO = RunnableSpec(
    "echo",
    Implementation(
        entrypoint='sh -c \'printf %s "$1|$WORD|$2" > "$3"\' sh',
        args=("<{{ inputs.a }}>", "{{ inputs.file.path }}", "{{ outputs[told] }}"),
        env={"WORD": "w{{inputs.a}}"},
    ),
    inputs=(Port("a"), Port("file")),
    outputs=(Port("told"),),
)


@settings(max_examples=40)
@given(st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=40))
def test_no_value_is_ever_taken_for_shell(tmp_path_factory, text):
    made = expand(step(("a", text), ("file", "x"), uses="runnable/echo"), ECHO)
    done, results = run(made, tmp_path_factory.mktemp("run"))
    assert done.returncode == 0, done.stderr
    assert results["told"].startswith(f"<{text}>|w{text}|/")
    assert results["told"].endswith("/file")


def test_files_in_and_out(tmp_path):
    here = str(tmp_path)
    spec = read_runnable(f"""
id: files
container:
  entrypoint: sh
  args: [-c, 'cat "$0" > "$1"; cat "$2" > "$3"', "{{{{ inputs.a }}}}", "{{{{ outputs.x }}}}",
         "{{{{ inputs.b.path }}}}", "{{{{ outputs.y }}}}"]
inputs:
  a: {{path: {here}/in/a.txt}}
  b: {{}}
outputs:
  x: {{path: {here}/out/x.txt}}
  y: {{}}
  z: {{optional: true, default: "it's z"}}
""")
    # `a` is read from its file, whose path the command knows by itself.
    spec = replace(
        spec,
        container=replace(
            spec.container,
            args=(*spec.container.args[:2], f"{here}/in/a.txt", *spec.container.args[3:]),
        ),
    )
    made = expand(step(("a", "A'\"$A"), ("b", "B\nB"), uses="runnable/files"), spec)
    done, results = run(made, tmp_path)
    assert done.returncode == 0, done.stderr
    assert results == {"x": "A'\"$A", "y": "B\nB", "z": "it's z"}


def test_a_value_in_a_file_lies_in_the_steps_own_folder(tmp_path):
    spec = RunnableSpec(
        "f",
        Implementation(
            entrypoint="cat", args=("{{ inputs.a.path }}", "{{ inputs.b.path }}", "{{ inputs.a }}")
        ),
        inputs=(Port("a"), Port("b")),
    )
    made = expand(step(("a", "no-such-file"), ("b", "hush"), uses="runnable/f"), spec)
    done, _ = run(made, tmp_path)
    assert (done.returncode, done.stdout) == (1, "no-such-filehush")
    folder = tmp_path / INPUT_FILES  # whoever runs the step removes it, see step_place
    assert {path.name for path in folder.iterdir()} == {"a", "b"}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_is_no_output(tmp_path):
    spec = RunnableSpec(
        "f",
        Implementation(entrypoint="mkdir", args=("{{ outputs.x }}",)),
        outputs=(Port("x", path=str(tmp_path / "o" / "x")),),
    )
    done, _ = run(expand(step(uses="runnable/f"), spec), tmp_path)
    assert done.returncode == 2
    assert "is a folder" in done.stderr


@pytest.mark.parametrize(
    ("number", "code"),
    [("1", 0), ("-2.5e-3", 0), ("", 2), ("many", 2), ("1; rm x", 2), ("e", 2)],
)
def test_numbers_are_looked_at_when_it_runs(tmp_path, number, code):
    spec = RunnableSpec(
        "n",
        Implementation(entrypoint="cp", args=("{{ inputs.n.path }}", "{{ outputs.o }}")),
        inputs=(Port("n", "number"),),
        outputs=(Port("o", "number"),),
    )
    made = expand(step(("n", "{{ inputs.text }}"), uses="runnable/n"), spec)
    assert set(made.env.values()) == {"{{ inputs.text }}"}
    done, results = run(made, tmp_path, **dict.fromkeys(made.env, number))
    assert done.returncode == code, done.stderr
    if code:
        assert "The input n of n must be a number" in done.stderr
    else:
        assert results == {"o": number}


def test_a_failing_command_fails_the_step(tmp_path):
    spec = RunnableSpec(
        "x", Implementation(entrypoint="false"), outputs=(Port("o", optional=True),)
    )
    done, results = run(expand(step(uses="runnable/x"), spec), tmp_path)
    assert done.returncode == 1
    assert results == {}


def test_codesets_lie_where_the_step_starts(tmp_path):
    spec = RunnableSpec(
        "c",
        Implementation(
            entrypoint="sh {{ inputs.code.path }}/go.sh",
            args=("{{ inputs.more.path }}", "{{ outputs.o }}"),
        ),
        inputs=(Port("code", "codeset"), Port("more", "codeset")),
        outputs=(Port("o"),),
    )
    first, second = tmp_path / "code" / "project", tmp_path / "code" / "more"
    first.mkdir(parents=True)
    second.mkdir()
    (first / "go.sh").write_text('cat "$1/word" > "$2"')
    (second / "word").write_text("found")
    code = StepInput("code", codeset=CodesetInput("c", "/project"))
    more = StepInput("more", codeset=CodesetInput("d", "/more"))
    made = expand(ManifestStep("s", uses="runnable/c", inputs=(code, more)), spec)
    done, results = run(made, tmp_path, cwd=first)
    assert results == {"o": "found"}, done.stderr


def test_fields_of_a_codeset_come_from_the_workflow():
    spec = RunnableSpec(
        "v",
        Implementation(entrypoint="echo", args=("{{ inputs.code.version }}",)),
        inputs=(Port("code", "codeset"),),
    )
    code = StepInput("code", codeset=CodesetInput("{{ inputs.mine }}"))
    made = expand(ManifestStep("s", uses="runnable/v", inputs=(code,)), spec)
    assert list(made.env.values()) == ["{{ inputs.mine.version }}"]
