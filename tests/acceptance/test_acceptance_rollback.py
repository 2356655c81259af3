"""Versions that do badly on real traffic are taken back by themselves; those that can't
load never get any. Nobody who is answered by the stable version notices."""

from __future__ import annotations

import http.client
import io
import json
import re
import tarfile
import threading
from collections import Counter
from contextlib import contextmanager

import pytest
from platform_process import own, wait_for

NAME = own("course")
MODEL = """\
import os, pathlib, signal, time

class Model:
    def load(self, folder):
        {load}
    def predict(self, inputs):
        {predict}
        return {{"y": inputs["a"] * {factor}}}
"""
# What each version does otherwise than the first.
VERSIONS = {
    "good": {},
    "fails": {"predict": "if (inputs['a'] % 4 == 0).any(): raise RuntimeError('a wrong branch')"},
    "slow": {"predict": "time.sleep(0.12)"},
    "other": {"factor": 3},
    "unready": {"load": "if pathlib.Path({gone!r}).exists(): raise RuntimeError('no weights')"},
    "again": {"load": "self.same = True"},
    # These two do so while a file of that name is there.
    "kills": {"predict": "if pathlib.Path({kills!r}).exists(): os.kill(os.getpid(), 9)"},
    "hangs": {"predict": "while pathlib.Path({hangs!r}).exists(): time.sleep(0.05)"},
}
NUMBER = {name: number for number, name in enumerate(VERSIONS, 1)}


def registered(platform, source):
    """The version that a `model.py` becomes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo("model.py")
        entry.size = len(source)
        archive.addfile(entry, io.BytesIO(source.encode()))
    path = f"/models/{NAME}"
    upload = platform.ask("POST", f"{path}/uploads", params={"filename": "model.tar.gz"},
                          content=packed.getvalue()).json()  # fmt: skip
    wishes = {"upload": upload["id"], "example": {"text": "a\n1.5\n2.5\n", "format": "csv"}}
    begun = platform.post(f"{path}/versions", wishes)

    def look():
        found = platform.get(f"{path}/registrations/{begun['id']}")
        return found if found["status"] != "running" else None

    found = wait_for("the registration", look, 120)
    assert found["error"] is None, found
    return found["version"]


@pytest.fixture(scope="module")
def platform(platforms):
    """The first version is live with one replica; the others are registered."""
    made = platforms().start()
    gone = made.folder / "gone"
    for name, differs in VERSIONS.items():
        words = {"load": "pass", "predict": "pass", "factor": 2, **differs}
        files = {each: str(made.folder / each) for each in ("gone", "kills", "hangs")}
        words = {key: str(word).format(**files) for key, word in words.items()}
        assert registered(made, MODEL.format(**words)) == NUMBER[name]
    gone.touch()
    made.cli("deploy", f"{NAME}@1", "--min", "1", "--max", "1")
    return made


class Traffic:
    """Clients that ask without end. By the revision that answered: statuses, and whether
    an answer was right for the version that it names."""

    def __init__(self, url: str, clients: int) -> None:
        self._host = url.removeprefix("http://")
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.seen: Counter[tuple[str, int]] = Counter()
        self.wrong: list[object] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for each in self._threads:
            each.start()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._host, timeout=30)
        number = 0
        while not self._stop.is_set():
            number += 1
            tensor = {"name": "a", "shape": [1], "datatype": "FP64", "data": [number]}
            body = json.dumps({"inputs": [tensor]})
            headers = {"Content-Type": "application/json"}
            try:
                connection.request("POST", f"/v2/models/{NAME}/infer", body, headers)
                answer = connection.getresponse()
                said = json.loads(answer.read())
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.wrong.append(repr(error))
                connection.close()
                continue
            revision = answer.headers.get("x-volant-revision", "")
            with self._lock:
                self.seen[revision, answer.status] += 1
                if answer.status == 200:
                    factor = VERSIONS[list(VERSIONS)[int(said["model_version"]) - 1]]
                    if said["outputs"][0]["data"] != [number * factor.get("factor", 2)]:
                        self.wrong.append(said)
        connection.close()

    def count(self) -> int:
        with self._lock:
            return sum(self.seen.values())

    def more(self, count: int) -> None:
        """Wait for so many answers."""
        goal = self.count() + count
        wait_for(f"{count} more answers", lambda: self.count() >= goal, 60)

    def stop(self) -> None:
        self._stop.set()
        for each in self._threads:
            each.join()


@contextmanager
def traffic(platform, clients=3):
    going = Traffic(platform.get(f"/deployments/{NAME}")["url"], clients)
    try:
        going.more(20)
        yield going
    finally:
        going.stop()


def deployed(platform, version, *how):
    told = platform.cli("deploy", f"{NAME}@{NUMBER[version]}", *how)
    return told.json["number"]


def revision(platform, number):
    return platform.get(f"/deployments/{NAME}/revisions/{number}")


def ended(platform, number, status):
    def look():
        found = revision(platform, number)
        return found if found["status"] == status else None

    return wait_for(f"revision {number} to be {status}", look, 60)


def told_of(platform, number, word):
    """The decision and the event on a revision that end in `word`, and the rules by name."""
    decision = next(
        each
        for each in platform.items("/decisions", loop=NAME)
        if each["outcome"] == word and each["details"]["revision"] == number
    )
    event = next(
        each
        for each in platform.items("/events")
        if each["type"] == f"volant.deployment.{word}" and each["data"]["revision"] == number
    )
    assert event["data"]["reason"] == decision["reason"]
    assert event["data"]["rules"] == decision["rules"]
    return decision, {rule["rule"]: rule for rule in decision["rules"]}


def test_a_canary_that_answers_5xx_is_given_up_by_its_error_rate(platform):
    with traffic(platform) as going:
        number = deployed(platform, "fails", "--canary", "50", "--bake", "1h",
                          "--error-rate", "0.1", "--min-requests", "30")  # fmt: skip
        found = ended(platform, number, "aborted")
        going.more(100)
    _, rules = told_of(platform, number, "aborted")
    seen = rules["error_rate"]
    assert seen["passed"] is False
    assert seen["requests"] >= 30
    assert 0.1 < seen["value"] == seen["errors"] / seen["requests"] < 0.5
    assert f"{seen['errors']} of {seen['requests']} requests failed" in found["reason"]
    why = platform.shell("why", NAME, "--limit", "1", "--home", str(platform.home)).out
    assert found["reason"] in why
    assert f"errors {seen['errors']}, limit 0.1, requests {seen['requests']}" in why
    assert going.wrong == []
    failed = {key: count for key, count in going.seen.items() if key[1] != 200}
    assert failed.keys() == {(str(number), 500)}  # none of the stable version's
    numbers = revision(platform, number)["numbers"]
    assert numbers["errors"] == failed[str(number), 500] >= seen["errors"]
    assert platform.get(f"/deployments/{NAME}")["live_version"] == 1


def test_a_canary_that_is_too_slow_is_given_up_by_its_p95(platform):
    with traffic(platform) as going:
        number = deployed(platform, "slow", "--canary", "40", "--bake", "1h", "--p95-ms", "60")
        found = ended(platform, number, "aborted")
        going.more(100)
    _, rules = told_of(platform, number, "aborted")
    assert rules["error_rate"]["passed"] is True
    assert rules["p95_ms"]["passed"] is False
    assert rules["p95_ms"]["value"] > 100 > rules["p95_ms"]["limit"] == 60
    assert (
        f"95 % took at most {rules['p95_ms']['value']:.3g} ms; the limit is 60 ms"
        in (found["reason"])
    )
    assert going.wrong == []
    assert {status for _, status in going.seen} == {200}


def test_a_version_that_fails_with_all_the_traffic_is_taken_back(platform):
    with traffic(platform) as going:
        number = deployed(platform, "fails", "--bake", "1h", "--error-rate", "0.1")
        wait_for("the way back", lambda: revision(platform, number)["status"] == "retired", 60)
        wait_for("version 1", lambda: platform.get(f"/deployments/{NAME}")["live_version"] == 1, 60)
        going.more(300)
    _, rules = told_of(platform, number, "reverted")
    assert rules["error_rate"]["value"] > 0.1
    assert going.wrong == []
    live = platform.get(f"/deployments/{NAME}")["revisions"][0]
    assert (live["model_version"], live["status"], live["number"]) == (1, "live", number + 1)


@contextmanager
def misbehaving(platform, how):
    (platform.folder / how).touch()
    try:
        yield
    finally:
        (platform.folder / how).unlink(missing_ok=True)


def test_a_version_that_kills_its_process_is_taken_back(platform):
    with traffic(platform) as going:
        before = platform.get(f"/deployments/{NAME}")["live_version"]
        number = deployed(platform, "kills", "--bake", "1h", "--error-rate", "0.05",
                          "--min-requests", "5")  # fmt: skip
        with misbehaving(platform, "kills"):
            wait_for("the way back", lambda: revision(platform, number)["status"] == "retired", 60)
        going.more(100)
    assert platform.get(f"/deployments/{NAME}")["live_version"] == before
    decision, _ = told_of(platform, number, "reverted")
    assert [rule for rule in decision["rules"] if not rule["passed"]]
    numbers = revision(platform, number)["numbers"]
    assert numbers["errors"] > 0
    logged = platform.get(f"/deployments/{NAME}/logs")["lines"]
    assert any(line.get("revision") == number and "lost" in line for line in logged)


def test_a_canary_that_never_answers_is_given_up(platform):
    number = deployed(platform, "hangs", "--canary", "30", "--bake", "20s", "--p95-ms", "100",
                      "--error-rate", "0.05", "--min-requests", "5")  # fmt: skip
    with misbehaving(platform, "hangs"):
        going = Traffic(platform.get(f"/deployments/{NAME}")["url"], clients=8)
        try:
            ended(platform, number, "aborted")
        finally:
            (platform.folder / "hangs").unlink()
            going.stop()
    _, rules = told_of(platform, number, "aborted")
    assert rules["p95_ms"]["passed"] is False
    assert "still wait" in rules["p95_ms"]["reason"]
    assert going.wrong == []


def test_a_shadows_answers_are_counted_and_shown_and_never_returned(platform):
    with traffic(platform) as going:
        number = deployed(platform, "other", "--shadow", "100", "--bake", "1h")
        wait_for(
            "compared answers",
            lambda: (revision(platform, number)["numbers"] or {}).get("compared", 0) >= 50,
            60,
        )
    assert going.wrong == []
    assert {status for _, status in going.seen} == {200}
    assert str(number) not in {by for by, _ in going.seen}
    for command in ("show", "revisions"):
        shown = platform.shell("deployments", command, NAME, "--home", str(platform.home)).out
        found = re.search(r"(\d+) of (\d+) compared answers differ", shown)
        assert found, shown
        assert found[1] == found[2]
        assert int(found[1]) >= 50
    logged = platform.get(f"/deployments/{NAME}/logs")["lines"]
    assert any(line.get("shadow") == number and line.get("differs") for line in logged)
    platform.cli("abort", NAME)


def test_a_version_that_never_gets_ready_gets_no_traffic(platform):
    with traffic(platform) as going:
        told = platform.cli("deploy", f"{NAME}@{NUMBER['unready']}", "--now", code=1)
        going.more(100)
    assert "no weights" in told.err
    newest = platform.get(f"/deployments/{NAME}/revisions")["items"][0]
    assert (newest["status"], newest["model_version"]) == ("failed", NUMBER["unready"])
    assert (newest["numbers"] or {}).get("requests", 0) == 0
    assert going.wrong == []
    assert {status for _, status in going.seen} == {200}


def test_the_same_version_again_changes_nothing(platform):
    before = platform.get(f"/deployments/{NAME}")
    told = platform.cli("deploy", f"{NAME}@1", "--now")
    assert told.json["status"] == "live"
    after = platform.get(f"/deployments/{NAME}")
    assert after["revisions"] == before["revisions"]
    assert [r["pid"] for r in after["replicas"]] == [r["pid"] for r in before["replicas"]]


def test_a_switch_under_load_fails_no_request(platform):
    with traffic(platform, clients=8) as going:
        for version in ("again", "good", "again"):
            deployed(platform, version, "--now", "--wait")
            going.more(300)
    assert going.wrong == []
    assert {status for _, status in going.seen} == {200}
    assert platform.get(f"/deployments/{NAME}")["live_version"] == NUMBER["again"]
