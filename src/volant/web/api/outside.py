"""Workflows in other schedulers: their files, and the steps that these ask for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from volant.domain.run import Run
from volant.web.api.guard import Caller, needs
from volant.web.api.routing import router
from volant.web.api.verbs import Platform
from volant.web.api.workflows import RunRequest


class StepRequest(RunRequest):
    """What a step is done for. All steps of one turn give the same `key` and the same of
    everything else."""

    key: str = Field(min_length=1, max_length=300, description="What the outside calls its run.")


class Exported(BaseModel):
    """`text` is the file's; `sha256` is of the manifest that it was made from."""

    workflow: str
    version: int
    to: str
    file: str
    text: str
    sha256: str


def routes(platform: Platform) -> APIRouter:
    """Under `/workflows/{name}`."""
    api = router("workflows")
    outside = platform.workbench.outside

    @api.get(
        "/workflows/{name}/export",
        dependencies=[needs("workflows.read")],
        summary="A workflow as a file of another scheduler",
    )
    def workflows_export(
        name: str,
        to: Annotated[str, Query(max_length=100)],
        version: Annotated[int | None, Query(ge=1)] = None,
    ) -> Exported:
        """`to` is airflow, argo, tekton, github-actions or jenkins. The file has this server
        do each step."""
        return Exported.model_validate(outside.export(name, to, version))

    @api.post(
        "/workflows/{name}/steps/{step}/runs",
        dependencies=[needs("workflows.run", audit="workflow/{name}")],
        status_code=202,
        summary="Do one step of a workflow, for an outside scheduler",
    )
    def workflows_step(name: str, step: str, body: StepRequest, caller: Caller) -> Run:
        """The steps before it are done already, under the same key: it gets their outputs.
        The same step once more is the same run while that goes on or once it has succeeded,
        and a new one after it failed."""
        return outside.start(body.wish(name, caller.name), step, body.key)

    return api
