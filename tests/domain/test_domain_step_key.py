"""What does and what doesn't change a step's key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from volant.domain.run import StepRequest, StepSpecRef
from volant.domain.step_key import step_key
from volant.domain.workflow import ExtensionBinding

CODE = {"project": "p", "name": "c", "version": "v1", "url": "http://git/p/c", "path": "/project"}
STEP = StepSpecRef("a", call="m:f", env={"K": "1"}, outputs=("o",), image="env://1")
REQUEST = StepRequest("run-1", STEP, {"x": 1, "code": CODE}, 1, Path("/w"), workflow="wf")


def trees(**known: str):
    """The hash of a codeset's files by its version."""
    return lambda project, name, version: known.get(version, "tree")


def key(request: StepRequest = REQUEST, salt: str = "", **known: str) -> str:
    return step_key(request, salt, trees(**known))


def test_the_same_step_has_the_same_key() -> None:
    again = replace(
        REQUEST,
        run_id="run-2",
        attempt=3,
        workdir=Path("/elsewhere"),
        step=replace(STEP, name="b", timeout_s=3.0, memory_bytes=7, cpu=2.0),
        inputs={"code": {**CODE, "version": "v2", "url": "http://other"}, "x": 1},
    )
    assert key(again) == key()


@pytest.mark.parametrize(
    "other",
    [
        replace(REQUEST, inputs={"x": 2, "code": CODE}),
        replace(REQUEST, inputs={"x": "1", "code": CODE}),
        replace(REQUEST, inputs={"x": True, "code": CODE}),
        replace(REQUEST, inputs={"x": 1, "code": {**CODE, "name": "d"}}),
        replace(REQUEST, inputs={"x": 1, "code": {**CODE, "path": "/other"}}),
        replace(REQUEST, workflow="other"),
        replace(REQUEST, project="p"),
        replace(REQUEST, loop="l"),
        *(
            replace(REQUEST, step=replace(STEP, **change))
            for change in (
                {"call": "m:g"},
                {"call": None, "run": "m:f"},
                {"call": None, "uses": "m:f"},
                {"image": "env://2"},
                {"env": {"K": "2"}},
                {"env": {}},
                {"outputs": ("o", "p")},
                {"extensions": {"e": ExtensionBinding("x", "s", cfg={"A": "1"})}},
            )
        ),
    ],
)
def test_another_step_has_another_key(other: StepRequest) -> None:
    assert key(other) != key()


def test_a_codeset_counts_as_its_files() -> None:
    other = replace(REQUEST, inputs={"x": 1, "code": {**CODE, "version": "v2"}})
    assert key(other, v1="one", v2="one") == key(v1="one")
    assert key(other, v1="one", v2="two") != key(v1="one")
    deep = replace(REQUEST, inputs={"all": [{"code": CODE}]})
    assert key(deep, v1="one") != key(deep, v1="two")


def test_a_salt_counts() -> None:
    assert key(salt="1.0") != key(salt="1.1")


def test_a_secrets_name_counts() -> None:
    def bound(text: str) -> StepRequest:
        binding = ExtensionBinding("x", "s", cfg={"PASSWORD": text})
        return replace(REQUEST, step=replace(STEP, extensions={"e": binding}))

    assert key(bound("secret://x/s/a/K")) == key(bound("secret://x/s/a/K"))
    assert key(bound("secret://x/s/a/K")) != key(bound("secret://x/s/b/K"))
