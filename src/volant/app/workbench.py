"""What workflows are made of, bound: projects, codesets, extensions, and themselves."""

from __future__ import annotations

from volant.app.home import Home
from volant.ports.clock import Clock, Ids
from volant.store import Store


class Workbench:
    """The rooms of workflows. What needs the runs, which need an executor first, is made
    in `bind`.

    Its attributes are the rooms' verbs, as `Platform`'s are.
    """

    def __init__(self, store: Store, home: Home, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._home = home
        self._clock = clock
        self._ids = ids
