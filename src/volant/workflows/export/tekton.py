"""A Task and a Pipeline for Tekton."""

from __future__ import annotations

from typing import Any

from volant.workflows.export.argo import IMAGE, SECRET, secret_env
from volant.workflows.export.outline import Outline, fitting
from volant.workflows.export.program import head_of, program_of, yaml_text

FILE = "{name}.tekton.yaml"
_LONGEST = 55  # characters of a name, with room for what Tekton adds


def tekton(outline: Outline) -> str:
    """The PipelineRun's uid is the key under which Volant knows its steps."""
    plain: dict[str, Any] = {"bad": r"[^a-z0-9-]", "lower": True, "longest": _LONGEST}
    name = fitting([outline.name], **plain)[outline.name]
    params = fitting((each.name for each in outline.parameters), r"[^A-Za-z0-9_-]")
    tasks = fitting((each.name for each in outline.tasks), **plain)
    step = f"{name}-step"
    env: list[dict[str, Any]] = [
        secret_env("VOLANT_SERVER_URL", "url"),
        secret_env("VOLANT_TOKEN", "token"),
        {"name": "VOLANT_STEP", "value": "$(params.volant-step)"},
        {"name": "VOLANT_KEY", "value": "tekton-$(params.volant-key)"},
    ]
    env += [
        {"name": each.variable, "value": f"$(params.{params[each.name]})"}
        for each in outline.parameters
    ]
    own = [{"name": "volant-step", "type": "string"}, {"name": "volant-key", "type": "string"}]
    passed = [
        {"name": params[each.name], "value": f"$(params.{params[each.name]})"}
        for each in outline.parameters
    ]
    task = {
        "apiVersion": "tekton.dev/v1",
        "kind": "Task",
        "metadata": {"name": step},
        "spec": {
            "params": own
            + [{"name": params[each.name], "type": "string"} for each in outline.parameters],
            "steps": [
                {
                    "name": "volant",
                    "image": IMAGE,
                    "env": env,
                    "script": "#!/usr/bin/env python3\n" + program_of(outline),
                }
            ],
        },
    }
    pipeline = {
        "apiVersion": "tekton.dev/v1",
        "kind": "Pipeline",
        "metadata": {"name": name},
        "spec": {
            **({"description": outline.description} if outline.description else {}),
            **_params(outline, params),
            "tasks": [
                {
                    "name": tasks[each.name],
                    "taskRef": {"name": step},
                    **({"runAfter": [tasks[need] for need in each.needs]} if each.needs else {}),
                    "params": [
                        {"name": "volant-step", "value": each.name},
                        {"name": "volant-key", "value": "$(context.pipelineRun.uid)"},
                        *passed,
                    ],
                }
                for each in outline.tasks
            ],
        },
    }
    head = head_of(
        outline,
        "Tekton",
        f"kubectl create secret generic {SECRET} --from-literal=url=URL --from-literal=token=TOKEN",
        f"kubectl apply -f THIS-FILE; tkn pipeline start {name} -p NAME=VALUE",
    )
    return yaml_text(task, pipeline, head=head)


def _params(outline: Outline, names: Any) -> dict[str, Any]:
    found = [
        {
            "name": names[each.name],
            "type": "string",
            **({"description": each.description} if each.description else {}),
            **({} if each.required else {"default": each.default}),
        }
        for each in outline.parameters
    ]
    return {"params": found} if found else {}
