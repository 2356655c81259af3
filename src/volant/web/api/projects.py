"""Projects: what is in them, and who may do what there."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from volant.domain.principal import Role
from volant.domain.project import Project
from volant.web.api.access import RoleName
from volant.web.api.guard import Caller, needs
from volant.web.api.pages import Page, whole
from volant.web.api.routing import router
from volant.web.api.verbs import Platform


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewProject(_Body):
    name: str = Field(max_length=200)
    description: str = Field(default="", max_length=1000)


class Described(_Body):
    description: str = Field(max_length=1000)


class Rights(_Body):
    role: RoleName


class MemberView(BaseModel):
    """What a principal may do in the project at most."""

    principal: str
    role: RoleName


class ProjectView(BaseModel):
    name: str
    description: str
    created_at: datetime
    members: list[MemberView]


class WholeProject(ProjectView):
    """A project with what is in it, as `codeset NAME` and `application NAME`."""

    holds: list[str]


def routes(platform: Platform) -> APIRouter:
    """Everything under `/projects`."""
    api = router("projects")
    projects = platform.workbench.projects

    @api.get("/projects", dependencies=[needs("projects.read")], summary="All projects")
    def projects_list() -> Page[ProjectView]:
        return whole([_view(each) for each in projects.list()])

    @api.post(
        "/projects",
        dependencies=[needs("projects.create", audit="project")],
        status_code=201,
        summary="Make a project",
    )
    def projects_create(body: NewProject, caller: Caller) -> ProjectView:
        return _view(projects.create(body.name, body.description, by=caller.name))

    @api.get("/projects/{project}", dependencies=[needs("projects.read")], summary="One project")
    def projects_get(project: str) -> WholeProject:
        found = _view(projects.get(project))
        return WholeProject(**found.model_dump(), holds=list(projects.holds(project)))

    @api.patch(
        "/projects/{project}",
        dependencies=[needs("projects.change", audit="project/{project}")],
        summary="Describe a project",
    )
    def projects_describe(project: str, body: Described, caller: Caller) -> ProjectView:
        return _view(projects.describe(project, body.description, by=caller.name))

    @api.put(
        "/projects/{project}/members/{principal}",
        dependencies=[needs("projects.change", audit="project/{project}/{principal}")],
        summary="Add a member, or change its role",
    )
    def projects_set_member(
        project: str, principal: str, body: Rights, caller: Caller
    ) -> ProjectView:
        """The role takes rights away in this project from a token that has more; it gives
        none."""
        role = Role[body.role.upper()]
        return _view(projects.set_member(project, principal, role, by=caller.name))

    @api.delete(
        "/projects/{project}/members/{principal}",
        dependencies=[needs("projects.change", audit="project/{project}/{principal}")],
        status_code=204,
        summary="Remove a member",
    )
    def projects_remove_member(project: str, principal: str, caller: Caller) -> None:
        projects.remove_member(project, principal, by=caller.name)

    @api.delete(
        "/projects/{project}",
        dependencies=[needs("projects.delete", audit="project/{project}")],
        status_code=204,
        summary="Delete an empty project",
    )
    def projects_delete(project: str, caller: Caller) -> None:
        projects.delete(project, by=caller.name)

    return api


def _view(project: Project) -> ProjectView:
    return ProjectView(
        name=project.name,
        description=project.description,
        created_at=project.created_at,
        members=[
            MemberView.model_validate({"principal": m.principal, "role": m.role.name.lower()})
            for m in project.members
        ],
    )
