"""The README's and the guides' commands, typed one by one against a real platform."""

from __future__ import annotations

import shutil

import pytest

GUIDES = (
    "data",
    "training",
    "checkpoints",
    "tuning",
    "experiments",
    "serving",
    "serving-protocol",
    "model-formats",
    "oci",
    "registry",
    "rollouts",
    "prediction-log",
    "batch",
    "workflows",
    "workflow-runs",
    "operating",
)
SHORT = {"training", "serving", "workflows", "workflow-runs", "operating"}

pytestmark = [
    pytest.mark.skipif(shutil.which("bash") is None, reason="no bash"),
    pytest.mark.timeout(400),  # some dozen commands each; slow where much else runs
]


@pytest.mark.parametrize(
    "page", ["README.md", pytest.param("docs/quickstart.md", marks=pytest.mark.slow)]
)
def test_the_quick_start_does_what_it_says(reader, page):
    assert reader.follow(page, "quickstart") >= 6


@pytest.mark.parametrize(
    "guide",
    [name if name in SHORT else pytest.param(name, marks=pytest.mark.slow) for name in GUIDES],
)
def test_the_guides_commands_do_what_they_say(running, guide):
    if guide in {"serving", "serving-protocol", "operating"} and shutil.which("curl") is None:
        pytest.skip("no curl")
    running.folder = running.folder.parent / guide
    running.folder.mkdir()
    code, printed = running.type(f"mkdir -p {running.folder} && cd {running.folder}")
    assert code == 0, printed
    assert running.follow(f"docs/{guide}.md", guide) >= 3


def test_every_marked_block_is_run(docs_tools):
    root = docs_tools["root"]
    pages = ["README.md", *(f"docs/{path.name}" for path in (root / "docs").glob("*.md"))]
    run = {"README.md": "quickstart", "docs/quickstart.md": "quickstart"}
    run |= {f"docs/{guide}.md": guide for guide in GUIDES}
    for page in pages:
        named = docs_tools["marks"](page)
        assert set(named) <= {run.get(page)}, page
        assert not named or len(named) == len(docs_tools["blocks"](page, run[page])), page
