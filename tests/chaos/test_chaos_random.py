"""Random kills −9 while pushes are under way: every effect is there, once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter

import pytest
from effects import check, ended_run, seed_of, stubborn
from platform_process import loop_file, own, table, write_csv

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

KILLS = 8
AT_ONCE = 6  # kills until a run ends: a step that is lost time after time fails, rightly
ROWS = 40
BROKEN = [["tall", 0.5, 0.5, "yes"]]
LOOPS = {
    own("always"): "gate: {champion: false}\ndeploy: {replicas: {min: 1}}\n",
    own("duel"): "gate: {champion: {better_by: -0.5}}\n",
    own("strict"): "",
}
# How often each kind is drawn; a kind that doesn't run just then is drawn in vain. The
# control plane's death ends all others, and steps and forks are short.
WEIGHTS = {"control": 2, "step": 8, "zygote": 3, "replica": 2, "fork": 1}


class Killer(threading.Thread):
    """Kills a random process of the platform at random times. `unit_s` is how long this
    machine takes to start a platform, so that a slow one is not killed faster than it
    can work."""

    def __init__(self, platform, seed, unit_s):
        super().__init__(daemon=True)
        self.hits = Counter()
        self.since_a_run_ended = 0
        self.done = threading.Event()
        self.stop = threading.Event()
        self._platform = platform
        self._dice = random.Random(seed)
        self._unit_s = unit_s

    def run(self):
        while self.hits.total() < KILLS:
            if self.stop.wait(self._dice.uniform(0.0, 1.0) * self._unit_s):
                return
            self._kill_one()
        self.done.set()

    def _kill_one(self):
        (kind,) = self._dice.choices([*WEIGHTS], [*WEIGHTS.values()])
        found = [each for each in self._platform.family() if each.kind.startswith(kind)]
        if not found or self.since_a_run_ended >= AT_ONCE:
            return
        victim = self._dice.choice(found)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)
            self.hits[victim.kind] += 1
            self.since_a_run_ended += 1


def deliveries(platform, loop, killer, count):
    """One user's pushes, one after another, until the killing is over; yields while it
    waits."""
    while count[loop] < 2 or not killer.done.is_set():
        count[loop] += 1
        number = count[loop]
        rows = table(ROWS, seed=1000 * [*LOOPS].index(loop) + number)
        file = write_csv(platform.folder / f"{loop}-{number}.csv", [*rows, *BROKEN])
        push = stubborn(platform, lambda: platform.push(loop, file, f"{loop} {number}"))  # noqa: B023
        path = f"/pushes/{push['id']}"
        while push["status"] == "received":
            yield
            push = stubborn(platform, lambda: platform.get(path))  # noqa: B023
        assert push["status"] == "committed", push
        while ended_run(platform, loop, push["version"]) is None:
            yield
        killer.since_a_run_ended = 0


def test_killed_at_random_times_every_effect_is_there_once(platforms, capsys, record_property):
    seed = seed_of()
    record_property("seed", seed)
    began = time.monotonic()
    platform = platforms().start()
    unit_s = min(max(time.monotonic() - began, 2.0), 6.0)
    for name, more in LOOPS.items():
        platform.apply(loop_file(name, more=more))
    count = Counter()
    killer = Killer(platform, seed, unit_s)
    killer.start()
    try:
        users = [deliveries(platform, loop, killer, count) for loop in LOOPS]
        while users:
            for user in list(users):
                if next(user, users) is users:
                    users.remove(user)
            time.sleep(0.05)
    finally:
        killer.stop.set()
        killer.join()
        with capsys.disabled():
            hits = ", ".join(f"{kind} {times}" for kind, times in sorted(killer.hits.items()))
            took = time.monotonic() - began
            print(f"\nVOLANT_CHAOS_SEED={seed}: {killer.hits.total()} kills ({hits});")
            print(f"pushes: {dict(count)}; {took:.0f} s, a kill is tried every {unit_s / 2:.1f} s")
    assert killer.hits.total() == KILLS
    for loop in LOOPS:
        pushes = count[loop]
        check(platform, loop, pushes, rows=pushes * ROWS, broken=pushes * len(BROKEN))
    platform.down()
