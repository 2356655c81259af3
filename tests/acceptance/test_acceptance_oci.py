"""Models in a real container registry, and an image that a real podman pulls and runs."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from platform_process import loop_file, own, prediction, question, table, wait_for, write_csv

from volant.oci.blob import Descriptor, canonical, of_bytes, of_file
from volant.oci.client import OCI_MANIFEST, Client
from volant.oci.reference import parse_reference
from volant.oci.session import Access

pytestmark = [
    pytest.mark.service,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not shutil.which("docker-registry"), reason="no docker-registry"),
]
NAME = own("rented")
ROW = {"height": 0.4, "weight": -0.2, "age": 1.0}
USER, PASSWORD = "ada", "open sesame"
HTPASSWD = f"{USER}:$2b$05$fA6q.4jkLYpqTFvlU64v7eAk/gRkECfPrNlWTzAOiBbIr2f0gR0Se\n"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RealRegistry:
    """Debian's docker-registry in a folder of its own."""

    def __init__(self, folder: Path, **http: object) -> None:
        self.folder = folder
        self.port = free_port()
        self.host = f"localhost:{self.port}"
        body = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": f"127.0.0.1:{self.port}", "secret": "one", **http},
        }
        if "tls" not in http:
            (folder / "htpasswd").write_text(HTPASSWD)
            body["auth"] = {"htpasswd": {"realm": "here", "path": str(folder / "htpasswd")}}
        (folder / "config.yml").write_text(json.dumps(body))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "registry.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", str(self.folder / "config.yml")],
                stdout=log,
                stderr=log,
            )
        wait_for("the registry", self._listens, 30)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def registries(tmp_path_factory):
    with ExitStack() as stack:

        def start(name: str, **http: object) -> RealRegistry:
            one = RealRegistry(tmp_path_factory.mktemp(name), **http)
            one.start()
            stack.callback(one.kill)
            return one

        yield start


@pytest.fixture(scope="module")
def registry(registries):
    return registries("registry")


@pytest.fixture(scope="module")
def login(registry, tmp_path_factory):
    """The environment of somebody who is logged in, as podman writes it down."""
    folder = tmp_path_factory.mktemp("login")
    import base64

    pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (folder / "auth.json").write_text(json.dumps({"auths": {registry.host: {"auth": pair}}}))
    return {
        "REGISTRY_AUTH_FILE": str(folder / "auth.json"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


@pytest.fixture(scope="module")
def platform(platforms):
    """A loop that has turned once; its champion is what is moved about."""
    made = platforms().start()
    made.apply(loop_file(NAME))
    made.turn(NAME, NAME, write_csv(made.folder / "data.csv", table(200, seed=1)))
    return made


def run(platform, *words, code=0, **environ):
    told = platform.shell(*words, "--home", platform.home, "--json", code=code, **environ)
    return json.loads(told.out) if code == 0 else told.err


def test_a_version_goes_to_a_registry_and_comes_back_elsewhere(
    platform, platforms, registry, login
):
    where = f"{registry.host}/models/{NAME}:1"
    first = run(platform, "models", "push", f"{NAME}@1", where, **login)
    assert first["sent_bytes"] == first["bytes"]
    again = run(platform, "models", "push", NAME, where, **login)
    assert (again["digest"], again["sent_bytes"]) == (first["digest"], 0)

    elsewhere = platforms().start()
    refused = run(elsewhere, "models", "pull", where, "--name", "taken", code=2, **login)
    assert "pickle" in refused.lower()  # what training keeps beside the ONNX file
    lean = f"{registry.host}/models/{NAME}:lean"
    run(platform, "models", "push", NAME, lean, "--without-pickles", **login)
    taken = run(elsewhere, "models", "pull", lean, "--name", "taken", **login)
    assert (taken["version"], taken["stage"], taken["known"]) == (1, "candidate", False)
    assert run(elsewhere, "models", "pull", lean, "--name", "taken", **login)["known"]

    run(elsewhere, "deploy", "taken")
    wait_for("taken to serve", lambda: elsewhere.get("/deployments/taken")["live_version"])
    for row in (ROW, {"height": -1.0, "weight": 0.3, "age": 0.0}):
        assert elsewhere.predict("taken", row) == platform.predict(NAME, row)


def test_who_isnt_known_is_told_how_to_log_in(platform, registry, tmp_path):
    nobody = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    where = f"{registry.host}/models/{NAME}:2"
    said = run(platform, "models", "push", NAME, where, code=5, **nobody)
    assert f"podman login {registry.host}" in said
    wrong = {"VOLANT_REGISTRY_USERNAME": USER, "VOLANT_REGISTRY_PASSWORD": "x"}
    said = run(platform, "models", "push", NAME, where, code=5, **nobody, **wrong)
    assert "VOLANT_REGISTRY_USERNAME" in said


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl")
def test_a_certificate_is_checked(platform, registries, tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(cert)),
        ],
        check=True,
        capture_output=True,
    )
    tls = registries("tls", tls={"certificate": str(cert), "key": str(key)})
    where = f"{tls.host}/models/{NAME}:1"
    said = run(platform, "models", "push", NAME, where, "--tls", code=6)
    assert "isn't trusted" in said
    assert "SSL_CERT_FILE" in said
    run(platform, "models", "push", NAME, where, "--tls", SSL_CERT_FILE=str(cert))


def test_an_upload_survives_the_registrys_death(registry, login, tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(1 << 20) * 24)
    blob, sent = of_file(path), [0]

    def heard(count: int) -> None:
        sent[0] += count
        if sent[0] == 16 << 20:
            registry.kill()
            registry.start()

    access = Access(environ={**os.environ, **login})
    reference = parse_reference(f"{registry.host}/models/big:1")
    with Client(reference, access, chunk=4 << 20) as client:
        client.push(blob, sent=heard)
        client.pull(Descriptor("any", blob.digest, blob.size), tmp_path / "back.bin")
    assert sent[0] < 2 * blob.size  # it went on, and didn't begin again


# the image


@pytest.fixture(scope="module")
def base(registry, login, tmp_path_factory):
    """Debian with its Python, as an image in the registry."""
    if not shutil.which("debootstrap") or os.geteuid() != 0:
        pytest.skip("no debootstrap, or not root")
    folder = tmp_path_factory.mktemp("base")
    subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=python3", "bookworm", str(folder / "root")],
        check=True,
        capture_output=True,
    )
    plain, packed = folder / "base.tar", folder / "base.tar.gz"
    subprocess.run(
        [
            *("tar", "--sort=name", "--exclude=./var/cache/apt"),
            *("-C", str(folder / "root"), "-cf", str(plain), "."),
        ],
        check=True,
    )
    with plain.open("rb") as source, gzip.open(packed, "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    with plain.open("rb") as source:
        diff_id = f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}"
    shutil.rmtree(folder / "root")
    config = of_bytes(
        canonical(
            {
                "os": "linux",
                "architecture": "amd64",
                "config": {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["bash"]},
                "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            }
        )
    )
    layer = of_file(packed)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": Descriptor(CONFIG, config.digest, config.size).to_dict(),
        "layers": [Descriptor(LAYER, layer.digest, layer.size).to_dict()],
    }
    access = Access(environ={**os.environ, **login})
    reference = parse_reference(f"{registry.host}/base/debian:12")
    with Client(reference, access) as client:
        client.push(layer)
        client.push(config)
        client.put_manifest(canonical(manifest), OCI_MANIFEST)
    return str(reference)


@pytest.fixture(scope="module")
def podman(tmp_path_factory, login):
    """podman with storage of its own; what it made is gone in the end."""
    if not shutil.which("podman") or os.geteuid() != 0:
        pytest.skip("no podman, or not root")
    folder = tmp_path_factory.mktemp("podman")
    runtime = "runc" if shutil.which("runc") else "crun"
    (folder / "containers.conf").write_text(
        '[containers]\ndefault_ulimits = ["nofile=16384:16384", "nproc=4096:4096"]\n'
        f'[engine]\nruntime = "{runtime}"\ncgroup_manager = "cgroupfs"\n'
        'events_logger = "file"\n'
    )
    environ = {**os.environ, **login, "CONTAINERS_CONF": str(folder / "containers.conf")}
    start = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "run")]
    start += ["--storage-driver", "vfs"]

    def call(*words: str) -> str:
        done = subprocess.run(
            [*start, *words], env=environ, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    yield call
    call("rm", "--all", "--force", "--time", "0")
    call("rmi", "--all", "--force")


@pytest.mark.skipif(
    not os.environ.get("VOLANT_TEST_IMAGES"), reason="set VOLANT_TEST_IMAGES=1: it takes minutes"
)
def test_podman_pulls_the_image_and_it_answers(platform, registry, login, base, podman):
    where = f"{registry.host}/serve/{NAME}:1"
    words = ("models", "image", NAME, where, "--base", base, "--platform", "linux/amd64")
    made = run(platform, *words, **login)
    (built,) = made["images"]
    assert built["rehearsed"] or os.uname().machine != "x86_64"
    again = run(platform, *words, **login)
    assert (again["digest"], again["images"][0]["sent_bytes"]) == (made["digest"], 0)

    podman("pull", "--quiet", "--tls-verify=false", where)
    port = free_port()
    begun = time.monotonic()
    name = podman(
        *("run", "--detach", "--network", "host", "--env", f"PORT={port}"),
        *("--read-only", "--cap-drop", "all", where),
    )
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        try:
            return httpx.get(f"{url}/v2/health/ready", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    wait_for(f"the container ({podman('logs', name)})", ready, 60)
    print(f"image {built['bytes']} bytes, ready in {time.monotonic() - begun:.1f} s")
    for row in (ROW, {"height": -1.0, "weight": 0.3, "age": 0.0}):
        answer = httpx.post(f"{url}/v2/models/{NAME}/infer", json=question(row), trust_env=False)
        assert prediction(answer.json()) == platform.predict(NAME, row)
    assert podman("exec", name, "id", "-u") == "65532"
    podman("stop", "--time", "20", name)
    state = json.loads(podman("inspect", name))[0]["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)
