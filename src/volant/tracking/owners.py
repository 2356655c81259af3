"""The verb on whose what is: the project of an experiment, a run, a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from volant.domain.tracking import Noun
from volant.ports.tracked import OwnerRecords

_MOST = 20_000  # remembered at once; a client logs to one run by the thousand


class OwnerDesk:
    """Asks the store once for what never changes: an experiment stays in its project, a run
    and a logged model in their experiment, and no id is given again. A registered model's
    name is, so it is asked for each time."""

    def __init__(self, owners: OwnerRecords) -> None:
        self._owners = owners
        self._known: dict[tuple[Noun, str], str] = {}

    def projects(self, noun: Noun, ids: Sequence[str]) -> Mapping[str, str]:
        """The project of each; what isn't there is left out."""
        found = {one: self._known[noun, one] for one in ids if (noun, one) in self._known}
        unknown = [one for one in ids if one not in found]
        if not unknown:
            return found
        told = self._owners.projects(noun, unknown)
        if noun is not Noun.MODEL:
            if len(self._known) + len(told) > _MOST:
                self._known = {}
            self._known.update(((noun, one), project) for one, project in told.items())
        return {**found, **told}
