"""What a codeset wants installed, and what it may not ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from volant.errors import InvalidInput
from volant.training.environment_files import (
    Wanted,
    wanted_of,
    with_base_image,
    with_companions,
)


def _wanted(folder: Path, **files: str) -> Wanted:
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return wanted_of(folder)


def test_condas_file(tmp_path: Path) -> None:
    told = """
name: tutorial
channels: [defaults]
dependencies:
  - python=3.6
  - numpy>=1.14.3
  - conda-forge::pandas=1.0
  - scipy==1.5.0=py36_0
  - pytorch
  - cudatoolkit>=11.4
  - pip
  - pip:
    - scikit-learn==0.23.2
    - mlflow
"""
    found = _wanted(tmp_path, conda__yaml=told)
    assert found.python == "==3.6.*"
    assert found.lines == (
        "numpy>=1.14.3",
        "pandas==1.0.*",
        "scipy==1.5.0",
        "torch",
        "scikit-learn==0.23.2",
        "mlflow",
    )
    assert found.conda == {"numpy>=1.14.3", "pandas==1.0.*", "scipy==1.5.0", "torch"}
    assert [change.partition(" →")[0] for change in found.changes] == [
        "pytorch",
        "cudatoolkit>=11.4",
    ]


def test_requirements_with_what_they_include(tmp_path: Path) -> None:
    found = _wanted(
        tmp_path,
        requirements__txt="# all\n-r base.txt\npandas >=1,<3  # why\n"
        "numpy==1.0 \\\n  --hash=sha256:00\nmlflow[extras]>=2; python_version > '3.6'\n",
        base__txt="six\n",
    )
    assert found.lines == (
        "six",
        "pandas >=1,<3",
        "numpy==1.0",
        "mlflow[extras]>=2; python_version > '3.6'",
    )
    assert found.python is None


def test_pythons_own_file(tmp_path: Path) -> None:
    found = _wanted(
        tmp_path,
        python_env__yaml='python: "3.8"\nbuild_dependencies: [pip]\n'
        "dependencies: [-r requirements.in, six]\n",
        requirements__in="attrs\n",
    )
    assert (found.python, found.lines) == ("==3.8.*", ("attrs", "six"))


def test_the_one_that_mlproject_names_comes_first(tmp_path: Path) -> None:
    found = _wanted(
        tmp_path,
        MLproject="conda_env: other.yaml\nentry_points: {}",
        conda__yaml="dependencies: [numpy]",
        other__yaml="dependencies: [scipy]",
    )
    assert (found.source, found.lines) == ("other.yaml", ("scipy",))


def test_conda_before_pip_but_for_who_asks(tmp_path: Path) -> None:
    both = {"conda__yaml": "dependencies: [numpy]", "requirements__txt": "scipy"}
    assert _wanted(tmp_path, **both).source == "conda.yaml"
    assert wanted_of(tmp_path, pip_first=True).source == "requirements.txt"


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "-e git+https://example.org/x#egg=x",
        "--index-url https://example.org/simple",
        "--extra-index-url=https://example.org",
        "-f /tmp",
        "--find-links .",
        "./local",
        "/tmp/x.whl",
        "x @ file:///tmp/x.whl",
        "git+https://example.org/x.git",
        "https://example.org/x.whl",
        "numpy --config-settings=x",
        "--no-binary :all:",
        "-c other.txt",
        "numpy ==1.0 --global-option=x",
        "x" * 500,
    ],
)
def test_what_isnt_a_plain_requirement_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(InvalidInput, match="isn't a plain requirement"):
        _wanted(tmp_path, requirements__txt=f"numpy\n{line}\n")
    with pytest.raises(InvalidInput, match="isn't a plain requirement"):
        _wanted(tmp_path, conda__yaml=f"dependencies: [{{pip: [{line!r}]}}]")


@pytest.mark.parametrize("line", ["../outside.txt", "/etc/passwd", "link.txt"])
def test_nothing_outside_the_codeset_is_read(tmp_path: Path, line: str) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (tmp_path / "outside.txt").write_text("numpy")
    (code / "link.txt").symlink_to(tmp_path / "outside.txt")
    with pytest.raises(InvalidInput, match="leads out of the codeset"):
        _wanted(code, requirements__txt=f"-r {line}\n")


def test_a_file_that_includes_itself(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="included by itself"):
        _wanted(tmp_path, requirements__txt="-r requirements.txt\n")


@pytest.mark.parametrize("text", ["[", "a: *b", "- 1", "dependencies: 5"])
def test_a_broken_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"conda.yaml"):
        _wanted(tmp_path, conda__yaml=text)


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="neither"):
        wanted_of(tmp_path)


@pytest.mark.parametrize(
    ("image", "line"),
    [
        ("intel/intel-optimized-tensorflow:2.5.0", "tensorflow==2.5.0"),
        ("tensorflow/tensorflow:2.9.1-gpu", "tensorflow==2.9.1"),
        ("registry.example/tensorflow/tensorflow", "tensorflow"),
        ("tensorflow/tensorflow:latest-gpu", "tensorflow"),
        ("pytorch/pytorch:1.9.0-cuda11.1-cudnn8-runtime", "torch==1.9.0"),
        ("registry:5000/intel-optimized-pytorch@sha256:00", "torch"),
    ],
)
def test_what_an_image_to_build_upon_would_have_brought(image: str, line: str) -> None:
    wanted = Wanted("requirements.txt", None, ("numpy",))
    found, told = with_base_image(wanted, image)
    assert found.lines == ("numpy", line)
    assert told == f"{line} is added: {image} has it"


@pytest.mark.parametrize("image", ["", "python:3.9", "tensorflow/serving:2.5", "my-tensorflow"])
def test_an_image_that_tells_nothing(image: str) -> None:
    wanted = Wanted("requirements.txt", None, ("numpy",))
    assert with_base_image(wanted, image) == (wanted, None)


def test_what_the_codeset_names_itself_stays() -> None:
    wanted = Wanted("requirements.txt", None, ("TensorFlow>=2",))
    assert with_base_image(wanted, "tensorflow/tensorflow:2.5.0") == (wanted, None)


def test_tensorboard_beside_tensorflow_and_mlflow() -> None:
    found = with_companions(Wanted("conda.yaml", None, ("mlflow", "tensorflow==2.21.0")))
    assert found.lines == ("mlflow", "tensorflow==2.21.0", "tensorboard")
    assert found.changes[0].startswith("tensorflow → tensorflow, tensorboard")
    for lines in (("tensorflow",), ("mlflow",), ("mlflow", "tensorflow", "tensorboard<3")):
        assert with_companions(Wanted("conda.yaml", None, lines)).lines == lines


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("dependencies: 5\n", "dependencies is no list but 5"),
        ("dependencies: numpy\n", "dependencies is no list but 'numpy'"),
        ("dependencies: {a: b}\n", "dependencies is no list but a mapping"),
        ("dependencies: [{pip: 5}]\n", "pip is no list but 5"),
        ("python: 3.11\ndependencies: 5\n", "dependencies is no list but 5"),
    ],
)
def test_requirements_that_are_no_list(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told) as caught:
        _wanted(tmp_path, conda__yaml=text)
    assert "a list of them under dependencies" in caught.value.fix


def test_no_requirements_at_all(tmp_path: Path) -> None:
    assert _wanted(tmp_path, conda__yaml="dependencies:\n").lines == ()
