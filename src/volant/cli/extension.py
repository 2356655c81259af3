"""`volant extension`: register outside services, look at them, change and delete them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from volant.cli import extension_parts, extension_views
from volant.cli.client import Client, named
from volant.cli.extension_options import (
    Configuration,
    changes,
    content,
    names,
    secret_line,
)
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import output_of
from volant.errors import InvalidInput

app = new_app(help="Register outside services, and what steps need to reach them.")
app.add_typer(extension_parts.service, name="service")
app.add_typer(extension_parts.endpoint, name="endpoint")
app.add_typer(extension_parts.credentials, name="credentials")

ExtensionId = Annotated[str, typer.Argument(metavar="EXTENSION_ID", help="Its id.")]
Description = Annotated[str | None, typer.Option("--desc", help="What it is.")]
Product = Annotated[
    str | None, typer.Option("--product", "-p", help="The product, by the name it has everywhere.")
]
Version = Annotated[str | None, typer.Option("--version", help="The product's version.")]
Zone = Annotated[str | None, typer.Option("--zone", "-z", help="Where it runs.")]


@app.command()
def register(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Its record in YAML; - reads it.")],
) -> None:
    """Register an extension with all its services, endpoints and credentials."""
    from volant.extensions.document import read_extension

    body = read_extension(content(file), file)
    _made(ctx, "/extensions", body)


def _made(ctx: typer.Context, path: str, body: dict[str, Any]) -> None:
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        made = client.post(path, body)
    out.document(made, lambda: out.line(f'Extension "{made["id"]}" successfully registered'))


@app.command()
def add(
    ctx: typer.Context,
    *,
    recipe: Annotated[
        str | None,
        typer.Argument(help="mlflow, prometheus, redis, postgres, s3, minio or kafka."),
    ] = None,
    url: Annotated[str | None, typer.Option("--url", help="Where it runs already.")] = None,
    extension_id: Annotated[str, typer.Option("--id", help="Its id; the recipe's name.")] = "",
    user: Annotated[str, typer.Option(help="A user's name, or an access key's id.")] = "",
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read a token from standard input.")
    ] = False,
    region: Annotated[str, typer.Option(help="Of S3.")] = "",
    project: Annotated[
        list[str] | None,
        typer.Option(help="Only runs of this project may use the credentials. Repeatable."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Ask it first whether it is there.")
    ] = True,
    desc: Description = None,
    product: Product = None,
    version: Version = None,
    zone: Zone = None,
    configuration: Configuration = None,
) -> None:
    """Register what is running, by a recipe; or, without one, an extension without parts."""
    if recipe is None:
        told = {"desc": desc, "product": product, "version": version, "zone": zone}
        _made(ctx, "/extensions", {"id": extension_id, **changes(told, configuration)})
        return
    if url is None:
        raise InvalidInput(f"Where does the {recipe} run?", "Give its URL with --url.")
    if password_stdin and token_stdin:
        raise InvalidInput("Standard input holds one secret.", "Give a password or a token.")
    body = {
        "url": url,
        "id": extension_id,
        "zone": zone or "",
        "user": user,
        "password": secret_line() if password_stdin else "",
        "token": secret_line() if token_stdin else "",
        "region": region,
        "project": names(project) or [],
        "check": check,
    }
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        made = client.post(f"/extensions/recipes/{named(recipe)}", body)

    def render() -> None:
        out.line(f'Extension "{made["extension"]["id"]}" successfully registered: {made["found"]}')
        out.note("Steps ask for it with `service_resource: " + _resource(made) + "`.")

    out.document(made, render)


def _resource(made: dict[str, Any]) -> str:
    return str(made["extension"]["services"][0]["resource"])


@app.command()
def update(
    ctx: typer.Context,
    *,
    extension_id: ExtensionId,
    desc: Description = None,
    product: Product = None,
    version: Version = None,
    zone: Zone = None,
    configuration: Configuration = None,
) -> None:
    """Change an extension itself; what isn't given stays."""
    told = {"desc": desc, "product": product, "version": version, "zone": zone}
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        changed = client.put(f"/extensions/{named(extension_id)}", changes(told, configuration))
    out.document(changed, lambda: out.line(f'Extension "{extension_id}" successfully updated'))


@app.command("list")
def list_extensions(
    ctx: typer.Context,
    *,
    extension_id: Annotated[str | None, typer.Option("--id", help="Its id.")] = None,
    product: Product = None,
    version: Annotated[
        str | None, typer.Option("--version", help="A version, or a constraint like >=1.2, <2.")
    ] = None,
    zone: Zone = None,
    service_id: Annotated[str | None, typer.Option(help="A service's id.")] = None,
    service_resource: Annotated[
        str | None, typer.Option("--service-resource", "-r", help="A service's API or protocol.")
    ] = None,
    service_category: Annotated[
        str | None, typer.Option("--service-category", "-c", help="A service's category.")
    ] = None,
) -> None:
    """List the extensions that match, this server's own among them."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(
            "/extensions",
            extension_id=extension_id,
            product=product,
            version=version,
            zone=zone,
            service_id=service_id,
            service_resource=service_resource,
            service_category=service_category,
        )
    columns, rows = extension_views.table(found["items"])
    out.document(found, lambda: out.table(columns, rows, empty="No extension matches."))


@app.command()
def get(ctx: typer.Context, extension_id: ExtensionId) -> None:
    """Show an extension with all its parts, without secrets."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/extensions/{named(extension_id)}")

    def render() -> None:
        for line in extension_views.lines(found):
            out.line(line)

    out.document(found, render)


@app.command()
def delete(ctx: typer.Context, extension_id: ExtensionId) -> None:
    """Delete an extension with all its parts; its secrets are gone."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        client.delete(f"/extensions/{named(extension_id)}")
    told = {"deleted": extension_id}
    out.document(told, lambda: out.line(f'Extension "{extension_id}" successfully deleted'))


@app.command()
def resolve(
    ctx: typer.Context,
    *,
    extension_id: Annotated[str, typer.Option("--id", help="Its id.")] = "",
    product: Annotated[str, typer.Option("--product", "-p", help="Its product.")] = "",
    version: Annotated[str, typer.Option("--version", help="A version or constraint.")] = "",
    zone: Annotated[str, typer.Option("--zone", "-z", help="Its zone.")] = "",
    service_id: Annotated[str, typer.Option(help="The service's id.")] = "",
    service_resource: Annotated[
        str, typer.Option("--service-resource", "-r", help="The service's API or protocol.")
    ] = "",
    service_category: Annotated[
        str, typer.Option("--service-category", "-c", help="The service's category.")
    ] = "",
    project: Annotated[str | None, typer.Option(help="The project of the run.")] = None,
) -> None:
    """Show what a step that asks for this would get now."""
    wanted = {
        "name": "it",
        "extension_id": extension_id,
        "product": product,
        "version": version,
        "zone": zone,
        "service_id": service_id,
        "service_resource": service_resource,
        "service_category": service_category,
    }
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        body = {"requirements": [wanted], "project": project}
        found = client.post("/extensions/resolve", body)

    def render() -> None:
        bound = found["bindings"]["it"]
        out.line(f"{bound['extension']}/{bound['service']}  {bound['url']}")
        for key, value in bound["cfg"].items():
            out.line(f"  {key} = {value}")
        for note in found["notes"]:
            out.note(note)

    out.document(found, render)


@app.command()
def rekey(ctx: typer.Context) -> None:
    """Seal all secrets with a new key.

    The key lies in secret.key of the server's home; or, where VOLANT_SECRET_KEY gives it,
    start the server with the new one there and the old one in VOLANT_SECRET_KEY_OLD first.
    """
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        done = client.post("/extensions/rekey")
    some = "1 secret" if done["secrets"] == 1 else f"{done['secrets']} secrets"
    out.document(done, lambda: out.line(f"Sealed {some} with the new key."))
