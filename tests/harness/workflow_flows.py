"""A workflow that reads its codeset, waits until it is let go on, and tells what it read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from platform_process import ENDED, Platform, wait_for

MANIFEST = """\
name: {name}
inputs:
  - {{name: code, type: codeset}}
  - {{name: who, default: world}}
outputs: [{{name: told}}]
steps:
  - name: read
    inputs: [{{name: code, codeset: {{name: '{{{{ inputs.code }}}}'}}}}]
    outputs: [{{name: number}}]
    run: cat number.txt > "$VOLANT_RESULTS_DIR/number"
  - name: wait
    needs: [read]
    cache: false
    run: while [ ! -e {gate} ]; do sleep 0.05; done
  - name: tell
    needs: [wait]
    inputs:
      - {{name: number, value: '{{{{ steps.read.outputs.number }}}}'}}
      - {{name: who, value: '{{{{ inputs.who }}}}'}}
    outputs: [{{name: told}}]
    run: echo "telling"; echo "$FUSEML_WHO $FUSEML_NUMBER" > "$VOLANT_RESULTS_DIR/told"
"""


class Flow:
    """One workflow and one codeset, `p/NAME`, on a platform."""

    def __init__(self, platform: Platform, name: str) -> None:
        self.platform, self.name = platform, name
        self.folder = platform.folder / name
        self.folder.mkdir()
        self.gate = platform.folder / f"{name}.gate"
        self.file = platform.folder / f"{name}.yaml"
        self.file.write_text(MANIFEST.format(name=name, gate=self.gate))

    def push(self, number: int, code: int | None = 0) -> Any:
        """The codeset's next version."""
        (self.folder / "number.txt").write_text(f"{number}\n")
        options = ("--name", self.name, "--project", "p")
        return self.platform.cli("codeset", "register", *options, self.folder, code=code)

    def open(self) -> None:
        """Let every run go on."""
        self.gate.touch()

    def runs(self) -> list[dict[str, Any]]:
        """Newest first."""
        return self.platform.items("/runs", workflow=self.name)

    def statuses(self) -> list[str]:
        return [run["state"]["status"] for run in self.runs()]

    def ended(self, count: int) -> list[dict[str, Any]]:
        """All runs, once there are so many and they have ended."""

        def look() -> list[dict[str, Any]] | None:
            runs = self.runs()
            done = all(run["state"]["status"] in ENDED for run in runs)
            return runs if done and len(runs) >= count else None

        return wait_for(f"{count} runs of {self.name} to end", look)

    def at(self, run_id: str, step: str, status: str) -> None:
        """Wait until a step of a run has a status."""

        def look() -> bool:
            run = self.platform.get(f"/runs/{run_id}")
            return any(
                each["name"] == step and each["status"] == status for each in run["state"]["steps"]
            )

        wait_for(f"{step} of {run_id} to be {status}", look)


def told(run: dict[str, Any]) -> str:
    """What a run gave."""
    return str(run["outputs"].get("told", "")).strip()


def work_folder(platform: Platform, run_id: str) -> Path:
    return platform.home / "runs" / run_id
