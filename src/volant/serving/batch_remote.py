"""The other end of `batch_worker`: a model whose library only its own environment has."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from volant.errors import Unavailable, from_dict
from volant.serving.batch_worker import receive, send
from volant.serving.datatypes import Array
from volant.serving.description import Description
from volant.serving.query import Answer
from volant.serving.refusal import Refusal

_LEAVE_S = 5.0


class RemoteModel:
    """A `Model` that another interpreter has loaded; close it.

    Args:
    python: The interpreter of the model's environment.
    folder, files: As for `inference.load`.
    description: What `volant.json` says.

    Raises what loading it raises there, `Unavailable` when the process ends.
    """

    def __init__(
        self, python: Path, folder: Path, files: Mapping[str, str], description: Description
    ) -> None:
        self.description = description
        self._process = subprocess.Popen(
            [str(python), "-P", "-m", "volant.serving.batch_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            told, _ = self._ask({"folder": str(folder), "files": dict(files)})
            if "error" in told:
                raise from_dict(told["error"])
        except BaseException:
            self.close()
            raise

    def predict(self, feeds: Sequence[Array]) -> Answer:
        """Raises `Refusal` for what the model can't take or fails at."""
        told, outputs = self._ask({}, feeds)
        if "refused" in told:
            raise Refusal(400, told["refused"])
        return Answer(tuple(outputs))

    def close(self) -> None:
        """End the process: it leaves when its input ends."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _ask(
        self, told: Mapping[str, Any], feeds: Sequence[Array] = ()
    ) -> tuple[dict[str, Any], list[Array]]:
        try:
            send(_open(self._process.stdin), told, feeds)
            return receive(_open(self._process.stdout))
        except (EOFError, OSError) as error:
            self.close()
            code = self._process.returncode
            raise Unavailable(
                f"The process of the model's own environment ended (exit code {code}).",
                "See the run's log; with too little memory, take fewer rows at once: --chunk-rows.",
                code="batch_worker",
            ) from error


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise OSError("closed")
    return pipe
