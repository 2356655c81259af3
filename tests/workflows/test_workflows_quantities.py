"""Kubernetes quantities."""

import pytest

from volant.workflows.quantities import cores, memory, quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0),
        ("500m", 0.5),
        ("0.1", 0.1),
        (".5", 0.5),
        ("2.", 2.0),
        ("1e1", 10.0),
        ("0", None),
        ("-1", None),
        ("1K", None),
        ("many", None),
        ("", None),
        ("1e9", None),
    ],
)
def test_cores(text, value):
    assert cores(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2Gi", 2 * 2**30),
        ("512Mi", 512 * 2**20),
        ("4G", 4 * 10**9),
        ("1.5Gi", 3 * 2**29),
        ("2048Ki", 2**21),
        ("2000k", 2_000_000),
        ("128974848", 128974848),
        ("129e6", 129_000_000),
        ("128974848000m", 128974848),
        ("1GiB", 2**30),
        ("512MB", 512 * 10**6),
        ("100m", None),  # a tenth of a byte, which nobody means
        ("1Ki", None),
        ("1E", 10**18),
        ("2Ei", None),
        ("-1Gi", None),
        ("big", None),
    ],
)
def test_memory(text, value):
    assert memory(text) == value


@pytest.mark.parametrize(("text", "good"), [("1", True), ("0", True), ("x", False), ("-1", False)])
def test_quantity(text, good):
    assert quantity(text) is good
