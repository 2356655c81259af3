"""When a pool's replicas don't last."""

from __future__ import annotations

from pathlib import Path

from volant.serving.pool import HOPELESS, Pool
from volant.serving.replica_handle import ServedVersion
from volant.serving.trouble import Trouble, trouble

VERSION = ServedVersion("m", 1, "m", 1, Path("/nowhere"), {})


def pool(failures, *, wanted=0):
    made = Pool(VERSION, launch=lambda version: None, down_s=1.0)
    for _ in range(failures):
        made.failed("It crashed.", 100.0)
    made.wanted = wanted
    return made


def test_trouble_lasts_until_a_replica_does():
    assert trouble(pool(0, wanted=1), 100.0) is None
    assert trouble(pool(1, wanted=1), 1000.0) == Trouble(1, "It crashed.", hopeless=False)
    assert trouble(pool(HOPELESS, wanted=1), 1000.0).hopeless
    again = pool(HOPELESS, wanted=1)
    again.forgive()
    assert trouble(again, 100.0) is None


def test_trouble_of_a_pool_at_rest_is_forgotten_unless_it_is_hopeless():
    assert trouble(pool(2), 100.0) is not None  # the next one may not start yet
    assert trouble(pool(2), 1000.0) is None
    assert trouble(pool(HOPELESS), 1000.0).hopeless
