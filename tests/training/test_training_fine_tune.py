"""The recipe for texts: a tiny DistilBERT, made on the spot, trained, killed on its way,
judged and served. Its libraries are in an environment of their own, kept in `.clients/`."""

from __future__ import annotations

import csv
import fcntl
import hashlib
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from platform_process import own, wait_for

from volant.errors import InvalidInput, MissingExtra
from volant.training.recipes.text_classification import fine_tune, newest, text_column

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("VOLANT_CLIENTS_CACHE") or ROOT / ".clients")
NEEDS = ("accelerate>=1.0", "torch>=2.6", "transformers>=4.50")

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
GOOD, BAD = ["good", "great", "lovely", "superb"], ["bad", "awful", "poor", "dreadful"]
REST = ["the", "film", "was", "and", "a", "plot", "with", "actors", "in", "it", "but", "music"]


@pytest.fixture(scope="module")
def site():
    """The site-packages of an environment with the libraries."""
    wanted = hashlib.sha256(f"{NEEDS} {sys.version}".encode()).hexdigest()[:12]
    folder = CACHE / f"hf-{wanted}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "hf.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
            uv = shutil.which("uv", path=path)
            assert uv is not None, "uv makes this environment"
            install = ("pip", "install", "--python", str(folder / "bin/python"), *NEEDS)
            for arguments in (("venv", "--python", sys.executable, str(folder)), install):
                subprocess.run([uv, *arguments, "--quiet"], check=True, timeout=1800)
            (folder / "made").touch()
    (found,) = (folder / "lib").glob("python*/site-packages")
    return found


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
    told = platform.cli("predict", name, "--row", '{"review": "lovely great film"}').out
    assert "glad" in told
    version = platform.get(f"/models/{name}/versions/1")
    assert version["runtime"]["kind"] == "transformers"
    assert version["stage"] == "champion"
    platform.down()


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="torch is installed")
def test_without_its_libraries_the_recipe_says_how_to_get_them():
    rows = pa.table({"text": ["a", "b"], "y": ["p", "q"]})
    with pytest.raises(MissingExtra, match=r"pip install 'volant\[hf\]'"):
        fine_tune({"target": "y", "seed": 0, "params": {"model": "m"}}, rows, None, print)


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


def test_the_newest_checkpoint_is_the_one_of_the_highest_step(tmp_path):
    assert newest(tmp_path) is None
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-11", "checkpoint-x"):
        (tmp_path / name).mkdir()
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-x"):
        (tmp_path / name / "trainer_state.json").touch()
    assert newest(tmp_path) == tmp_path / "checkpoint-10"
