"""Files that aren't what they should be: told of, and nothing is lost or half taken."""

from __future__ import annotations

import signal
import subprocess
import threading

import pytest
from platform_process import COLUMNS, VOLANT, loop_file, table, wait_for, write_csv

ROWS = table(60, 1)
CONTRACT = """\
data:
  dataset: people
  target: label
  contract:
    columns:
      height: {type: number, nullable: false}
      weight: {type: number, nullable: false}
      age: {type: number, nullable: false}
      label: {type: string, nullable: false, values: ["no", "yes"]}
"""


def text(rows=ROWS, columns=COLUMNS, by=","):
    return "".join(by.join(map(str, row)) + "\n" for row in [columns, *rows])


@pytest.fixture(scope="module")
def people(stranger):
    """A stranger whose loop has a dataset with its contract and one version."""
    source = f"kind: Loop\nname: people\n{CONTRACT}train: {{automl: {{budget: 1s}}}}\n"
    stranger.platform.apply(source)
    push = stranger.platform.pushed("people", stranger.file("good.csv", text()))
    assert push["status"] == "committed"
    return stranger


def rows_of(platform, dataset="people"):
    return platform.get(f"/datasets/{dataset}")["rows"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("header.csv", text([]), "header.csv has a header but no rows"),
        ("unknown.csv", text(columns=("height", "weight", "alter", "label")), "'alter'"),
        ("missing.csv", text([r[:2] + r[3:] for r in ROWS], (*COLUMNS[:2], "label")), "'age'"),
        ("target.csv", text([r[:3] for r in ROWS], COLUMNS[:3]), "'label'"),
        ("bytes.csv", b"height,weight\n\x81\x8d\xff,\x00\x01\n", "bytes.csv isn't"),
        ("text.parquet", text(), "text.parquet isn't a Parquet file"),
        ("text.jsonl", text(), "text.jsonl"),
    ],
)
def test_a_file_that_cannot_be_taken_is_rejected_with_its_reason(people, name, content, says):
    platform, before = people.platform, rows_of(people.platform)
    push = platform.pushed("people", people.file(name, content))
    assert push["status"] == "rejected"
    assert says in push["reason"]
    assert push["reason"].count(". ") >= 1, "what happened, and what to do"
    assert rows_of(platform) == before
    newest = wait_for(
        "the decision", lambda: told_of(platform, "people", push["reason"][:40]), timeout_s=20
    )
    assert newest["outcome"] == "ignored"


def told_of(platform, loop, words):
    items = platform.get(f"/loops/{loop}/decisions")["items"]
    return next((each for each in items if words in each["reason"]), None)


def test_a_rejected_push_is_told_in_the_terminal_and_in_why(people):
    file = people.file("strange.csv", text(columns=("height", "weight", "years", "label")))
    said = people.types("data", "push", "people", file, code=1)
    assert "Rejected: strange.csv has the column 'years'" in said
    why = wait_for("why", lambda: "'years'" in (told := people.types("why", "people")) and told)
    assert "trigger ignored" in why


def test_rows_that_all_break_the_contract_are_kept_in_quarantine(people):
    file = people.file("broken.csv", text([["x", "y", "z", "yes"]] * 3))
    said = people.types("data", "push", "people", file, code=1)
    assert "All 3 rows break the contract" in said
    assert "height is not a number" in said
    assert people.types("data", "quarantine", "people").count("broken.csv:") == 3


@pytest.mark.parametrize(
    ("name", "content", "warns"),
    [
        ("semicolon.csv", text(by=";"), "semicolon"),
        ("utf16.csv", text().encode("utf-16"), None),
        ("latin.csv", text([*ROWS, [1, 2, 3, "café"]]).encode("latin-1"), "cp1252"),
    ],
)
def test_what_can_be_found_out_is_read_and_said(people, name, content, warns):
    before = rows_of(people.platform)
    said = people.types("data", "push", "people", people.file(name, content))
    assert "Committed 60 rows" in said
    assert rows_of(people.platform) == before + 60
    assert warns is None or ("Warning: " in said and warns in said)


def test_files_that_are_none_are_refused_before_anything_is_sent(stranger):
    for name, content, says in (("gone.csv", None, "no file"), ("empty.csv", "", "is empty")):
        file = stranger.folder / name if content is None else stranger.file(name, content)
        stranger.is_refused("data", "push", "people", file, code=2, says=[says, name])
        stranger.is_refused("init", "--from", file, "--target", "y", code=2, says=[says, name])
    stranger.is_refused("data", "push", "people", stranger.folder, code=2, says="is a folder")


@pytest.mark.parametrize(
    ("words", "says", "fix"),
    [
        (["--target", "labl"], "no column 'labl'", "'label'"),
        (["--target", "label", "--name", "Bad Name"], "'Bad Name'", "lower-case"),
        (["--target", "label", "--dataset", "../x"], "'../x'", "lower-case"),
        (["--target", "label", "-o", "no/such/folder.yaml"], "no/such/folder.yaml", "--output"),
        (["--target", "label", "--encoding", "klingon"], "'klingon'", "utf-8"),
    ],
)
def test_init_names_what_it_cannot_use(stranger, words, says, fix):
    file = stranger.file("for-init.csv", text())
    stranger.is_refused("init", "--from", file, *words, code=2, says=says, fix=fix)
    assert not (stranger.folder / "volant.yaml").exists()


def test_init_refuses_a_target_that_has_one_class(stranger):
    file = stranger.file("one-class.csv", text([[*row[:3], "yes"] for row in ROWS]))
    words = ("init", "--from", file, "--target", "label")
    stranger.is_refused(*words, code=2, says="one class only: 'yes'", fix="other class")


def test_a_target_of_one_class_fails_the_run_and_says_so_everywhere(stranger):
    platform = stranger.platform
    platform.apply(loop_file("lonely"))
    file = stranger.file("lonely.csv", text([[*row[:3], "yes"] for row in ROWS]))
    version = platform.pushed("lonely", file)["version"]
    run = platform.run_for("lonely", version)
    assert run["state"]["status"] == "failed"
    for words in (["why", "lonely"], ["runs", "show", run["id"]], ["status"]):
        said = stranger.types(*words)
        assert "The target 'label' has one class only: 'yes'" in said, words
    assert "failed in its step split" in stranger.types("why", "lonely")


def test_a_target_that_the_data_lacks_fails_the_run(stranger):
    platform = stranger.platform
    platform.apply(loop_file("blind"))
    rows = [row[:3] for row in ROWS]
    version = platform.pushed("blind", stranger.file("blind.csv", text(rows, COLUMNS[:3])))
    run = platform.run_for("blind", version["version"])
    assert run["state"]["status"] == "failed"
    assert "no column 'label'" in stranger.types("why", "blind")


def test_two_pushes_at_once_both_arrive(people):
    platform, before = people.platform, rows_of(people.platform)
    files = [write_csv(people.folder / f"both-{n}.csv", table(40, n)) for n in range(2)]
    pushes = []

    def push(file):
        pushes.append(platform.push("people", file))

    threads = [threading.Thread(target=push, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settled = [platform.settled(each["id"]) for each in pushes]
    assert [each["status"] for each in settled] == ["committed"] * 2
    assert len({each["version"] for each in settled}) == 2
    assert rows_of(platform) == before + 80


@pytest.mark.parametrize("name", ["Bad Name", "../x", "a/b", "x.y"])
def test_a_dataset_has_a_proper_name(stranger, name):
    file = stranger.file("fine.csv", text())
    stranger.is_refused("data", "push", name, file, code=2, says=repr(name))


def test_an_interrupted_wait_loses_nothing(stranger):
    platform = stranger.platform
    file = write_csv(stranger.folder / "many.csv", table(20_000, 3))
    process = subprocess.Popen(
        [*VOLANT, "data", "push", "patient", str(file), "--home", str(platform.home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=platform.environment(),
        text=True,
    )
    wait_for("the push", lambda: known(platform, "patient"))
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode in (0, 130), said  # 0: it had arrived already
    assert "Traceback" not in said
    push = platform.settled(platform.items("/datasets/patient/pushes")[0]["id"])
    assert push["status"] == "committed"
    assert push["rows_added"] == 20_000


def known(platform, dataset):
    answer = platform.ask("GET", f"/datasets/{dataset}/pushes")
    return answer.is_success and answer.json()["items"]
