"""What `volant batch` says of how it ended."""

import pytest

from volant.cli import batch

OUTPUTS = {
    "model": "m",
    "version": 1,
    "rows": 3,
    "predicted": 3,
    "rejected": 0,
    "output": "dataset:scored",
    "dataset": "scored",
}
KEPT = "What was predicted is kept: the same command goes on from there."


@pytest.fixture
def ended(volant, monkeypatch):
    """What is told of a batch that ended so."""

    def run(status, error=None, **outputs):
        step = {"name": "batch", "status": status, "outputs": OUTPUTS | outputs, "error": error}
        view = {
            "id": "batch-1",
            "workflow": {"steps": [{"name": "batch"}]},
            "state": {"status": status, "error": error, "steps": [step]},
        }
        monkeypatch.setattr(batch, "_follow", lambda client, out, run_id: view)
        return volant("batch", "m", "--input", "dataset:rows", "--output", "dataset:scored")

    return run


@pytest.mark.parametrize(
    ("kind", "details", "kept"),
    [
        ("unavailable", {"predicted": 50_000}, True),
        ("resource_exhausted", {"predicted": 0}, False),
        ("step_failed", {}, True),  # killed, or a push that was refused
        ("invalid_input", {"predicted": 50_000}, False),
        ("conflict", {}, False),
    ],
)
def test_the_same_command_goes_on_where_that_is_so(ended, kind, details, kept):
    error = {"kind": kind, "code": "x", "what": "It ended.", "fix": "Mend it.", "details": details}
    found = ended("failed", error)
    assert found.code == 1
    assert "Error: It ended." in found.err
    assert (KEPT in found.err) is kept


def test_a_cancelled_batch_goes_on_by_the_same_command(ended):
    assert KEPT in ended("cancelled").err


def test_warnings_and_rows_that_the_dataset_set_aside(ended):
    found = ended(
        "succeeded", warnings=["Predicted without the columns: rooms."], rows_quarantined=2
    )
    assert found.out.splitlines() == [
        "3 of 3 rows predicted by m v1: dataset:scored",
        "Predicted without the columns: rooms.",
        "2 of them are in quarantine: volant data quarantine scored",
    ]
    assert len(ended("succeeded").out.splitlines()) == 1
