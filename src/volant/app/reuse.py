"""Which outputs a step may take over: the key, what is stored under it, whether it holds."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from volant import __version__
from volant.app.home import Home
from volant.domain.run import StepRequest
from volant.domain.step_key import TreeHash, step_key
from volant.errors import VolantError
from volant.ports.clock import Clock
from volant.ports.step_cache import CachedStep, StepCache

UNUSED = timedelta(days=30)
KEPT = 10_000
PRUNE_EVERY = 500  # stored outputs

Holds = Callable[[StepRequest, Mapping[str, Any]], bool]

log = logging.getLogger(__name__)


class StepReuse:
    """`Reuse` over the stored outputs. A step is never worse off for it: whatever goes
    wrong here is logged, and the step is done.

    Args:
        cache: The stored outputs.
        home: Outputs that name files below it hold while these are there.
        clock: For the times of uses.
        tree_hash: What a codeset's version holds.
        holds: Whether the step's executor still stands by such outputs.
    """

    def __init__(
        self, cache: StepCache, home: Home, clock: Clock, *, tree_hash: TreeHash, holds: Holds
    ) -> None:
        self._cache = cache
        self._home = home
        self._clock = clock
        self._tree_hash = tree_hash
        self._holds = holds
        self._stored = itertools.count()

    def key(self, request: StepRequest) -> str | None:
        """The step's key; None when a codeset of it is gone."""
        # What a built-in step does changes with Volant; other steps' code is given to them.
        salt = __version__ if request.step.uses else ""
        try:
            return step_key(request, salt, self._tree_hash)
        except VolantError:
            return None  # the step itself will say so
        except Exception:  # a defect must not keep a step from being done
            log.exception("no key could be made for step %s", request.step.name)
            return None

    def find(self, key: str, request: StepRequest) -> CachedStep | None:
        """Outputs under the key that hold; those that don't are forgotten."""
        try:
            found = self._cache.get(key, self._clock.now())
            if found is None:
                return None
            if self._there(found.outputs) and self._holds(request, found.outputs):
                return found
            self._cache.drop(key, found.run_id)
        except Exception:
            log.exception("the cache of steps couldn't be read for %s", request.step.name)
        return None

    def keep(
        self, key: str, request: StepRequest, outputs: Mapping[str, Any], *, anew: bool
    ) -> None:
        """Store outputs; the first under a key stay, unless they were made anew on purpose."""
        now = self._clock.now()
        try:
            if anew:
                self._cache.drop(key)
            self._cache.put(CachedStep(key, outputs, request.run_id, request.step.name, now, now))
            if next(self._stored) % PRUNE_EVERY == 0:
                self._cache.prune(now - UNUSED, KEPT)
        except Exception:
            log.exception("the outputs of step %s couldn't be kept", request.step.name)

    def _there(self, outputs: Mapping[str, Any]) -> bool:
        """Whether every file of ours that the outputs name is there. Work folders go with
        their runs, environments when they weren't used for long."""
        runs = str(self._home.runs)
        for text in _texts(outputs):
            if text.startswith("env://"):
                if not (self._home.environments / text.removeprefix("env://")).exists():
                    return False
            elif text.startswith(runs) and not Path(text).exists():
                return False
        return True


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in cast("Mapping[str, Any]", value).values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in cast("Sequence[Any]", value):
            yield from _texts(item)
