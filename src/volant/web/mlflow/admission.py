"""Who comes in, by the two ways in which MLflow's clients send a token, and into which
workspace: that is a project, and what its members may do there at most holds here too.
"""

from __future__ import annotations

from starlette.requests import Request

from volant.access.permissions import Permission
from volant.domain.principal import Principal
from volant.domain.project import DEFAULT_PROJECT
from volant.errors import NotFound, PermissionDenied, Unauthenticated
from volant.web.api.credentials import token_of
from volant.web.mlflow.verbs import Platform

WORKSPACE = "x-mlflow-workspace"  # the header; without one a call is for the default project


def admit(
    platform: Platform, request: Request, permission: Permission, project: str | None = None
) -> tuple[Principal, str]:
    """Whose token came, as a bearer's or as the password of basic authentication, and for
    which project, if it may there. A call on a workspace names its `project` in the path.

    Raises `Unauthenticated`, `PermissionDenied`, or `NotFound` for no such workspace.
    """
    principal = _bearer(platform, request)
    platform.access.allow(principal, permission)
    if project is None:
        project = request.headers.get(WORKSPACE, "").strip() or DEFAULT_PROJECT
    bounded = _in_workspace(platform, principal, project)
    if bounded is not principal:
        _allow_member(platform, bounded, permission, project)
    return principal, project


def _in_workspace(platform: Platform, principal: Principal, project: str) -> Principal:
    """The principal with the rights it has there. The default workspace is always there."""
    projects = platform.workbench.projects
    if project == DEFAULT_PROJECT:
        return projects.within(project, principal)
    try:
        return projects.enter(project, principal)
    except NotFound as error:
        raise NotFound(
            f"Workspace {project[:200]!r} not found.",
            f"{error.fix} `mlflow.create_workspace()` makes one.",
            code="no_workspace",
        ) from None


def _bearer(platform: Platform, request: Request) -> Principal:
    token = token_of(request.headers.get("authorization", ""))
    if not token:
        raise Unauthenticated(
            f"{request.method} {request.url.path} needs a token.",
            "Set MLFLOW_TRACKING_TOKEN to a Volant token (the first one lies in the server's "
            "home, in the file `token`), or MLFLOW_TRACKING_PASSWORD with any user name.",
        )
    principal = platform.access.authenticate(token)
    request.scope["volant.principal"] = principal
    return principal


def _allow_member(
    platform: Platform, member: Principal, permission: Permission, project: str
) -> None:
    try:
        platform.access.allow(member, permission)
    except PermissionDenied as error:
        role = member.role.name.lower()
        raise PermissionDenied(
            f"{member.name} is a {role} in the workspace {project!r}, which isn't enough for"
            f" {permission}.",
            f"Whoever may change the project can give another role there: volant project"
            f" add-member --name {project} --principal {member.name} --role ROLE",
            details=error.details,
        ) from None
