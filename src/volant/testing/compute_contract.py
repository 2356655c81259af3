"""What every `Compute` adapter has to do. An adapter's tests inherit `ComputeContract`,
or `CommandContract` if it runs only commands, and give two pytest fixtures: `compute`, and
`make_job`, a callable that makes a `Job` of an adapter's default profile with a fresh run
id and workdir, taking the fields to change.

The functions at the top are entries that the suite runs inside jobs.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from volant.domain.job import Job, JobStatus
from volant.domain.run import StepContext
from volant.errors import InvalidInput
from volant.ports.compute import Compute

MakeJob = Callable[..., Job]
Inputs = Mapping[str, Any]

HERE = "volant.testing.compute_contract"


def echo(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Answers what it got, and where it runs."""
    return {
        "inputs": dict(inputs),
        "run_id": context.run_id,
        "step": context.step,
        "attempt": context.attempt,
        "workdir": str(context.workdir),
        "cwd": str(Path.cwd()),
        "checkpoint_is_folder": context.checkpoint_dir.is_dir(),
    }


def refuse(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Raises an error of ours."""
    raise InvalidInput("The column 'y' is missing.", "Add it.", details={"column": "y"})


def stumble(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Raises an error of Python's."""
    return {"answer": 1 / int(inputs.get("zero", 0))}


def leave(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Leaves by sys.exit."""
    sys.exit(inputs["code"])


def set_out(inputs: Inputs, context: StepContext) -> Any:
    """Returns what JSON can't hold."""
    return {"answer": {1, 2}}


def talk(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Prints `lines` numbered lines to each stream."""
    for number in range(inputs["lines"]):
        sys.stdout.write(f"out {number}\n")
        sys.stderr.write(f"err {number}\n")
    return {}


def devour(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Takes memory, all of it touched, until there is no more."""
    held: list[bytearray] = []
    while True:
        held.append(bytearray(b"x") * (1 << 20))


def dawdle(inputs: Inputs, context: StepContext) -> dict[str, Any]:
    """Makes the file `started`, then sleeps."""
    (context.workdir / "started").touch()
    time.sleep(inputs.get("seconds", 60))
    return {}


def log_lines(job: Job) -> list[dict[str, Any]]:
    """The job's log, line by line."""
    return [json.loads(line) for line in job.log_path.read_text().splitlines()]


def texts(job: Job, stream: str) -> list[str]:
    """The texts of one stream of the job's log."""
    return [line["text"] for line in log_lines(job) if line["stream"] == stream]


def wait_for(path: Path, seconds: float = 20.0) -> None:
    """Until `path` is there."""
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} never came"
        time.sleep(0.005)


class CommandContract:
    """Of every compute. Inherit it in a test module of an adapter that runs no functions."""

    def test_measures(self, compute: Compute, make_job: MakeJob) -> None:
        # What can only look at intervals gets the time for one.
        command = "head -c 30000000 /dev/zero | sort > /dev/null; sleep 0.5"
        result = compute.run(make_job(command=command))
        assert result.status is JobStatus.SUCCEEDED
        assert result.wall_s > 0
        assert result.cpu_s > 0
        assert result.peak_bytes > 1 << 20

    def test_any_bytes_and_an_open_last_line(self, compute: Compute, make_job: MakeJob) -> None:
        job = make_job(command=r"""printf 'a\377b\n\n{"k": 1}\nlast'""")
        assert compute.run(job).status is JobStatus.SUCCEEDED
        assert texts(job, "stdout") == ["a�b", "", '{"k": 1}', "last"]

    def test_command_environment(self, compute: Compute, make_job: MakeJob) -> None:
        job = make_job(
            command='echo "{\\"text\\": \\"$VOLANT_INPUT_MY_NAME\\", \\"rows\\":'
            ' $VOLANT_INPUT_ROWS, \\"ids\\": \\"$VOLANT_RUN_ID/$VOLANT_STEP/$VOLANT_ATTEMPT\\",'
            ' \\"own\\": \\"$OWN\\", \\"here\\": \\"$PWD/$VOLANT_WORKDIR\\"}" > "$VOLANT_OUTPUTS"'
            ' && test -d "$VOLANT_CHECKPOINT_DIR"',
            inputs={"my-name": "a b", "rows": [1, 2]},
            env={"OWN": "mine", "VOLANT_STEP": "not this"},
        )
        result = compute.run(job)
        assert result.error is None
        assert result.outputs == {
            "text": "a b",
            "rows": [1, 2],
            "ids": f"{job.run_id}/{job.step}/{job.attempt}",
            "own": "mine",
            "here": f"{job.workdir}/{job.workdir}",
        }

    def test_command_outputs_as_pairs(self, compute: Compute, make_job: MakeJob) -> None:
        job = make_job(command="printf 'A=1\\nB=x=y\\n' > $VOLANT_OUTPUTS")
        assert compute.run(job).outputs == {"A": "1", "B": "x=y"}
        assert compute.run(make_job(command="true")).outputs == {}

    def test_command_outputs_that_are_broken(self, compute: Compute, make_job: MakeJob) -> None:
        result = compute.run(make_job(command="printf '{\\n\"a\": oops}' > $VOLANT_OUTPUTS"))
        assert result.status is JobStatus.FAILED
        assert result.error is not None
        assert result.error["code"] == "bad_outputs"
        assert result.error["details"]["line"] == 2

    def test_command_that_fails(self, compute: Compute, make_job: MakeJob) -> None:
        job = make_job(command="echo gone wrong >&2; exit 3")
        result = compute.run(job)
        assert (result.status, result.exit_code) == (JobStatus.FAILED, 3)
        assert result.error is not None
        assert result.error["kind"] == "step_failed"
        assert "gone wrong" in texts(job, "stderr")

    def test_attempts_dont_see_each_others_outputs(
        self, compute: Compute, make_job: MakeJob
    ) -> None:
        first = make_job(command="echo A=1 > $VOLANT_OUTPUTS")
        assert compute.run(first).outputs == {"A": "1"}
        again = make_job(command="true", workdir=first.workdir, attempt=first.attempt)
        assert compute.run(again).outputs == {}

    def test_command_timeout(self, compute: Compute, make_job: MakeJob) -> None:
        result = compute.run(make_job(timeout_s=0.2, command="sleep 60"))
        assert result.status is JobStatus.TIMEOUT
        assert result.error is not None
        assert "0.2 s" in result.error["what"]

    def test_command_is_told_before_it_is_killed(self, compute: Compute, make_job: MakeJob) -> None:
        job = make_job(
            timeout_s=1.5,
            command="trap 'echo saved > $VOLANT_CHECKPOINT_DIR/state; exit 0' TERM;"
            " while :; do sleep 0.05; done",
        )
        assert compute.run(job).status is JobStatus.TIMEOUT
        assert (job.workdir / "checkpoint" / "state").read_text() == "saved\n"

    def test_cancel_ends_this_runs_command_only(self, compute: Compute, make_job: MakeJob) -> None:
        job, other = make_job(command="touch started; sleep 60"), make_job(command="true")
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(compute.run(job)))
        thread.start()
        wait_for(job.workdir / "started")
        compute.cancel(other.run_id)
        assert compute.run(other).status is JobStatus.SUCCEEDED
        assert thread.is_alive()
        compute.cancel(job.run_id)
        thread.join(20)
        assert [result.status for result in results] == [JobStatus.CANCELLED]

    def test_no_line_of_a_command_is_lost(self, compute: Compute, make_job: MakeJob) -> None:
        job = make_job(
            command="i=0; while [ $i -lt 3000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done"
        )
        assert compute.run(job).status is JobStatus.SUCCEEDED
        assert texts(job, "stdout") == [f"out {number}" for number in range(3000)]
        assert texts(job, "stderr") == [f"err {number}" for number in range(3000)]


class ComputeContract(CommandContract):
    """Inherit it in a test module of the adapter."""

    def test_entry_gets_inputs_and_context(self, compute: Compute, make_job: MakeJob) -> None:
        job = make_job(
            entry=f"{HERE}:echo", step="look", attempt=3, inputs={"x": [1, "é", None], "n": 2.5}
        )
        result = compute.run(job)
        assert result.error is None
        assert result.status is JobStatus.SUCCEEDED
        assert result.outputs == {
            "inputs": {"x": [1, "é", None], "n": 2.5},
            "run_id": job.run_id,
            "step": "look",
            "attempt": 3,
            "workdir": str(job.workdir),
            "cwd": str(job.workdir),
            "checkpoint_is_folder": True,
        }

    def test_volant_error_comes_back_as_it_is(self, compute: Compute, make_job: MakeJob) -> None:
        result = compute.run(make_job(entry=f"{HERE}:refuse"))
        assert result.status is JobStatus.FAILED
        assert result.error == {
            "kind": "invalid_input",
            "code": "invalid_input",
            "what": "The column 'y' is missing.",
            "fix": "Add it.",
            "details": {"column": "y"},
        }

    def test_other_error_has_its_traceback(self, compute: Compute, make_job: MakeJob) -> None:
        job = make_job(entry=f"{HERE}:stumble")
        result = compute.run(job)
        assert result.status is JobStatus.FAILED
        assert result.error is not None
        assert result.error["kind"] == "step_failed"
        assert result.error["what"] == "ZeroDivisionError: division by zero"
        assert "in stumble" in result.error["details"]["traceback"]
        assert "ZeroDivisionError: division by zero" in texts(job, "stderr")

    def test_sys_exit(self, compute: Compute, make_job: MakeJob) -> None:
        assert compute.run(make_job(entry=f"{HERE}:leave", inputs={"code": 0})).status is (
            JobStatus.SUCCEEDED
        )
        failed = compute.run(make_job(entry=f"{HERE}:leave", inputs={"code": 7}))
        assert (failed.status, failed.exit_code) == (JobStatus.FAILED, 7)
        job = make_job(entry=f"{HERE}:leave", inputs={"code": "no such table"})
        told = compute.run(job)
        assert (told.status, told.exit_code) == (JobStatus.FAILED, 1)
        assert "no such table" in texts(job, "stderr")

    def test_outputs_have_to_be_json(self, compute: Compute, make_job: MakeJob) -> None:
        result = compute.run(make_job(entry=f"{HERE}:set_out"))
        assert result.status is JobStatus.FAILED
        assert result.error is not None
        assert "JSON" in result.error["what"]

    def test_unknown_entry(self, compute: Compute, make_job: MakeJob) -> None:
        for entry in ("no.such.module:fn", f"{HERE}:no_such_function", "nonsense"):
            result = compute.run(make_job(entry=entry))
            assert result.status is JobStatus.FAILED
            assert result.error is not None
            assert entry.partition(":")[2] in result.error["what"]
            assert result.error["kind"] == "invalid_input"

    def test_no_line_is_lost(self, compute: Compute, make_job: MakeJob) -> None:
        job = make_job(entry=f"{HERE}:talk", inputs={"lines": 3000})
        assert compute.run(job).status is JobStatus.SUCCEEDED
        assert texts(job, "stdout") == [f"out {number}" for number in range(3000)]
        assert texts(job, "stderr") == [f"err {number}" for number in range(3000)]

    def test_timeout(self, compute: Compute, make_job: MakeJob) -> None:
        result = compute.run(make_job(timeout_s=0.2, entry=f"{HERE}:dawdle"))
        assert result.status is JobStatus.TIMEOUT
        assert result.error is not None
        assert "0.2 s" in result.error["what"]

    def test_memory_limit(self, compute: Compute, make_job: MakeJob) -> None:
        result = compute.run(make_job(entry=f"{HERE}:devour", memory_bytes=96 << 20))
        assert result.status is JobStatus.OUT_OF_MEMORY
        assert result.error is not None
        assert result.error["code"] == "out_of_memory"
        assert "96 MiB" in result.error["what"]
        assert "train.memory" in result.error["fix"]

    def test_cancel_ends_this_run_only(self, compute: Compute, make_job: MakeJob) -> None:
        job, other = make_job(entry=f"{HERE}:dawdle"), make_job(entry=f"{HERE}:echo")
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(compute.run(job)))
        thread.start()
        wait_for(job.workdir / "started")
        compute.cancel(other.run_id)
        assert compute.run(other).status is JobStatus.SUCCEEDED
        assert thread.is_alive()
        compute.cancel(job.run_id)
        thread.join(20)
        assert [result.status for result in results] == [JobStatus.CANCELLED]
        compute.cancel(job.run_id)  # nothing runs any more
