"""MLflow's door under attack: a clear 4xx, nothing written, nothing half-written."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow_door import API, FILES, Door

from volant.web.mlflow.door import BODY_LIMIT

MEGABYTE = "x" * 1_000_000
SEARCHES = [
    ("POST", "/experiments/search", {}),
    ("POST", "/runs/search", {"experiment_ids": ["0"]}),
    ("GET", "/registered-models/search", {}),
    ("GET", "/model-versions/search", {}),
    ("POST", "/logged-models/search", {"experiment_ids": ["0"]}),
]
SQL = [
    "name = 'x' OR 1=1",
    "name = 'x'; DROP TABLE volant_runs; --",
    "name = 'x' UNION SELECT * FROM volant_tokens",
    "name LIKE '%' OR name IN (SELECT sha256 FROM volant_tokens)",
    "name = '' OR ''=''",
    "tags.`a' OR '1'='1` = 'x'",
    "metrics.`x); DROP TABLE volant_runs` > 1",
    "params.a = (SELECT 1)",
    "attributes.name = 'x' /* */",
    "name = 'x\\' OR 1=1 --'",
    "1=1",
    "name = name",
    "(((((((((",
    "name = 'x' AND " * 20_000 + "name = 'x'",
    "name = '" + MEGABYTE,
    "'" * 9999,
    "metrics.x > " + "9" * 5000,
    "attributes.start_time > " + "9" * 30,
    "attributes.start_time > -1e999",
    "attributes.start_time > 9223372036854775808",
    "attributes.start_time IN ('1', '2')",
    " AND ".join(["params.a = '1'"] * 201),
]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return Door(tmp_path_factory.mktemp("door"))


def home(door: Door) -> Path:
    return door.home


def contents(door: Door) -> tuple[dict[str, int], list[str]]:
    """How many rows each table has (the audit aside), and which files there are."""
    with sqlite3.connect(home(door) / "volant.db") as database:
        names = [
            row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        rows = {
            name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for name in names
            if "audit" not in name
        }
    files = [
        str(path.relative_to(home(door)))
        for path in home(door).rglob("*")
        if path.is_file() and not path.name.startswith("volant.db")
    ]
    return rows, sorted(files)


def refused(door: Door, method: str, path: str, **options) -> str:
    """A clear 4xx that wrote nothing; its message."""
    before = contents(door)
    answer = door.ask(method, path, **options)
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:300])
    assert contents(door) == before
    told = answer.json()
    assert told["error_code"]
    assert len(told["message"]) < 2000
    return told["message"]


@pytest.mark.parametrize("text", SQL, ids=range(len(SQL)))
def test_sql_in_a_filter_is_a_word_or_a_fault(door: Door, text: str) -> None:
    door("POST", "/registered-models/create", {"name": f"m{SQL.index(text)}"})
    for method, path, body in SEARCHES:
        for asked in ({"filter": text}, {"filter_string": text}, {"order_by": [text]}):
            key = "params" if method == "GET" else "json"
            if key == "params" and len(text) > 60_000:
                continue  # no URL is that long
            before = contents(door)
            answer = door.ask(method, API + path, **{key: {**body, **asked}})
            assert answer.status_code in (200, 400), answer.text[:300]
            assert contents(door) == before
            if answer.status_code == 200:
                assert "sha256" not in answer.text
            else:
                assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
                assert len(answer.text) < 3000


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/experiments/create", {"name": MEGABYTE}),
        ("/experiments/create", {"name": "a", "tags": [{"key": MEGABYTE, "value": ""}]}),
        ("/runs/log-parameter", {"key": "k", "value": MEGABYTE}),
        ("/runs/log-parameter", {"key": MEGABYTE, "value": "v"}),
        ("/runs/log-metric", {"key": MEGABYTE, "value": 1, "timestamp": 1}),
        ("/runs/log-metric", {"key": "k", "value": MEGABYTE, "timestamp": 1}),
        ("/runs/log-metric", {"key": "k", "value": 1, "timestamp": MEGABYTE}),
        ("/runs/log-metric", {"key": "k", "value": 1, "timestamp": 10**40}),
        ("/runs/log-metric", {"key": "k", "value": 1, "timestamp": 1, "step": 2**63}),
        ("/runs/set-tag", {"key": MEGABYTE, "value": "v"}),
        ("/runs/set-tag", {"key": "k", "value": MEGABYTE}),
        ("/runs/log-batch", {"params": [{"key": f"k{i}", "value": "v"} for i in range(5000)]}),
        (
            "/runs/log-batch",
            {"params": [{"key": "ok", "value": "1"}, {"key": "k", "value": MEGABYTE}]},
        ),
        (
            "/runs/log-batch",
            {
                "metrics": [{"key": "ok", "value": 1, "timestamp": 1}],
                "tags": [{"key": MEGABYTE, "value": "v"}],
            },
        ),
        ("/registered-models/create", {"name": MEGABYTE}),
        ("/registered-models/create", {"name": ""}),
        ("/model-versions/create", {"name": "nobody's", "source": "runs:/" + MEGABYTE}),
    ],
    ids=range(17),
)
def test_a_megabyte_where_a_word_belongs(door: Door, path: str, body: dict) -> None:
    run = door.run()["run_id"]
    refused(door, "POST", API + path, json={"run_id": run, "run_uuid": run, **body})


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'"text"',
        b"\xff\xfe",
        b'{"name": "\\ud800"}',
        b'{"name": NaN}',
        json.dumps({"name": ["a"]}).encode(),
        b"x" * (BODY_LIMIT + 1),
        b'{"name":"' + b"x" * BODY_LIMIT + b'"}',
    ],
    ids=range(10),
)
def test_bodies_that_are_none(door: Door, body: bytes) -> None:
    refused(door, "POST", f"{API}/experiments/create", content=body)


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "!!!!",
        base64.urlsafe_b64encode(b'{"offset": -1}').decode(),
        base64.urlsafe_b64encode(b'{"offset": 1e99}').decode(),
        base64.urlsafe_b64encode(b'{"offset": "1; DROP TABLE volant_runs"}').decode(),
        base64.urlsafe_b64encode(b"[" * 5000).decode(),
        "A" * 100_000,
        "\u00e9",
    ],
    ids=range(8),
)
def test_page_tokens_that_nobody_gave_out(door: Door, token: str) -> None:
    refused(door, "POST", f"{API}/experiments/search", json={"page_token": token})


@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fvolant.db",
        "%2e%2e/%2e%2e/volant.db",
        "a/%2e%2e/%2e%2e/volant.db",
        "..%252fvolant.db",
        "%2e%2e%5cvolant.db",
        "%2Fetc%2Fpasswd",
        "file:///etc/passwd",
        "a%00.txt",
        "a%0ab/../..",
        ".incoming/x",
        ".incoming",
        "./x",
        "a//b",
        "a/./b",
        "/",
        "x" * 300,
        "/".join(["d"] * 3000),
        "\u202e/../..",
        "volant/../volant.db",
        "volant/models/x/1/model.onnx",
    ],
)
@pytest.mark.parametrize("method", ["PUT", "GET", "DELETE"])
def test_artifact_paths_that_climb(door: Door, method: str, path: str) -> None:
    before = contents(door)
    options = {"content": b"x"} if method == "PUT" else {}
    answer = door.ask(method, f"{FILES}/{path}", **options)
    found = contents(door)
    if answer.status_code == 200:  # a name, however odd it looks, and below the store
        changed = set(found[1]) ^ set(before[1])
        assert all(each.startswith("tracked/") for each in changed)
        return
    assert 400 <= answer.status_code < 500
    assert found == before
    assert "SQLite" not in answer.text


def test_a_link_among_the_artifacts_is_not_registered(door: Door, tmp_path: Path) -> None:
    run = door.run()
    root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    door.ask("PUT", f"{FILES}/{root}/model/MLmodel", content=b"flavors: {}\n")
    (tmp_path / "secret").write_text("secret")
    folder = home(door) / "tracked" / root / "model"
    for name, target in (("file", tmp_path / "secret"), ("folder", tmp_path), ("loop", folder)):
        (folder / name).symlink_to(target)
    door("POST", "/registered-models/create", {"name": "linked"})
    answer = door.ask(
        "POST",
        f"{API}/model-versions/create",
        json={"name": "linked", "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]},
    )
    for path in (home(door) / "artifacts").rglob("*"):
        assert not path.is_symlink()
        assert not path.is_file() or b"secret" not in path.read_bytes()
    assert answer.status_code in (200, 400), answer.text


@pytest.mark.parametrize(
    "source",
    [
        "/etc",
        "file:///etc",
        "http://127.0.0.1:1/x",
        "s3://bucket/x",
        "mlflow-artifacts:/../artifacts",
        "mlflow-artifacts:/..%2f",
        "mlflow-artifacts:/volant/../../x",
        "artifacts:/../volant.db",
        "artifacts:/",
        "mlflow-artifacts:/",
        "runs:/nobody/../../..",
        "models:/linked/../1",
        "models:/a%00b/1",
        "mlflow-artifacts:/a\0b",
        "dbfs:/x",
        "",
    ],
)
def test_sources_that_lead_elsewhere(door: Door, source: str) -> None:
    if door.ask("GET", f"{API}/registered-models/get", params={"name": "S"}).status_code == 404:
        door("POST", "/registered-models/create", {"name": "S"})
    refused(door, "POST", f"{API}/model-versions/create", json={"name": "S", "source": source})


def test_a_hostile_mlmodel_is_stored_and_says_nothing(door: Door) -> None:
    """What a client registers is bytes; that it can serve is proven elsewhere."""
    doubled = "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40)
    )
    for number, text in enumerate(
        [
            doubled + "signature: *a39\n",
            "signature: !!python/object/apply:os._exit [1]\n",
            "signature: " + "[" * 50_000,
            'signature: {inputs: \'[{"type": "tensor", "tensor-spec": '
            '{"dtype": "x", "shape": [1e999]}}]\'}\n',
        ]
    ):
        run = door.run()
        root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        door.ask("PUT", f"{FILES}/{root}/m/MLmodel", content=text.encode())
        name = f"hostile {number}"
        door("POST", "/registered-models/create", {"name": name})
        body = {"name": name, "source": f"{run['artifact_uri']}/m", "run_id": run["run_id"]}
        made = door("POST", "/model-versions/create", body)["model_version"]
        assert made["version"] == "1"
        assert not door.store.models.get(name, 1).signature.inputs


def test_two_registrations_of_one_name_at_once(door: Door) -> None:
    """One is first; the others are told, and each version has a number of its own."""
    for attempt in range(5):
        body = {"name": f"twins {attempt}"}
        with ThreadPoolExecutor(8) as pool:
            codes = list(
                pool.map(
                    lambda _, body=body: (
                        door.ask("POST", f"{API}/registered-models/create", json=body).status_code
                    ),
                    range(8),
                )
            )
        assert sorted(codes) == [200] + [400] * 7
    sources = []
    for _ in range(6):
        run = door.run()
        root = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
        door.ask("PUT", f"{FILES}/{root}/m/weights", content=os.urandom(100))
        sources.append(f"{run['artifact_uri']}/m")

    def create(source: str) -> str:
        body = {"name": "twins 0", "source": source}
        return door("POST", "/model-versions/create", body)["model_version"]["version"]

    with ThreadPoolExecutor(6) as pool:
        versions = list(pool.map(create, sources))
    assert sorted(versions) == ["1", "2", "3", "4", "5", "6"]


@given(
    st.sampled_from(SEARCHES),
    st.text(alphabet="namektgsrio.`'\"=<>!%() \\,;-*/ANDLIKEORIN01\0\n", max_size=40),
)
def test_any_filter_is_understood_or_refused(door: Door, search, text: str) -> None:
    method, path, body = search
    key = "params" if method == "GET" else "json"
    answer = door.ask(method, API + path, **{key: {**body, "filter": text}})
    assert answer.status_code in (200, 400), answer.text[:300]


@pytest.mark.parametrize(
    "credentials",
    [
        b"Basic \xe9",
        b"Basic YQ",
        b"Basic /////w==",
        b"Basic " + base64.b64encode(b"\xff:\xff"),
        b"Basic " + base64.b64encode(b"nobody"),
        b"Basic",
        b"Bearer \xff\xfe",
        b"Bearer " + b"x" * 100_000,
        b"Bearer ' OR 1=1 --",
        b"\xff",
    ],
    ids=range(10),
)
def test_credentials_that_are_none(door: Door, credentials: bytes) -> None:
    before = contents(door)
    answer = door.client.request(
        "POST", f"{API}/experiments/create", headers={"Authorization": credentials}, json={}
    )
    assert answer.status_code == 401, answer.text[:300]
    assert contents(door) == before
