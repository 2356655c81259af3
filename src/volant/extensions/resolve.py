"""Which outside service a step gets: matching, the choice among several, and the settings.

The rules are FuseML's (fuseml-core, its extension store): what a requirement leaves empty
doesn't matter; a service without an endpoint that can be reached, or which lets nobody in
without credentials and has none for this run, isn't there at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from volant.domain import semver
from volant.domain.extension import Credentials, Endpoint, EndpointType, Extension, Scope, Service
from volant.domain.manifest import ExtensionRequirement
from volant.domain.semver import Version, satisfies
from volant.domain.workflow import ExtensionBinding
from volant.errors import InvalidInput, NotFound
from volant.extensions.placeholders import OWN, placeholder
from volant.yamltext.problems import nearest

_PRECEDENCE = {Scope.USER: 0, Scope.PROJECT: 1, Scope.GLOBAL: 2}
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Access:
    """A service, the endpoint to reach it by, and what it lets the run in with."""

    extension: Extension
    service: Service
    endpoint: Endpoint
    credentials: Credentials | None

    @property
    def name(self) -> str:
        return f"{self.extension.id}/{self.service.id}"


@dataclass(frozen=True, slots=True)
class Resolution:
    """`notes` tell where there was a choice, and what was chosen."""

    bindings: Mapping[str, ExtensionBinding]
    notes: Sequence[str] = ()


def resolve(
    requirements: Mapping[str, ExtensionRequirement],
    extensions: Sequence[Extension],
    project: str | None,
    user: str | None,
) -> Resolution:
    """A service for each requirement. Raises `NotFound` for one that nothing meets,
    `InvalidInput` for one that asks for nothing, or for no readable version."""
    bindings: dict[str, ExtensionBinding] = {}
    notes: list[str] = []
    for name, wanted in requirements.items():
        _check(name, wanted)
        found = candidates(wanted, extensions, project, user)
        if not found:
            raise _none(name, wanted, extensions, project, user)
        bindings[name] = binding(found[0])
        if len(found) > 1:
            others = ", ".join(each.name for each in found[1 : _SHOWN + 1])
            notes.append(f"{name}: {found[0].name} was chosen; {others} would do as well.")
    return Resolution(bindings, notes)


def candidates(
    wanted: ExtensionRequirement,
    extensions: Sequence[Extension],
    project: str | None,
    user: str | None,
) -> list[Access]:
    """All that would do, the best first: what somebody registered before what is built in,
    then the highest version, then by id."""
    found: list[Access] = []
    for extension, service in _services(extensions):
        if next(_misses(wanted, extension, service, project, user), None) is None:
            endpoint = endpoint_of(service, wanted.zone, extension.zone)
            assert endpoint is not None  # one of the misses, else
            allowed = credentials_of(service, project, user)
            found.append(Access(extension, service, endpoint, allowed))
    return sorted(found, key=_rank)


def binding(access: Access) -> ExtensionBinding:
    """What a step is told. Settings of the extension, its service, the endpoint and the
    credentials, the later winning; secrets as the names that `reveal` knows."""
    extension, service, credentials = access.extension, access.service, access.credentials
    secrets: dict[str, str] = {}
    if credentials is not None:
        owner = OWN if extension.builtin else extension.id
        secrets = {
            key: placeholder(owner, service.id, credentials.id, key)
            for key in credentials.configuration
        }
    return ExtensionBinding(
        extension=extension.id,
        service=service.id,
        product=extension.product,
        version=extension.version,
        zone=extension.zone,
        service_resource=service.resource,
        service_category=service.category,
        url=access.endpoint.url,
        cfg={
            **extension.configuration,
            **service.configuration,
            **access.endpoint.configuration,
            **secrets,
        },
    )


def endpoint_of(service: Service, asked: str, zone: str) -> Endpoint | None:
    """The endpoint to use: an internal one where the run is in the extension's zone or
    didn't say where it is, else an external one; the first by URL of several."""
    inside = asked in ("", zone)
    usable = [e for e in service.endpoints if inside or e.type is EndpointType.EXTERNAL]
    return min(usable, key=lambda e: (e.type is not EndpointType.INTERNAL, e.url), default=None)


def credentials_of(service: Service, project: str | None, user: str | None) -> Credentials | None:
    """The credentials to use: a user's own before a project's before everybody's; of
    several of a scope the default, else the first by id."""
    usable = [each for each in service.credentials if each.admits(project, user)]
    return min(usable, key=lambda c: (_PRECEDENCE[c.scope], not c.default, c.id), default=None)


def matching(wanted: ExtensionRequirement, extensions: Sequence[Extension]) -> list[Extension]:
    """For lists: the extensions that meet `wanted`, whoever may use them; a version is
    told apart from all others only where it is asked for."""
    _check_version("The filter", wanted.version)
    return [
        extension
        for extension in extensions
        if not any(_differences(wanted, extension, None))
        and (
            not (wanted.service_id or wanted.service_resource or wanted.service_category)
            or any(not any(_service_differences(wanted, each)) for each in extension.services)
        )
    ]


def _services(extensions: Sequence[Extension]) -> Iterator[tuple[Extension, Service]]:
    for extension in extensions:
        for service in extension.services:
            yield extension, service


def _rank(access: Access) -> tuple[object, ...]:
    version = Version.parse(access.extension.version)
    return (
        access.extension.builtin,
        version is None,
        _Descending(version or Version(0)),
        access.extension.id,
        access.service.id,
    )


@dataclass(frozen=True, slots=True)
class _Descending:
    version: Version

    def __lt__(self, other: _Descending) -> bool:
        return other.version < self.version


def _misses(
    wanted: ExtensionRequirement,
    extension: Extension,
    service: Service,
    project: str | None,
    user: str | None,
) -> Iterator[str]:
    """Why a service won't do, in words."""
    yield from _differences(wanted, extension, service)
    if not service.endpoints:
        yield "it has no endpoint"
    elif endpoint_of(service, wanted.zone, extension.zone) is None:
        yield f"its endpoints are reached from the zone {extension.zone!r} only"
    if service.auth_required and credentials_of(service, project, user) is None:
        who = " and ".join(
            each for each in (project and f"project {project}", user and f"user {user}") if each
        )
        yield f"it has no credentials for {who or 'everybody'}"


def _differences(
    wanted: ExtensionRequirement, extension: Extension, service: Service | None
) -> Iterator[str]:
    for asked, has, what in (
        (wanted.extension_id, extension.id, "id"),
        (wanted.product, extension.product, "product"),
        (wanted.zone, extension.zone, "zone"),
    ):
        if asked and asked != has:
            yield f"its {what} is {has!r}, not {asked!r}"
    if wanted.version and not satisfies(extension.version, wanted.version):
        yield f"its version is {extension.version!r}, not {wanted.version!r}"
    if service is not None:
        yield from _service_differences(wanted, service)


def _service_differences(wanted: ExtensionRequirement, service: Service) -> Iterator[str]:
    for asked, has, what in (
        (wanted.service_id, service.id, "service id"),
        (wanted.service_resource, service.resource, "resource"),
        (wanted.service_category, service.category, "category"),
    ):
        if asked and asked != has:
            yield f"its {what} is {has!r}, not {asked!r}"


def asked_for(wanted: ExtensionRequirement) -> str:
    """What is asked for, in the manifest's words."""
    told = {
        name: getattr(wanted, name)
        for name in (
            *("extension_id", "service_id", "product", "version", "zone"),
            *("service_resource", "service_category"),
        )
    }
    return ", ".join(f"{name} {value}" for name, value in told.items() if value)


def _check(name: str, wanted: ExtensionRequirement) -> None:
    if not asked_for(wanted):
        raise InvalidInput(
            f"The extension {name} asks for nothing: any service would do.",
            "Say which: by extension_id, product, service_resource or service_category.",
            code="extensions.requirement",
        )
    _check_version(f"The extension {name}", wanted.version)


def _check_version(what: str, version: str) -> None:
    reason = semver.problem(version) if version else None
    if reason is not None:
        raise InvalidInput(
            f"{what} asks for the version {version!r}: {reason}.",
            "Write a version or a constraint: 1.4, >=1.2, ~1.4, ^2, 1.x, >=1.2, <2 || ^3.",
            code="extensions.version",
        )


def _none(
    name: str,
    wanted: ExtensionRequirement,
    extensions: Sequence[Extension],
    project: str | None,
    user: str | None,
) -> NotFound:
    ranked = sorted(
        (
            (list(_misses(wanted, extension, service, project, user)), extension, service)
            for extension, service in _services(extensions)
        ),
        key=lambda each: (len(each[0]), each[1].builtin, each[1].id, each[2].id),
    )
    there = [f"{extension.id}/{service.id}" for _, extension, service in ranked]
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    known = ", ".join(sorted(there)[:_SHOWN]) + more if there else "nothing"
    nearest = ""
    if ranked:
        misses, extension, service = _closest(wanted, ranked)
        nearest = f" The nearest is {extension.id}/{service.id}: {'; '.join(misses)}."
    return NotFound(
        f"No registered extension meets {name} ({asked_for(wanted)}). Registered: {known}."
        f"{nearest}",
        "Register it with `volant extension register` or `volant extension add`, or ask for"
        " one of these.",
        code="extensions.none",
        details={"name": name, "asked": asked_for(wanted), "registered": sorted(there)},
    )


def _closest(
    wanted: ExtensionRequirement, ranked: Sequence[tuple[list[str], Extension, Service]]
) -> tuple[list[str], Extension, Service]:
    """The one with the fewest differences; of several that whose names are most alike."""
    fewest = [each for each in ranked if len(each[0]) == len(ranked[0][0])]
    names = [(each[1].id, each[1].product, each[2].resource, each[2].id) for each in fewest]
    asked = (wanted.extension_id, wanted.product, wanted.service_resource, wanted.service_id)
    for index, word in enumerate(asked):
        column = [name[index] for name in names]
        near = nearest(word, column) if word else None
        if near:
            return fewest[column.index(near)]
    return fewest[0]
