"""Tokens and the audit."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from volant.domain.principal import AuditEntry, Role, Token
from volant.web.api.guard import needs
from volant.web.api.pages import Before, Limit, Page, page, whole
from volant.web.api.routing import router
from volant.web.api.verbs import Platform

RoleName = Literal["viewer", "developer", "operator", "admin"]


class TokenRequest(BaseModel):
    """For whom, and what they may do."""

    model_config = ConfigDict(extra="forbid")

    principal: str = Field(min_length=1, max_length=100)
    role: RoleName


class TokenView(BaseModel):
    """A token, without its secret."""

    id: str
    principal: str
    role: RoleName
    created_at: datetime
    last_used_at: datetime | None


class NewToken(TokenView):
    """A token just made. Its secret is told this once and never again."""

    secret: str


def routes(platform: Platform) -> APIRouter:
    """`/tokens` and `/audit`."""
    api = router("access")
    access = platform.access

    @api.get("/tokens", dependencies=[needs("tokens.read")], summary="All tokens")
    def tokens_list() -> Page[TokenView]:
        return whole([TokenView.model_validate(_facts(token)) for token in access.tokens()])

    @api.post(
        "/tokens",
        dependencies=[needs("tokens.issue", audit="token")],
        status_code=201,
        summary="Make a token",
    )
    def tokens_create(body: TokenRequest) -> NewToken:
        token, secret = access.issue(body.principal, Role[body.role.upper()])
        return NewToken.model_validate({**_facts(token), "secret": secret})

    @api.delete(
        "/tokens/{token_id}",
        dependencies=[needs("tokens.revoke", audit="token/{token_id}")],
        status_code=204,
        summary="Revoke a token",
    )
    def tokens_revoke(token_id: str) -> None:
        access.revoke(token_id)

    @api.get("/audit", dependencies=[needs("audit.read")], summary="Who did what")
    def audit_list(limit: Limit = 50, before: Before = None) -> Page[AuditEntry]:
        return page(access.audit_page(limit, before))

    return api


def _facts(token: Token) -> dict[str, object]:
    return {
        "id": token.id,
        "principal": token.principal,
        "role": token.role.name.lower(),
        "created_at": token.created_at,
        "last_used_at": token.last_used_at,
    }
