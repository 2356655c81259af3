"""Where a batch in a workflow reads and writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from volant.app.batch_files import with_whole_paths
from volant.domain.run import StepRequest, StepSpecRef
from volant.errors import InvalidInput

CODE = {"project": "one", "name": "code", "version": "c0ffee" * 7, "url": "u", "path": "/project"}
MORE = {**CODE, "name": "more", "path": "/opt/more"}


def _checkout(project: str, name: str, version: str, folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / f"{name}.csv").write_text("x\n")
    (folder / "link.csv").symlink_to("/etc/passwd")


def _whole(workdir: Path, **inputs: Any) -> dict[str, Any]:
    given = {"name": "m", "input": "dataset:d", "output": "dataset:o", **inputs}
    request = StepRequest("run-1", StepSpecRef("score/2"), given, 1, workdir)
    return with_whole_paths(request, given, _checkout)


def test_a_file_of_the_first_codeset(tmp_path: Path) -> None:
    found = _whole(tmp_path, zeta=CODE, alpha=MORE, input="data/code.csv", output="a/b.csv")
    assert found == {
        "name": "m",
        "input": str(tmp_path / "code" / "project" / "data" / "code.csv"),
        "output": str(tmp_path / "output" / "a" / "b.csv"),
    }
    assert Path(found["input"]).is_file()
    assert Path(found["output"]).parent.is_dir()


def test_a_file_by_its_codeset_s_own_path(tmp_path: Path) -> None:
    found = _whole(tmp_path, code=CODE, more=MORE, input="/opt/more/data/more.csv")
    assert found["input"] == str(tmp_path / "code" / "opt" / "more" / "data" / "more.csv")
    # One that isn't in it may still be on the machine.
    assert _whole(tmp_path, code=CODE, input="/project/x")["input"] == "/project/x"


def test_what_needs_no_codeset(tmp_path: Path) -> None:
    given = {"input": "/data/x.csv", "output": "/data/y.csv", "strict": True}
    assert _whole(tmp_path, **given) == {"name": "m", **given}
    assert _whole(tmp_path, code=CODE)["input"] == "dataset:d"
    with pytest.raises(InvalidInput, match="no codeset that it could be in"):
        _whole(tmp_path, input="x.csv")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"input": "none.csv"}, "one/code has no file 'none.csv' in c0ffeec0ffee"),
        ({"input": "data"}, "has no file 'data'"),
        ({"input": "../other/x.csv"}, "leads out of the codeset one/code"),
        ({"input": "link.csv"}, "leads out of the codeset"),
        ({"input": "a\0b"}, "leads out"),
        ({"output": "../../x.csv"}, "leads out of the step's folder"),
        ({"output": "."}, "leads out of the step's folder"),
    ],
)
def test_what_is_not_there_or_leads_out(tmp_path: Path, given: dict[str, str], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        _whole(tmp_path, code=CODE, **given)
