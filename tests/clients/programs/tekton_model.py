"""The Task and the Pipeline in the file (the first argument) against the classes of Tekton's
Python SDK, which are made from its OpenAPI schema: every key must be one of theirs. The SDK
knows v1beta1; what is checked here is the same in v1."""

import re
import sys
from pathlib import Path

import yaml
from kubernetes import client as kubernetes
from tekton_pipeline import models

TEXTS = ("V1beta1ArrayOrString",)  # a text alone may stand for one


def known(value, kind, where):
    if kind.startswith("list["):
        assert isinstance(value, list), where
        for number, item in enumerate(value):
            known(item, kind[5:-1], f"{where}[{number}]")
    elif kind in TEXTS and isinstance(value, str):
        return
    elif model := getattr(models, kind, None) or getattr(kubernetes, kind, None):
        assert isinstance(value, dict), f"{where} is no {kind}"
        keys = {key: name for name, key in model.attribute_map.items()}
        assert set(value) <= set(keys), f"{where}: {sorted(set(value) - set(keys))} isn't known"
        for key, item in value.items():
            known(item, model.openapi_types[keys[key]], f"{where}.{key}")
    elif kind == "str":
        assert isinstance(value, str), f"{where} is no text"


task, pipeline = yaml.safe_load_all(Path(sys.argv[1]).read_text())
for document in (task, pipeline):
    assert document["apiVersion"] == "tekton.dev/v1"
    known(document["spec"], f"V1beta1{document['kind']}Spec", document["kind"])
tasks = [each["name"] for each in pipeline["spec"]["tasks"]]
assert len(set(tasks)) == len(tasks)
declared = {each["name"] for each in task["spec"]["params"]}
for name in (*tasks, task["metadata"]["name"], pipeline["metadata"]["name"]):
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name), name
for each in pipeline["spec"]["tasks"]:
    assert set(each.get("runAfter", ())) <= set(tasks)
    assert {param["name"] for param in each["params"]} == declared
print("fine")
