"""What is found in base images, without running anything of them."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import pyarrow as pa
import pytest
from oci_registry import sha256

from volant.errors import InvalidInput, NotFound
from volant.oci.base import Findings, inspect_layers, read_base
from volant.oci.client import OCI_INDEX, OCI_MANIFEST

GLIBC = b"\0GNU C Library (Debian GLIBC 2.36-9+deb12u13) stable release version 2.36.\n\0"
CONFIG = "application/vnd.oci.image.config.v1+json"
GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return out.getvalue()


DEBIAN = {"usr/lib/x86_64-linux-gnu/libc.so.6": GLIBC, "usr/bin/python3.11": b"ELF"}


@pytest.fixture
def found(tmp_path):
    """What layers of these files have together, lowest first."""

    def look(*layers, kind=GZIP, pack=gzip.compress):
        files = []
        for place, content in enumerate(layers):
            path = tmp_path / str(place)
            path.write_bytes(pack(tar(content) if isinstance(content, dict) else content))
            files.append((path, kind))
        return inspect_layers(files, "base:1")

    return look


def test_debians_python(found):
    assert found(DEBIAN) == Findings({"usr/bin/python3.11": 11}, (2, 36), False)


def test_names_may_begin_with_a_dot_or_a_slash(found):
    dotted = {f"./{name}": content for name, content in DEBIAN.items()}
    assert found(dotted) == found(DEBIAN)


def test_an_old_libc_has_its_version_in_its_name(found):
    old = {"lib/x86_64-linux-gnu/libc-2.31.so": GLIBC.replace(b"2.36", b"2.31")}
    assert found(old).glibc == (2, 31)


def test_musl(found):
    made = found({"lib/ld-musl-x86_64.so.1": b"", "usr/local/bin/python3.12": b""})
    assert made == Findings({"usr/local/bin/python3.12": 12}, None, True)


@pytest.mark.parametrize("gone", ["usr/bin/.wh.python3.11", "usr/.wh.bin", "usr/bin/.wh..wh..opq"])
def test_what_a_later_layer_removes_is_gone(found, gone):
    assert found(DEBIAN, {gone: b""}).pythons == {}
    assert found({gone: b""}, DEBIAN).pythons == {"usr/bin/python3.11": 11}


def test_plain_and_zstd_layers(found):
    assert found(DEBIAN, kind="application/vnd.oci.image.layer.v1.tar", pack=bytes).glibc
    zstd = found(
        DEBIAN,
        kind="application/vnd.oci.image.layer.v1.tar+zstd",
        pack=lambda body: pa.compress(body, "zstd", asbytes=True),
    )
    assert zstd == found(DEBIAN)


def test_a_layer_that_is_no_tar(found):
    with pytest.raises(InvalidInput, match="can't be read"):
        found(b"not a tar" * 100)


def test_findings_survive_json(found):
    made = found(DEBIAN)
    assert Findings.from_dict(json.loads(json.dumps(made.to_dict()))) == made


# the manifest


def hold(registry, repository, platform, config=CONFIG, layers=1, ids=1, media=GZIP):
    """An image without content; returns its manifest's bytes."""
    system, _, machine = platform.partition("/")
    body = json.dumps(
        {
            "os": system,
            "architecture": machine,
            "rootfs": {"diff_ids": ["sha256:" + "a" * 64] * ids},
        }
    ).encode()
    registry.blobs.setdefault(repository, {})[sha256(body)] = body
    entry = {"mediaType": config, "digest": sha256(body), "size": len(body)}
    layer = {"mediaType": media, "digest": "sha256:" + "b" * 64, "size": 3}
    manifest = {"schemaVersion": 2, "config": entry, "layers": [layer] * layers}
    return json.dumps(manifest).encode()


@pytest.fixture
def base(registry, connect):
    def make(platform="linux/amd64", **more):
        body = hold(registry, "base", platform, **more)
        registry.manifests["base"] = {"1": (body, OCI_MANIFEST)}
        return connect(registry, "base:1")

    return make


def test_one_platforms_image(base):
    made = read_base(base(), "linux/amd64")
    assert made.architecture == "amd64"
    assert len(made.layers) == 1


def test_an_index_is_searched_for_the_platform(registry, connect):
    known = registry.manifests.setdefault("base", {})
    entries = []
    for machine in ("amd64", "arm64", "unknown"):
        body = hold(registry, "base", f"linux/{machine}")
        known[sha256(body)] = (body, OCI_MANIFEST)
        entries.append(
            {
                "mediaType": OCI_MANIFEST,
                "digest": sha256(body),
                "size": len(body),
                "platform": {"os": "linux", "architecture": machine},
            }
        )
    index = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    known["1"] = (index, OCI_INDEX)
    client = connect(registry, "base:1")
    assert read_base(client, "linux/arm64").architecture == "arm64"
    with pytest.raises(NotFound, match="linux/s390x") as refusal:
        read_base(client, "linux/s390x")
    assert "linux/amd64, linux/arm64" in refusal.value.fix
    assert "unknown" not in refusal.value.fix


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"config": "application/vnd.volant.model.config.v1+json"}, "is no image"),
        ({"layers": 2}, "2 layers, and 1"),
        ({"layers": 0, "ids": 0}, "0 layers"),
        ({"layers": 129, "ids": 129}, "129 layers"),
        ({"media": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}, "may not be"),
        ({"platform": "linux/arm64"}, "is for linux/arm64"),
    ],
)
def test_what_is_no_base(base, more, says):
    with pytest.raises(InvalidInput, match=says) as refusal:
        read_base(base(**more), "linux/amd64")
    assert "--base" in refusal.value.fix
