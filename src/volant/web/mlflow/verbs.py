"""The verbs that MLflow's door calls."""

from __future__ import annotations

from typing import Protocol

from volant.ports.files import Files
from volant.registry.registered import RegisteredDesk
from volant.tracking.experiments import ExperimentDesk
from volant.tracking.logged import LoggedModelDesk
from volant.tracking.runs import TrackedRunDesk
from volant.web.api.verbs import Access


class Platform(Protocol):
    """What the door is given: `volant.app`'s platform, or a test's."""

    @property
    def experiments(self) -> ExperimentDesk: ...
    @property
    def tracked_runs(self) -> TrackedRunDesk: ...
    @property
    def logged_models(self) -> LoggedModelDesk: ...
    @property
    def registered(self) -> RegisteredDesk: ...
    @property
    def artifact_files(self) -> Files: ...
    @property
    def artifact_parts(self) -> Files:
        """Uploads in parts, while they last."""
        ...

    @property
    def registry_files(self) -> Files:
        """What the registry holds, to read."""
        ...

    @property
    def access(self) -> Access: ...
