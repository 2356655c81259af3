"""A Workflow for Argo Workflows."""

from __future__ import annotations

from typing import Any

from volant.workflows.export.outline import Outline, fitting
from volant.workflows.export.program import head_of, program_of, yaml_text

FILE = "{name}.argo.yaml"
IMAGE = "python:3.12-slim"
SECRET = "volant"  # noqa: S105 - the name of the secret that has url and token


def secret_env(name: str, key: str) -> dict[str, Any]:
    """A variable of a container from the cluster's secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": key}}}


def argo(outline: Outline) -> str:
    """A DAG of one script; the Workflow's uid is the key under which Volant knows it."""
    names = fitting((each.name for each in outline.parameters), r"[^A-Za-z0-9_-]")
    tasks = fitting((each.name for each in outline.tasks), r"[^A-Za-z0-9-]")
    env: list[dict[str, Any]] = [
        secret_env("VOLANT_SERVER_URL", "url"),
        secret_env("VOLANT_TOKEN", "token"),
        {"name": "VOLANT_STEP", "value": "{{inputs.parameters.step}}"},
        {"name": "VOLANT_KEY", "value": "argo-{{workflow.uid}}"},
    ]
    env += [
        {"name": each.variable, "value": f"{{{{workflow.parameters.{names[each.name]}}}}}"}
        for each in outline.parameters
    ]
    document: dict[str, Any] = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": _name(outline) + "-"},
        "spec": {
            "entrypoint": "steps",
            **_arguments(outline, names),
            "templates": [
                {
                    "name": "steps",
                    "dag": {
                        "tasks": [
                            {
                                "name": tasks[task.name],
                                "template": "step",
                                **_after([tasks[need] for need in task.needs]),
                                "arguments": {"parameters": [{"name": "step", "value": task.name}]},
                            }
                            for task in outline.tasks
                        ]
                    },
                },
                {
                    "name": "step",
                    "inputs": {"parameters": [{"name": "step"}]},
                    "script": {
                        "image": IMAGE,
                        "command": ["python3"],
                        "env": env,
                        "source": program_of(outline),
                    },
                },
            ],
        },
    }
    head = head_of(
        outline,
        "Argo Workflows",
        f"kubectl create secret generic {SECRET} --from-literal=url=URL --from-literal=token=TOKEN",
        "argo submit THIS-FILE -p NAME=VALUE; for a daily run, make a CronWorkflow of its spec.",
    )
    return yaml_text(document, head=head)


def _name(outline: Outline) -> str:
    return fitting([outline.name], r"[^a-z0-9-]", lower=True, longest=50)[outline.name]


def _arguments(outline: Outline, names: Any) -> dict[str, Any]:
    parameters = [
        {
            "name": names[each.name],
            "value": each.default,
            **({"description": each.description} if each.description else {}),
        }
        for each in outline.parameters
    ]
    return {"arguments": {"parameters": parameters}} if parameters else {}


def _after(needs: list[str]) -> dict[str, Any]:
    return {"dependencies": needs} if needs else {}
