"""What changes of a record's parts make of it. Nothing here stores or seals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar
from urllib.parse import urlsplit

from volant.domain.extension import NAME, Credentials, Endpoint, Extension, Scope, Service
from volant.errors import Conflict, InvalidInput, NotFound
from volant.extensions.placeholders import OWN
from volant.yamltext.problems import nearest

T = TypeVar("T")
_LONGEST = {"description": 1000}  # characters; others 200, FuseML's bound of a URL
_MOST = 100  # services of an extension, and endpoints or credentials of a service
_MOST_VALUE = 64 * 1024  # characters: certificates are values


def checked(extension: Extension) -> Extension:
    """`extension`, if every name in it can be one and no part is there twice."""
    _name("extension", extension.id)
    if extension.id == OWN:
        raise InvalidInput(
            f"{OWN!r} is this server's own.", "Choose another id.", code="extensions.name"
        )
    _texts(f"The extension {extension.id}", extension, ("product", "version", "zone"))
    _configuration(f"the extension {extension.id}", extension.configuration)
    _distinct("service", f"extension {extension.id}", [s.id for s in extension.services])
    for service in extension.services:
        _service(extension.id, service)
    return extension


def service_of(extension: Extension, service_id: str) -> Service:
    """Raises `NotFound`."""
    return _pick("service", extension.id, extension.services, service_id, lambda s: s.id)


def endpoint_of(service: Service, url: str, where: str) -> Endpoint:
    """Raises `NotFound`."""
    return _pick("endpoint", where, service.endpoints, url, lambda e: e.url)


def credentials_of(service: Service, credentials_id: str, where: str) -> Credentials:
    """Raises `NotFound`."""
    return _pick("credentials", where, service.credentials, credentials_id, lambda c: c.id)


def with_service(extension: Extension, service: Service, *, new: bool = False) -> Extension:
    """With `service` in its place, or added. Raises `Conflict` for a `new` one that is
    there already."""
    services = _put("service", extension.id, extension.services, service, lambda s: s.id, new=new)
    return checked(replace(extension, services=services))


def without_service(extension: Extension, service_id: str) -> Extension:
    service_of(extension, service_id)
    kept = tuple(each for each in extension.services if each.id != service_id)
    return replace(extension, services=kept)


def with_endpoint(
    extension: Extension, service_id: str, endpoint: Endpoint, *, new: bool = False
) -> Extension:
    service = service_of(extension, service_id)
    where = f"{extension.id}/{service_id}"
    endpoints = _put("endpoint", where, service.endpoints, endpoint, lambda e: e.url, new=new)
    return with_service(extension, replace(service, endpoints=endpoints))


def without_endpoint(extension: Extension, service_id: str, url: str) -> Extension:
    service = service_of(extension, service_id)
    endpoint_of(service, url, f"{extension.id}/{service_id}")
    kept = tuple(each for each in service.endpoints if each.url != url)
    return with_service(extension, replace(service, endpoints=kept))


def with_credentials(
    extension: Extension, service_id: str, credentials: Credentials, *, new: bool = False
) -> Extension:
    service = service_of(extension, service_id)
    where = f"{extension.id}/{service_id}"
    every = _put("credentials", where, service.credentials, credentials, lambda c: c.id, new=new)
    return with_service(extension, replace(service, credentials=every))


def without_credentials(extension: Extension, service_id: str, credentials_id: str) -> Extension:
    service = service_of(extension, service_id)
    credentials_of(service, credentials_id, f"{extension.id}/{service_id}")
    kept = tuple(each for each in service.credentials if each.id != credentials_id)
    return with_service(extension, replace(service, credentials=kept))


def _put(
    noun: str, where: str, parts: tuple[T, ...], part: T, key: Callable[[T], str], *, new: bool
) -> tuple[T, ...]:
    there = [key(each) for each in parts]
    if key(part) not in there:
        return (*parts, part)
    if new:
        raise Conflict(
            f"{where} has the {noun} {key(part)!r} already.",
            "Update it, or delete it first.",
            code="extensions.exists",
        )
    return tuple(part if key(each) == key(part) else each for each in parts)


def _pick(noun: str, where: str, parts: Sequence[T], name: str, key: Callable[[T], str]) -> T:
    for each in parts:
        if key(each) == name:
            return each
    known = [key(each) for each in parts]
    near = nearest(name, known)
    there = f"It has: {', '.join(known)}." if known else "It has none."
    raise NotFound(
        f"{where} has no {noun} {name[:200]!r}.",
        f"Did you mean {near}? {there}" if near else there,
        code=f"extensions.no_{noun}",
    )


def _service(extension_id: str, service: Service) -> None:
    _name("service", service.id)
    where = f"{extension_id}/{service.id}"
    _texts(f"The service {where}", service, ("resource", "category"))
    _configuration(f"the service {where}", service.configuration)
    _distinct("endpoint", where, [endpoint.url for endpoint in service.endpoints])
    _distinct("credentials", where, [each.id for each in service.credentials])
    for endpoint in service.endpoints:
        _endpoint(where, endpoint)
    for each in service.credentials:
        _credentials(where, each)


def _endpoint(where: str, endpoint: Endpoint) -> None:
    try:
        parts = urlsplit(endpoint.url)
        password = parts.password or "password=" in parts.query.lower()
        good = bool(parts.scheme and (parts.netloc or parts.path)) and len(endpoint.url) <= 200
        good = good and endpoint.url.isprintable() and " " not in endpoint.url
        _ = parts.port  # raises for one that is none
    except ValueError:
        good, password = False, False
    if password:
        raise InvalidInput(
            f"The URL of an endpoint of {where} has a password in it, which everybody who may"
            " see the endpoint would read.",
            "Put user and password into the service's credentials.",
            code="extensions.url",
        )
    if not good:
        raise InvalidInput(
            f"{endpoint.url[:200]!r} of {where} is no URL.",
            "Give one like http://host:9000, at most 200 characters.",
            code="extensions.url",
        )
    _configuration(f"the endpoint {endpoint.url} of {where}", endpoint.configuration)


def _credentials(where: str, credentials: Credentials) -> None:
    _name("credentials", credentials.id)
    _configuration(f"the credentials {where}/{credentials.id}", credentials.configuration)
    needed = {Scope.PROJECT: "projects", Scope.USER: "users"}.get(credentials.scope)
    if needed and not getattr(credentials, needed):
        raise InvalidInput(
            f"The credentials {where}/{credentials.id} are for {needed}, and name none: nobody"
            " could use them.",
            f"Name the {needed}, or make their scope global.",
            code="extensions.scope",
        )


def _texts(what: str, part: object, names: tuple[str, ...]) -> None:
    for name in (*names, "description"):
        text, longest = str(getattr(part, name)), _LONGEST.get(name, 200)
        if len(text) > longest or "\0" in text:
            raise InvalidInput(
                f"{what}: {name} has {len(text)} characters or one that can't be stored.",
                f"Give at most {longest} characters of text.",
                code="extensions.text",
            )


def _configuration(what: str, configuration: object) -> None:
    assert isinstance(configuration, dict)
    for key, value in configuration.items():
        if NAME.fullmatch(key) is None:
            raise InvalidInput(
                f"{key[:100]!r} can't be a key of the configuration of {what}.",
                "Use 1 to 100 letters, digits, _ and -, as environment variables are named.",
                code="extensions.name",
            )
        if len(value) > _MOST_VALUE or "\0" in value:
            raise InvalidInput(
                f"The value of {key} of {what} is too long, or holds a zero byte.",
                f"Give at most {_MOST_VALUE} characters: steps get it in their environment.",
                code="extensions.value",
            )


def _name(noun: str, name: str) -> None:
    if NAME.fullmatch(name) is None:
        raise InvalidInput(
            f"{name[:100]!r} can't be the id of {'an' if noun[0] in 'aeiou' else 'a'} {noun}.",
            "Use 1 to 100 letters, digits, _ and -, not beginning with -.",
            code="extensions.name",
        )


def _distinct(noun: str, where: str, names: list[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InvalidInput(
            f"{where} has the {noun} {twice!r} twice.",
            "Give each a name of its own.",
            code="extensions.twice",
        )
    if len(names) > _MOST:
        raise InvalidInput(
            f"{where} has {len(names)} of the kind {noun}; at most {_MOST} are kept.",
            "Register another extension for the rest.",
            code="extensions.many",
        )
