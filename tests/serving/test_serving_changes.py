"""What may be changed by hand: as much as a loop file may say, and no more."""

from __future__ import annotations

import pytest

from volant.domain.deployment import Settings
from volant.domain.loop import LogSpec, ReplicaSpec
from volant.errors import InvalidInput
from volant.loops.parse import parse
from volant.serving.changes import changed_replicas, changed_settings, in_words

LOOP = "kind: Loop\nname: m\ndata: {dataset: m, target: y}\ndeploy: {%s}\n"
REPLICAS = [
    ("idle", "1s", {"idle_s": 1.0}),
    ("idle", "999ms", {"idle_s": 0.999}),
    ("idle", "0s", {"idle_s": 0.0}),
    ("idle", "30d", {"idle_s": 30 * 86400.0}),
    ("idle", "31d", {"idle_s": 31 * 86400.0}),
    ("memory", "64MiB", {"memory_bytes": 2**26}),
    ("memory", "1MB", {"memory_bytes": 10**6}),
    ("memory", "64TiB", {"memory_bytes": 2**46}),
    ("memory", "65TiB", {"memory_bytes": 65 * 2**40}),
    ("cpu", "0.01", {"cpu": 0.01}),
    ("cpu", "0.001", {"cpu": 0.001}),
    ("cpu", "1024", {"cpu": 1024.0}),
    ("cpu", "1025", {"cpu": 1025.0}),
    ("cpu", ".inf", {"cpu": float("inf")}),
    ("cpu", ".nan", {"cpu": float("nan")}),
    ("target", "10000", {"target": 10_000}),
    ("target", "10001", {"target": 10_001}),
    ("spares", "16", {"spares": 16}),
    ("spares", "17", {"spares": 17}),
    ("max", "64", {"max": 64}),
    ("max", "65", {"max": 65}),
]
LOGS = [
    ("sample", "1", {"sample": 1.0}),
    ("sample", "0", {"sample": 0.0}),
    ("sample", "1.1", {"sample": 1.1}),
    ("max", "1MiB", {"max_bytes": 2**20}),
    ("max", "1MB", {"max_bytes": 10**6}),
]


def in_a_file(section: str):
    """The spec of a loop file with that under `deploy`; None when it is refused."""
    try:
        return parse(LOOP % section)
    except InvalidInput:
        return None


@pytest.mark.parametrize(("key", "text", "changes"), REPLICAS)
def test_changes_have_the_bounds_of_the_loop_file(key, text, changes):
    loop = in_a_file(f"replicas: {{{key}: {text}}}")
    if loop is not None:
        assert changed_replicas(ReplicaSpec(), changes) == loop.replicas
    else:
        with pytest.raises(InvalidInput):
            changed_replicas(ReplicaSpec(), changes)


@pytest.mark.parametrize(("key", "text", "changes"), LOGS)
def test_changes_of_the_log_have_the_bounds_of_the_loop_file(key, text, changes):
    loop = in_a_file(f"log: {{{key}: {text}}}")
    if loop is not None:
        assert changed_settings(Settings(), {"log": changes}).log == loop.log
    else:
        with pytest.raises(InvalidInput):
            changed_settings(Settings(), {"log": changes})


def test_changes_take_limits_off_and_leave_the_rest():
    limited = ReplicaSpec(max=3, memory_bytes=2**30, cpu=0.5)
    free = changed_replicas(limited, {"memory_bytes": None, "cpu": None})
    assert free == ReplicaSpec(max=3)
    assert changed_settings(Settings(keep=2, log=None), {"log": {}}) == Settings(keep=2)
    log = LogSpec(0.1, 2**30)
    more = changed_settings(Settings(log=log), {"log": {"max_bytes": 2**31}})
    assert more.log == LogSpec(0.1, 2**31)


@pytest.mark.parametrize("changes", [{}, {"zebra": 1}])
def test_changes_need_a_known_name(changes):
    with pytest.raises(InvalidInput, match="Nothing to change"):
        changed_replicas(ReplicaSpec(), changes)
    with pytest.raises(InvalidInput, match="Nothing to change"):
        changed_settings(Settings(), changes)


def test_changes_in_words():
    changes = {"min": 1, "memory_bytes": None, "log": {"sample": 0.1, "max_bytes": 5}}
    assert in_words(changes) == "min 1, memory_bytes none, log sample 0.1, log max_bytes 5"
    assert in_words({"log": {}, "keep": 2}) == "log on, keep 2"
