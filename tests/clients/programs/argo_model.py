"""The Workflow in the file (the first argument) against Argo's own schema, as the Hera SDK
has it: every key must be one of it, and every value of its type."""

import sys
from pathlib import Path

import yaml
from hera.workflows import models

document = yaml.safe_load(Path(sys.argv[1]).read_text())
read = models.Workflow.model_validate(document)
again = read.model_dump(by_alias=True, exclude_none=True, mode="json")


def same(given, kept, where):
    if isinstance(given, dict):
        assert set(given) <= set(kept), f"{where}: {sorted(set(given) - set(kept))} isn't known"
        for key, value in given.items():
            same(value, kept[key], f"{where}.{key}")
    elif isinstance(given, list):
        assert len(given) == len(kept), where
        for number, (one, other) in enumerate(zip(given, kept, strict=True)):
            same(one, other, f"{where}[{number}]")
    else:
        assert given == kept, f"{where}: {given!r} became {kept!r}"


same(document, again, "")
templates = {each.name for each in read.spec.templates}
assert read.spec.entrypoint in templates
(dag,) = (each.dag for each in read.spec.templates if each.dag)
tasks = {task.name for task in dag.tasks}
assert {task.template for task in dag.tasks} <= templates
assert {need for task in dag.tasks for need in task.dependencies or ()} <= tasks
print("fine")
