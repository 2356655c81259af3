"""How the routers are made."""

from __future__ import annotations

from fastapi import APIRouter

from volant.web.api.guard import GuardedRoute


def router(tag: str) -> APIRouter:
    """An empty router whose routes must declare their permission."""
    return APIRouter(tags=[tag], route_class=GuardedRoute)
