"""Replicas that have asked to load or unload their deployment's model, until they are
answered. In the fleet's thread."""

from __future__ import annotations

from volant.errors import Unavailable
from volant.serving.pool import Pool
from volant.serving.replica_handle import ReplicaHandle


class Askers:
    """Of one deployment."""

    def __init__(self) -> None:
        self._waiting: list[tuple[ReplicaHandle, int, bool]] = []

    def add(self, handle: ReplicaHandle, number: int, *, loaded: bool) -> None:
        """What `handle` asked for, by that number, is in the records."""
        self._waiting.append((handle, number, loaded))

    def answer(self, live: Pool | None) -> None:
        """Those whose model is unloaded, is there, or can't be: the replicas are told
        what to do by now."""
        waiting, self._waiting = self._waiting, []
        for handle, number, loaded in waiting:
            if loaded and _is_loading(live):
                self.add(handle, number, loaded=True)
            else:
                handle.answer(number, _why_not(live) if loaded else None)

    def close(self) -> None:
        """The deployment goes."""
        waiting, self._waiting = self._waiting, []
        for handle, number, _ in waiting:
            handle.answer(number, Unavailable("The deployment ends.", ""))


def _is_loading(live: Pool | None) -> bool:
    if live is None or not live.version.loaded or live.serving:
        return False
    return live.problem is None


def _why_not(live: Pool | None) -> Unavailable | None:
    if live is None or not live.version.loaded:
        return Unavailable("The model was unloaded meanwhile.", "Load it again.")
    if live.serving:
        return None
    return Unavailable(f"The model can't be loaded. {live.problem}", "")
