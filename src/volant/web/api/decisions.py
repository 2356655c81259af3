"""Decisions: the stored reasons of what the platform did by itself."""

from __future__ import annotations

from fastapi import APIRouter

from volant.domain.decision import Decision
from volant.web.api.guard import needs
from volant.web.api.pages import Before, Limit, Page, page
from volant.web.api.routing import router
from volant.web.api.verbs import Platform


def routes(platform: Platform) -> APIRouter:
    """`/decisions` and `/decisions/{id}`."""
    api = router("decisions")
    decisions = platform.decisions
    reads = [needs("decisions.read")]

    @api.get("/decisions", dependencies=reads, summary="All decisions, newest first")
    def decisions_list(limit: Limit = 50, before: Before = None) -> Page[Decision]:
        return page(decisions.page(limit, before, loop=None))

    @api.get("/decisions/{decision_id}", dependencies=reads, summary="One decision")
    def decisions_get(decision_id: str) -> Decision:
        """Refused with 409 when the stored row was altered."""
        return decisions.get(decision_id)

    return api
