"""`volant models push | pull | image`: models in container registries.

The command itself speaks to the registry, with the credentials of whoever types it; the
server only gives the version's file, or takes it as it takes an import.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from volant.cli import register as registering
from volant.cli.client import Client, named
from volant.cli.options import options_of
from volant.cli.output import Output, output_of
from volant.cli.text import size
from volant.cli.upload import progress, upload_all
from volant.errors import Conflict, InvalidInput, ResourceExhausted

if TYPE_CHECKING:
    from volant.oci.artifact import Bundle
    from volant.oci.image import Built
    from volant.oci.reference import Reference
    from volant.oci.session import Access

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

Model = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="By default the champion.")]
Where = Annotated[str, typer.Argument(metavar="REGISTRY/REPO:TAG", help="Its place there.")]
PlainHttp = Annotated[
    bool | None,
    typer.Option(
        "--plain-http/--tls", help="Without TLS. By default only on this machine's loopback."
    ),
]
Lean = Annotated[
    bool,
    typer.Option("--without-pickles", help="Leave out the pickles that it isn't served by."),
]


def add_to(app: typer.Typer) -> None:
    """Give `volant models` these commands."""
    for command in (push, pull, image):
        app.command()(command)


def push(
    ctx: typer.Context,
    *,
    model: Model,
    where: Where,
    without_pickles: Lean = False,
    plain_http: PlainHttp = None,
) -> None:
    """Push a version to a container registry as an OCI artifact."""
    from volant.oci import artifact
    from volant.oci.client import Client as Registry

    reference = _reference(where)
    out = output_of(ctx)
    with _bundle(ctx, out, model, lean=without_pickles) as bundle:
        total = sum(facts["bytes"] for facts in bundle.told["files"].values())
        with Registry(reference, _access(plain_http)) as registry, progress(total, out) as sent:
            done = artifact.push(registry, bundle, sent)
    told = bundle.told
    document = {
        "reference": done.reference,
        "digest": done.digest,
        "bytes": done.size,
        "sent_bytes": done.sent,
        "model": told["model"],
        "version": told["version"],
    }

    def render() -> None:
        out.line(f"{told['model']} version {told['version']} is at {done.reference}", "bold")
        out.line(f"  digest  {done.digest}")
        out.line(f"  size    {size(done.size)}")
        out.line(f"  sent    {size(done.sent) if done.sent else 'nothing: it was there'}")

    out.document(document, render)


def pull(
    ctx: typer.Context,
    *,
    where: Where,
    name: Annotated[str, typer.Option("--name", help="The model that it becomes a version of.")],
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Vouch for the code in it (admins only).")
    ] = False,
    plain_http: PlainHttp = None,
) -> None:
    """Register the version that lies in a container registry.

    Every byte is proven by its digest, then the server verifies the whole as it does an
    import. The same content is the same version.
    """
    from volant.oci import artifact
    from volant.oci.client import Client as Registry

    reference = _reference(where)
    out = output_of(ctx)
    with Client.of(options_of(ctx)) as client, _workdir() as folder:
        _tell(out, "pulling")
        with Registry(reference, _access(plain_http)) as registry:
            bundle, digest = artifact.pull(registry, folder / "files")
        packed = folder / "model.volant"
        _pack(bundle, packed)
        upload = upload_all(client, out, name, [packed], "models")[0]
        imports = "trusted-imports" if trust_pickle else "imports"
        state = client.post(f"/models/{named(name)}/{imports}", {"upload": upload})
        state = registering.awaited(client, out, state)
        found = client.get(f"/models/{named(name)}/versions/{state['version']}")
    if state["known"]:
        out.note(f"Version {state['version']} holds the same model already.")
    document = {**found, "reference": str(reference), "digest": digest, "known": state["known"]}

    def render() -> None:
        out.line(f"{name} version {found['version']}", "bold")
        out.line(f"  stage   {found['stage']}")
        out.line(f"  from    {reference}")
        out.line(f"  digest  {digest}")

    out.document(document, render)


def image(
    ctx: typer.Context,
    *,
    model: Model,
    where: Where,
    base: Annotated[
        str,
        typer.Option(
            "--base",
            envvar="VOLANT_IMAGE_BASE",
            help="An image with Python and glibc, to build on.",
        ),
    ],
    on: Annotated[
        list[str] | None,
        typer.Option("--platform", help="linux/amd64 or linux/arm64; may be repeated."),
    ] = None,
    plain_http: PlainHttp = None,
) -> None:
    """Push an image that serves a version; no container engine is needed.

    It answers the Open Inference Protocol on $PORT (8080) as a user that isn't root.
    """
    from volant.oci.cache import Cache
    from volant.oci.client import Client as Registry
    from volant.oci.image import build_image
    from volant.oci.reference import parse_reference

    reference = _reference(where)
    below = parse_reference(base)
    platforms = _platforms(on)
    out = output_of(ctx)
    same = below.registry == reference.registry
    with (
        _bundle(ctx, out, model, lean=None) as bundle,
        Registry(below, _access(plain_http if same else None)) as source,
        Registry(reference, _access(plain_http)) as target,
    ):
        digest, built = build_image(
            bundle,
            source,
            target,
            platforms=platforms,
            cache=Cache.of_user(os.environ),
            tell=lambda what: _tell(out, what),
        )
        told = bundle.told
    document = {
        "reference": str(reference),
        "digest": digest,
        "model": told["model"],
        "version": told["version"],
        "base": str(below),
        "images": [_plain(one) for one in built],
    }

    def render() -> None:
        out.line(f"{reference} serves {told['model']} version {told['version']}", "bold")
        out.line(f"  digest  {digest}")
        for one in built:
            _show(out, one)

    out.document(document, render)


def _plain(one: Built) -> dict[str, Any]:
    return {
        "platform": one.platform,
        "digest": one.digest,
        "bytes": one.size,
        "sent_bytes": one.sent,
        "layers": dict(one.layers),
        "python": one.python,
        "glibc": one.glibc,
        "libraries": list(one.libraries),
        "rehearsed": one.rehearsed,
        "seconds": dict(one.seconds),
    }


def _show(out: Output, one: Built) -> None:
    layers = ", ".join(f"{name} {size(count)}" for name, count in one.layers.items())
    out.line(f"{one.platform}  {size(one.size)} ({layers})")
    out.line(f"  python  {one.python}, glibc {one.glibc}")
    proven = "loaded and asked here" if one.rehearsed else "not tried: this machine isn't like it"
    out.line(f"  model   {proven}")
    out.line(f"  sent    {size(one.sent) if one.sent else 'nothing: it was there'}")


def _reference(text: str) -> Reference:
    from volant.oci.reference import parse_reference

    return parse_reference(text)


def _access(plain_http: bool | None) -> Access:
    from volant.oci.session import Access

    return Access(plain_http=plain_http)


def _platforms(given: Sequence[str] | None) -> list[str]:
    known = {f"linux/{name}" for name in _ARCHITECTURES.values()}
    found = list(dict.fromkeys(given or ()))
    if not found:
        here = _ARCHITECTURES.get(platform.machine().lower(), "amd64")
        return [f"linux/{here}"]
    for one in found:
        if one not in known:
            raise InvalidInput(
                f"--platform {one!r} isn't known.", f"Give {' or '.join(sorted(known))}."
            )
    return found


@contextmanager
def _workdir() -> Generator[Path]:
    """A folder for the time of the command."""
    try:
        with tempfile.TemporaryDirectory(prefix="volant-oci-") as folder:
            yield Path(folder)
    except OSError as error:
        raise ResourceExhausted(
            f"The model can't be kept in the temporary folder: {error.strerror or error}.",
            "Free some space there, or name another one in TMPDIR.",
            code="disk_full",
        ) from error


@contextmanager
def _bundle(ctx: typer.Context, out: Output, model: str, *, lean: bool | None) -> Generator[Bundle]:
    """The version's files on this machine, each proven. A `lean` one is without pickles
    that it isn't served by; None: lean if it can be."""
    from volant.oci.artifact import Bundle
    from volant.registry.archive import read

    name, at, version = model.rpartition("@")
    name, version = (name, version) if at else (model, "champion")
    with _workdir() as folder:
        packed = folder / "model.volant"
        with Client.of(options_of(ctx)) as client:
            _tell(out, "fetching the version")
            path = f"/models/{named(name)}/versions/{named(version)}/export"
            try:
                client.download(path, packed, without_pickles=lean is not False or None)
            except Conflict as error:
                if lean is not None or error.error_code != "model.needs_pickle":
                    raise
                client.download(path, packed)
        manifest = read(packed, folder / "files")
        packed.unlink()
        yield Bundle(manifest.encoded(), folder / "files")


def _pack(bundle: Bundle, target: Path) -> None:
    """The version as one file, as an export is."""
    from volant.domain.codec import from_plain
    from volant.errors import VolantError
    from volant.registry.archive import Manifest, write

    try:
        manifest = from_plain(Manifest, bundle.told)
    except VolantError as error:
        raise InvalidInput(
            f"The record of the pulled version can't be read: {error.what}",
            "Push it again with this version of Volant.",
            code="oci.record",
        ) from error
    with target.open("wb") as file:
        for block in write(manifest, bundle.folder):
            file.write(block)


def _tell(out: Output, what: str) -> None:
    if not out.json and sys.stderr.isatty():
        print(f"{what} …", file=sys.stderr)  # noqa: T201 - progress, beside the output
