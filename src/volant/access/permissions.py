"""What each role may do: one table, least role by permission."""

from __future__ import annotations

from enum import StrEnum

from volant.domain.principal import Principal, Role
from volant.errors import PermissionDenied


class Permission(StrEnum):
    """One right, `<noun>.<verb>`. Every route and every verb of the API names one."""

    STATUS_READ = "status.read"
    METRICS_READ = "metrics.read"
    DATASETS_READ = "datasets.read"
    DATASETS_PUSH = "datasets.push"
    DATASETS_RELEASE = "datasets.release"
    LOOPS_READ = "loops.read"
    LOOPS_PLAN = "loops.plan"
    LOOPS_APPLY = "loops.apply"
    LOOPS_RUN = "loops.run"
    LOOPS_DELETE = "loops.delete"
    DECISIONS_READ = "decisions.read"
    RUNS_READ = "runs.read"
    RUNS_CANCEL = "runs.cancel"
    RUNS_RESUME = "runs.resume"
    RUNS_RETRY = "runs.retry"
    RUNS_PRUNE = "runs.prune"
    WORKFLOWS_READ = "workflows.read"
    WORKFLOWS_CREATE = "workflows.create"
    WORKFLOWS_ASSIGN = "workflows.assign"
    WORKFLOWS_RUN = "workflows.run"
    WORKFLOWS_DELETE = "workflows.delete"
    PROJECTS_READ = "projects.read"
    PROJECTS_CREATE = "projects.create"
    PROJECTS_CHANGE = "projects.change"
    PROJECTS_DELETE = "projects.delete"
    APPLICATIONS_READ = "applications.read"
    APPLICATIONS_RECORD = "applications.record"
    APPLICATIONS_DELETE = "applications.delete"
    RUNNABLES_READ = "runnables.read"
    RUNNABLES_REGISTER = "runnables.register"
    RUNNABLES_UPDATE = "runnables.update"
    RUNNABLES_DELETE = "runnables.delete"
    CODESETS_READ = "codesets.read"
    CODESETS_PUSH = "codesets.push"
    CODESETS_MIRROR = "codesets.mirror"
    CODESETS_DELETE = "codesets.delete"
    MODELS_READ = "models.read"
    MODELS_REGISTER = "models.register"
    MODELS_RETIRE = "models.retire"
    MODELS_DELETE = "models.delete"
    MODELS_TRUST = "models.trust"
    DEPLOYMENTS_READ = "deployments.read"
    DEPLOYMENTS_DEPLOY = "deployments.deploy"
    DEPLOYMENTS_PROMOTE = "deployments.promote"
    DEPLOYMENTS_ABORT = "deployments.abort"
    DEPLOYMENTS_ROLLBACK = "deployments.rollback"
    DEPLOYMENTS_SCALE = "deployments.scale"
    DEPLOYMENTS_LOAD = "deployments.load"
    DEPLOYMENTS_DELETE = "deployments.delete"
    TRACKING_READ = "tracking.read"
    TRACKING_LOG = "tracking.log"
    TRACKING_DELETE = "tracking.delete"
    EXTENSIONS_READ = "extensions.read"
    EXTENSIONS_REGISTER = "extensions.register"
    EXTENSIONS_DELETE = "extensions.delete"
    EXTENSIONS_USE = "extensions.use"
    EXTENSIONS_REKEY = "extensions.rekey"
    EVENTS_READ = "events.read"
    AUDIT_READ = "audit.read"
    TOKENS_READ = "tokens.read"
    TOKENS_ISSUE = "tokens.issue"
    TOKENS_REVOKE = "tokens.revoke"


LEAST_ROLE: dict[Permission, Role] = {
    Permission.STATUS_READ: Role.VIEWER,
    Permission.METRICS_READ: Role.VIEWER,
    Permission.DATASETS_READ: Role.VIEWER,
    Permission.DATASETS_PUSH: Role.DEVELOPER,
    Permission.DATASETS_RELEASE: Role.OPERATOR,
    Permission.LOOPS_READ: Role.VIEWER,
    Permission.LOOPS_PLAN: Role.DEVELOPER,
    Permission.LOOPS_APPLY: Role.DEVELOPER,
    Permission.LOOPS_RUN: Role.DEVELOPER,
    Permission.LOOPS_DELETE: Role.OPERATOR,
    Permission.DECISIONS_READ: Role.VIEWER,
    Permission.RUNS_READ: Role.VIEWER,
    Permission.RUNS_CANCEL: Role.DEVELOPER,
    Permission.RUNS_RESUME: Role.DEVELOPER,
    Permission.RUNS_RETRY: Role.DEVELOPER,
    Permission.RUNS_PRUNE: Role.OPERATOR,
    Permission.WORKFLOWS_READ: Role.VIEWER,
    Permission.WORKFLOWS_CREATE: Role.DEVELOPER,
    Permission.WORKFLOWS_ASSIGN: Role.DEVELOPER,
    Permission.WORKFLOWS_RUN: Role.DEVELOPER,
    Permission.WORKFLOWS_DELETE: Role.DEVELOPER,
    Permission.PROJECTS_READ: Role.VIEWER,
    Permission.PROJECTS_CREATE: Role.DEVELOPER,
    Permission.PROJECTS_CHANGE: Role.OPERATOR,
    Permission.PROJECTS_DELETE: Role.OPERATOR,
    Permission.APPLICATIONS_READ: Role.VIEWER,
    Permission.APPLICATIONS_RECORD: Role.DEVELOPER,
    Permission.APPLICATIONS_DELETE: Role.OPERATOR,
    Permission.RUNNABLES_READ: Role.VIEWER,
    Permission.RUNNABLES_REGISTER: Role.DEVELOPER,
    Permission.RUNNABLES_UPDATE: Role.DEVELOPER,
    Permission.RUNNABLES_DELETE: Role.OPERATOR,
    Permission.CODESETS_READ: Role.VIEWER,
    Permission.CODESETS_PUSH: Role.DEVELOPER,
    Permission.CODESETS_MIRROR: Role.OPERATOR,
    Permission.CODESETS_DELETE: Role.OPERATOR,
    Permission.MODELS_READ: Role.VIEWER,
    Permission.MODELS_REGISTER: Role.DEVELOPER,
    Permission.MODELS_RETIRE: Role.OPERATOR,
    Permission.MODELS_DELETE: Role.OPERATOR,
    Permission.MODELS_TRUST: Role.ADMIN,
    Permission.DEPLOYMENTS_READ: Role.VIEWER,
    Permission.DEPLOYMENTS_DEPLOY: Role.OPERATOR,
    Permission.DEPLOYMENTS_PROMOTE: Role.OPERATOR,
    Permission.DEPLOYMENTS_ABORT: Role.OPERATOR,
    Permission.DEPLOYMENTS_ROLLBACK: Role.OPERATOR,
    Permission.DEPLOYMENTS_SCALE: Role.OPERATOR,
    Permission.DEPLOYMENTS_LOAD: Role.OPERATOR,
    Permission.DEPLOYMENTS_DELETE: Role.OPERATOR,
    Permission.TRACKING_READ: Role.VIEWER,
    Permission.TRACKING_LOG: Role.DEVELOPER,
    Permission.TRACKING_DELETE: Role.DEVELOPER,
    Permission.EXTENSIONS_READ: Role.VIEWER,
    Permission.EXTENSIONS_REGISTER: Role.DEVELOPER,
    Permission.EXTENSIONS_DELETE: Role.DEVELOPER,
    Permission.EXTENSIONS_USE: Role.DEVELOPER,
    Permission.EXTENSIONS_REKEY: Role.ADMIN,
    Permission.EVENTS_READ: Role.VIEWER,
    Permission.AUDIT_READ: Role.ADMIN,
    Permission.TOKENS_READ: Role.ADMIN,
    Permission.TOKENS_ISSUE: Role.ADMIN,
    Permission.TOKENS_REVOKE: Role.ADMIN,
}


def allowed(role: Role, permission: Permission | str) -> bool:
    """Whether `role` has `permission`. Raises `ValueError` for one that doesn't exist:
    a caller's mistake must never let anybody in."""
    return role >= LEAST_ROLE[Permission(permission)]


def allow(principal: Principal, permission: Permission | str) -> None:
    """Raises `PermissionDenied` unless the principal's role has `permission`."""
    if allowed(principal.role, permission):
        return
    wanted = LEAST_ROLE[Permission(permission)].name.lower()
    own = principal.role.name.lower()
    raise PermissionDenied(
        f"{principal.name} is a {own}; {permission} needs the role {wanted}.",
        f"Ask an admin for a token with the role {wanted}.",
        details={"permission": str(permission), "role": own, "needs": wanted},
    )
