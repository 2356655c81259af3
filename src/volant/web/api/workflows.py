"""Registered workflows: create, update, plan, run; assign to codesets."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from volant.domain.catalog import Assignment, Wish, WorkflowVersion
from volant.domain.decision import Decision
from volant.domain.run import Run
from volant.errors import InvalidInput
from volant.web.api.guard import Caller, allow_in, needs
from volant.web.api.pages import Before, Limit, Page, page, whole
from volant.web.api.routing import router
from volant.web.api.verbs import Platform

_SUBJECT = "workflow/{name}"


class WorkflowSource(BaseModel):
    """A workflow as its manifest's text."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(max_length=1 << 19, description="The text of a workflow's manifest.")
    file: str = Field(default="workflow.yaml", max_length=500, description="Named in errors.")


class RunRequest(BaseModel):
    """What a run is started for; the newest of whatever isn't said."""

    model_config = ConfigDict(extra="forbid")

    project: str | None = None
    codeset: str | None = None
    commit: str | None = None
    inputs: dict[str, str] = Field(default_factory=dict, max_length=500)
    version: int | None = Field(default=None, ge=1)
    no_cache: bool = False
    strict: bool = False

    def wish(self, workflow: str, by: str) -> Wish:
        """As the desk takes it."""
        return Wish(
            workflow=workflow,
            codeset=codeset_of(self.project, self.codeset),
            commit=self.commit,
            inputs=self.inputs,
            version=self.version,
            no_cache=self.no_cache,
            strict=self.strict,
            by=by,
        )


class PlanRequest(RunRequest):
    """A workflow that is registered under `name`, or a manifest's text."""

    name: str | None = None
    source: str | None = Field(default=None, max_length=1 << 19)
    file: str = Field(default="workflow.yaml", max_length=500)


class Assigned(BaseModel):
    """`run` is the first run, on the codeset's head; null when it was assigned already, or
    nothing was pushed to the codeset yet."""

    assignment: Assignment
    run: Run | None


def routes(platform: Platform) -> APIRouter:
    """Everything under `/workflows` and `/assignments`."""
    api = router("workflows")
    _definitions(api, platform)
    _runs(api, platform)
    _assignments(api, platform)
    return api


def _definitions(api: APIRouter, platform: Platform) -> None:
    workflows = platform.workbench.workflows
    reads = [needs("workflows.read")]

    @api.get("/workflows", dependencies=reads, summary="All workflows")
    def workflows_list() -> Page[dict[str, Any]]:
        return whole([workflows.view(each.name) for each in workflows.list()])

    @api.post(
        "/workflows",
        dependencies=[needs("workflows.create", audit="workflow")],
        status_code=201,
        summary="Create a workflow",
    )
    def workflows_create(body: WorkflowSource, caller: Caller) -> dict[str, Any]:
        """Every fault of the manifest is told with its line. The same text again changes
        nothing; another text under the name is a conflict."""
        created = workflows.create(body.source, by=caller.name, file=body.file)
        return workflows.view(created.name)

    @api.get("/workflows/{name}", dependencies=reads, summary="One workflow")
    def workflows_get(
        name: str, version: Annotated[int | None, Query(ge=1)] = None
    ) -> dict[str, Any]:
        """What its manifest says, and its text as `source`."""
        return {
            **workflows.view(name, version),
            "source": workflows.version(name, version).source,
        }

    @api.put(
        "/workflows/{name}",
        dependencies=[needs("workflows.create", audit=_SUBJECT)],
        summary="Store a workflow's next version",
    )
    def workflows_update(name: str, body: WorkflowSource, caller: Caller) -> dict[str, Any]:
        """Its assignments stay; runs under way go on as they began. The same text again
        changes nothing."""
        workflows.update(body.source, by=caller.name, file=body.file, name=name)
        return workflows.view(name)

    @api.get("/workflows/{name}/versions", dependencies=reads, summary="A workflow's versions")
    def workflows_versions(name: str) -> Page[WorkflowVersion]:
        return whole(workflows.versions(name))

    @api.delete(
        "/workflows/{name}",
        dependencies=[needs("workflows.delete", audit=_SUBJECT)],
        summary="Delete a workflow and its assignments",
    )
    def workflows_delete(name: str, caller: Caller) -> Page[Assignment]:
        """Its versions go too; its runs stay. Answers with the assignments it had."""
        return whole(workflows.delete(name, by=caller.name))

    @api.get(
        "/workflows/{name}/decisions",
        dependencies=[needs("decisions.read")],
        summary="Why runs of a workflow weren't started, or gave way",
    )
    def workflows_decisions(name: str, limit: Limit = 50, before: Before = None) -> Page[Decision]:
        workflows.get(name)
        return page(platform.decisions.page(limit, before, subject=f"workflow/{name}"))


def _runs(api: APIRouter, platform: Platform) -> None:
    workflows = platform.workbench.workflows

    @api.post(
        "/workflows/plan",
        dependencies=[needs("workflows.read")],
        summary="What a run would do",
    )
    def workflows_plan(body: PlanRequest, caller: Caller) -> dict[str, Any]:
        """Nothing is started. Steps in order with what each needs, its image, its inputs,
        and what it cost before."""
        wish = body.wish(body.name or "", caller.name)
        return dict(workflows.plan(wish, source=body.source, file=body.file))

    @api.post(
        "/workflows/{name}/runs",
        dependencies=[needs("workflows.run", audit=_SUBJECT)],
        status_code=202,
        summary="Run a workflow now",
    )
    def workflows_run(name: str, caller: Caller, body: RunRequest | None = None) -> Run:
        wanted = body or RunRequest()
        if wanted.project is not None:
            allow_in(platform, caller, wanted.project, "workflows.run")
        return workflows.run(wanted.wish(name, caller.name))


def _assignments(api: APIRouter, platform: Platform) -> None:
    assignments = platform.workbench.assignments
    subject = "workflow/{name}/{project}/{codeset}"

    @api.get(
        "/assignments",
        dependencies=[needs("workflows.read")],
        summary="Which workflows are assigned to which codesets",
    )
    def assignments_list(
        workflow: str | None = None, project: str | None = None, codeset: str | None = None
    ) -> Page[Assignment]:
        return whole(assignments.list(workflow, project, codeset))

    @api.put(
        "/workflows/{name}/assignments/{project}/{codeset}",
        dependencies=[needs("workflows.assign", audit=subject)],
        summary="Run a workflow on every push to a codeset",
    )
    def workflows_assign(name: str, project: str, codeset: str, caller: Caller) -> Assigned:
        """It is run at once on the codeset's head. Assigning again changes nothing."""
        assignment, run = assignments.assign(name, project, codeset, by=caller.name)
        return Assigned(assignment=assignment, run=run)

    @api.delete(
        "/workflows/{name}/assignments/{project}/{codeset}",
        dependencies=[needs("workflows.assign", audit=subject)],
        status_code=204,
        summary="Stop running a workflow on pushes",
    )
    def workflows_unassign(name: str, project: str, codeset: str, caller: Caller) -> None:
        """Runs under way go on."""
        assignments.unassign(name, project, codeset, by=caller.name)


def codeset_of(project: str | None, codeset: str | None) -> tuple[str, str] | None:
    """Both, or nothing. Raises `InvalidInput` for one without the other."""
    if project is None and codeset is None:
        return None
    if project is None or codeset is None:
        raise InvalidInput(
            "A codeset is named by its project and its own name.", "Give both, or neither."
        )
    return project, codeset
