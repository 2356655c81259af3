"""Two registrations of the same files at once."""

from __future__ import annotations

import threading
from typing import Any

from volant.registry.registration import RegistrationDesk


def test_one_at_a_time_for_each_key_and_none_is_remembered() -> None:
    nothing: Any = None
    desk = RegistrationDesk(
        models=nothing,
        uploads=nothing,
        staging=nothing,
        environments=nothing,
        run=nothing,
        clock=nothing,
        ids=nothing,
    )
    inside: list[int] = []
    most: list[int] = []

    def register() -> None:
        for _ in range(300):
            with desk._alone("model digest"):
                inside.append(1)
                threading.Event().wait(0.00001)  # let the others come
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=register) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert not desk._turns
