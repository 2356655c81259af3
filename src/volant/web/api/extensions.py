"""Outside services: the registry, its parts, and what a step would get."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from volant.domain.extension import Endpoint
from volant.domain.manifest import ExtensionRequirement
from volant.extensions.recipes import Recipe, known_recipes
from volant.web.api.extension_models import (
    CredentialsBody,
    CredentialsChange,
    CredentialsView,
    EndpointBody,
    EndpointChange,
    EndpointView,
    ExtensionBody,
    ExtensionChange,
    ExtensionFilter,
    ExtensionView,
    RecipeAnswer,
    RecipeBody,
    Rekeyed,
    ResolutionView,
    ResolveBody,
    ServiceBody,
    ServiceChange,
    ServiceView,
    credentials_of,
    credentials_view,
    endpoint_view,
    extension_of,
    extension_view,
    service_of,
    service_view,
)
from volant.web.api.guard import Caller, needs
from volant.web.api.pages import Page, whole
from volant.web.api.routing import router
from volant.web.api.verbs import Platform

_ONE = "/extensions/{extension_id}"
_SERVICE = _ONE + "/services/{service_id}"
_ENDPOINT = _SERVICE + "/endpoints/{url:path}"
_CREDENTIALS = _SERVICE + "/credentials/{credentials_id}"
_WRITE: dict[str, Any] = {"secret": True, "audit": "extension/{extension_id}"}


def routes(platform: Platform) -> APIRouter:
    """`/extensions`."""
    api = router("extensions")
    _records(api, platform)
    _services(api, platform)
    _endpoints(api, platform)
    _credentials(api, platform)
    _verbs(api, platform)
    return api


def _records(api: APIRouter, platform: Platform) -> None:
    desk = platform.workbench.extensions

    @api.get("/extensions", dependencies=[needs("extensions.read")], summary="All extensions")
    def extensions_list(wanted: Annotated[ExtensionFilter, Query()]) -> Page[ExtensionView]:
        found = desk.list(ExtensionRequirement("", **wanted.model_dump()))
        return whole([extension_view(each) for each in found])

    @api.post(
        "/extensions",
        dependencies=[needs("extensions.register", audit="extension", secret=True)],
        status_code=201,
        summary="Register an extension with all its parts",
    )
    def extensions_register(body: ExtensionBody, caller: Caller) -> ExtensionView:
        return extension_view(desk.register(extension_of(body), caller.name))

    @api.get(_ONE, dependencies=[needs("extensions.read")], summary="One extension")
    def extensions_get(extension_id: str) -> ExtensionView:
        return extension_view(desk.get(extension_id))

    @api.put(
        _ONE,
        dependencies=[needs("extensions.register", **_WRITE)],
        summary="Change an extension itself",
    )
    def extensions_update(
        extension_id: str, body: ExtensionChange, caller: Caller
    ) -> ExtensionView:
        return extension_view(desk.update(extension_id, body.changes(), caller.name))

    @api.delete(
        _ONE,
        dependencies=[needs("extensions.delete", audit="extension/{extension_id}")],
        status_code=204,
        summary="Delete an extension with all its parts",
    )
    def extensions_delete(extension_id: str, caller: Caller) -> None:
        desk.delete(extension_id, caller.name)


def _services(api: APIRouter, platform: Platform) -> None:
    desk = platform.workbench.extensions
    parts = _ONE + "/services"

    @api.get(parts, dependencies=[needs("extensions.read")], summary="An extension's services")
    def extensions_services(extension_id: str) -> Page[ServiceView]:
        return whole([service_view(each) for each in desk.get(extension_id).services])

    @api.post(
        parts,
        dependencies=[needs("extensions.register", **_WRITE)],
        status_code=201,
        summary="Add a service",
    )
    def extensions_add_service(extension_id: str, body: ServiceBody, caller: Caller) -> ServiceView:
        return service_view(desk.add_service(extension_id, service_of(body), caller.name))

    @api.get(_SERVICE, dependencies=[needs("extensions.read")], summary="One service")
    def extensions_service(extension_id: str, service_id: str) -> ServiceView:
        return service_view(desk.service(extension_id, service_id))

    @api.put(
        _SERVICE,
        dependencies=[needs("extensions.register", **_WRITE)],
        summary="Change a service itself",
    )
    def extensions_update_service(
        extension_id: str, service_id: str, body: ServiceChange, caller: Caller
    ) -> ServiceView:
        changed = desk.update_service(extension_id, service_id, body.changes(), caller.name)
        return service_view(changed)

    @api.delete(
        _SERVICE,
        dependencies=[needs("extensions.delete", audit="extension/{extension_id}")],
        status_code=204,
        summary="Delete a service with its endpoints and credentials",
    )
    def extensions_delete_service(extension_id: str, service_id: str, caller: Caller) -> None:
        desk.delete_service(extension_id, service_id, caller.name)


def _endpoints(api: APIRouter, platform: Platform) -> None:
    desk = platform.workbench.extensions
    parts = _SERVICE + "/endpoints"

    @api.get(parts, dependencies=[needs("extensions.read")], summary="A service's endpoints")
    def extensions_endpoints(extension_id: str, service_id: str) -> Page[EndpointView]:
        found = desk.service(extension_id, service_id).endpoints
        return whole([endpoint_view(each) for each in found])

    @api.post(
        parts,
        dependencies=[needs("extensions.register", **_WRITE)],
        status_code=201,
        summary="Add an endpoint",
    )
    def extensions_add_endpoint(
        extension_id: str, service_id: str, body: EndpointBody, caller: Caller
    ) -> EndpointView:
        new = Endpoint(**body.model_dump())
        return endpoint_view(desk.add_endpoint(extension_id, service_id, new, caller.name))

    @api.get(_ENDPOINT, dependencies=[needs("extensions.read")], summary="One endpoint")
    def extensions_endpoint(extension_id: str, service_id: str, url: str) -> EndpointView:
        return endpoint_view(desk.endpoint(extension_id, service_id, url))

    @api.put(
        _ENDPOINT,
        dependencies=[needs("extensions.register", **_WRITE)],
        summary="Change an endpoint",
    )
    def extensions_update_endpoint(
        extension_id: str, service_id: str, url: str, body: EndpointChange, caller: Caller
    ) -> EndpointView:
        changed = desk.update_endpoint(extension_id, service_id, url, body.changes(), caller.name)
        return endpoint_view(changed)

    @api.delete(
        _ENDPOINT,
        dependencies=[needs("extensions.delete", audit="extension/{extension_id}")],
        status_code=204,
        summary="Delete an endpoint",
    )
    def extensions_delete_endpoint(
        extension_id: str, service_id: str, url: str, caller: Caller
    ) -> None:
        desk.delete_endpoint(extension_id, service_id, url, caller.name)


def _credentials(api: APIRouter, platform: Platform) -> None:
    desk = platform.workbench.extensions
    parts = _SERVICE + "/credentials"

    @api.get(parts, dependencies=[needs("extensions.read")], summary="A service's credentials")
    def extensions_credentials_list(extension_id: str, service_id: str) -> Page[CredentialsView]:
        found = desk.service(extension_id, service_id).credentials
        return whole([credentials_view(each) for each in found])

    @api.post(
        parts,
        dependencies=[needs("extensions.register", **_WRITE)],
        status_code=201,
        summary="Add credentials",
    )
    def extensions_add_credentials(
        extension_id: str, service_id: str, body: CredentialsBody, caller: Caller
    ) -> CredentialsView:
        new = credentials_of(body)
        return credentials_view(desk.add_credentials(extension_id, service_id, new, caller.name))

    @api.get(
        _CREDENTIALS,
        dependencies=[needs("extensions.read")],
        summary="Credentials, without secrets",
    )
    def extensions_credentials(
        extension_id: str, service_id: str, credentials_id: str
    ) -> CredentialsView:
        return credentials_view(desk.credentials(extension_id, service_id, credentials_id))

    @api.put(
        _CREDENTIALS,
        dependencies=[needs("extensions.register", **_WRITE)],
        summary="Change credentials",
    )
    def extensions_update_credentials(
        extension_id: str,
        service_id: str,
        credentials_id: str,
        body: CredentialsChange,
        caller: Caller,
    ) -> CredentialsView:
        changed = desk.update_credentials(
            extension_id, service_id, credentials_id, body.changes(), caller.name
        )
        return credentials_view(changed)

    @api.delete(
        _CREDENTIALS,
        dependencies=[needs("extensions.delete", audit="extension/{extension_id}")],
        status_code=204,
        summary="Delete credentials",
    )
    def extensions_delete_credentials(
        extension_id: str, service_id: str, credentials_id: str, caller: Caller
    ) -> None:
        desk.delete_credentials(extension_id, service_id, credentials_id, caller.name)


def _verbs(api: APIRouter, platform: Platform) -> None:
    desk = platform.workbench.extensions

    @api.post(
        "/extensions/resolve",
        dependencies=[needs("extensions.use")],
        summary="What requirements would get now",
    )
    def extensions_resolve(body: ResolveBody, caller: Caller) -> ResolutionView:
        wanted = {
            each.name: ExtensionRequirement(**each.model_dump()) for each in body.requirements
        }
        found = desk.resolve(wanted, body.project, caller.name)
        return ResolutionView(bindings=dict(found.bindings), notes=list(found.notes))

    @api.post(
        "/extensions/recipes/{recipe}",
        dependencies=[needs("extensions.register", audit="extension/{recipe}", secret=True)],
        status_code=201,
        summary="Register something that is running, after asking it",
    )
    def extensions_add(recipe: str, body: RecipeBody, caller: Caller) -> RecipeAnswer:
        made, found = Recipe.of(recipe, body.model_dump()).record(check=body.check)
        return RecipeAnswer(extension=extension_view(desk.register(made, caller.name)), found=found)

    @api.get("/extension-recipes", dependencies=[needs("extensions.read")], summary="All recipes")
    def extensions_recipes() -> Page[str]:
        return whole(known_recipes())

    @api.post(
        "/extensions/rekey",
        dependencies=[needs("extensions.rekey", audit="extensions")],
        summary="Seal all secrets with a new key",
    )
    def extensions_rekey(caller: Caller) -> Rekeyed:
        return Rekeyed(secrets=desk.rekey(caller.name))
