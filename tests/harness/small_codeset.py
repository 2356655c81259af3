"""A codeset in FuseML's shape that needs no package: its train.py learns a decision stump
with the standard library, writes it in LightGBM's text form, and logs it over HTTP."""

from __future__ import annotations

from pathlib import Path

MLPROJECT = """
name: stump
conda_env: conda.yaml
entry_points:
  main:
    parameters:
      limit: {type: float, default: 3.0}
      note: {type: string, default: none}
    command: "python train.py {limit} {note}"
  broken:
    command: "python -c 'raise SystemExit(3)'"
  silent:
    command: "true"
"""
CONDA = "dependencies: [python=3.6, pip, {pip: []}]\n"
TRAIN = r'''
import json, os, sys, urllib.request

BASE, RUN = os.environ["MLFLOW_TRACKING_URI"], os.environ["MLFLOW_RUN_ID"]
HEADERS = {"Authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]}


def ask(method, path, body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(BASE + path, data, HEADERS, method=method)
    return urllib.request.urlopen(request, timeout=30).read()


limit = float(sys.argv[1])
rows = [(i / 10, 1.0 if i / 10 > limit else -1.0) for i in range(60)]
below = [y for x, y in rows if x <= limit]
above = [y for x, y in rows if x > limit]
left, right = sum(below) / len(below), sum(above) / len(above)
model = f"""tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=regression
feature_names=size weight
feature_infos=[0:6] [0:6]
tree_sizes=300

Tree=0
num_leaves=2
num_cat=0
split_feature=0
split_gain=1
threshold={limit}
decision_type=2
left_child=-1
right_child=-2
leaf_value={left} {right}
leaf_weight={len(below)} {len(above)}
leaf_count={len(below)} {len(above)}
internal_value=0
internal_weight=0
internal_count=60
is_linear=0
shrinkage=1


end of trees
"""
head, tree = model.split("\nTree=0", 1)
tree = "Tree=0" + tree.split("\nend of trees")[0] + "\n"
head = head.replace("tree_sizes=300", f"tree_sizes={len(tree)}")
end = "end of trees\n\nfeature_importances:\nsize=1\n\nparameters:\nend of parameters\n"
model = head + "\n" + tree + "\n" + end
about = "flavors:\n  lightgbm: {data: model.lgb, lgb_version: 4.6.0}\n"
place = f"{os.environ['MLFLOW_EXPERIMENT_ID']}/{RUN}/artifacts/model/"
where = "/api/2.0/mlflow-artifacts/artifacts/" + place
ask("PUT", where + "model.lgb", model.encode())
ask("PUT", where + "MLmodel", about.encode())
gap = {"run_id": RUN, "key": "gap", "value": right - left, "timestamp": 1, "step": 0}
ask("POST", "/api/2.0/mlflow/runs/log-metric", gap)
print("trained with the token", os.environ["MLFLOW_TRACKING_TOKEN"])
'''


def small_codeset(folder: Path) -> Path:
    """Its files, written into the new `folder`."""
    folder.mkdir(parents=True)
    (folder / "MLproject").write_text(MLPROJECT)
    (folder / "conda.yaml").write_text(CONDA)
    (folder / "train.py").write_text(TRAIN)
    (folder / "functions.py").write_text(FUNCTIONS)
    return folder


FUNCTIONS = """
import os, sys
from pathlib import Path


def twice(number, code_set=None):
    return {"text": number * 2, "code": code_set, "here": str(Path.cwd()), "python": sys.prefix}


def nothing():
    return None


def wrong():
    return [1]
"""
