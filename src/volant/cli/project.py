"""`volant project`: create, list, get, update, delete, members, set."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from volant.cli import current
from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import ago
from volant.cli.tokens import RoleName

app = new_app(help="What belongs together, and who may do what in it.", no_args_is_help=True)

Name = Annotated[str, typer.Option("--name", "-n", metavar="NAME", help="The project.")]
Description = Annotated[str, typer.Option("--desc", "-d", metavar="TEXT", help="What it is for.")]
Principal = Annotated[str, typer.Option("--principal", "-p", help="Whom a token is for.")]


@app.command()
def create(ctx: typer.Context, name: Name, desc: Description = "") -> None:
    """Make a project. Registering a codeset makes its project too."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        made = client.post("/projects", {"name": name, "description": desc})
    out.document(made, lambda: out.line(f"Project {name} successfully created."))


@app.command("list")
def list_projects(ctx: typer.Context) -> None:
    """List the projects."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get("/projects")
    rows = [(each["name"], each["description"], _members(each)) for each in found["items"]]
    columns = ("name", "description", "users")
    out.document(found, lambda: out.table(columns, rows, "There are no projects."))


@app.command()
def get(ctx: typer.Context, name: Name) -> None:
    """Show a project: its members, and what is in it."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get(f"/projects/{named(name)}")
    out.document(found, lambda: _show(out, found))


@app.command()
def update(ctx: typer.Context, name: Name, desc: Description) -> None:
    """Describe a project anew."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        changed = client.patch(f"/projects/{named(name)}", {"description": desc})
    out.document(changed, lambda: out.line(f"Project {name} successfully updated."))


@app.command()
def delete(ctx: typer.Context, name: Name) -> None:
    """Delete a project that holds no codeset, application, experiment or model."""
    out = output_of(ctx)
    options = options_of(ctx)
    with Client.of(options) as client:
        client.delete(f"/projects/{named(name)}")
    current.forget(options.home_folder(), "project", name)
    out.document({"deleted": name}, lambda: out.line(f"Project {name} successfully deleted"))


@app.command("set")
def set_current(ctx: typer.Context, name: Name) -> None:
    """Make a project the one that commands mean which aren't told another."""
    out = output_of(ctx)
    options = options_of(ctx)
    with Client.of(options) as client:
        client.get(f"/projects/{named(name)}")
    current.write(options.home_folder(), "project", name)
    out.document({"project": name}, lambda: out.line(f"Current project set to {name}."))


@app.command("add-member")
def add_member(
    ctx: typer.Context,
    name: Name,
    principal: Principal,
    role: Annotated[RoleName, typer.Option(help="What they may do there at most.")],
) -> None:
    """Bound what a principal may do in a project, whatever its token allows elsewhere."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        changed = client.put(
            f"/projects/{named(name)}/members/{named(principal)}", {"role": role.value}
        )
    told = f"{principal} is a {role.value} in the project {name}."
    out.document(changed, lambda: out.line(told))


@app.command("remove-member")
def remove_member(ctx: typer.Context, name: Name, principal: Principal) -> None:
    """A principal has the rights of its token again."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        client.delete(f"/projects/{named(name)}/members/{named(principal)}")
    told = f"{principal} is no member of the project {name} any more."
    out.document({"project": name, "removed": principal}, lambda: out.line(told))


def _members(project: dict[str, Any]) -> str:
    return ", ".join(f"{each['principal']} ({each['role']})" for each in project["members"])


def _show(out: Output, found: dict[str, Any]) -> None:
    out.line(f"{found['name']}  made {ago(found['created_at'])}", "bold")
    if found["description"]:
        out.line(found["description"])
    out.line(f"Members: {_members(found) or 'none'}")
    out.line(f"Holds: {', '.join(found['holds']) or 'nothing'}")
