"""MLflow's project file, as MLflow itself reads it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from volant.errors import InvalidInput
from volant.training.mlproject import (
    arguments_of,
    command_of,
    entry_point,
    parameters_of,
    project_file,
    read_project,
)

PROJECT = """
name: wine
conda_env: conda.yaml
entry_points:
  main:
    parameters:
      alpha: {type: float, default: 0.5}
      epochs: {type: int, default: 2}
      label: string
    command: "python train.py --alpha {alpha} -e {epochs} -l {label}"
  check:
    command: "echo {{braces}}"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "MLproject").write_text(PROJECT)
    return tmp_path


def test_its_entry_points_with_types_and_defaults(folder: Path) -> None:
    project = read_project(folder)
    assert project.name == "wine"
    assert project.environment == "conda.yaml"
    main = project.entry_points["main"]
    assert {n: (p.type, p.default) for n, p in main.parameters.items()} == {
        "alpha": ("float", "0.5"),
        "epochs": ("int", "2"),
        "label": ("string", None),
    }


def test_the_files_name_in_any_case(tmp_path: Path) -> None:
    (tmp_path / "MLProject").write_text("entry_points: {main: {command: 'true'}}")
    found = project_file(tmp_path)
    assert found is not None
    assert list(read_project(tmp_path).entry_points) == ["main"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("- a list", "isn't a mapping"),
        ("entry_points: [main]", "entry_points isn't a mapping"),
        ("entry_points: {main: {parameters: {}}}", "main has no command"),
        ("docker_env: {image: x}\nentry_points: {}", "docker_env"),
        ("a: &a [*a]", "can't be read"),
        ("entry_points: {main: text}", "can't be read"),
    ],
)
def test_a_broken_one_is_named(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "MLproject").write_text(text)
    with pytest.raises(InvalidInput, match=named):
        read_project(tmp_path)


def test_a_codeset_without_one(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("")
    with pytest.raises(InvalidInput, match="no MLproject"):
        read_project(tmp_path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("epochs=2,batch_size=64", {"epochs": "2", "batch_size": "64"}),
        ("epochs=2 batch_size=64", {"epochs": "2", "batch_size": "64"}),
        ("sizes=1,2,3 b=x", {"sizes": "1,2,3", "b": "x"}),
        ("text='a b',n=1", {"text": "a b", "n": "1"}),
        ("a=1,", {"a": "1"}),
        ("a==", {"a": "="}),
    ],
)
def test_arguments(text: str, found: dict[str, str]) -> None:
    assert arguments_of(text) == found


@pytest.mark.parametrize("text", ["epochs", "=2", "a='1"])
def test_arguments_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="mlflow_entrypoint_args"):
        arguments_of(text)


def test_values_by_argument_environment_and_default(folder: Path) -> None:
    main = read_project(folder).entry_points["main"]
    values = parameters_of(
        main, {"epochs": "9"}, {"FUSEML_EPOCHS": "8", "FUSEML_LABEL": "x y"}, folder
    )
    assert values == {"epochs": "9", "alpha": "0.5", "label": "x y"}
    assert command_of(main, values) == "python train.py --alpha 0.5 -e 9 -l 'x y'"


def test_a_value_can_run_nothing(folder: Path) -> None:
    main = read_project(folder).entry_points["main"]
    evil = "$(touch evil); `touch evil` 'q\" \\"
    command = command_of(main, {"alpha": "1", "epochs": "1", "label": evil})
    echoed = command.replace("python train.py --alpha 1 -e 1 -l", "printf %s")
    done = subprocess.check_output(["/bin/sh", "-c", echoed], text=True, cwd=folder)
    assert done == evil
    assert not (folder / "evil").exists()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"label": "x", "epohcs": "1"}, "Did you mean epochs"),
        ({}, "needs the parameter label"),
        ({"label": "x", "epochs": "1.5"}, "'1.5', which is no int"),
        ({"label": "x", "alpha": "much"}, "'much', which is no float"),
    ],
)
def test_values_that_cant_be(folder: Path, given: dict[str, str], named: str) -> None:
    main = read_project(folder).entry_points["main"]
    with pytest.raises(InvalidInput) as raised:
        parameters_of(main, given, {}, folder)
    assert named in f"{raised.value.what} {raised.value.fix}"


def test_braces_and_what_isnt_declared(folder: Path) -> None:
    check = read_project(folder).entry_points["check"]
    assert command_of(check, {"more": "a b"}) == "echo {braces} --more 'a b'"


def test_a_command_that_names_no_parameter(tmp_path: Path) -> None:
    (tmp_path / "MLproject").write_text("entry_points: {main: {command: 'run {alhpa}'}}")
    point = read_project(tmp_path).entry_points["main"]
    with pytest.raises(InvalidInput, match="alhpa"):
        command_of(point, {"alpha": "1"})


def test_a_file_is_an_entry_point_and_an_unknown_name_isnt(folder: Path) -> None:
    (folder / "other.py").write_text("")
    project = read_project(folder)
    assert entry_point(project, "other.py", folder).command == "python other.py"
    with pytest.raises(InvalidInput, match="mian") as raised:
        entry_point(project, "mian", folder)
    assert "main" in raised.value.fix
    with pytest.raises(InvalidInput):
        entry_point(project, "../other.py", folder)


def test_a_path_is_one_of_the_codeset(tmp_path: Path) -> None:
    (tmp_path / "MLproject").write_text(
        "entry_points: {main: {parameters: {data: {type: path, default: in.csv}},"
        " command: 'cat {data}'}}"
    )
    main = read_project(tmp_path).entry_points["main"]
    assert parameters_of(main, {}, {}, tmp_path)["data"] == str(tmp_path / "in.csv")
