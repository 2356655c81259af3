"""Images that mean a built-in step."""

import pytest

from volant.workflows.images import built_in, why_not

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("image", "uses", "flavor"),
    [
        ("mlflow-builder", "builder", None),
        ("registry.example/fuseml/mlflow-builder:v0.3.0", "builder", None),
        (f"registry.example/fuseml/mlflow-builder@{DIGEST}", "builder", None),
        ("localhost:5000/mlflow-builder", "builder", None),
        ("127.0.0.1:30500/a/b/kserve-predictor:dev", "predictor", "kserve"),
        (f"r.example.com/kfserving-predictor:0.1@{DIGEST}", "predictor", "kfserving"),
        ("registry.example/fuseml/seldon-core-predictor:latest", "predictor", "seldon"),
        ("registry.example/fuseml/seldon-triton-predictor", "predictor", "seldon-triton"),
        ("registry.example/fuseml/seldon-triton", "predictor", "seldon-triton"),
        ("registry.example/fuseml/ovms-predictor:x", "predictor", "ovms"),
        ("registry.example/fuseml/ovms-converter:x", "converter", "ovms"),
    ],
)
def test_built_in(image, uses, flavor):
    found = built_in(image)
    assert found is not None
    assert found.uses == uses
    assert found.inputs.get("flavor") == flavor
    assert why_not(image) is None


@pytest.mark.parametrize(
    "image", ["python:3.11", "my-mlflow-builder:1", "mlflow-builder/x:1", f"env://{'0' * 16}"]
)
def test_others(image):
    assert built_in(image) is None
    assert why_not(image) is None


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("", "no name of an image"),
        ("Python", "no name of an image"),
        ("a b", "no name of an image"),
        ("a/", "no name of an image"),
        ("a" * 600, "no name of an image"),
        ("registry.example/fuseml/mlflow-bilder:v1", "'mlflow-builder'"),
    ],
)
def test_refused(image, said):
    found = why_not(image)
    assert found is not None
    assert said in " ".join(found)
