"""Models from elsewhere: registered, deployed, and asked over HTTP, as a user does it."""

from __future__ import annotations

import json
import os
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import lightgbm as lgb
import numpy as np
import pytest
from onnx import TensorProto, helper
from platform_process import wait_for
from sklearn.datasets import load_wine
from sklearn.neighbors import KNeighborsClassifier

X, Y = load_wine(return_X_y=True)
X = X.astype(np.float32)


@pytest.fixture(scope="module")
def platform(platforms):
    return platforms().start()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    settings = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "num_threads": 1}
    lgb.train(settings, lgb.Dataset(X, Y), 8).save_model(str(folder / "wine.txt"))
    fitted = KNeighborsClassifier(3, metric="chebyshev").fit(X, Y)
    (folder / "knn.pkl").write_bytes(pickle.dumps(fitted))
    (folder / "code").mkdir()
    (folder / "code" / "model.py").write_text(
        "class Model:\n"
        "    def load(self, folder): self.by = int((folder / 'by.txt').read_text())\n"
        "    def preprocess(self, inputs): return inputs['a']\n"
        "    def predict(self, a): return a * self.by\n"
        "    def postprocess(self, found): return {'times': [str(one) for one in found]}\n"
    )
    (folder / "code" / "by.txt").write_text("3")
    (folder / "a.csv").write_text("a\n1.5\n2.5\n")
    return folder


def ask(platform, name, tensors):
    url = platform.get(f"/deployments/{name}")["infer_url"]
    answer = httpx.post(url, json={"inputs": tensors}, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return {o["name"]: o["data"] for o in answer.json()["outputs"]}


def columns(version, rows):
    names = [field["name"] for field in version["signature"]["inputs"]]
    return [
        {"name": n, "shape": [len(rows)], "datatype": "FP64", "data": rows[:, i].tolist()}
        for i, n in enumerate(names)
    ]


def begun(platform, name, file, **wishes):
    """Upload and begin; the registration."""
    upload = platform.ask(
        "POST", f"/models/{name}/uploads", params={"filename": file.name}, content=file.read_bytes()
    ).json()
    return platform.post(f"/models/{name}/versions", {"upload": upload["id"], **wishes})


def ended(platform, state):
    path = f"/models/{state['model']}/registrations/{state['id']}"

    def look():
        found = platform.get(path)
        return found if found["status"] != "running" else None

    return wait_for(f"the end of {state['id']}", look)


def test_a_file_is_registered_deployed_and_answers_as_its_library(platform, folder):
    told = platform.cli("models", "register", folder / "wine.txt", "--name", "wine",
                        "--metric", "accuracy=0.97").json  # fmt: skip
    assert (told["version"], told["stage"], told["metrics"]) == (1, "candidate", {"accuracy": 0.97})
    assert told["runtime"]["kind"] == "onnx"
    assert told["runtime"]["max_abs_diff"] < 1e-4
    platform.cli("deploy", "wine@1")
    found = ask(platform, "wine", columns(told, X[:5]))
    expected = lgb.Booster(model_file=str(folder / "wine.txt")).predict(X[:5])
    assert np.allclose(np.reshape(found["probabilities"], (5, 3)), expected, atol=1e-5)
    shown = platform.shell("models", "show", "wine", "1", "--home", str(platform.home)).out
    assert "LightGBM's text model" in shown
    assert "difference" in shown


def test_the_same_again_is_the_same_version_also_at_once(platform, folder):
    def register(_):
        return ended(platform, begun(platform, "twice", folder / "wine.txt"))

    with ThreadPoolExecutor(2) as pool:
        states = list(pool.map(register, range(2)))
    assert [s["error"] for s in states] == [None, None]
    assert [s["version"] for s in states] == [1, 1]
    assert sorted(s["known"] for s in states) == [False, True]
    other = ended(platform, begun(platform, "twice", folder / "wine.txt", task="other"))
    assert other["version"] == 2
    staged = platform.home / "staging"
    left = [*staged.glob("model-*"), *staged.glob("import-*")]
    wait_for("staging to be empty", lambda: not any(path.exists() for path in left))


def test_a_class_of_ones_own_is_served(platform, folder):
    platform.cli("models", "register", folder / "code", "--name", "times",
                 "--example", folder / "a.csv")  # fmt: skip
    platform.cli("deploy", "times")
    tensor = {"name": "a", "shape": [2], "datatype": "FP64", "data": [1, 2]}
    assert ask(platform, "times", [tensor]) == {"times": ["3.0", "6.0"]}


def test_a_graph_of_tensors_is_served_and_run_over_a_file(platform, tmp_path):
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Mul", ["image", "image"], ["square"])],
        "squares",
        [info("image", TensorProto.FLOAT, ["n", "height", 2])],
        [info("square", TensorProto.FLOAT, ["n", "height", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    told = platform.cli("models", "register", tmp_path / "m.onnx", "--name", "squares").json
    # A size that may be any stays so in the answer.
    assert told["signature"]["tensors"]["outputs"][0]["shape"] == [-1, -1, 2]
    platform.cli("deploy", "squares")
    for height in (1, 3):
        data = np.arange(2 * height * 2, dtype=np.float32)
        shape = [2, height, 2]
        tensor = {"name": "image", "shape": shape, "datatype": "FP32", "data": data.tolist()}
        assert ask(platform, "squares", [tensor]) == {"square": (data**2).tolist()}
    images = [[[1, 2]], [[3, 4], [5, 6]], [[7]]]
    lines = [json.dumps({"id": i, "image": image}) for i, image in enumerate(images)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    out = tmp_path / "out.jsonl"
    told = platform.cli("batch", "squares", "--input", tmp_path / "in.jsonl", "--output", out).json
    assert (told["predicted"], told["rejected"]) == (2, 1)
    found = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["square"] for row in found] == [[[1, 4]], [[9, 16], [25, 36]]]


class Hostile:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (Path(self.mark),))


def test_a_pickle_from_outside_is_refused_and_never_opened(platform, folder, tmp_path):
    mark = tmp_path / "it ran"
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(Hostile(str(mark))))
    inside = tmp_path / "code"
    inside.mkdir()
    (inside / "model.py").write_text("class Model:\n    def predict(self, inputs): return inputs\n")
    (inside / "weights.bin").write_bytes((tmp_path / "m.pkl").read_bytes())
    for path in (tmp_path / "m.pkl", inside):
        told = platform.cli("models", "register", path, "--name", "hostile",
                            "--example", folder / "a.csv", code=2)  # fmt: skip
        assert "didn't make" in told.err
        assert "--trust-pickle" in told.err
    assert not mark.exists()
    assert platform.ask("GET", "/models/hostile/versions").status_code == 404


def test_only_an_admin_vouches_for_a_pickle_and_it_is_on_record(platform, folder):
    made = platform.post("/tokens", {"principal": "dora", "role": "developer"})
    upload = platform.ask("POST", "/models/knn/uploads", params={"filename": "knn.pkl"},
                          content=(folder / "knn.pkl").read_bytes()).json()  # fmt: skip
    body = {"upload": upload["id"]}
    refused = platform.ask("POST", "/models/knn/trusted-versions", json=body,
                           headers={"Authorization": f"Bearer {made['secret']}"})  # fmt: skip
    assert refused.status_code == 403
    told = platform.cli(
        "models", "register", folder / "knn.pkl", "--name", "knn", "--trust-pickle"
    ).json
    assert told["runtime"]["trusted_pickle"]["by"] == "admin"
    actions = [entry["action"] for entry in platform.items("/audit")]
    assert "models.trust" in actions


def test_a_native_model_is_forked_from_a_zygote_that_has_its_library(platform, folder):
    version = platform.get("/models/knn/versions/1")
    assert version["runtime"]["kind"] == "native", version["runtime"]
    assert version["runtime"]["profile"] == "serve-sklearn"
    platform.cli("deploy", "knn")
    fitted = pickle.loads((folder / "knn.pkl").read_bytes())
    found = ask(platform, "knn", columns(version, X[:9]))
    assert found["prediction"] == fitted.predict(X[:9]).tolist()
    assert np.array_equal(np.reshape(found["probabilities"], (9, 3)), fitted.predict_proba(X[:9]))
    words = [Path(f"/proc/{one.pid}/cmdline").read_bytes() for one in platform.family()]
    assert any(b"zygote_main" in each and b"\0serve-sklearn\0" in each for each in words)


def test_names_and_uploads_that_cannot_be(platform, folder):
    answer = platform.ask("POST", "/models/Bad%20Name/uploads", params={"filename": "m.onnx"},
                          content=b"x")  # fmt: skip
    assert answer.status_code == 400
    for upload in ("nothing", "upload-0", "model-../../x", "model-0"):
        answer = platform.ask("POST", "/models/some/versions", json={"upload": upload})
        assert answer.status_code == 404, answer.text
    assert platform.ask("GET", "/models/some/registrations/registration-0").status_code == 404
    broken = ended(platform, begun(platform, "some", folder / "a.csv"))
    assert broken["error"]["code"] == "model.format_unknown"


@pytest.mark.slow
def test_killed_between_files_and_version_nothing_is_half_registered(platforms, folder):
    platform = platforms()
    crashed = platform.folder / "crashed"
    platform.start(VOLANT_CRASH_AT="register.copied", VOLANT_CRASH_ONCE=str(crashed))
    begun(platform, "wine", folder / "wine.txt")
    wait_for("the crash", platform.ended)
    platform.start()
    assert platform.ask("GET", "/models/wine/versions").status_code == 404
    staged = platform.home / "staging"
    assert not list(staged.glob("model-*"))
    assert not list(staged.glob("import-*"))
    assert ended(platform, begun(platform, "wine", folder / "wine.txt"))["version"] == 1
    assert len(platform.items("/models/wine/versions")) == 1
    platform.cli("deploy", "wine")


@pytest.mark.slow
def test_killed_while_it_proves_nothing_is_registered(platforms, folder):
    platform = platforms().start()
    state = begun(platform, "wine", folder / "wine.txt")
    path = f"/models/wine/registrations/{state['id']}"
    wait_for("the proof", lambda: platform.get(path)["stage"] == "proving")
    assert platform.process is not None
    os.kill(platform.process.pid, signal.SIGKILL)
    wait_for("its end", platform.ended)
    platform.start()
    assert platform.ask("GET", path).status_code == 404
    assert platform.ask("GET", "/models/wine/versions").status_code == 404
    assert not list((platform.home / "staging").glob("import-*"))
    json.dumps(ended(platform, begun(platform, "wine", folder / "wine.txt")))
    assert [v["version"] for v in platform.items("/models/wine/versions")] == [1]
