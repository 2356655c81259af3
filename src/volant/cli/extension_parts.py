"""`volant extension service|endpoint|credentials`: the parts of an extension."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import typer

from volant.cli.client import Client, named
from volant.cli.extension_options import (
    Configuration,
    LongConfiguration,
    changes,
    names,
    secret_line,
)
from volant.cli.extension_views import whose
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import output_of
from volant.cli.text import word
from volant.domain.extension import EndpointType, Scope
from volant.errors import InvalidInput

service = new_app(help="The services of an extension.", no_args_is_help=True)
endpoint = new_app(help="The endpoints of a service.", no_args_is_help=True)
credentials = new_app(help="The credentials of a service.", no_args_is_help=True)

ExtensionId = Annotated[str, typer.Argument(metavar="EXTENSION_ID")]
ServiceId = Annotated[str, typer.Argument(metavar="SERVICE_ID")]
CredentialsId = Annotated[str, typer.Argument(metavar="CREDENTIALS_ID")]
Url = Annotated[str, typer.Argument(metavar="ENDPOINT_URL")]
Description = Annotated[str | None, typer.Option("--desc", help="What it is.")]
Resource = Annotated[
    str | None, typer.Option("--resource", "-r", help="Its API or protocol: s3, git, mlflow.")
]
Category = Annotated[
    str | None, typer.Option("--category", "-c", help="What it is for: model-store, serving.")
]


class Truth(StrEnum):
    """As FuseML's command line writes it: --auth-required=true."""

    TRUE = "true"
    FALSE = "false"


AuthRequired = Annotated[
    Truth | None, typer.Option("--auth-required", help="Nobody gets in without credentials.")
]


TypeOption = Annotated[
    EndpointType | None, typer.Option("--type", help="internal is reached from its own zone only.")
]
ScopeOption = Annotated[Scope | None, typer.Option(help="Whose runs may use them.")]
Projects = Annotated[list[str] | None, typer.Option("--project", help="Repeatable.")]
Users = Annotated[list[str] | None, typer.Option("--user", help="Repeatable.")]
Default = Annotated[
    bool | None, typer.Option("--default/--no-default", help="Preferred to others of its scope.")
]
FromStdin = Annotated[
    str | None,
    typer.Option(
        "--stdin", metavar="KEY", help="Read this key's secret from standard input, not from here."
    ),
]


def _truth(given: Truth | None) -> bool | None:
    return None if given is None else given is Truth.TRUE


def _services(extension_id: str) -> str:
    return f"/extensions/{named(extension_id)}/services"


def _service(extension_id: str, service_id: str) -> str:
    return f"{_services(extension_id)}/{named(service_id)}"


def _endpoint(extension_id: str, service_id: str, url: str) -> str:
    return f"{_service(extension_id, service_id)}/endpoints/{quote(url, safe='')}"


def _credentials(extension_id: str, service_id: str, credentials_id: str) -> str:
    return f"{_service(extension_id, service_id)}/credentials/{named(credentials_id)}"


def _post(ctx: typer.Context, path: str, body: dict[str, Any], told: str) -> None:
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        made = client.post(path, body)
    out.document(made, lambda: out.line(told.format(**made)))


def _put(ctx: typer.Context, path: str, body: dict[str, Any], told: str) -> None:
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        changed = client.put(path, body)
    out.document(changed, lambda: out.line(told))


def _delete(ctx: typer.Context, path: str, name: str, told: str) -> None:
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        client.delete(path)
    out.document({"deleted": name}, lambda: out.line(told))


def _get(ctx: typer.Context, path: str) -> None:
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(path)

    def render() -> None:
        for key, value in found.items():
            out.line(f"{key}: {_cell(value)}")

    out.document(found, render)


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={each}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(
            str(each.get("url") or each["id"]) if isinstance(each, dict) else str(each)
            for each in value
        )
    return "-" if value is None else word(value)


@service.command("add")
def add_service(
    ctx: typer.Context,
    *,
    extension_id: ExtensionId,
    service_id: Annotated[str, typer.Option("--id", help="Its id; one is made if absent.")] = "",
    desc: Description = None,
    resource: Resource = None,
    category: Category = None,
    auth_required: AuthRequired = None,
    configuration: LongConfiguration = None,
) -> None:
    """Add a service to an extension."""
    told = {"desc": desc, "resource": resource, "category": category}
    body = changes(
        {"id": service_id, **told, "auth_required": _truth(auth_required)}, configuration
    )
    _post(
        ctx,
        _services(extension_id),
        body,
        f'Service "{{id}}" successfully added to extension "{extension_id}"',
    )


@service.command("update")
def update_service(
    ctx: typer.Context,
    *,
    extension_id: ExtensionId,
    service_id: ServiceId,
    desc: Description = None,
    resource: Resource = None,
    category: Category = None,
    auth_required: AuthRequired = None,
    configuration: LongConfiguration = None,
) -> None:
    """Change a service itself; what isn't given stays."""
    told = {"desc": desc, "resource": resource, "category": category}
    _put(
        ctx,
        _service(extension_id, service_id),
        changes({**told, "auth_required": _truth(auth_required)}, configuration),
        f'Service "{service_id}" from extension "{extension_id}" successfully updated',
    )


@service.command("delete")
def delete_service(ctx: typer.Context, extension_id: ExtensionId, service_id: ServiceId) -> None:
    """Delete a service with its endpoints and credentials."""
    told = f'Service "{service_id}" successfully deleted from extension "{extension_id}"'
    _delete(ctx, _service(extension_id, service_id), service_id, told)


@service.command("get")
def get_service(ctx: typer.Context, extension_id: ExtensionId, service_id: ServiceId) -> None:
    """Show a service."""
    _get(ctx, _service(extension_id, service_id))


@service.command("list")
def list_services(ctx: typer.Context, extension_id: ExtensionId) -> None:
    """List an extension's services."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(_services(extension_id))
    rows = [
        (each["id"], each["resource"], each["category"], _cell(each["configuration"]))
        for each in found["items"]
    ]
    columns = ("id", "resource", "category", "configuration")
    out.document(found, lambda: out.table(columns, rows))


@endpoint.command("add")
def add_endpoint(
    ctx: typer.Context,
    *,
    extension_id: ExtensionId,
    service_id: ServiceId,
    url: Url,
    type: TypeOption = None,
    configuration: Configuration = None,
) -> None:
    """Add an endpoint to a service."""
    body = {"url": url, **changes({"type": type and type.value}, configuration)}
    told = (
        f'Endpoint "{{url}}" successfully added to service {service_id} from extension'
        f' "{extension_id}"'
    )
    _post(ctx, f"{_service(extension_id, service_id)}/endpoints", body, told)


@endpoint.command("update")
def update_endpoint(
    ctx: typer.Context,
    *,
    extension_id: ExtensionId,
    service_id: ServiceId,
    url: Url,
    type: TypeOption = None,
    configuration: Configuration = None,
) -> None:
    """Change an endpoint; what isn't given stays."""
    _put(
        ctx,
        _endpoint(extension_id, service_id, url),
        changes({"type": type and type.value}, configuration),
        f'Endpoint "{url}" from service {service_id} and extension "{extension_id}" successfully'
        " updated",
    )


@endpoint.command("delete")
def delete_endpoint(
    ctx: typer.Context, extension_id: ExtensionId, service_id: ServiceId, url: Url
) -> None:
    """Delete an endpoint."""
    told = (
        f'Endpoint "{url}" successfully deleted from service "{service_id}" and extension'
        f' "{extension_id}"'
    )
    _delete(ctx, _endpoint(extension_id, service_id, url), url, told)


@endpoint.command("get")
def get_endpoint(
    ctx: typer.Context, extension_id: ExtensionId, service_id: ServiceId, url: Url
) -> None:
    """Show an endpoint."""
    _get(ctx, _endpoint(extension_id, service_id, url))


@endpoint.command("list")
def list_endpoints(ctx: typer.Context, extension_id: ExtensionId, service_id: ServiceId) -> None:
    """List a service's endpoints."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"{_service(extension_id, service_id)}/endpoints")
    rows = [(each["url"], each["type"], _cell(each["configuration"])) for each in found["items"]]
    out.document(found, lambda: out.table(("url", "type", "configuration"), rows))


@credentials.command("add")
def add_credentials(
    ctx: typer.Context,
    *,
    extension_id: ExtensionId,
    service_id: ServiceId,
    credentials_id: Annotated[str, typer.Option("--id", help="Their id; made if absent.")] = "",
    scope: ScopeOption = None,
    project: Projects = None,
    user: Users = None,
    default: Default = None,
    configuration: Configuration = None,
    stdin: FromStdin = None,
) -> None:
    """Add credentials to a service. What -c gives is seen by whoever lists this machine's
    processes, and by the shell's history: --stdin is not."""
    body = _secrets(
        scope=scope,
        project=project,
        user=user,
        default=default,
        configuration=configuration,
        stdin=stdin,
    )
    told = (
        f'Credentials "{{id}}" successfully added to service {service_id} from extension'
        f' "{extension_id}"'
    )
    path = f"{_service(extension_id, service_id)}/credentials"
    _post(ctx, path, {"id": credentials_id, **body}, told)


@credentials.command("update")
def update_credentials(
    ctx: typer.Context,
    *,
    extension_id: ExtensionId,
    service_id: ServiceId,
    credentials_id: CredentialsId,
    scope: ScopeOption = None,
    project: Projects = None,
    user: Users = None,
    default: Default = None,
    configuration: Configuration = None,
    stdin: FromStdin = None,
) -> None:
    """Change credentials. Secrets that are given take the place of all that were there."""
    _put(
        ctx,
        _credentials(extension_id, service_id, credentials_id),
        _secrets(
            scope=scope,
            project=project,
            user=user,
            default=default,
            configuration=configuration,
            stdin=stdin,
        ),
        f'Credentials "{credentials_id}" from service {service_id} and extension'
        f" {extension_id} successfully updated",
    )


def _secrets(
    *,
    scope: Scope | None,
    project: list[str] | None,
    user: list[str] | None,
    default: bool | None,
    configuration: list[str] | None,
    stdin: str | None,
) -> dict[str, Any]:
    told = {
        "scope": scope and scope.value,
        "projects": names(project),
        "users": names(user),
        "default": default,
    }
    body = changes(told, configuration or None)
    if stdin is not None:
        if not stdin.strip():
            raise InvalidInput("Which secret is it?", "Give its name: --stdin KEY.")
        body["configuration"] = {**body.get("configuration", {}), stdin: secret_line()}
    return body


@credentials.command("delete")
def delete_credentials(
    ctx: typer.Context,
    extension_id: ExtensionId,
    service_id: ServiceId,
    credentials_id: CredentialsId,
) -> None:
    """Delete credentials; their secrets are gone."""
    told = (
        f'Credentials "{credentials_id}" successfully deleted from service "{service_id}" and'
        f' extension "{extension_id}"'
    )
    _delete(ctx, _credentials(extension_id, service_id, credentials_id), credentials_id, told)


@credentials.command("get")
def get_credentials(
    ctx: typer.Context,
    extension_id: ExtensionId,
    service_id: ServiceId,
    credentials_id: CredentialsId,
) -> None:
    """Show credentials, without their secrets."""
    _get(ctx, _credentials(extension_id, service_id, credentials_id))


@credentials.command("list")
def list_credentials(ctx: typer.Context, extension_id: ExtensionId, service_id: ServiceId) -> None:
    """List a service's credentials, without their secrets."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"{_service(extension_id, service_id)}/credentials")
    rows = [
        (each["id"], whose(each), "yes" if each["default"] else "", ", ".join(each["keys"]))
        for each in found["items"]
    ]
    out.document(found, lambda: out.table(("id", "scope", "default", "secrets"), rows))
