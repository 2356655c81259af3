"""The test app: a page for each deployment, and what its script asks for.

Plain routes outside of the API: a browser shows a cookie there, not a token. Whoever has a
token gets a link that works once (`POST /deployments/{name}/links`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files

from anyio import to_thread
from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from volant.domain.principal import Principal
from volant.errors import InvalidInput, NotFound, PermissionDenied, VolantError
from volant.serving.feature_order import order_report
from volant.serving.request_check import check_request
from volant.web.api.app_models import AppModels
from volant.web.api.app_sessions import LINK_S, SESSION_S, AppSessions
from volant.web.api.guard import JSON_LIMIT, needs
from volant.web.api.problem import on_volant_error
from volant.web.api.routing import router
from volant.web.api.verbs import Platform

PERMISSION = "deployments.read"  # asking a model needs no more than a token
COOKIE = "volant_app"
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}';"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)

Answer = Callable[["_Visit"], Response]


class Link(BaseModel):
    """Where a browser gets in, once."""

    path: str = Field(description="On this server; with the key that opens it once.")
    expires_s: float


def routes(platform: Platform, sessions: AppSessions) -> APIRouter:
    """`/deployments/{name}/links`."""
    api = router("deployments")

    @api.post(
        "/deployments/{name}/links",
        dependencies=[needs(PERMISSION)],
        status_code=201,
        summary="Open a deployment's page in a browser",
    )
    def deployments_link(name: str, request: Request) -> Link:
        """A link that works once, within minutes; the page then acts for this token."""
        platform.deployments.get(name)
        secret = request.headers["authorization"].partition(" ")[2].strip()
        return Link(path=f"/app/{name}?key={sessions.link(name, secret)}", expires_s=LINK_S)

    return api


def pages(platform: Platform, sessions: AppSessions) -> Sequence[BaseRoute]:
    """Everything under `/app`."""
    models = AppModels(platform)

    def model(visit: _Visit) -> Response:
        return JSONResponse(models.describe(visit.name))

    def infer(visit: _Visit) -> Response:
        status, body = models.infer(visit.name, visit.body, visit.secret)
        return Response(body, status_code=status, media_type="application/json")

    def check(visit: _Visit) -> Response:
        described = models.describe(visit.name)
        text = visit.body.decode("utf-8", "replace")
        named = described["tensor"] is None
        return JSONResponse(check_request(text, described["controls"], named=named))

    def sent(visit: _Visit) -> Response:
        described = models.describe(visit.name)
        rows = models.sent(visit.name, described)
        return JSONResponse(order_report(described["controls"], rows))

    def route(path: str, method: str, answer: Answer) -> Route:
        async def serve(request: Request) -> Response:
            try:
                body = await _body(request) if method == "POST" else b""
                visit = _Visit(request.path_params["name"], request, body)
                return await to_thread.run_sync(_admitted, platform, sessions, visit, answer)
            except VolantError as error:
                return await on_volant_error(request, error)

        return Route(f"/app/{{name}}{path}", serve, methods=[method])

    async def page(request: Request) -> Response:
        return await to_thread.run_sync(_page, sessions, request)

    return [
        Route("/app/{name}", page, methods=["GET"]),
        route("/model", "GET", model),
        route("/infer", "POST", infer),
        route("/check", "POST", check),
        route("/sent", "GET", sent),
    ]


class _Visit:
    def __init__(self, name: str, request: Request, body: bytes) -> None:
        self.name = name
        self.request = request
        self.body = body
        self.secret = ""


def _admitted(platform: Platform, sessions: AppSessions, visit: _Visit, answer: Answer) -> Response:
    """The answer, for a session whose token is good still."""
    request = visit.request
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise PermissionDenied(
            "Another site's page asked.", "Use the page itself.", code="app.cross_site"
        )
    visit.secret = sessions.secret(visit.name, request.cookies.get(COOKIE))
    principal: Principal = platform.access.authenticate(visit.secret)
    request.scope["volant.principal"] = principal
    platform.access.allow(principal, PERMISSION)
    return answer(visit)


async def _body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise InvalidInput("The body isn't application/json.", "Send JSON.", code="media_type")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > JSON_LIMIT:
            raise InvalidInput(
                f"The body is larger than {JSON_LIMIT} bytes.",
                "Send less; large questions go to the deployment itself.",
                code="body_too_large",
            )
    return body


def _page(sessions: AppSessions, request: Request) -> Response:
    """The page; with a link's key, first the cookie and back without the key."""
    name = request.path_params["name"]
    key = request.query_params.get("key")
    try:
        if key is None:
            sessions.secret(name, request.cookies.get(COOKIE))
            return _shown("app", {"name": name})
        try:
            sessions.secret(name, request.cookies.get(COOKIE))
            session = None  # the link was opened again, by the browser that used it
        except VolantError:
            session = sessions.redeem(name, key)
    except NotFound as error:
        return _shown("closed", {"name": name, "what": error.what, "fix": error.fix}, 404)
    except VolantError as error:
        return _shown("closed", {"name": name, "what": error.what, "fix": error.fix}, 401)
    answer = RedirectResponse(f"/app/{name}", status_code=303)
    if session is not None:
        answer.set_cookie(
            COOKIE,
            session,
            max_age=int(SESSION_S),
            path=f"/app/{name}",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",  # strict would be lost on the way from a link in a chat or a mail
        )
    return answer


def _shown(page: str, facts: Mapping[str, str], status: int = 200) -> Response:
    """One page in one piece: style and script stand in it, and nothing else may run."""
    nonce = secrets.token_urlsafe(16)
    text = _source(f"{page}.html").replace("NONCE", nonce)
    style, script = _source("app.css"), _source("app.js") if page == "app" else ""
    for key, value in facts.items():
        text = text.replace(f"[[{key}]]", _escaped(value))
    text = text.replace("/* STYLE */", style).replace("/* SCRIPT */", script)
    policy = _POLICY.format(nonce=nonce)
    return HTMLResponse(text, status_code=status, headers={"Content-Security-Policy": policy})


def _escaped(text: str) -> str:
    for sign, name in (("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot"), ("'", "#39")):
        text = text.replace(sign, f"&{name};")
    return text


@cache
def _source(name: str) -> str:
    return files("volant.web.pages").joinpath(name).read_text(encoding="utf-8")


__all__ = ["COOKIE", "pages", "routes"]
