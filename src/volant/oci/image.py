"""An image that serves a model, assembled without a container engine.

Its layers, from the bottom: those of the base image, as they are; the libraries that the
model's server imports; Volant; the model. The first three are the same for all models of
a kind, and so are stored and sent once. Nothing of the image is run here but, where this
machine has the image's kind of processor and Python, a rehearsal: the model is loaded from
the very files of the layers, and predicts.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import volant
from volant.errors import InvalidInput, VolantError
from volant.oci.artifact import Bundle, annotations_of
from volant.oci.base import Base, Findings, fetch, inspect_layers, layer_file, read_base
from volant.oci.blob import Blob, Descriptor, canonical, digest_of, of_bytes, of_file
from volant.oci.cache import Cache
from volant.oci.client import OCI_INDEX, OCI_MANIFEST, Client
from volant.oci.dependencies import Target, Wanted, install, lock_of, target_of, wanted_for
from volant.oci.layer import LAYER_TYPE, Layer, files_under, unpack, write_layer
from volant.oci.rehearsal import rehearse, stands_for

CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"
MODEL, RECORD = "models", "opt/volant/model.json"  # paths in the image
LIBRARIES, CODE = "opt/volant/lib", "opt/volant/app"
USER = "65532:65532"  # nobody's, and not root's
PORT = 8080
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Built:
    """One platform's image in the registry. Sizes are of what is sent and stored,
    compressed; `sent` is what left this machine."""

    platform: str
    digest: str
    size: int
    sent: int
    layers: Mapping[str, int]
    python: str
    glibc: str
    libraries: Sequence[str]
    rehearsed: bool
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass
class Builder:
    """Makes images of one version over one base image.

    Args:
        bundle: The version, its files proven.
        base: The base image's repository.
        target: Where the image goes.
        cache: What was found and made before.
        workdir: An empty folder with room for the layers.
        tell: Hears what is being done.
    """

    bundle: Bundle
    base: Client
    target: Client
    cache: Cache
    workdir: Path
    tell: Tell

    def build(self, platforms: Sequence[str]) -> tuple[str, list[Built]]:
        """Build and push; the tag is written last. Returns the digest under it, and each
        platform's image.

        Raises `InvalidInput` for a base that won't do, and what the registries refuse with.
        """
        built = [self._image(one, single=len(platforms) == 1) for one in platforms]
        if len(built) == 1:
            return built[0].digest, built
        entries = []
        for one in built:
            system, _, architecture = one.platform.partition("/")
            _, digest, body = self.target.manifest(one.digest)
            entry = Descriptor(OCI_MANIFEST, digest, len(body)).to_dict()
            entries.append({**entry, "platform": {"os": system, "architecture": architecture}})
        index = canonical(
            {
                "schemaVersion": 2,
                "mediaType": OCI_INDEX,
                "manifests": entries,
                "annotations": annotations_of(self.bundle.told),
            }
        )
        return self.target.put_manifest(index, OCI_INDEX), built

    def _image(self, platform: str, *, single: bool) -> Built:
        clock, seconds = _Clock(), dict[str, float]()
        told = self.bundle.told
        runtime = told.get("runtime") or {}
        base = self._base(platform)
        name = str(self.base.reference)
        target = target_of(base, str(runtime.get("kind") or "onnx"), name)
        seconds["base"] = clock.lap()
        libraries, lock, rehearsed = self._libraries(runtime, target)
        seconds["libraries"] = clock.lap()
        own = [libraries, self._code(), self._model()]
        seconds["layers"] = clock.lap()
        config = of_bytes(canonical(_config(base, target, own, told)))
        manifest = canonical(_manifest(base, name, own, config, told))
        digest = digest_of(manifest)
        tag = self.target.reference.target if single else digest
        sent = 0
        if self.target.digest(tag) != digest:
            self.tell("pushing")
            sent = self._pushed(base, own, config)
            self.target.put_manifest(manifest, OCI_MANIFEST, tag)
            sent += len(manifest)
        seconds["push"] = clock.lap()
        sizes = {
            "base": sum(layer.size for layer in base.layers),
            **{layer.made_by: layer.blob.size for layer in own},
        }
        return Built(
            platform=platform,
            digest=digest,
            size=sum(sizes.values()) + config.size + len(manifest),
            sent=sent,
            layers=sizes,
            python=f"3.{target.python} at {target.program}",
            glibc=f"2.{target.glibc}",
            libraries=lock,
            rehearsed=rehearsed,
            seconds=seconds,
        )

    # the layers

    def _base(self, platform: str) -> Base:
        """The base image with what is in it."""
        self.tell("reading the base image")
        base = read_base(self.base, platform)
        known = self.cache.findings(base.digest)
        if known is not None:
            return Base(base.digest, base.layers, base.config, Findings.from_dict(known))
        paths = fetch(self.base, base, self.workdir)
        kinds = [layer.media_type for layer in base.layers]
        found = inspect_layers(list(zip(paths, kinds, strict=True)), str(self.base.reference))
        self.cache.keep_findings(base.digest, found.to_dict())
        return Base(base.digest, base.layers, base.config, found)

    def _libraries(
        self, runtime: Mapping[str, Any], target: Target
    ) -> tuple[Layer, Sequence[str], bool]:
        """The layer with what the model's server imports, from the cache if the same was
        wanted before; what is in it; and whether the model was loaded from it here."""
        files = self.bundle.told["files"]
        named = [self.bundle.path(n) for n in files if Path(n).name == "requirements.txt"]
        wanted = wanted_for(runtime, named)
        key = digest_of(canonical(_words(wanted, target))).removeprefix("sha256:")
        folder = self.workdir / f"libraries-{target.machine}"
        here = stands_for(target)
        found = self.cache.layer(key)
        if found is None:
            self.tell("fetching libraries")
            install(wanted, target, folder, self.workdir)
            layer, lock = self._packed(folder), lock_of(folder)
            layer = self.cache.keep_layer(key, layer, lock)
        else:
            layer, lock = found
            folder = unpack(layer, LIBRARIES, folder) if here else folder
        if here:
            self.tell("rehearsing")
            rehearse(self.bundle, folder, self.workdir)
        shutil.rmtree(folder, ignore_errors=True)
        return layer, lock, here

    def _packed(self, folder: Path) -> Layer:
        self.tell("packing")
        path = folder.with_suffix(".tar.gz")
        return write_layer(path, files_under(folder, LIBRARIES), "libraries")

    def _code(self) -> Layer:
        """Volant as it runs here; packed once for each state of it."""
        package = Path(volant.__file__).parent
        files = {
            f"{CODE}/volant/{path.relative_to(package).as_posix()}": path
            for path in package.rglob("*")
            if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts
        }
        metadata = self.workdir / "METADATA"
        metadata.write_text(f"Metadata-Version: 2.1\nName: volant\nVersion: {volant.__version__}\n")
        files[f"{CODE}/volant-{volant.__version__}.dist-info/METADATA"] = metadata
        contents = [[name, of_file(path).digest] for name, path in sorted(files.items())]
        key = digest_of(canonical(["volant", 1, contents])).removeprefix("sha256:")
        found = self.cache.layer(key)
        if found is not None:
            return found[0]
        layer = write_layer(self.workdir / "volant.tar.gz", files, "volant")
        return self.cache.keep_layer(key, layer, ())

    def _model(self) -> Layer:
        record = self.workdir / "model.json"
        record.write_bytes(self.bundle.record)
        named = self.bundle.told["files"]
        files = {f"{MODEL}/{name}": self.bundle.path(name) for name in named}
        return write_layer(self.workdir / "model.tar.gz", {**files, RECORD: record}, "model")

    def _pushed(self, base: Base, own: Sequence[Layer], config: Blob) -> int:
        sent = sum(self._copied(entry) for entry in base.layers)
        return sent + sum(self.target.push(b) for b in (*(one.blob for one in own), config))

    def _copied(self, entry: Descriptor) -> int:
        """Bring one of the base's layers to the target: mounted within one registry."""
        part = layer_file(self.workdir, entry)
        source, target = self.base.reference, self.target.reference
        if source.registry == target.registry:
            if source.repository == target.repository or self.target.has(entry.digest):
                return 0
            if self.target.mount(entry.digest, source.repository) is None:
                return 0
        elif self.target.has(entry.digest):
            return 0
        if not part.exists():
            self.base.pull(entry, part)
        return self.target.push(Blob(entry.digest, entry.size, part))


def _words(wanted: Wanted, target: Target) -> list[Any]:
    """All that decides what the libraries' layer holds."""
    return [
        *("libraries", 1, LIBRARIES, target.machine, target.python, target.glibc),
        *(list(wanted.lines), list(wanted.constraints)),
    ]


class _Clock:
    def __init__(self) -> None:
        self._at = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last call."""
        now = time.monotonic()
        spent, self._at = now - self._at, now
        return round(spent, 2)


# the documents


def _config(
    base: Base, target: Target, own: Sequence[Layer], told: Mapping[str, Any]
) -> dict[str, Any]:
    """The image's configuration: the base's, but for what runs, as whom, and where."""
    before = dict(base.config.get("config") or {})
    env = {k: v for k, _, v in (str(one).partition("=") for one in before.get("Env") or ())}
    env |= {
        "PYTHONPATH": f"/{CODE}:/{LIBRARIES}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "HOME": "/tmp",  # noqa: S108 - what libraries cache; the user has no other folder
        "PORT": str(PORT),
    }
    for inherited in ("Cmd", "OnBuild", "Healthcheck", "Volumes"):
        before.pop(inherited, None)
    created = str(told.get("created_at") or "1970-01-01T00:00:00Z")
    history = [*(base.config.get("history") or ())]
    history += [{"created": created, "created_by": f"volant: {one.made_by}"} for one in own]
    ids = [*base.config["rootfs"]["diff_ids"], *(layer.diff_id for layer in own)]
    labels = {**(before.get("Labels") or {}), **annotations_of(told)}
    document: dict[str, Any] = {
        "created": created,
        "architecture": base.config["architecture"],
        "os": base.config["os"],
        "config": {
            **before,
            "User": USER,
            "ExposedPorts": {f"{PORT}/tcp": {}},
            "Env": [f"{key}={value}" for key, value in env.items()],
            "Entrypoint": [
                *(target.program, "-P", "-s", "-m", "volant.serving.standalone"),
                *(f"/{MODEL}", "--record", f"/{RECORD}"),
            ],
            "WorkingDir": "/",
            "StopSignal": "SIGTERM",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": ids},
        "history": history,
    }
    variant = base.config.get("variant")
    return {**document, "variant": variant} if variant else document


def _manifest(
    base: Base, name: str, own: Sequence[Layer], config: Blob, told: Mapping[str, Any]
) -> dict[str, Any]:
    layers = [
        Descriptor(_as_oci(layer.media_type), layer.digest, layer.size).to_dict()
        for layer in base.layers
    ]
    layers += [Descriptor(LAYER_TYPE, one.blob.digest, one.blob.size).to_dict() for one in own]
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor(CONFIG_TYPE, config.digest, config.size).to_dict(),
        "layers": layers,
        "annotations": {**annotations_of(told), BASE_NAME: name, BASE_DIGEST: base.digest},
    }


def _as_oci(media_type: str) -> str:
    """The same bytes have two names: Docker's and OCI's."""
    if media_type.startswith(_DOCKER_LAYER):
        ending = media_type.removeprefix(_DOCKER_LAYER).replace(".", "+")
        return f"application/vnd.oci.image.layer.v1.tar{ending}"
    return media_type


def build_image(
    bundle: Bundle,
    base: Client,
    target: Client,
    *,
    platforms: Sequence[str],
    cache: Cache,
    tell: Tell = lambda _what: None,
) -> tuple[str, list[Built]]:
    """`Builder.build` in a folder of its own, which is gone afterwards."""
    try:
        with tempfile.TemporaryDirectory(prefix="volant-image-") as folder:
            return Builder(bundle, base, target, cache, Path(folder), tell).build(platforms)
    except OSError as error:
        if isinstance(error, VolantError):
            raise
        raise InvalidInput(
            f"The image can't be assembled: {error}.",
            "Check the room in the temporary folder (TMPDIR).",
            code="oci.disk",
        ) from error
