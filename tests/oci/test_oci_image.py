"""An image assembled over a registry of ours, with wheels that the test makes."""

from __future__ import annotations

import gzip
import json
import platform
import sys
import tarfile
import zipfile
from importlib.metadata import version

import numpy as np
import pytest
from oci_registry import sha256
from tests.oci.test_oci_base import CONFIG, DEBIAN, GZIP, tar

from volant.errors import InvalidInput
from volant.oci.cache import Cache
from volant.oci.client import OCI_INDEX, OCI_MANIFEST
from volant.oci.dependencies import Target
from volant.oci.image import build_image
from volant.oci.rehearsal import rehearse, stands_for

# Not this machine's, where the wheels would have to be real ones.
FOREIGN = "arm64" if platform.machine() == "x86_64" else "amd64"
LIBRARIES = ("hpack", "httptools", "numpy", "onnxruntime", "orjson", "protobuf", "uvloop")
DOCKER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def hold_base(registry, name, *machines, layer_type=GZIP):
    """A base image with Python in the registry."""
    known = registry.manifests.setdefault(name, {})
    held = registry.blobs.setdefault(name, {})
    entries = []
    for machine in machines:
        plain = tar({**DEBIAN, "etc/machine": machine.encode()})
        layer = gzip.compress(plain, mtime=0)
        config = json.dumps(
            {
                "os": "linux",
                "architecture": machine,
                "config": {"Env": ["PATH=/usr/bin", "A=b"], "Cmd": ["sh"], "User": "root"},
                "rootfs": {"type": "layers", "diff_ids": [sha256(plain)]},
                "history": [{"created_by": "debian"}],
            }
        ).encode()
        held |= {sha256(layer): layer, sha256(config): config}
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": CONFIG, "digest": sha256(config), "size": len(config)},
            "layers": [{"mediaType": layer_type, "digest": sha256(layer), "size": len(layer)}],
        }
        body = json.dumps(manifest).encode()
        known[sha256(body)] = known["1"] = (body, OCI_MANIFEST)
        system = {"os": "linux", "architecture": machine}
        entries.append({**manifest["config"], "mediaType": OCI_MANIFEST, "platform": system})
        entries[-1] |= {"digest": sha256(body), "size": len(body)}
    if len(machines) > 1:
        index = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
        known["1"] = (index, OCI_INDEX)


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """An index with all that an ONNX model's server needs, empty and for any machine; the
    installer sees nothing else."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in LIBRARIES:
        number = "2.4.6" if name == "numpy" else version(name)
        info = f"{name}-{number}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{number}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", f"name = {name!r}\n")
            about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n"
            wheel.writestr(f"{info}/METADATA", about)
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
    settings = tmp_path / "uv.toml"
    settings.write_text(f'no-index = true\nfind-links = ["{folder}"]\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(settings))
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A cache that all tests use but those that are about it: packing takes its time."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def build(registry, connect, bundle, shared):
    def make(*machines, to="serve/rent:1", base="base:1", cache=shared, source=None):
        told = []
        digest, built = build_image(
            bundle,
            connect(source or registry, base),
            connect(registry, to),
            platforms=[f"linux/{machine}" for machine in machines or (FOREIGN,)],
            cache=Cache(cache),
            tell=told.append,
        )
        return digest, built, told

    return make


def image_of(registry, repository, target):
    """The manifest, the configuration, and each layer's tar."""
    body, _ = registry.manifests[repository][target]
    manifest, held = json.loads(body), registry.blobs[repository]
    config = json.loads(held[manifest["config"]["digest"]])
    return manifest, config, [gzip.decompress(held[e["digest"]]) for e in manifest["layers"]]


def test_an_image_is_whole_and_says_how_it_runs(registry, build, wheels, bundle, tmp_path):
    hold_base(registry, "base", FOREIGN)
    digest, (built,), _ = build()
    manifest, config, layers = image_of(registry, "serve/rent", "1")
    assert registry.manifests["serve/rent"][digest] == registry.manifests["serve/rent"]["1"]
    assert config["rootfs"]["diff_ids"] == [sha256(layer) for layer in layers]
    assert [e["mediaType"] for e in manifest["layers"]] == [GZIP] * 4
    runs = config["config"]
    assert runs["Entrypoint"] == [
        *("/usr/bin/python3.11", "-P", "-s", "-m", "volant.serving.standalone"),
        *("/models", "--record", "/opt/volant/model.json"),
    ]
    assert "Cmd" not in runs
    assert runs["User"] == "65532:65532"
    assert runs["StopSignal"] == "SIGTERM"
    assert runs["ExposedPorts"] == {"8080/tcp": {}}
    assert {"A=b", "PATH=/usr/bin", "PORT=8080"} <= set(runs["Env"])
    assert [h["created_by"] for h in config["history"]] == [
        *("debian", "volant: libraries", "volant: volant", "volant: model")
    ]
    assert manifest["annotations"]["org.opencontainers.image.base.name"].endswith("/base:1")
    assert manifest["annotations"]["org.opencontainers.image.version"] == "3"
    assert built.rehearsed is False
    assert [line.partition("==")[0] for line in built.libraries] == sorted(LIBRARIES)
    names = [set(tar_names(layer, tmp_path)) for layer in layers]
    assert "opt/volant/lib/onnxruntime/__init__.py" in names[1]
    assert "opt/volant/app/volant/serving/standalone.py" in names[2]
    assert not [name for name in names[2] if name.endswith(".pyc")]
    assert {"models/model.onnx", "models/model/words.txt", "opt/volant/model.json"} <= names[3]


def tar_names(layer, folder):
    path = folder / "layer.tar"
    path.write_bytes(layer)
    with tarfile.open(path) as opened:
        return opened.getnames()


def test_the_same_version_is_the_same_image(registry, build, wheels, tmp_path):
    hold_base(registry, "base", FOREIGN)
    first, _, _ = build()
    before = registry.sent
    second, (again,), told = build(cache=tmp_path / "cache")
    assert "fetching libraries" in told
    assert second == first
    assert (again.sent, registry.sent) == (0, before)
    # A kept layer that was altered is made anew.
    for kept in (tmp_path / "cache" / "layers").glob("*.tar.gz"):
        kept.write_bytes(b"other")
    third, _, told = build(cache=tmp_path / "cache", to="serve/rent:2")
    assert third == first
    assert "fetching libraries" in told
    _, _, told = build(cache=tmp_path / "cache")
    assert "fetching libraries" not in told
    assert "pushing" not in told


def test_the_base_is_mounted_within_one_registry_and_copied_from_another(
    start, registry, build, wheels
):
    hold_base(registry, "base", FOREIGN)
    build()
    assert registry.named("POST", "mount=") == 1
    other = start()
    hold_base(other, "far/base", FOREIGN, layer_type=DOCKER)
    digest, _, _ = build(to="serve/far:1", base="far/base:1", source=other)
    manifest, config, layers = image_of(registry, "serve/far", digest)
    assert config["rootfs"]["diff_ids"] == [sha256(layer) for layer in layers]
    assert manifest["layers"][0]["mediaType"] == GZIP  # no longer Docker's name for it


def test_two_platforms_are_one_index(registry, build, wheels, monkeypatch):
    monkeypatch.setattr("volant.oci.image.stands_for", lambda _target: False)
    hold_base(registry, "base", "amd64", "arm64")
    digest, built, _ = build("amd64", "arm64")
    index = json.loads(registry.manifests["serve/rent"][digest][0])
    assert index["mediaType"] == OCI_INDEX
    found = {e["platform"]["architecture"]: e["digest"] for e in index["manifests"]}
    assert found == {"amd64": built[0].digest, "arm64": built[1].digest}
    for machine, one in found.items():
        manifest, config, _ = image_of(registry, "serve/rent", one)
        assert config["architecture"] == machine
        assert manifest["annotations"]["org.opencontainers.image.title"] == "rent"


def test_what_isnt_in_the_index_is_told(registry, build, wheels, tmp_path):
    hold_base(registry, "base", FOREIGN)
    next(wheels.glob("onnxruntime*")).unlink()
    with pytest.raises(InvalidInput, match="can't be had") as refusal:
        build(cache=tmp_path / "cache")
    assert "onnxruntime" in json.dumps(refusal.value.to_dict())
    assert "serve/rent" not in registry.manifests or not registry.manifests["serve/rent"]


def test_a_cache_that_cant_be_written_is_done_without(registry, build, wheels, tmp_path):
    (tmp_path / "cache").write_text("a file")
    hold_base(registry, "base", FOREIGN)
    assert build(cache=tmp_path / "cache")[0] == build()[0]


# the rehearsal: with this environment's own libraries


def test_this_machine_stands_for_its_own_kind_only():
    here = Target(platform.machine(), sys.version_info.minor, 36, "/usr/bin/python3")
    assert stands_for(here) is (sys.platform == "linux")
    assert not stands_for(Target("riscv64", sys.version_info.minor, 36, ""))
    assert not stands_for(Target(platform.machine(), 99, 36, ""))


@pytest.fixture
def code(tmp_path):
    from tests.oci.conftest import bundle_of

    described = {
        "format": 1,
        "task": "custom",
        "signature": {
            "kind": "tensors",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 1]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 1]}],
        },
        "runtime": {"kind": "code", "file": "code"},
    }

    def make(text):
        contents = {
            "code/model.py": text.encode(),
            "volant.json": json.dumps(described).encode(),
        }
        return bundle_of(tmp_path / "code", contents)

    return make


def test_a_model_is_loaded_from_the_images_libraries(code, tmp_path):
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for package in ("numpy", "numpy.libs", "orjson"):  # what loading one takes, and no more
        (libraries / package).symlink_to(_packages() / package)
    one = code("class Model:\n    def predict(self, inputs):\n        return {'y': inputs['x']}\n")
    rehearse(one, libraries, tmp_path)
    other = code("import httpx\n\nclass Model:\n    def predict(self, inputs): ...\n")
    with pytest.raises(InvalidInput, match="httpx") as refusal:
        rehearse(other, libraries, tmp_path)
    assert "requirements.txt" in refusal.value.fix


def _packages():
    from pathlib import Path

    return Path(np.__file__).parent.parent
