"""A workflow for GitHub Actions."""

from __future__ import annotations

import re
from typing import Any

from volant.workflows.export.outline import Outline, fitting
from volant.workflows.export.program import head_of, program_of, yaml_text

FILE = "{name}.yml"
_BAD = r"[^A-Za-z0-9_-]"


def github_actions(outline: Outline) -> str:
    """One job a step; the run's id is the key under which Volant knows its steps, so that
    "Re-run failed jobs" goes on where it stopped."""
    names = {own: _begun(name) for own, name in fitting(_names(outline), _BAD).items()}
    jobs = {own: _begun(name) for own, name in _jobs(outline).items()}
    document: dict[str, Any] = {
        "name": outline.name,
        "on": {"workflow_dispatch": _dispatch(outline, names)},
        "permissions": {},
        "env": {
            "VOLANT_SERVER_URL": "${{ vars.VOLANT_SERVER_URL }}",
            "VOLANT_KEY": "github-${{ github.repository }}-${{ github.run_id }}",
            **{
                each.variable: f"${{{{ inputs.{names[each.name]} }}}}"
                for each in outline.parameters
            },
        },
        "jobs": {
            jobs[task.name]: {
                "name": task.name,
                "runs-on": "ubuntu-latest",
                **({"needs": [jobs[need] for need in task.needs]} if task.needs else {}),
                "steps": [
                    {
                        "name": f"Volant does {task.name}",
                        "shell": "python",
                        "env": {
                            "VOLANT_STEP": task.name,
                            "VOLANT_TOKEN": "${{ secrets.VOLANT_TOKEN }}",
                        },
                        "run": program_of(outline),
                    }
                ],
            }
            for task in outline.tasks
        },
    }
    head = head_of(
        outline,
        "GitHub Actions",
        "Put it into .github/workflows. It needs the variable VOLANT_SERVER_URL, the secret",
        "VOLANT_TOKEN, and a runner that reaches the server.",
    )
    text = yaml_text(document, head=head)
    return text.replace("\n'on':\n", "\non:\n", 1)  # a word that old YAML reads as true


def _names(outline: Outline) -> list[str]:
    return [each.name for each in outline.parameters]


def _jobs(outline: Outline) -> dict[str, str]:
    return dict(fitting((task.name for task in outline.tasks), _BAD))


def _begun(name: str) -> str:
    """An identifier doesn't begin with a digit."""
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"


def _dispatch(outline: Outline, names: dict[str, str]) -> dict[str, Any]:
    inputs = {
        names[each.name]: {
            "description": each.description or each.name,
            "required": each.required,
            "type": "string",
            **({} if each.required else {"default": each.default}),
        }
        for each in outline.parameters
    }
    return {"inputs": inputs} if inputs else {}
