"""Applications: what workflows have put to work."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from volant.domain.application import Application
from volant.web.api.guard import Caller, allow_in, needs
from volant.web.api.pages import Page, whole
from volant.web.api.routing import router
from volant.web.api.verbs import Platform

_Filter = Annotated[str | None, Query(max_length=300)]


class NewApplication(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=300)
    type: str = Field(default="predictor", max_length=300)
    description: str = Field(default="", max_length=1000)
    url: str = Field(max_length=2000)
    workflow: str = Field(default="", max_length=300)
    project: str | None = Field(default=None, max_length=100)
    deployment: str | None = Field(
        default=None, max_length=100, description="Of this platform; it goes with the application."
    )


def routes(platform: Platform) -> APIRouter:
    """Everything under `/applications`."""
    api = router("applications")
    applications = platform.workbench.applications

    @api.get("/applications", dependencies=[needs("applications.read")], summary="All applications")
    def applications_list(
        type: _Filter = None, workflow: _Filter = None, project: _Filter = None
    ) -> Page[Application]:
        return whole(applications.list(type=type, workflow=workflow, project=project))

    @api.post(
        "/applications",
        dependencies=[needs("applications.record", audit="application")],
        status_code=201,
        summary="Record an application",
    )
    def applications_record(body: NewApplication, caller: Caller) -> Application:
        """What a workflow's predictor does by itself. The same name again replaces what is
        recorded under it."""
        if body.project is not None:
            allow_in(platform, caller, body.project, "applications.record")
        if body.deployment is not None:
            platform.deployments.get(body.deployment)
        return applications.record(**body.model_dump(), by=caller.name)

    @api.get(
        "/applications/{name}", dependencies=[needs("applications.read")], summary="One application"
    )
    def applications_get(name: str) -> Application:
        return applications.get(name)

    @api.delete(
        "/applications/{name}",
        dependencies=[needs("applications.delete", audit="application/{name}")],
        status_code=204,
        summary="Delete an application and its deployment",
    )
    def applications_delete(name: str, caller: Caller) -> None:
        project = applications.get(name).project
        if project is not None:
            allow_in(platform, caller, project, "applications.delete")
        applications.delete(name, by=caller.name)

    return api
