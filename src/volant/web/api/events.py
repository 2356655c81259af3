"""Events: what happened, as CloudEvents."""

from __future__ import annotations

from fastapi import APIRouter

from volant.domain.event import Event
from volant.web.api.guard import needs
from volant.web.api.pages import Before, Limit, Page, page
from volant.web.api.routing import router
from volant.web.api.verbs import Platform


def routes(platform: Platform) -> APIRouter:
    """`/events`."""
    api = router("events")

    @api.get("/events", dependencies=[needs("events.read")], summary="Events, newest first")
    def events_list(
        limit: Limit = 50, before: Before = None, subject: str | None = None
    ) -> Page[Event]:
        """`subject` is the noun an event is about: `dataset/wine`, `loop/wine-quality`."""
        return page(platform.events.page(limit, before, subject=subject))

    return api
