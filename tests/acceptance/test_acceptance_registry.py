"""Versions on their way: to another Volant, out of use, and away, as a user does it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import lightgbm as lgb
import numpy as np
import pytest
from platform_process import wait_for

POINTS = ("import.verified", "register.copied", "register.stored")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    x = np.random.default_rng(1).uniform(0, 9, (300, 2))
    settings = {"objective": "regression", "verbosity": -1, "num_threads": 1}
    for trees in (5, 9):
        data = lgb.Dataset(x, x[:, 0] * 3 + x[:, 1], feature_name=["a", "b"])
        lgb.train(settings, data, trees).save_model(str(folder / f"{trees}.txt"))
    (folder / "code").mkdir()
    (folder / "code" / "model.py").write_text(
        "class Model:\n    def predict(self, inputs): return {'twice': inputs['a'] * 2}\n"
    )
    (folder / "a.csv").write_text("a\n1.5\n")
    return folder


@pytest.fixture(scope="module")
def home(platforms, folder):
    """A platform with two versions of `rent` and one of `twice`, of which none is live."""
    platform = platforms().start()
    for trees, rmse in ((5, 2.5), (9, 1.5)):
        platform.cli("models", "register", folder / f"{trees}.txt", "--name", "rent",
                     "--metric", f"rmse={rmse}")  # fmt: skip
    platform.cli("models", "register", folder / "code", "--name", "twice",
                 "--example", folder / "a.csv")  # fmt: skip
    return platform


@pytest.fixture(scope="module")
def abroad(platforms):
    return platforms().start()


def exported(platform, name, version, *more):
    file = platform.folder / f"{name}.volant"
    platform.cli("models", "export", name, version, "-o", file, "--overwrite", *more)
    return file


def ask(platform, name, value):
    url = platform.get(f"/deployments/{name}")["infer_url"]
    tensors = [{"name": n, "shape": [1], "datatype": "FP64", "data": [value]} for n in "ab"]
    answer = httpx.post(url, json={"inputs": tensors}, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"]


def test_a_version_moves_to_another_volant(home, abroad):
    file = exported(home, "rent", "2")
    told = home.cli("models", "export", "rent", "2", "-o", file, code=4).json
    assert "is there already" in told["error"]["what"]
    made = abroad.cli("models", "import", file).json
    assert (made["model"], made["version"], made["stage"]) == ("rent", 1, "candidate")
    assert made["metrics"] == {"rmse": 1.5}
    assert made["runtime"]["imported"]["version"] == 2
    original = home.cli("models", "show", "rent", "2").json
    assert made["files"] == original["files"]
    assert made["signature"] == original["signature"]
    home.cli("deploy", "rent@2")
    abroad.cli("deploy", "rent")
    assert ask(abroad, "rent", 2.0) == ask(home, "rent", 2.0)
    assert abroad.cli("models", "import", file).json["version"] == 1  # it is there already
    back = exported(abroad, "rent", "1")
    assert home.cli("models", "import", back).json["version"] == 2
    assert len(home.items("/models/rent/versions")) == 2
    assert not list((abroad.home / "staging").glob("model-*"))


def test_what_was_tampered_with_is_refused_everywhere(home, abroad):
    whole = exported(home, "rent", "1").read_bytes()
    file = abroad.folder / "changed.volant"
    file.write_bytes(whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:])
    told = abroad.cli("models", "import", file, "--name", "other", code=2).json["error"]
    assert told["code"] == "model.export_broken"
    upload = abroad.ask(
        "POST", "/models/other/uploads", params={"filename": "x"}, content=file.read_bytes()
    ).json()  # past the client's own check
    state = abroad.post("/models/other/imports", {"upload": upload["id"]})
    path = f"/models/other/registrations/{state['id']}"
    wait_for("the refusal", lambda: abroad.get(path)["status"] != "running")
    assert abroad.get(path)["error"]["code"] == "model.export_broken"
    assert abroad.ask("GET", "/models/other/versions").status_code == 404
    assert not list((abroad.home / "artifacts").glob("models/other/*"))


def test_code_from_outside_is_only_taken_from_who_is_trusted(home, abroad):
    file = exported(home, "twice", "1")
    refused = abroad.cli("models", "import", file, code=2).json["error"]
    assert refused["code"] == "model.pickle"
    assert "model/model.py" in refused["what"]
    token = abroad.cli("tokens", "create", "dev", "--role", "developer").json["secret"]
    upload = abroad.ask(
        "POST", "/models/twice/uploads", params={"filename": "x"}, content=file.read_bytes()
    ).json()
    denied = abroad.ask(
        "POST", "/models/twice/trusted-imports", json={"upload": upload["id"]},
        headers={"Authorization": f"Bearer {token}"},
    )  # fmt: skip
    assert denied.status_code == 403
    made = abroad.cli("models", "import", file, "--trust-pickle").json
    assert "model/model.py" in made["runtime"]["trusted_pickle"]["files"]
    assert made["runtime"]["trusted_pickle"]["by"]
    home.cli("models", "import", file)  # it was made there


def test_a_version_that_is_needed_stays_and_another_goes_with_its_files(home, folder):
    home.cli("deploy", "rent@1")
    home.cli("deploy", "rent@2")
    for version, why in (("2", "served"), ("1", "rollback")):
        told = home.cli("models", "delete", "rent", version, code=4).json["error"]
        assert (told["code"], why in told["what"]) == ("model.in_use", True)
    made = home.cli("models", "register", folder / "5.txt", "--name", "spare").json
    files = home.home / "artifacts" / made["uri"].removeprefix("artifacts:/")
    assert files.is_dir()
    home.cli("models", "delete", "spare", "latest")
    wait_for("its files to be gone", lambda: not files.exists())
    assert home.ask("GET", "/models/spare/versions").status_code == 404


def test_altered_and_missing_files_are_told(home, folder):
    made = home.cli("models", "register", folder / "9.txt", "--name", "broken").json
    assert {f["state"] for f in home.cli("models", "verify", "broken").json["items"]} == {"right"}
    files = home.home / "artifacts" / made["uri"].removeprefix("artifacts:/")
    (files / "model.onnx").write_bytes(b"other")
    (files / "volant.json").unlink()
    (files / "more").write_bytes(b"")
    told = home.cli("models", "verify", "broken", "1", code=1).json["items"]
    states = {each["file"]: each["state"] for each in told}
    assert states == {
        "input_example.json": "right", "model.onnx": "changed", "model/9.txt": "right",
        "more": "added", "volant.json": "missing",
    }  # fmt: skip
    refused = home.cli("models", "export", "broken", "1", code=4).json["error"]
    assert refused["code"] == "artifact_altered"


def test_versions_are_described_as_they_are_told_of(home):
    tags = {"card.intended_use": "<b>Rents</b>", "mine": "1"}
    home.post("/models/rent/versions/2/tags", {"tags": tags})
    told = home.post("/models/rent/versions/2/tags", {"tags": {"mine": None}})
    assert told == {"card.intended_use": "<b>Rents</b>"}
    answer = home.ask("GET", "/models/rent/versions/2/card", params={"format": "html"})
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "&lt;b&gt;Rents" in answer.text
    assert "<b>" not in answer.text


def test_pruning_tells_and_then_does(home):
    for version in ("1", "2"):  # what was deployed before is kept for a rollback
        home.cli("deploy", f"rent@{version}")
    words = {"keep": 1, "model": "rent"}
    before = len(home.items("/models/rent/versions"))
    told = home.post("/model-retention", words)["items"]
    assert [each["version"] for each in told if each["reason"] is None] == []
    home.ask("DELETE", "/deployments/rent")
    wait_for("its end", lambda: home.ask("GET", "/deployments/rent").status_code == 404)
    told = home.post("/model-retention", words)["items"]
    assert [each["version"] for each in told if each["reason"] is None] == [1]
    assert len(home.items("/models/rent/versions")) == before
    home.post("/model-retention", {**words, "apply": True})
    assert [each["version"] for each in home.items("/models/rent/versions")] == [2]
    assert home.post("/models/rent/versions/2/retire")["stage"] == "retired"


def test_an_export_that_dies_leaves_nothing_under_its_name(home):
    file = home.folder / "late.volant"
    words = ("models", "export", "rent", "2", "-o", str(file), "--home", str(home.home))
    home.shell(*words, code=-9, VOLANT_CRASH_AT="export.written")
    assert not file.exists()
    home.shell(*words)
    assert file.is_file()
    assert not list(home.folder.glob(".late*"))


@pytest.mark.slow
def test_a_server_that_keeps_two_versions_keeps_no_third(platforms, folder):
    platform = platforms().start(VOLANT_KEEP_VERSIONS="2")
    for rmse in (3, 2, 1):
        platform.cli("models", "register", folder / "5.txt", "--name", "rent",
                     "--example", example(folder, rmse))  # fmt: skip
    kept = wait_for(
        "the oldest to go",
        lambda: len(found := platform.items("/models/rent/versions")) == 2 and found,
    )
    assert [each["version"] for each in kept] == [3, 2]


def example(folder, value):
    """Other words make another version of the same file."""
    file = folder / f"{value}.csv"
    file.write_text(f"a,b\n{value},1.5\n")
    return file


@pytest.mark.slow
@pytest.mark.parametrize(
    "point", [POINTS[0], *(pytest.param(each, marks=pytest.mark.chaos) for each in POINTS[1:])]
)
def test_an_import_that_dies_leaves_nothing_and_works_again(platforms, home, point):
    file = exported(home, "rent", "2")
    platform = platforms()
    platform.start(VOLANT_CRASH_AT=point, VOLANT_CRASH_ONCE=str(platform.folder / "crashed"))
    platform.cli("models", "import", file, code=None)
    wait_for("the crash", platform.ended)
    platform.start()
    there = platform.ask("GET", "/models/rent/versions")
    assert there.status_code == (200 if point == "register.stored" else 404)
    assert not list((platform.home / "staging").glob("*-*"))
    made = platform.cli("models", "import", file).json
    assert made["version"] == 1
    assert len(platform.items("/models/rent/versions")) == 1
    assert json.dumps(platform.cli("models", "verify", "rent").json).count("right") == len(
        made["files"]
    )
    platform.cli("deploy", "rent")


@pytest.mark.slow
def test_a_deletion_that_dies_removes_the_files_at_the_next_start(platforms, folder: Path):
    platform = platforms()
    platform.start(
        VOLANT_CRASH_AT="delete.recorded", VOLANT_CRASH_ONCE=str(platform.folder / "crashed")
    )
    made = platform.cli("models", "register", folder / "5.txt", "--name", "rent").json
    files = platform.home / "artifacts" / made["uri"].removeprefix("artifacts:/")
    platform.cli("models", "delete", "rent", "1", code=None)
    wait_for("the crash", platform.ended)
    assert files.is_dir()
    platform.start()
    wait_for("its files to be gone", lambda: not files.exists())
    assert platform.ask("GET", "/models/rent/versions").status_code == 404
