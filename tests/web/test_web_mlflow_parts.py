"""Large artifacts in parts."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow_door import FILES, Door

from volant.adapters.local.files import LocalFiles
from volant.domain.principal import Role

MPU = FILES.replace("/artifacts", "/mpu")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Door:
    return Door(tmp_path_factory.mktemp("parts"))


def begin(door: Door, root: str, parts: int = 3) -> dict[str, Any]:
    body = {"path": "/data/big.bin", "num_parts": parts}
    answer = door.ask("POST", f"{MPU}/create/{root}/deep", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def send(door: Door, part: dict[str, Any], content: bytes) -> dict[str, Any]:
    """As clients do it: with the headers that came with the part, and no token."""
    url = part["url"].removeprefix("http://test")
    answer = door.client.request("PUT", url, content=content, headers=part["headers"])
    assert answer.status_code == 200, answer.text
    return {"part_number": part["part_number"], "etag": answer.headers["etag"], "url": url}


def end(door: Door, root: str, upload: str, parts: list[Any], how: str = "complete") -> Any:
    body = {"path": "/data/big.bin", "upload_id": upload, "parts": parts}
    return door.ask("POST", f"{MPU}/{how}/{root}/deep", json=body)


def root_of(door: Door) -> str:
    return door.run()["artifact_uri"].removeprefix("mlflow-artifacts:/")


def test_a_file_comes_in_parts_in_any_order(door: Door) -> None:
    root = root_of(door)
    made = begin(door, root)
    pieces = [os.urandom(1_500_000), os.urandom(700_000), b""]
    order = (2, 0, 1)
    sent = {n: send(door, made["credentials"][n], pieces[n]) for n in order}
    again = send(door, made["credentials"][1], pieces[1])  # a part may be tried again
    assert again == sent[1]
    assert door.ask("GET", f"{FILES}/{root}/deep/big.bin").status_code == 404
    done = end(door, root, made["upload_id"], [sent[n] for n in (0, 1, 2)])
    assert done.status_code == 200, done.text
    assert door.ask("GET", f"{FILES}/{root}/deep/big.bin").content == b"".join(pieces)
    gone = end(door, root, made["upload_id"], [])
    assert gone.status_code == 404


def test_a_part_that_did_not_come_is_named(door: Door) -> None:
    root = root_of(door)
    made = begin(door, root)
    first = send(door, made["credentials"][0], b"one")
    lacking = end(door, root, made["upload_id"], [first, {"part_number": 2, "etag": "abc"}])
    assert lacking.status_code == 400
    assert "Part 2" in lacking.json()["message"]
    changed = end(door, root, made["upload_id"], [{**first, "etag": "0" * 64}])
    assert changed.status_code == 400
    assert door.ask("GET", f"{FILES}/{root}/deep/big.bin").status_code == 404
    assert end(door, root, made["upload_id"], [first]).status_code == 200


def test_an_upload_is_given_up(door: Door) -> None:
    root = root_of(door)
    made = begin(door, root)
    send(door, made["credentials"][0], b"one")
    assert end(door, root, made["upload_id"], [], "abort").status_code == 200
    url = made["credentials"][0]["url"]
    assert door.client.request("PUT", url, content=b"x").status_code == 404


@pytest.mark.parametrize("count", [0, 10_001, "many"])
def test_a_number_of_parts_that_cannot_be(door: Door, count: object) -> None:
    body = {"path": "x", "num_parts": count}
    assert door.ask("POST", f"{MPU}/create/0/a", json=body).status_code == 400


def test_who_may_send_in_parts(door: Door) -> None:
    body = {"path": "x", "num_parts": 1}
    assert door.ask("POST", f"{MPU}/create/0/a", Role.VIEWER, json=body).status_code == 403
    assert door.client.request("POST", f"{MPU}/create/0/a", json=body).status_code == 401
    assert door.ask("POST", f"{MPU}/create/volant/m", json=body).status_code == 403
    guess = f"{MPU}/parts/{'0' * 32}/1"
    assert door.client.request("PUT", guess, content=b"x").status_code == 404
    climbing = f"{MPU}/parts/..%2F..%2Ftracked/1"
    assert door.client.request("PUT", climbing, content=b"x").status_code == 404


def test_the_artifact_of_an_upload_cannot_be_swapped(door: Door) -> None:
    root, other = root_of(door), root_of(door)
    made = begin(door, root)
    sent = send(door, made["credentials"][0], b"one")
    assert end(door, other, made["upload_id"], [sent]).status_code == 400


def test_an_upload_to_where_nothing_can_be_is_not_begun(door: Door) -> None:
    root = root_of(door)
    begin(door, root)
    before = sorted((door.home / "parts").iterdir())
    for folder, name in ((root, ".."), (root, "."), (root, "a\0b"), ("%2e%2e", "x"), ("a//b", "x")):
        body = {"path": name, "num_parts": 1}
        answer = door.ask("POST", f"{MPU}/create/{folder}", json=body)
        assert answer.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert sorted((door.home / "parts").iterdir()) == before


def test_what_nobody_completes_goes_after_a_day(tmp_path: Path) -> None:
    parts = LocalFiles(tmp_path, transient=True)
    for name in ("old", "young"):
        draft = parts.draft()
        draft.add(b"x")
        draft.keep(f"{name}/1-abc")
    long_ago = time.time() - 25 * 3600
    os.utime(tmp_path / "old", (long_ago, long_ago))
    parts.sweep()
    assert not (tmp_path / "old").exists()
    assert parts.find("young/1-abc").read_bytes() == b"x"
