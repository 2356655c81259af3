"""Runnables: steps that are described once and used in many workflows."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from volant.domain.codec import to_plain
from volant.domain.runnable import Port, Runnable
from volant.web.api.guard import Caller, needs
from volant.web.api.pages import Page, whole
from volant.web.api.routing import router
from volant.web.api.verbs import Platform


class RunnableFile(BaseModel):
    """A runnable as text."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(max_length=100_000, description="The YAML or JSON of its file.")
    file: str = Field(default="runnable.yaml", max_length=300, description="For messages.")


class RunnableView(BaseModel):
    id: str
    name: str
    description: str
    kind: str
    author: str
    container: dict[str, Any]
    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    labels: dict[str, str]
    generation: int
    created: datetime
    updated: datetime


def routes(platform: Platform) -> APIRouter:
    """Everything under `/runnables`."""
    api = router("runnables")
    runnables = platform.workbench.runnables

    @api.get("/runnables", dependencies=[needs("runnables.read")], summary="All runnables")
    def runnables_list(
        kind: Annotated[str | None, Query(max_length=100)] = None,
    ) -> Page[RunnableView]:
        return whole([_view(each) for each in runnables.list(kind=kind)])

    @api.post(
        "/runnables",
        dependencies=[needs("runnables.register", audit="runnable")],
        status_code=201,
        summary="Register a runnable",
    )
    def runnables_register(body: RunnableFile, caller: Caller) -> RunnableView:
        return _view(runnables.register(body.source, file=body.file, by=caller.name))

    @api.get("/runnables/{name}", dependencies=[needs("runnables.read")], summary="One runnable")
    def runnables_get(name: str) -> RunnableView:
        return _view(runnables.get(name))

    @api.put(
        "/runnables",
        dependencies=[needs("runnables.update", audit="runnable")],
        summary="Change a runnable",
    )
    def runnables_update(body: RunnableFile, caller: Caller) -> RunnableView:
        """The one whose id the file has. Runs under way go on with what they began with."""
        return _view(runnables.update(body.source, file=body.file, by=caller.name))

    @api.delete(
        "/runnables/{name}",
        dependencies=[needs("runnables.delete", audit="runnable/{name}")],
        status_code=204,
        summary="Delete a runnable",
    )
    def runnables_delete(name: str, caller: Caller) -> None:
        runnables.delete(name, by=caller.name)

    return api


def _view(runnable: Runnable) -> RunnableView:
    spec = runnable.spec
    return RunnableView(
        id=spec.id,
        name=spec.name,
        description=spec.description,
        kind=spec.kind,
        author=spec.author,
        container=to_plain(spec.container),
        inputs={port.name: _port(port) for port in spec.inputs},
        outputs={port.name: _port(port) for port in spec.outputs},
        labels=dict(spec.labels),
        generation=runnable.generation,
        created=runnable.created_at,
        updated=runnable.updated_at,
    )


def _port(port: Port) -> dict[str, Any]:
    return {key: value for key, value in to_plain(port).items() if key != "name"}
