"""Models whose libraries aren't Volant's: in environments of their own, built from the
package index, with replicas of that environment's interpreter.

uv keeps what it downloaded, so that only the first run on a machine is long. PyTorch's
wheels of the usual index are large; where `UV_FIND_LINKS` or `PIP_FIND_LINKS` has the
small one for processors alone, that is taken.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest

from volant.adapters.local.environments import build
from volant.formats.requirements import complete, environment_key

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1200)]

DEEP = ("torch==2.13.0", "transformers>=4.50")  # one environment for both libraries' tests

TORCH = """
import json, sys, torch
from torch import nn
folder = sys.argv[1]
torch.manual_seed(0)
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 3)
    def forward(self, x):
        return self.last(torch.relu(self.first(x)))
net, x = Net().eval(), torch.randn(2, 4)
rows = torch.export.Dim("rows")
torch.export.save(torch.export.export(net, (x,), dynamic_shapes=({0: rows},)), f"{folder}/net.pt2")
torch.export.save(torch.export.export(net, (x,)), f"{folder}/fixed.pt2")
torch.jit.script(net).save(f"{folder}/net.pt")
tensor = {"name": "x", "shape": [2, 4], "datatype": "FP32", "data": x.flatten().tolist()}
print(json.dumps({"inputs": [tensor], "answer": net(x).flatten().tolist()}))
"""

HOSTILE = """
import io, json, sys, zipfile, torch
from pathlib import Path
folder = sys.argv[1]
class Hostile:
    def __reduce__(self):
        return (Path.touch, (Path(folder, "it ran"),))
poison = io.BytesIO()
torch.save(Hostile(), poison)
with zipfile.ZipFile(f"{folder}/net.pt2") as good, zipfile.ZipFile(f"{folder}/bad.pt2", "w") as bad:
    for name in good.namelist():
        bad.writestr(name, poison.getvalue() if name.endswith("sample_inputs/model.pt")
                     else good.read(name))
print("{}")
"""

BERT = """
import json, sys
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast, pipeline
folder = sys.argv[1]
letters = "abcdefghijklmnopqrstuvwxyz"
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters)]
open(f"{folder}/vocab.txt", "w").write("\\n".join(words))
config = BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_labels=3,
                    num_attention_heads=2, intermediate_size=16, max_position_embeddings=64)
BertForSequenceClassification(config).save_pretrained(f"{folder}/bert")
BertTokenizerFast(vocab_file=f"{folder}/vocab.txt").save_pretrained(f"{folder}/bert")
asked = pipeline("text-classification", model=f"{folder}/bert", tokenizer=f"{folder}/bert")
print(json.dumps(asked(["abc", "hello there"])))
"""

XGBOOST = """
import json, sys, numpy as np, xgboost as xgb
folder = sys.argv[1]
x = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5)
settings = {"objective": "multi:softprob", "num_class": 3, "nthread": 1}
made = xgb.train(settings, xgb.DMatrix(x, label=y), 10)
made.save_model(f"{folder}/m.json")
made.save_model(f"{folder}/m.ubj")
print(json.dumps({"x": x[:4].tolist(), "answer": made.predict(xgb.DMatrix(x[:4])).tolist()}))
"""

PYFUNC = """
import json, sys, mlflow.pyfunc, pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
class Twice(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["a"] * 2 + model_input["b"]
rows = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
mlflow.pyfunc.save_model(f"{sys.argv[1]}/py", python_model=Twice(), input_example=rows,
                         signature=ModelSignature(Schema([ColSpec("double", "a"),
                                                          ColSpec("double", "b")])),
                         pip_requirements=["mlflow-skinny", "pandas", "cloudpickle"])
print("{}")
"""


@pytest.fixture(scope="module")
def platform(platforms):
    platform = platforms()
    cache = str(platform.folder / "inductor")  # torch makes it, else in the temporary folder
    return platform.start(MLFLOW_DISABLE_TELEMETRY="true", TORCHINDUCTOR_CACHE_DIR=cache)


def environment(platform, kind, *lines):
    """The environment that models of this kind get; its interpreter."""
    wanted = complete(lines, kind)
    return build(platform.home / "envs", environment_key(wanted), wanted) / "bin" / "python"


def made(python, script, folder):
    """What `script` printed last, as JSON."""
    (folder / "make.py").write_text(script)  # TorchScript reads its source
    done = subprocess.run([str(python), str(folder / "make.py"), str(folder)], capture_output=True,
                          text=True, check=False, env={"MLFLOW_DISABLE_TELEMETRY": "true",
                                                       "PATH": "/usr/bin:/bin"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


def served(platform, path, name, *options):
    """Register and deploy; (the version, a function that asks it)."""
    words = ("models", "register", path, "--name", name, *options, "--home", str(platform.home))
    platform.shell(*words, timeout_s=900)
    platform.cli("deploy", name)
    url = platform.get(f"/deployments/{name}")["infer_url"]

    def ask(*tensors):
        answer = httpx.post(url, json={"inputs": tensors}, timeout=60, trust_env=False)
        assert answer.status_code == 200, answer.text
        return {o["name"]: o["data"] for o in answer.json()["outputs"]}

    return platform.get(f"/models/{name}/versions/1"), ask


def test_code_with_a_package_that_volant_lacks(platform, tmp_path):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "requirements.txt").write_text("roman-numerals-py\n")
    (folder / "model.py").write_text(
        "import sys\n"
        "from roman_numerals import RomanNumeral\n"
        "class Model:\n"
        "    def predict(self, inputs):\n"
        "        words = [RomanNumeral(int(n)).to_uppercase() for n in inputs['n']]\n"
        "        return {'roman': words, 'python': [sys.prefix] * len(words)}\n"
    )
    (tmp_path / "n.csv").write_text("n\n4\n")
    version, ask = served(platform, folder, "roman", "--example", tmp_path / "n.csv")
    key = version["runtime"]["environment"]["key"]
    assert version["runtime"]["profile"] == f"serve-code@{key}"
    found = ask({"name": "n", "shape": [2], "datatype": "INT64", "data": [9, 14]})
    assert found["roman"] == ["IX", "XIV"]
    assert found["python"] == [str(platform.home / "envs" / key)] * 2
    assert (platform.home / "envs" / f"{key}.log").read_text()
    # A whole file: the model in its own interpreter, files and chunks in ours.
    (tmp_path / "in.csv").write_text("id,n\n1,4\n2,none\n3,1990\n")
    words = ("batch", "roman", "--input", tmp_path / "in.csv", "--output", tmp_path / "out.csv")
    assert platform.cli(*words).json["rejected"] == 1
    python = str(platform.home / "envs" / key)
    assert (tmp_path / "out.csv").read_text().splitlines() == [
        "id,n,roman,python", f"1,4,IV,{python}", f"3,1990,MCMXC,{python}",
    ]  # fmt: skip


def test_requirements_that_cannot_be_installed_are_told(platform, tmp_path):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "requirements.txt").write_text("numpy==0.0.1\n")
    (folder / "model.py").write_text("class Model:\n    def predict(self, inputs): return inputs\n")
    (tmp_path / "n.csv").write_text("n\n4\n")
    words = ("models", "register", folder, "--name", "no", "--example", tmp_path / "n.csv")
    told = platform.shell(*words, "--home", str(platform.home), code=2, timeout_s=300)
    assert "can't be installed" in told.err
    assert not list((platform.home / "envs").glob(".draft-*"))


def beside_requirements(file, name):
    """A folder with the file and with what it needs."""
    folder = file.parent / f"model-{name}"
    folder.mkdir()
    (folder / file.name).write_bytes(file.read_bytes())
    (folder / "requirements.txt").write_text("\n".join(DEEP))
    return folder


def test_torch_exported_and_scripted(platform, tmp_path):
    python = environment(platform, "torch", *DEEP)
    told = made(python, TORCH, tmp_path)
    (tmp_path / "x.json").write_text(json.dumps({"inputs": told["inputs"]}))
    for name, file in (("exported", "net.pt2"), ("scripted", "net.pt"), ("fixed", "fixed.pt2")):
        folder = beside_requirements(tmp_path / file, name)
        version, ask = served(platform, folder, name, "--example", tmp_path / "x.json")
        assert version["runtime"]["kind"] == "torch"
        assert version["runtime"]["profile"].startswith("serve-torch@")
        answer = ask(*told["inputs"])
        assert np.allclose(answer["output_0"], told["answer"], atol=1e-6), name
        rows = 2 if name == "fixed" else -1
        assert version["signature"]["tensors"]["outputs"][0]["shape"] == [rows, 3]
    # A .pt2 with a pickle inside: torch alone would run it.
    made(python, HOSTILE, tmp_path)
    folder = beside_requirements(tmp_path / "bad.pt2", "bad")
    told = platform.cli("models", "register", folder, "--name", "bad", code=2)
    assert "can't be served" in told.err
    assert not (tmp_path / "it ran").exists()


def test_a_hugging_face_folder(platform, tmp_path):
    expected = made(environment(platform, "transformers", *DEEP), BERT, tmp_path)
    (tmp_path / "bert" / "requirements.txt").write_text("\n".join(DEEP))
    version, ask = served(platform, tmp_path / "bert", "bert")
    assert version["runtime"]["kind"] == "transformers"
    assert version["signature"]["task"] == "text-classification"
    texts = ["abc", "hello there"]
    found = ask({"name": "text", "shape": [2], "datatype": "BYTES", "data": texts})
    assert found["label"] == [each["label"] for each in expected]
    assert np.allclose(found["score"], [each["score"] for each in expected], atol=1e-6)
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    out = tmp_path / "out.jsonl"
    platform.cli("batch", "bert", "--input", tmp_path / "in.jsonl", "--output", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["label"] for row in rows] == found["label"]


def test_xgboost_by_itself_and_as_onnx(platform, tmp_path):
    python = environment(platform, "xgboost")
    told = made(python, XGBOOST, tmp_path)
    version, ask = served(platform, tmp_path / "m.ubj", "boosted", "--env", "own")
    assert version["runtime"]["kind"] == "xgboost"
    names = [field["name"] for field in version["signature"]["inputs"]]
    x = np.array(told["x"])
    found = ask(*({"name": n, "shape": [4], "datatype": "FP64", "data": x[:, i].tolist()}
                  for i, n in enumerate(names)))  # fmt: skip
    assert np.allclose(np.reshape(found["probabilities"], (4, 3)), told["answer"], atol=1e-6)
    # Where Volant's own interpreter has the library, the model becomes ONNX.
    library = next((python.parent.parent / "lib").glob("python*/site-packages/xgboost"))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "xgboost").symlink_to(library)
    script = (
        "import json, sys, types; from pathlib import Path\n"
        "from volant.actions import inspect_model, prove_model\n"
        "context = types.SimpleNamespace(workdir=Path(sys.argv[1]) / 'work')\n"
        "context.workdir.mkdir()\n"
        "found = inspect_model({'upload': sys.argv[1] + '/m.json'}, context)\n"
        "print(json.dumps(prove_model({**found, 'example': None}, context)['runtime']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True,
                          text=True, check=True, env={"PYTHONPATH": str(tmp_path / "site"),
                                                      "PATH": "/usr/bin:/bin"})  # fmt: skip
    runtime = json.loads(done.stdout.strip().splitlines()[-1])
    assert runtime["kind"] == "onnx"
    assert runtime["max_abs_diff"] < 1e-4


def test_a_pyfunc_of_mlflow(platform, tmp_path):
    made(environment(platform, "mlflow", "mlflow-skinny"), PYFUNC, tmp_path)
    refused = platform.cli("models", "register", tmp_path / "py", "--name", "py", code=2)
    assert "python_model.pkl" in refused.err
    version, ask = served(platform, tmp_path / "py", "py", "--trust-pickle")
    assert version["runtime"]["kind"] == "mlflow"
    found = ask(
        {"name": "a", "shape": [2], "datatype": "FP64", "data": [1, 2]},
        {"name": "b", "shape": [2], "datatype": "FP64", "data": [3, 4]},
    )
    assert found == {"prediction": [5.0, 8.0]}
    assert Path(platform.home / "envs" / version["runtime"]["environment"]["key"]).is_dir()


TENSORFLOW = """
import json, sys, numpy as np, tensorflow as tf
folder = sys.argv[1]
tf.keras.utils.set_random_seed(0)
net = tf.keras.Sequential([tf.keras.layers.Input((4, 4, 1)), tf.keras.layers.Conv2D(2, 3),
                           tf.keras.layers.Flatten(), tf.keras.layers.Dense(3)])
x = np.random.default_rng(0).random((2, 4, 4, 1), dtype=np.float32)
net.save(f"{folder}/net.keras")
net.export(f"{folder}/exported", verbose=False)
class Pair(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="b"),
                                  tf.TensorSpec([None], tf.string, name="a")])
    def ask(self, b, a):
        return {"longer": tf.strings.join([a, "!"]), "sum": tf.reduce_sum(b, axis=1)}
pair = Pair()
tf.saved_model.save(pair, f"{folder}/pair", signatures={"mine": pair.ask})
lambdas = tf.keras.Sequential([tf.keras.layers.Input((1,)),
                               tf.keras.layers.Lambda(lambda v: v * 2)])
lambdas.save(f"{folder}/lambda.keras")
print(json.dumps({"x": x.flatten().tolist(), "answer": net(x).numpy().flatten().tolist()}))
"""


def test_tensorflows_graphs_and_keras_files(platform, tmp_path):
    told = made(environment(platform, "tensorflow", "tensorflow"), TENSORFLOW, tmp_path)
    image = {"name": "conv2d_input", "shape": [2, 4, 4, 1], "datatype": "FP32", "data": told["x"]}
    # As MLflow lays a Keras model down, and the file alone.
    logged = tmp_path / "logged"
    (logged / "data").mkdir(parents=True)
    (logged / "data" / "model.keras").write_bytes((tmp_path / "net.keras").read_bytes())
    (logged / "MLmodel").write_text(
        "flavors: {tensorflow: {data: data, model_type: keras, save_format: tf, code: null},"
        " python_function: {loader_module: mlflow.tensorflow}}\n"
    )
    (logged / "requirements.txt").write_text("mlflow==3.0\ntensorflow\n")
    refused = platform.cli("models", "register", tmp_path / "exported", "--name", "out", code=2)
    assert "may read and write files" in refused.err
    for path, name, options in (
        (logged, "logged", ()),
        (tmp_path / "net.keras", "file", ()),
        (tmp_path / "exported", "graph", ("--trust-pickle",)),
    ):
        version, ask = served(platform, path, name, *options)
        assert version["runtime"]["kind"] == "tensorflow"
        assert version["runtime"]["profile"].startswith("serve-tensorflow@")
        assert version["signature"]["tensors"]["inputs"][0]["shape"] == [-1, 4, 4, 1]
        assert version["signature"]["tensors"]["outputs"] == [
            {"name": "output_0", "datatype": "FP32", "shape": [-1, 3]}
        ]
        assert np.allclose(ask(image)["output_0"], told["answer"], atol=1e-5), name
        url = platform.get(f"/deployments/{name}")["infer_url"].removesuffix("/infer")
        metadata = httpx.get(url, timeout=60, trust_env=False).json()
        assert metadata["platform"] == "tensorflow"
    # Several inputs, texts among them, and another name for the signature.
    _, ask = served(platform, tmp_path / "pair", "pair", "--trust-pickle")
    found = ask(
        {"name": "b", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]},
        {"name": "a", "shape": [2], "datatype": "BYTES", "data": ["é", "b"]},
    )
    assert found == {"longer": ["é!", "b!"], "sum": [3.0, 7.0]}
    # Python in a layer isn't run.
    words = ("models", "register", tmp_path / "lambda.keras", "--name", "no")
    told = platform.shell(*words, "--home", str(platform.home), code=2, timeout_s=300)
    assert "can't be served" in told.err
