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
