"""A whole platform, attacked over its sockets: it answers, refuses in words, keeps nothing
half-written and goes on."""

from __future__ import annotations

import contextlib
import io
import select
import socket
import tarfile
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from hostile import descriptors, resident, whole_answer
from openapi_run import disagreements
from platform_process import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
# What would take away the token that asks; and what never ends by itself.
LEFT_OUT = ["--exclude-path-regex=/tokens/|/logs/stream|/down$|/stop$"]


@pytest.fixture(scope="module")
def platform(platforms):
    return platforms().start()


@pytest.fixture(scope="module")
def token(platform):
    return (platform.home / "token").read_text().strip()


@pytest.fixture
def api(platform, token):
    """`api(method, path, *header lines)` → the head of a request with the token."""

    def head(method: str, path: str, *lines: str, mlflow: bool = False) -> bytes:
        prefix = "/api/2.0" if mlflow else "/api/v1"
        fields = "".join(f"{line}\r\n" for line in lines)
        return (
            f"{method} {prefix}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {token}\r\n{fields}\r\n"
        ).encode()

    return head


def port(platform) -> int:
    return httpx.URL(platform.url).port or 0


def left_over(platform) -> list[str]:
    """Files that only somebody who is still writing would have."""
    folders = [platform.home / "staging", *platform.home.rglob(".incoming")]
    found = [str(path) for folder in folders for path in folder.rglob("*") if path.is_file()]
    return sorted(found)


@pytest.fixture(autouse=True)
def it_is_well_after_each(platform):
    yield
    assert platform.get("/health")
    log = (platform.home / "logs" / "server.log").read_text()
    assert "unexpected error" not in log, log[-3000:]


def test_the_api_answers_as_its_document_says(platform, token, tmp_path):
    found = disagreements(
        f"{platform.url}/api/v1/openapi.json",
        tmp_path,
        *("--phases=coverage,fuzzing", f"--header=Authorization: Bearer {token}", *LEFT_OUT),
        examples=2,
        # /loops/plan is a loop's address, too: its Allow says more than the document.
        excluded="positive_data_acceptance,negative_data_rejection,ignored_auth,"
        "allow_header_conformance",
        timeout_s=200,
    )
    assert not found, found


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Content-Length: 4", "Content-Length: 5"),
        ("Content-Length: +4",),
        ("Transfer-Encoding: chunked, chunked",),
        ("Transfer-Encoding: xchunked",),
        (" Content-Length: 4",),
    ],
)
def test_bodies_whose_end_is_in_doubt_are_refused(platform, api, fields):
    raw = api("POST", "/loops/x/runs", *fields) + b"0\r\n\r\n"
    told = whole_answer(port(platform), raw + api("GET", "/status"))
    assert told.startswith(b"HTTP/1.1 400 "), told
    assert b"application/problem+json" in told
    assert b'"code":"http.unreadable"' in told
    assert told.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("path", "mlflow", "most"),
    [
        ("/loops/x", False, 2 << 20),
        ("/models/m/versions", False, 17 << 20),
        ("/mlflow/runs/log-batch", True, 33 << 20),
    ],
)
def test_bodies_without_end_are_ended(platform, api, path, mlflow, most):
    """In chunks, so that no length gives them away."""
    method = "PUT" if path == "/loops/x" else "POST"
    had, told = resident(platform.process.pid), b""
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    with socket.create_connection(("127.0.0.1", port(platform)), timeout=60) as client:
        fields = ("Transfer-Encoding: chunked", "Content-Type: application/json")
        with contextlib.suppress(ConnectionError):
            client.sendall(api(method, path, *fields, mlflow=mlflow))
            for _ in range(4096):
                client.sendall(chunk)
                if select.select([client], [], [], 0)[0]:
                    break
            told = client.recv(1 << 16)
            # What still comes costs nothing but time.
            for _ in range(1024):
                client.sendall(chunk)
    assert told.split()[1] in (b"400", b"413"), told
    assert resident(platform.process.pid) - had < (64 << 20) + 2 * most


def test_uploads_that_break_off_leave_nothing(platform, api, token):
    """Of a model, of data, of an artifact: a MiB or three came, and then nobody."""
    before = left_over(platform)
    places = [
        ("POST", "/models/m/uploads?filename=m.onnx", False),
        ("POST", "/datasets/d/uploads?filename=d.csv", False),
        ("PUT", "/mlflow-artifacts/artifacts/half/written", True),
    ]
    for method, path, mlflow in places:
        for fields in (("Content-Length: 50000000",), ("Transfer-Encoding: chunked",)):
            head = api(method, path, *fields, mlflow=mlflow)
            body = b"x" * (3 << 20)
            if "chunked" in fields[0]:
                body = b"300000\r\n" + body + b"\r\n"
            with socket.create_connection(("127.0.0.1", port(platform)), timeout=60) as client:
                client.sendall(head + body)
    wait_for("what was half-written to go", lambda: left_over(platform) == before, 30)
    assert platform.ask("GET", "/models/m/versions").status_code == 404
    answer = httpx.get(
        f"{platform.url}/api/2.0/mlflow-artifacts/artifacts/half/written",
        headers={"Authorization": f"Bearer {token}"},
        trust_env=False,
    )
    assert answer.status_code == 404


def test_slow_clients_hinder_nobody(platform, api):
    """Two hundred that never come to the end of their head or body."""
    open_before = descriptors(platform.process.pid)
    with contextlib.ExitStack() as all_of_them:
        for number in range(200):
            client = socket.create_connection(("127.0.0.1", port(platform)), timeout=60)
            all_of_them.enter_context(client)
            head = api("PUT", "/loops/x", "Content-Length: 1000")
            client.sendall(head[:40] if number % 2 else head + b"{")
        for _ in range(20):
            assert platform.get("/health")
    wait_for("their descriptors", lambda: descriptors(platform.process.pid) <= open_before + 4, 30)


def packed(*members: tarfile.TarInfo) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return data.getvalue()


def member(name: str, **more) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = 1
    for key, value in more.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize(
    ("content", "filename"),
    [
        (packed(member("../../../slipped")), "m.tar"),
        (packed(member("/tmp/volant-slipped")), "m.tar"),
        (packed(member("m.onnx", type=tarfile.SYMTYPE, linkname="/etc/passwd", size=0)), "m.tar"),
        (b"\x1f\x8b" + b"x" * 100, "m.tar.gz"),
        (b"", "m.tar"),
        (b"PK\x03\x04" + b"x" * 100, "m.zip"),
        (b"x", "../../slipped.onnx"),
        (b"x", "/etc/slipped.onnx"),
        (b"x", "..\\slipped.onnx"),
        (b"x", "\x00.onnx"),
        (b"flavors: !!python/object/apply:os.system ['touch slipped']\n", "MLmodel"),
        (b"\x80\x04cos\nsystem\n", "m.pkl"),
    ],
    ids=range(12),
)
def test_uploads_that_would_do_harm_become_no_version(platform, content, filename):
    before = left_over(platform)
    sent = platform.ask(
        "POST", "/models/harm/uploads", params={"filename": filename}, content=content
    )
    if sent.status_code != 201:
        assert 400 <= sent.status_code < 500
        assert sent.json()["fix"]
    else:
        begun = platform.post("/models/harm/versions", {"upload": sent.json()["id"]})
        path = f"/models/harm/registrations/{begun['id']}"

        def ended():
            found = platform.get(path)
            return found if found["status"] != "running" else None

        found = wait_for("the registration's end", ended)
        assert found["status"] == "failed"
        assert found["error"]["fix"], found
        assert found["error"]["code"] != "internal", found
    assert platform.ask("GET", "/models/harm/versions").status_code == 404
    assert not list(platform.folder.parent.rglob("*slipped*"))
    wait_for("staging to be as before", lambda: left_over(platform) == before, 30)


def test_the_same_upload_registered_twice_at_once_is_one_version(platform, tmp_path):
    code = b"class Model:\n    def predict(self, inputs): return {'y': inputs['a']}\n"
    ends = []

    def register(_):
        sent = platform.ask(
            "POST", "/models/twins/uploads", params={"filename": "model.py"}, content=code
        ).json()
        example = {"text": "a\n1.5\n2.5\n", "format": "csv"}
        begun = platform.post(
            "/models/twins/trusted-versions", {"upload": sent["id"], "example": example}
        )

        def ended():
            found = platform.get(f"/models/twins/registrations/{begun['id']}")
            return found if found["status"] != "running" else None

        ends.append(wait_for("the registration's end", ended))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(register, range(3)))
    versions = platform.get("/models/twins/versions")["items"]
    assert len(versions) <= 1
    assert {end["version"] for end in ends} <= {1}, ends
