"""The bodies and the views of extensions, and what they are in the domain."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from volant.domain.extension import Credentials, Endpoint, EndpointType, Extension, Scope, Service
from volant.domain.workflow import ExtensionBinding


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    def changes(self) -> dict[str, Any]:
        """What was given, as the domain has it."""
        given = self.model_dump(exclude_unset=True)
        return {key: tuple(each) if isinstance(each, list) else each for key, each in given.items()}


class EndpointChange(_Body):
    """What may change of an endpoint; what isn't given stays."""

    type: EndpointType = EndpointType.EXTERNAL
    configuration: dict[str, str] = {}


class EndpointBody(EndpointChange):
    """One address of a service."""

    url: str = Field(examples=["http://minio:9000"])


class CredentialsChange(_Body):
    """What may change of credentials; what isn't given stays. `configuration` takes the
    place of all the secrets there were."""

    scope: Scope = Scope.GLOBAL
    default: bool = False
    projects: list[str] = []
    users: list[str] = []
    configuration: dict[str, str] = Field(
        {}, description="Secrets by name: sealed, and never told again."
    )


class CredentialsBody(CredentialsChange):
    """What a service lets in with, and whose runs may use it."""

    id: str = ""


class ServiceChange(_Body):
    """What may change of a service itself; what isn't given stays."""

    resource: str = Field("", examples=["s3"])
    category: str = Field("", examples=["model-store"])
    description: str = ""
    auth_required: bool = False
    configuration: dict[str, str] = {}


class ServiceBody(ServiceChange):
    """One API of an extension; an id that is empty is made."""

    id: str = ""
    endpoints: list[EndpointBody] = []
    credentials: list[CredentialsBody] = []


class ExtensionChange(_Body):
    """What may change of an extension itself; what isn't given stays."""

    product: str = Field("", examples=["mlflow"])
    version: str = Field("", examples=["1.20.2"])
    description: str = ""
    zone: str = ""
    configuration: dict[str, str] = {}


class ExtensionBody(ExtensionChange):
    """An outside service with all its parts; an id that is empty is made."""

    id: str = ""
    services: list[ServiceBody] = []


class RequirementBody(_Body):
    """What a step asks for; what is empty doesn't matter."""

    name: str
    extension_id: str = ""
    service_id: str = ""
    product: str = ""
    version: str = Field("", examples=[">=1.19, <3"])
    zone: str = ""
    service_resource: str = ""
    service_category: str = ""


class ResolveBody(_Body):
    """Requirements, and for which project's run."""

    requirements: list[RequirementBody]
    project: str | None = None


class RecipeBody(_Body):
    """Something that is running, and how to get in."""

    url: str = Field(examples=["redis://127.0.0.1:6379"])
    id: str = ""
    zone: str = ""
    user: str = ""
    password: str = ""
    token: str = ""
    region: str = ""
    project: list[str] = Field([], description="Only runs of these may use the credentials.")
    check: bool = Field(True, description="Ask it first whether it is what it is said to be.")


class EndpointView(BaseModel):
    """An endpoint."""

    url: str
    type: EndpointType
    configuration: dict[str, str]


class CredentialsView(BaseModel):
    """Credentials, without their secrets: `keys` are these' names."""

    id: str
    scope: Scope
    default: bool
    projects: list[str]
    users: list[str]
    keys: list[str]


class ServiceView(BaseModel):
    """A service with its parts."""

    id: str
    resource: str
    category: str
    description: str
    auth_required: bool
    configuration: dict[str, str]
    endpoints: list[EndpointView]
    credentials: list[CredentialsView]


class ExtensionView(BaseModel):
    """An extension with its parts. `builtin` is this server itself."""

    id: str
    product: str
    version: str
    description: str
    zone: str
    configuration: dict[str, str]
    services: list[ServiceView]
    registered_at: datetime | None
    updated_at: datetime | None
    builtin: bool


class ResolutionView(BaseModel):
    """What each requirement gets; `cfg` has `secret://…` in the place of secrets."""

    bindings: dict[str, ExtensionBinding]
    notes: list[str]


class RecipeAnswer(BaseModel):
    """What was registered, and what was found out about it before."""

    extension: ExtensionView
    found: str


class Rekeyed(BaseModel):
    """How many secrets have a new seal."""

    secrets: int


class ExtensionFilter(BaseModel):
    """What listed extensions must have; what is empty doesn't matter."""

    model_config = ConfigDict(extra="forbid")

    extension_id: str = ""
    product: str = ""
    version: str = ""
    zone: str = ""
    service_id: str = ""
    service_resource: str = ""
    service_category: str = ""


def extension_of(body: ExtensionBody) -> Extension:
    own = body.model_dump(exclude={"services"})
    return Extension(**own, services=tuple(service_of(each) for each in body.services))


def service_of(body: ServiceBody) -> Service:
    return Service(
        **body.model_dump(exclude={"endpoints", "credentials"}),
        endpoints=tuple(Endpoint(**each.model_dump()) for each in body.endpoints),
        credentials=tuple(credentials_of(each) for each in body.credentials),
    )


def credentials_of(body: CredentialsBody) -> Credentials:
    """What is to be sealed."""
    return Credentials(
        id=body.id,
        scope=body.scope,
        default=body.default,
        projects=tuple(body.projects),
        users=tuple(body.users),
        configuration=body.configuration,
    )


def extension_view(extension: Extension) -> ExtensionView:
    return ExtensionView(
        id=extension.id,
        product=extension.product,
        version=extension.version,
        description=extension.description,
        zone=extension.zone,
        configuration=dict(extension.configuration),
        services=[service_view(each) for each in extension.services],
        registered_at=extension.registered_at,
        updated_at=extension.updated_at,
        builtin=extension.builtin,
    )


def service_view(service: Service) -> ServiceView:
    return ServiceView(
        id=service.id,
        resource=service.resource,
        category=service.category,
        description=service.description,
        auth_required=service.auth_required,
        configuration=dict(service.configuration),
        endpoints=[endpoint_view(each) for each in service.endpoints],
        credentials=[credentials_view(each) for each in service.credentials],
    )


def endpoint_view(endpoint: Endpoint) -> EndpointView:
    return EndpointView(
        url=endpoint.url, type=endpoint.type, configuration=dict(endpoint.configuration)
    )


def credentials_view(credentials: Credentials) -> CredentialsView:
    return CredentialsView(
        id=credentials.id,
        scope=credentials.scope,
        default=credentials.default,
        projects=list(credentials.projects),
        users=list(credentials.users),
        keys=sorted(credentials.configuration),
    )
