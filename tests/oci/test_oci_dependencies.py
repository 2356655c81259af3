from __future__ import annotations

import sys
from importlib.metadata import version

import pytest

from volant.errors import InvalidInput
from volant.oci.base import Base, Findings
from volant.oci.dependencies import target_of, wanted_for

HERE = sys.version_info.minor
OTHER = HERE + 1


def base_of(pythons, glibc=(2, 36), path="/usr/local/bin:/usr/bin", machine="amd64", musl=False):
    config = {"architecture": machine, "config": {"Env": [f"PATH={path}"]}}
    return Base("sha256:x", (), config, Findings(pythons, glibc, musl))


def test_the_python_that_the_path_finds_first():
    both = {"usr/bin/python3.11": 11, "usr/local/bin/python3.11": 11}
    found = target_of(base_of(both), "onnx", "base")
    assert (found.program, found.machine) == ("/usr/local/bin/python3.11", "x86_64")
    found = target_of(base_of(both, path="/usr/bin:/usr/local/bin"), "onnx", "base")
    assert found.program == "/usr/bin/python3.11"


def test_a_python_like_ours_comes_before_newer_ones():
    found = target_of(
        base_of({f"usr/local/bin/python3.{OTHER}": OTHER, f"usr/bin/python3.{HERE}": HERE}),
        "onnx",
        "base",
    )
    assert found.python == HERE


def test_an_onnx_model_runs_on_another_python_and_a_pickle_doesnt():
    newer = base_of({f"usr/bin/python3.{OTHER}": OTHER})
    assert target_of(newer, "onnx", "base").python == OTHER
    with pytest.raises(InvalidInput, match="pickled") as refusal:
        target_of(newer, "native", "base")
    assert f"3.{HERE}" in refusal.value.fix


@pytest.mark.parametrize(
    ("base", "says"),
    [
        (base_of({}), "no Python"),
        (base_of({"usr/bin/python3.9": 9}), r"only Python 3\.9"),
        (base_of({"usr/bin/python3.11": 11}, glibc=None, musl=True), "musl"),
        (base_of({"usr/bin/python3.11": 11}, glibc=(2, 17)), r"glibc 2\.17"),
        (base_of({"usr/bin/python3.11": 11}, glibc=None), "no C library"),
        (base_of({"usr/bin/python3.11": 11}, machine="s390x"), "s390x"),
    ],
)
def test_a_base_that_wont_do(base, says):
    with pytest.raises(InvalidInput, match=says) as refusal:
        target_of(base, "onnx", "base")
    assert refusal.value.fix


@pytest.mark.parametrize(
    ("glibc", "platform"), [(28, "2_28"), (30, "2_28"), (36, "2_36"), (99, "2_40")]
)
def test_the_newest_wheels_that_the_libc_can_load(glibc, platform):
    found = target_of(base_of({"usr/bin/python3.11": 11}, (2, glibc), machine="arm64"), "onnx", "b")
    assert found.uv_platform == f"aarch64-manylinux_{platform}"


def test_versions_are_those_that_the_model_was_proven_with():
    wanted = wanted_for({"kind": "onnx", "libraries": {"numpy": "1.2.3+local"}}, [])
    assert {"onnxruntime", "numpy", "uvloop"} <= set(wanted.lines)
    assert "numpy==1.2.3" in wanted.constraints
    assert f"orjson=={version('orjson')}" in wanted.constraints
    assert not any(line.startswith("volant==") for line in wanted.constraints)


def test_a_models_own_environment_brings_its_own_list():
    environment = {"kind": "own", "requirements": ["numpy==1.26.4", "pandas>=2"]}
    runtime = {"kind": "code", "environment": environment, "libraries": {"pandas": "2.2.0"}}
    wanted = wanted_for(runtime, [])
    assert {"numpy==1.26.4", "pandas>=2", "orjson"} <= set(wanted.lines)
    assert "numpy" not in wanted.lines
    assert wanted.constraints == ("pandas==2.2.0",)


def test_requirements_that_this_environment_met_are_installed_as_they_are_here(tmp_path):
    (tmp_path / "requirements.txt").write_text("# what it needs\nrich>=10  # any\n-r other.txt\n")
    wanted = wanted_for({"kind": "code"}, [tmp_path / "requirements.txt"])
    assert "rich" in wanted.lines
    assert f"rich=={version('rich')}" in wanted.constraints
    assert not any(line.startswith("-") for line in wanted.lines)
