from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volant.adapters.local.attempt import Ending, Stop
from volant.adapters.local.environment import input_name, input_text
from volant.adapters.local.outcome import Evidence, judge, parse_outputs
from volant.domain.job import Job, JobStatus
from volant.errors import InvalidInput

PATH = Path("outputs.1.json")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def job(**changes) -> Job:
    fields = {
        "id": "j",
        "step": "train",
        "run_id": "run-1",
        "attempt": 1,
        "workdir": Path("/nowhere"),
        "log_path": Path("/nowhere/log"),
        "inputs": {},
        "entry": "a:b",
    }
    return Job(**{**fields, **changes})


@given(st.dictionaries(st.text(), VALUES), st.sampled_from([None, 2]))
def test_json_object_comes_back(outputs, indent) -> None:
    assert parse_outputs(json.dumps(outputs, indent=indent).encode(), PATH) == outputs


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]*", fullmatch=True),
        st.text(st.characters(exclude_characters="\n\r", codec="utf-8")),
    )
)
def test_pairs_come_back(pairs) -> None:
    text = "".join(f"{key}={value}\n# a comment\n\n" for key, value in pairs.items())
    assert parse_outputs(text.encode(), PATH) == pairs


@given(st.binary())
def test_any_bytes_are_outputs_or_an_error_that_names_the_file(data: bytes) -> None:
    problem = None
    try:
        assert isinstance(parse_outputs(data, PATH), dict)
    except InvalidInput as error:
        problem = error
    assert problem is None or PATH.name in problem.what
    assert problem is None or problem.details["line"] >= 1


@pytest.mark.parametrize(
    ("data", "line"),
    [(b"A=1\nnonsense", 2), (b'{\n\n"a": }', 3), (b"[1]", 1), (b"A=1\n\xff=2", 2), (b"1A=2", 1)],
)
def test_broken_outputs_name_the_line(data: bytes, line: int) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_outputs(data, PATH)
    assert caught.value.details["line"] == line


@pytest.mark.parametrize(
    ("evidence", "status"),
    [
        (Evidence(Ending(None, None)), JobStatus.LOST),
        (Evidence(Ending(None, Stop.CANCELLED)), JobStatus.CANCELLED),
        (Evidence(Ending(0, Stop.TIMEOUT)), JobStatus.TIMEOUT),
        (Evidence(Ending(-9, Stop.CLOSING)), JobStatus.LOST),
        (Evidence(Ending(70, None)), JobStatus.LOST),
        (Evidence(Ending(-9, None)), JobStatus.LOST),
        (Evidence(Ending(-9, None), group_kills=1), JobStatus.OUT_OF_MEMORY),
        (Evidence(Ending(-9, None), machine_kills=1), JobStatus.OUT_OF_MEMORY),
        (Evidence(Ending(1, None), machine_kills=1), JobStatus.FAILED),
        (Evidence(Ending(1, None), group_kills=1), JobStatus.OUT_OF_MEMORY),
        (Evidence(Ending(78, None)), JobStatus.OUT_OF_MEMORY),
        (Evidence(Ending(78, None), told={"what": "x"}), JobStatus.FAILED),
        (Evidence(Ending(-11, None)), JobStatus.FAILED),
        (Evidence(Ending(-40, None)), JobStatus.FAILED),
        (Evidence(Ending(-6, None, 0, 950)), JobStatus.OUT_OF_MEMORY),
        (Evidence(Ending(-6, None, 0, 500)), JobStatus.FAILED),
    ],
)
def test_verdicts(evidence: Evidence, status: JobStatus) -> None:
    result = judge(job(memory_bytes=1000, timeout_s=5), evidence)
    assert result.status is status
    assert result.error is not None
    assert result.error["what"]


def test_memory_error_of_the_machine_gives_no_limit_to_raise() -> None:
    seen = Evidence(Ending(-signal.SIGKILL, None), machine_kills=1)
    result = judge(job(), seen)
    assert result.error is not None
    assert "train.memory" not in result.error["fix"]


def test_a_memory_limit_is_raised_by_the_keys_that_there_are() -> None:
    result = judge(job(memory_bytes=1000), Evidence(Ending(-signal.SIGKILL, None), group_kills=1))
    assert result.error is not None
    assert "`train.memory` in volant.yaml" in result.error["fix"]
    assert "`resources.limits.memory` in a workflow's step" in result.error["fix"]


def test_command_may_exit_with_any_code() -> None:
    for code in (70, 78):
        result = judge(job(entry=None, command="x"), Evidence(Ending(code, None)))
        assert (result.status, result.exit_code) == (JobStatus.FAILED, code)


def test_names_and_texts_of_inputs() -> None:
    assert input_name("my-name.x") == "VOLANT_INPUT_MY_NAME_X"
    assert [input_text(v) for v in ("a", None, True, {"k": 1})] == ["a", "", "true", '{"k": 1}']


def test_a_loss_says_what_was_lost_and_asks_for_nothing_that_a_run_does_by_itself() -> None:
    for name, told in (("Step train", job()), ("Trial 3", job(step="tune", part="Trial 3"))):
        result = judge(told, Evidence(Ending(-signal.SIGKILL, None)))
        assert result.status is JobStatus.LOST
        assert result.error is not None
        what = f"{name} was lost: something outside Volant sent it SIGKILL."
        assert result.error["what"] == what
        assert "volant runs" not in result.error["fix"]
        assert "starts it again by itself" in result.error["fix"]
