"""The one tree of errors: a stable code, what happened, what to do about it.

Nothing here knows HTTP or exit codes; `web/` and `cli/` translate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class VolantError(Exception):
    """Base of every error a user can see.

    Args:
        what: One sentence that says what happened, with the offending value in it.
        fix: One sentence that says what to do now.
        code: A stable dotted identifier; the class's own `code` when omitted.
        details: JSON-able facts (file, line, column, counts…).
    """

    code: ClassVar[str] = "error"

    def __init__(
        self,
        what: str,
        fix: str,
        *,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.error_code = code or type(self).code
        self.details: dict[str, Any] = dict(details or {})

    def __str__(self) -> str:
        return f"{self.what} {self.fix}".strip()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that crosses process and network borders."""
        return {
            "kind": type(self).code,
            "code": self.error_code,
            "what": self.what,
            "fix": self.fix,
            "details": self.details,
        }


class InvalidInput(VolantError):
    """What the caller gave can't be used; the same call will fail again."""

    code = "invalid_input"


class NotFound(VolantError):
    """The named thing doesn't exist."""

    code = "not_found"


class Conflict(VolantError):
    """The thing exists already, or is in a state that forbids this."""

    code = "conflict"


class Unauthenticated(VolantError):
    """No token, or one that isn't known."""

    code = "unauthenticated"


class PermissionDenied(VolantError):
    """The principal's role doesn't allow this."""

    code = "permission_denied"


class Unavailable(VolantError):
    """A part that is needed can't be reached now; the same call may work later."""

    code = "unavailable"


class ResourceExhausted(VolantError):
    """Disk, memory or a quota ran out."""

    code = "resource_exhausted"


class StepFailed(VolantError):
    """A step of a run ended without its result; `details` says how."""

    code = "step_failed"


# What `pip install 'volant[EXTRA]'` brings, by the module that is missing without it.
EXTRAS: Mapping[str, str] = {
    "torch": "torch",
    "transformers": "hf",
    "tokenizers": "hf",
    "accelerate": "hf",
    "xgboost": "xgboost",
    "mlflow": "mlflow",
    "pandas": "mlflow",
}


class MissingExtra(VolantError):
    """An optional dependency isn't installed."""

    code = "missing_extra"

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(
            f"{module} is not installed.",
            f"Run: pip install 'volant[{extra}]'",
            details={"module": module, "extra": extra},
        )


KINDS: dict[str, type[VolantError]] = {
    kind.code: kind
    for kind in (
        VolantError,
        InvalidInput,
        NotFound,
        Conflict,
        Unauthenticated,
        PermissionDenied,
        Unavailable,
        ResourceExhausted,
        StepFailed,
        MissingExtra,
    )
}


def from_dict(body: Mapping[str, Any]) -> VolantError:
    """Rebuild an error that crossed a border with `to_dict`."""
    kind = KINDS.get(str(body.get("kind", "")), VolantError)
    error = kind.__new__(kind)  # a class may make its sentences itself; these are made
    VolantError.__init__(
        error,
        str(body.get("what", "An error without a message.")),
        str(body.get("fix", "")),
        code=str(body.get("code", kind.code)),
        details=body.get("details") or {},
    )
    return error
