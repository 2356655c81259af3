"""Who comes in: the two ways in which MLflow's clients send a token."""

from __future__ import annotations

from starlette.requests import Request

from volant.access.permissions import Permission
from volant.domain.principal import Principal
from volant.errors import Unauthenticated
from volant.web.api.credentials import token_of
from volant.web.api.verbs import Access


def admit(access: Access, request: Request, permission: Permission) -> Principal:
    """Whose token came, as a bearer's or as the password of basic authentication, if it
    may. Raises `Unauthenticated` or `PermissionDenied`."""
    token = token_of(request.headers.get("authorization", ""))
    if not token:
        raise Unauthenticated(
            f"{request.method} {request.url.path} needs a token.",
            "Set MLFLOW_TRACKING_TOKEN to a Volant token (the first one lies in the server's "
            "home, in the file `token`), or MLFLOW_TRACKING_PASSWORD with any user name.",
        )
    principal = access.authenticate(token)
    request.scope["volant.principal"] = principal
    access.allow(principal, permission)
    return principal
