"""`volant tokens`: list, create, revoke."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from volant.cli.client import Client, named
from volant.cli.lazy import new_app
from volant.cli.options import options_of
from volant.cli.output import output_of
from volant.cli.text import ago

app = new_app(help="List, create and revoke tokens.", no_args_is_help=True)


class RoleName(StrEnum):
    """What a token's bearer may do; each may do all that the ones before it may."""

    VIEWER = "viewer"
    DEVELOPER = "developer"
    OPERATOR = "operator"
    ADMIN = "admin"


@app.command("list")
def list_tokens(ctx: typer.Context) -> None:
    """List all tokens, without their secrets."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        found = client.get("/tokens")
    rows = [
        (
            each["id"],
            each["principal"],
            each["role"],
            ago(each["created_at"]),
            ago(each["last_used_at"]),
        )
        for each in found["items"]
    ]
    out.document(found, lambda: out.table(("id", "for", "role", "made", "last used"), rows))


@app.command()
def create(
    ctx: typer.Context,
    principal: Annotated[str, typer.Argument(help="Who will use it.")],
    role: Annotated[RoleName, typer.Option(help="What they may do.")] = RoleName.VIEWER,
) -> None:
    """Make a token and print its secret: this once, and never again."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        made = client.post("/tokens", {"principal": principal, "role": role.value})

    def render() -> None:
        out.note(f"Token {made['id']} for {made['principal']} ({made['role']}); keep it secret:")
        out.line(made["secret"])

    out.document(made, render)


@app.command()
def revoke(ctx: typer.Context, token_id: Annotated[str, typer.Argument(help="Its id.")]) -> None:
    """Revoke a token: from now on it opens nothing."""
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client:
        client.delete(f"/tokens/{named(token_id)}")
    out.document({"revoked": token_id}, lambda: out.line(f"Revoked {token_id}."))
