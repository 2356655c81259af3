"""The verbs on applications: what workflows have put to work."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from functools import partial

from volant.domain.application import Application
from volant.domain.event import APPLICATION_DELETED, APPLICATION_RECORDED
from volant.errors import InvalidInput, NotFound
from volant.faults import crash_point
from volant.ports.clock import Clock, Ids
from volant.ports.projects import ApplicationRecords
from volant.projects.events import event_of

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")

Undeploy = Callable[[str, str | None], None]


class ApplicationDesk:
    """The verbs on applications.

    Args:
        records: Where they are stored.
        clock: For the times of creation and change.
        ids: For events' identity.
        undeploy: (deployment, by whom) → it is gone; raises `NotFound` when it was.
    """

    def __init__(
        self, records: ApplicationRecords, clock: Clock, ids: Ids, *, undeploy: Undeploy
    ) -> None:
        self._records = records
        self._clock = clock
        self._event = partial(event_of, clock, ids, "application")
        self._undeploy = undeploy

    def record(
        self,
        name: str,
        *,
        type: str = "predictor",
        description: str = "",
        url: str = "",
        workflow: str = "",
        project: str | None = None,
        deployment: str | None = None,
        by: str | None = None,
    ) -> Application:
        """Store it, or what is new about it; a project that isn't there is made. The same
        again changes nothing, so that a step may repeat it."""
        for what, given in (("name", name), ("type", type)):
            if _NAME.fullmatch(given) is None:
                raise InvalidInput(
                    f"{given[:80]!r} can't be an application's {what}.",
                    "Use letters, digits and . _ -, a letter or digit first and last.",
                    code="bad_name",
                )
        if not url.startswith(("http://", "https://")):
            raise InvalidInput(
                f"{url[:200]!r} is not the address of an application.",
                "Give a URL that begins with http:// or https://.",
                code="bad_url",
            )
        now = self._clock.now()
        application = Application(
            name,
            type,
            url,
            created_at=now,
            updated_at=now,
            description=description,
            workflow=workflow,
            project=project,
            deployment=deployment,
        )
        data = {"type": type, "url": url, "workflow": workflow, "project": project}
        return self._records.put(
            application, self._event(APPLICATION_RECORDED, name, by=by, **data)
        )

    def get(self, name: str) -> Application:
        """Raises `NotFound` with the nearest name."""
        return self._records.get(name)

    def list(
        self, *, type: str | None = None, workflow: str | None = None, project: str | None = None
    ) -> Sequence[Application]:
        """Those of a type, of a workflow, of a project; by name."""
        return self._records.list(type=type, workflow=workflow, project=project)

    def delete(self, name: str, *, by: str | None = None) -> Application:
        """Its deployment ends first, unless another application has it too, so that dying
        in between leaves something to delete again. Raises `NotFound`."""
        application = self._records.get(name)
        deployment = application.deployment
        if deployment is not None and not self._shared(application):
            with contextlib.suppress(NotFound):
                self._undeploy(deployment, by)
        crash_point("application.undeployed")
        self._records.delete(
            name, self._event(APPLICATION_DELETED, name, by=by, deployment=deployment)
        )
        return application

    def _shared(self, application: Application) -> bool:
        return any(
            other.deployment == application.deployment and other.name != application.name
            for other in self._records.list()
        )
