"""The recipe for texts: a tiny DistilBERT, made on the spot, trained, killed on its way,
judged and served, as ONNX and as a pipeline. Its libraries are in an environment of their
own, see `site`."""

from __future__ import annotations

import csv
import hashlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import httpx
import numpy as np
import pyarrow as pa
import pytest
from platform_process import own, wait_for

from volant.errors import InvalidInput, MissingExtra
from volant.serving.inference import load
from volant.training.recipes.text_classification import (
    check_known,
    fine_tune,
    load_pretrained,
    newest,
    text_column,
)

MAKE = """
import sys
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import DistilBertConfig, DistilBertForSequenceClassification, set_seed
from transformers import PreTrainedTokenizerFast
folder, words = sys.argv[1], ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sys.argv[2].split()]
set_seed(0)
core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
core.pre_tokenizer = pre_tokenizers.Whitespace()
core.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]",
    cls_token="[CLS]", sep_token="[SEP]", model_max_length=64).save_pretrained(folder)
config = DistilBertConfig(vocab_size=len(words), dim=32, hidden_dim=64, n_layers=2, n_heads=2,
                          max_position_embeddings=64)
DistilBertForSequenceClassification(config).save_pretrained(folder)
"""
ASK = """
import json, sys
from transformers import pipeline
asked = pipeline("text-classification", model=sys.argv[1], device="cpu")
found = asked(json.loads(sys.argv[2]), top_k=None, truncation=True, max_length=64)
print(json.dumps([[one["score"] for one in sorted(row, key=lambda one: one["label"])]
                  for row in found]))
"""
ASKED = ["lovely great film", "bad", "", "an awful plot " * 60, "Ünïcödé 漢字 good"]
UNPROVEN = """
import json, sys
from pathlib import Path
import numpy as np
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from volant.domain.model import Field
from volant.serving.inference import load
from volant.training.recipes.package import TextModel, write_text_model
folder = Path(sys.argv[1])
model = AutoModelForSequenceClassification.from_pretrained(folder / "base")
model.config.id2label, model.config.label2id = {0: "a", 1: "b"}, {"a": 0, "b": 1}
tokenizer = AutoTokenizer.from_pretrained(folder / "base")
class SlowTokenizer:
    def save_pretrained(self, place):
        tokenizer.save_pretrained(place)
class Other:
    def __init__(self, real):
        self.description, self.predict = real.description, lambda feeds: self.answer(real, feeds)
    def answer(self, real, feeds):
        answer = real.predict(feeds)
        answer.outputs[1][:] = answer.outputs[1] + np.array([0.01, -0.01])
        return answer
cases = {
    "other": (tokenizer, lambda *told: Other(load(*told))),
    "slow": (SlowTokenizer(), load),
    "pipeline": (tokenizer, None),
}
told = {}
for name, (tokens, opener) in cases.items():
    made = TextModel(model, tokens, Field("text", "string", True), ["a", "b"], 64)
    told[name] = write_text_model(folder / name, made, ["good film", "bad plot"] * 20, seed=0,
                                  convert=opener, say=print)[1]
print(json.dumps(told))
"""
GOOD, BAD = ["good", "great", "lovely", "superb"], ["bad", "awful", "poor", "dreadful"]
REST = ["the", "film", "was", "and", "a", "plot", "with", "actors", "in", "it", "but", "music"]


def reviews(path: Path) -> Path:
    dice = random.Random(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["review", "stars", "mood"])
        for _ in range(400):
            mood = dice.choice(["glad", "cross"])
            words = [*dice.choices(REST, k=8), *dice.choices(GOOD if mood == "glad" else BAD, k=2)]
            dice.shuffle(words)
            writer.writerow([" ".join(words), dice.randint(1, 5), mood])
    return path


@pytest.mark.clients
@pytest.mark.timeout(1500)
def test_a_text_classifier_is_fine_tuned_killed_judged_and_served(platforms, site, tmp_path):
    python = site.parents[2] / "bin" / "python"
    base = tmp_path / "base"
    words = " ".join([*GOOD, *BAD, *REST])
    subprocess.run([python, "-c", MAKE, base, words], check=True, timeout=300)
    # One thread: two processes that share the cores would wait for one another.
    platform = platforms().start(
        PYTHONPATH=str(site), OMP_NUM_THREADS="1", TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "torch")
    )
    name = own("moods")
    platform.apply(
        f"kind: Loop\nname: {name}\ndata: {{dataset: {name}, target: mood}}\n"
        "train:\n  recipe: text-classification\n"
        f"  params: {{model: {base}, text: review, epochs: 20, learning_rate: 2e-3,"
        " checkpoint_s: 0.5}\n"
        "gate:\n  thresholds: {accuracy: {min: 0.9}, f1: {min: 0.9}}\n"
    )
    platform.push(name, reviews(tmp_path / "reviews.csv"))
    stored = platform.home / "artifacts" / "checkpoints"
    wait_for("a checkpoint", lambda: [*stored.glob("*/train/*/checkpoint-*")], 600)
    (pid,) = [each.pid for each in platform.family() if each.kind == "step-train"]
    os.kill(pid, signal.SIGKILL)
    run = platform.finished(platform.items("/runs", loop=name)[0]["id"])
    assert run["state"]["status"] == "succeeded", run
    log = platform.cli("logs", run["id"], "--step", "train").out
    assert "going on from checkpoint-" in log
    steps = {step["name"]: step["outputs"] for step in run["state"]["steps"]}
    assert steps["evaluate"]["metrics"]["accuracy"] >= 0.9
    assert steps["evaluate"]["metrics"]["f1"] >= 0.9
    assert steps["train"]["survived"]["preemptions"] == 1
    assert steps["train"]["survived"]["spared_s"] > 0
    assert "converted to ONNX; largest difference" in log
    told = platform.cli("predict", name, "--row", '{"review": "lovely great film"}').out
    assert "glad" in told
    version = platform.get(f"/models/{name}/versions/1")
    assert version["stage"] == "champion"
    assert version["runtime"]["kind"] == "onnx-text"
    assert version["runtime"]["max_abs_diff"] < 1e-4
    assert version["runtime"]["compared_rows"] > 100
    # What is served is what Hugging Face's pipeline answers, without its libraries.
    (weights,) = (platform.home / "artifacts").glob("**/model/model.safetensors")
    done = subprocess.run([python, "-c", ASK, weights.parent, json.dumps(ASKED)],
                          capture_output=True, text=True, check=True, timeout=300)  # fmt: skip
    expected = np.array(json.loads(done.stdout.strip().splitlines()[-1]))
    found = asked_over_http(platform, name, ASKED)
    assert found["prediction"] == ["cross" if row[0] > 0.5 else "glad" for row in expected]
    assert np.abs(np.reshape(found["probabilities"], (-1, 2)) - expected).max() < 1e-4
    (replica,) = [each.pid for each in platform.family() if each.kind == "replica"]
    mapped = Path(f"/proc/{replica}/maps").read_text()
    assert "tokenizers" in mapped
    assert "libtorch" not in mapped
    platform.down()


@pytest.mark.clients
@pytest.mark.timeout(900)
def test_a_conversion_that_is_not_proven_is_not_served(site, tmp_path):
    """Once its graph answers something else, once it can't be exported, once nobody asked
    for it: a pipeline is served each time, and the reason is kept."""
    python = site.parents[2] / "bin" / "python"
    words = " ".join([*GOOD, *BAD, *REST])
    subprocess.run([python, "-c", MAKE, tmp_path / "base", words], check=True, timeout=300)
    done = subprocess.run(
        [sys.executable, "-c", UNPROVEN, tmp_path], capture_output=True, text=True, check=False,
        timeout=600, env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert {each["kind"] for each in told.values()} == {"transformers"}
    assert "ONNX probabilities differ by" in told["other"]["reason"]
    assert told["other"]["max_abs_diff"] > 1e-4
    assert "can't be converted to ONNX: ValueError: SlowTokenizer" in told["slow"]["reason"]
    assert "reason" not in told["pipeline"]
    for name in told:
        assert not (tmp_path / name / "onnx").exists()
        assert "torch==" in (tmp_path / name / "requirements.txt").read_text()


def asked_over_http(platform, name, texts):
    inputs = [{"name": "review", "shape": [len(texts)], "datatype": "BYTES", "data": texts}]
    url = platform.get(f"/deployments/{name}")["infer_url"]
    answer = httpx.post(url, json={"inputs": inputs}, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    return {each["name"]: each["data"] for each in answer.json()["outputs"]}


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_without_its_libraries_the_recipe_says_how_to_get_them():
    rows = pa.table({"text": ["a", "b"], "y": ["p", "q"]})
    with pytest.raises(MissingExtra, match=r"pip install 'volant\[hf\]'"):
        fine_tune({"target": "y", "seed": 0, "params": {"model": "m"}}, rows, None, print)


@pytest.mark.skipif(importlib.util.find_spec("tokenizers") is not None, reason="it is installed")
def test_a_text_model_as_onnx_says_what_serving_it_needs(tmp_path):
    text = {"name": "review", "type": "string", "nullable": True}
    outputs = [
        {"name": "prediction", "type": "string"},
        {"name": "probabilities", "type": "number"},
    ]
    facts = {
        "format": 1,
        "task": "classification",
        "signature": {"inputs": [text], "outputs": outputs, "classes": ["cross", "glad"]},
        "runtime": {"kind": "onnx-text", "profile": "serve-text", "file": "onnx"},
    }
    body = json.dumps(facts).encode()
    (tmp_path / "volant.json").write_bytes(body)
    with pytest.raises(MissingExtra, match=r"tokenizers is not installed"):
        load(tmp_path, {"volant.json": hashlib.sha256(body).hexdigest()})


def test_the_column_of_texts_is_found_or_asked_for():
    rows = pa.table({"a": ["x"], "b": [1], "y": ["p"]})
    assert text_column(rows, "y", None) == "a"
    assert text_column(rows, "y", "a") == "a"
    for named in ("b", "y", "nothing"):
        with pytest.raises(InvalidInput, match="no column of texts"):
            text_column(rows, "y", named)
    two = rows.append_column("c", pa.array(["z"]))
    with pytest.raises(InvalidInput, match="2 columns hold texts"):
        text_column(two, "y", None)


class Words:
    """A tokenizer that knows these words; its marks are 1, 2 and 3."""

    all_special_ids = (1, 2, 3)

    def __init__(self, *known):
        self.known = known

    def __call__(self, texts):
        each = [[self.known.index(w) + 4 if w in self.known else 1 for w in t.split()]
                for t in texts]  # fmt: skip
        return {"input_ids": [[2, *ids, 3] for ids in each]}


def test_a_folder_without_a_tokenizer_is_refused_with_the_whole_cause(tmp_path):
    """transformers says it in several lines, or makes a tokenizer that knows no word."""
    many = "Couldn't instantiate the backend tokenizer from one of:\n(1) a file, \n(2) another.\n"

    for problem in (ValueError(many), OSError(many), Exception(many)):
        load = Mock(side_effect=problem)
        library = SimpleNamespace(AutoTokenizer=SimpleNamespace(from_pretrained=load))
        with pytest.raises(InvalidInput) as told:
            load_pretrained(library, str(tmp_path), ["a", "b"])
        assert told.value.what == (
            f"The tokenizer of train.params.model {str(tmp_path)!r} can't be loaded: Couldn't"
            " instantiate the backend tokenizer from one of: (1) a file, (2) another."
        )
    texts = ["good film", "bad plot"]
    check_known("m", Words("plot"), Words("plot")(texts)["input_ids"])
    with pytest.raises(InvalidInput, match="knows nothing of what stands in the texts"):
        check_known("m", Words(), Words()(texts)["input_ids"])


def test_the_newest_checkpoint_is_the_one_of_the_highest_step(tmp_path):
    assert newest(tmp_path) is None
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-11", "checkpoint-x"):
        (tmp_path / name).mkdir()
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-x"):
        (tmp_path / name / "trainer_state.json").touch()
    assert newest(tmp_path) == tmp_path / "checkpoint-10"
