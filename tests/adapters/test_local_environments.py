"""Where a model's own environment is installed from."""

from __future__ import annotations

import pytest

from volant.adapters.local.environments import _run
from volant.errors import InvalidInput

PLACES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "UV_DEFAULT_INDEX",
          "UV_INDEX", "UV_FIND_LINKS")  # fmt: skip


@pytest.fixture
def told(tmp_path, monkeypatch):
    """`told(NAME=value)`: what the installer's environment is then."""
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)

    def run(**given: str) -> dict[str, str]:
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        with (tmp_path / "log").open("w") as log:
            _run(["env"], log, ())
        lines = (tmp_path / "log").read_text().splitlines()[1:]
        return dict(line.split("=", 1) for line in lines if "=" in line)

    return run


def test_what_pip_is_told_holds_for_uv(told):
    found = told(
        PIP_INDEX_URL="https://one.example", PIP_EXTRA_INDEX_URL="https://two.example",
        PIP_FIND_LINKS="/a /b",
    )  # fmt: skip
    assert found["UV_DEFAULT_INDEX"] == "https://one.example"
    assert found["UV_INDEX"] == "https://two.example"
    assert found["UV_FIND_LINKS"] == "/a,/b"
    assert found["PIP_FIND_LINKS"] == "/a /b"


def test_what_uv_is_told_itself_comes_first(told):
    found = told(PIP_FIND_LINKS="/a", UV_FIND_LINKS="/c")
    assert found["UV_FIND_LINKS"] == "/c"
    assert "UV_DEFAULT_INDEX" not in found


def test_an_installer_that_fails_is_told_with_its_last_words(tmp_path):
    with (tmp_path / "log").open("w") as log, pytest.raises(InvalidInput) as caught:
        _run(["sh", "-c", "echo some; echo no such package >&2; exit 3"], log, ("a==1",))
    assert "no such package" in caught.value.what
    assert caught.value.details == {"log": ["some", "no such package"], "requirements": ["a==1"]}
