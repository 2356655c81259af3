"""Codesets from the command line and with git, on a real platform."""

from __future__ import annotations

import hashlib
import hmac
import subprocess

import httpx
import pytest
from code_archive import archive
from platform_process import own, wait_for

LOOP = """\
kind: Loop
name: {name}
data: {{dataset: {name}, target: label}}
train: {{call: "train:fit"}}
tests:
  - test -f train.py
  - grep -q fit train.py
"""


@pytest.fixture(scope="module")
def platform(platforms):
    return platforms().start()


@pytest.fixture
def git(platform):
    def run(*words, cwd=platform.folder, ok=True):
        done = subprocess.run(
            ["git", "-c", "user.name=Eva", "-c", "user.email=e@x", *map(str, words)],
            cwd=cwd,
            env=platform.environment(GIT_CONFIG_GLOBAL="/dev/null", GIT_TERMINAL_PROMPT="0"),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not ok or done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def home(platform):
    return ("--home", platform.home)


def send(platform, place, folder):
    """A folder's files as a codeset's next version, by the API alone."""
    platform._done("PUT", f"/codesets/{place}", json={})
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return platform._done("POST", f"/codesets/{place}/archive", content=archive(files))


def decided(platform, place, count):
    """The decisions on a codeset's pushes, oldest first, once there are `count`."""

    def look():
        found = platform.items(f"/codesets/{place}/decisions")
        return found[::-1] if len(found) >= count else None

    return wait_for(f"{count} decisions on {place}", look, 60)


def test_the_walk_through_line_word_for_word(platform, git):
    write(platform.folder / "codesets" / "mlflow" / "sklearn", MLproject="name: x\n")
    line = "codeset register --name mlflow-test --project mlflow-project-01 codesets/mlflow/sklearn"
    told = platform.shell(*line.split(), *home(platform))
    url = f"{platform.url}/git/mlflow-project-01/mlflow-test.git"
    assert told.out.splitlines()[0] == f"Codeset {url} successfully registered"
    table = platform.shell("codeset", "list", *home(platform)).out.splitlines()
    assert table[0].split() == ["NAME", "PROJECT", "DESCRIPTION", "LABELS", "URL"]
    assert table[1].split() == ["mlflow-test", "mlflow-project-01", url]
    assert [each["name"] for each in platform.items("/projects")] == ["mlflow-project-01"]
    clone = platform.cli("codeset", "clone-url", "--with-token").json["url"]
    git("clone", "--quiet", clone, "cloned")
    assert (platform.folder / "cloned" / "MLproject").read_text() == "name: x\n"
    again = platform.shell(*line.split(), *home(platform))
    assert again.out == told.out


@pytest.mark.slow
def test_a_repository_comes_with_its_history_and_goes_on(platform, git):
    folder = write(platform.folder / "mine", train__py="1\n")
    git("init", "--quiet", "-b", "trunk", cwd=folder)
    git("add", ".", cwd=folder)
    git("commit", "--quiet", "-m", "First", cwd=folder)
    git("tag", "v1", cwd=folder)
    write(folder, train__py="2\n")
    git("commit", "--quiet", "-a", "-m", "Second", cwd=folder)
    register = ("codeset", "register", "-n", "hist", "-p", "p", "-d", "Mine", "--label", "x")
    made = platform.cli(*register, folder).json
    assert (made["branch"], made["head"]) == ("trunk", git("rev-parse", "HEAD", cwd=folder))
    found = platform.cli("codeset", "versions", "-n", "hist", "-p", "p").json["items"]
    assert [each["subject"] for each in found] == ["Second", "First"]
    assert platform.cli("codeset", "versions", "--version", "v1").json["items"][0] == found[1]

    url = platform.cli("codeset", "clone-url", "--with-token").json["url"]
    copied = platform.cli("codeset", "register", "-n", "copy", "-p", "p", url).json
    assert copied["head"] == made["head"]

    write(folder, note__txt="not committed\n")
    told = platform.shell(*register, folder, *home(platform))
    assert "1 file isn't committed" in told.err
    git("commit", "--quiet", "--amend", "-m", "Other", cwd=folder)
    refused = platform.shell(*register, folder, *home(platform), code=4)
    assert "has versions that aren't in" in refused.err
    forced = platform.cli(*register, "--force", folder).json
    assert forced["pushes"] == 2
    plain = platform.cli(*register, "--no-history", "-m", "As it lies", folder).json
    assert plain["pushes"] == 3
    last = platform.cli("codeset", "get", "-n", "hist", "-p", "p").json["last"]
    assert last["subject"] == "As it lies"
    paths = [each["path"] for each in platform.cli("codeset", "files").json["items"]]
    assert paths == ["note.txt", "train.py"]


@pytest.mark.slow
def test_what_is_wrong_is_said(platform):
    for words, code, said in (
        (("-n", "x", "-p", "p", "nowhere"), 2, "There is no folder nowhere"),
        (("-n", "X", "-p", "p", "."), 2, "can't be a name"),
        (("-n", "x", "-p", "p", "--mirror", "."), 2, "no address that could be mirrored"),
        (("-n", "x", "-p", "p", "http://127.0.0.1:1/x"), 1, "git clone failed"),
        (("-n", "x", "-p", "p", "--mirror", "http://127.0.0.1:1/x"), 6, "can't be fetched"),
    ):
        told = platform.shell("codeset", "register", *words, *home(platform), code=code)
        assert said in told.err, told.err
    platform.shell("codeset", "delete", "-n", "nothing", "-p", "p", *home(platform), code=3)


def test_a_push_is_tested_and_applied(platform, git):
    name = own("wine")
    folder = write(
        platform.folder / "gitops",
        train__py="def fit(x): ...\n",
        volant__yaml=LOOP.format(name=name),
    )
    made = send(platform, "p/ops", folder)
    [first] = decided(platform, "p/ops", 1)
    assert (first["outcome"], first["loop"]) == ("accepted", name)
    assert "2 tests passed" in first["reason"]
    loop = platform.get(f"/loops/{name}")
    assert loop["spec"]["train"]["call"] == "train:fit"
    assert loop["spec"]["tests"] == ["test -f train.py", "grep -q fit train.py"]
    assert platform.get(f"/runs/{first['run_id']}")["codeset"] == "p/ops"
    assert platform.items(f"/loops/{name}/decisions")[0]["id"] == first["id"]

    write(folder, train__py="def nothing(): ...\n")
    send(platform, "p/ops", folder)
    red = decided(platform, "p/ops", 2)[1]
    assert red["outcome"] == "failed"
    assert "nothing was applied" in red["reason"]
    assert f"volant logs {red['run_id']} --step tests" in red["reason"]
    assert platform.finished(red["run_id"])["state"]["status"] == "failed"

    write(folder, volant__yaml="kind: Loop\nname: [\n")
    send(platform, "p/ops", folder)
    broken = decided(platform, "p/ops", 3)[2]
    assert (broken["outcome"], broken["run_id"]) == ("refused", None)
    assert "volant.yaml:" in broken["reason"]

    missing = (
        LOOP.format(name=name)
        .replace("train:fit", "absent:fit")
        .replace("  - grep -q fit train.py\n", "")
    )
    write(folder, volant__yaml=missing)
    send(platform, "p/ops", folder)
    absent = decided(platform, "p/ops", 4)[3]
    assert absent["outcome"] == "refused"
    assert "absent.py" in absent["reason"]
    assert platform.get(f"/loops/{name}")["generation"] == loop["generation"]

    write(folder, volant__yaml="kind: Codeset\ntests: grep -q nothing train.py\n")
    send(platform, "p/ops", folder)
    own_tests = decided(platform, "p/ops", 5)[4]
    assert own_tests["outcome"] == "accepted"
    assert platform.cli("codeset", "get", "-n", "ops", "-p", "p").json["decision"] == own_tests
    told = platform.shell("why", "p/ops", *home(platform)).out
    assert told.count("codeset/p/ops") == 5
    assert made["head"] != platform.get("/codesets/p/ops")["head"]


WORKFLOW = """\
name: {name}
inputs:
  - name: code
    type: codeset
steps:
  - name: one
    run: cat note.txt
    inputs:
      - codeset: {{name: "{{{{ inputs.code }}}}", path: /project}}
"""


def test_red_tests_hold_assigned_workflows_back(platform):
    name = own("hello")
    folder = write(platform.folder / "held", note__txt="one\n")
    send(platform, "p/held", folder)
    (platform.folder / "wf.yaml").write_text(WORKFLOW.format(name=name))
    platform.cli("workflow", "create", "wf.yaml")
    platform.cli("workflow", "assign", name, "p/held")

    def versions(count):
        runs = wait_for(f"{count} runs", lambda: len(found := of_workflow()) >= count and found, 60)
        return [platform.finished(run["id"])["state"]["status"] for run in runs]

    def of_workflow():
        found = platform.items("/runs", project="p", codeset="held")
        return [run for run in found if run["workflow"]["name"] == name]

    assert versions(1) == ["succeeded"]
    tests = "kind: Codeset\ntests: grep -q two note.txt\n"
    pushes = (("two", "accepted"), ("three", "failed"), ("two again", "accepted"))
    for place, (note, outcome) in enumerate(pushes):
        send(platform, "p/held", write(folder, note__txt=f"{note}\n", volant__yaml=tests))
        assert decided(platform, "p/held", place + 1)[place]["outcome"] == outcome
    assert versions(3) == ["succeeded"] * 3


def test_a_codeset_in_use_is_not_deleted(platform):
    folder = write(platform.folder / "busy", volant__yaml="kind: Codeset\ntests: sleep 60\n")
    send(platform, "p/busy", folder)

    def started():
        return platform.items("/runs", project="p", codeset="busy") or None

    [run] = wait_for("the tests' run", started, 60)
    refused = platform.cli("codeset", "delete", "-n", "busy", "-p", "p", code=4)
    assert run["id"] in refused.err
    platform.cli("runs", "cancel", run["id"])
    platform.finished(run["id"])
    platform.cli("codeset", "delete", "-n", "busy", "-p", "p")
    assert platform.ask("GET", "/codesets/p/busy").status_code == 404


def test_a_mirror_is_fetched_and_hears_its_webhook(platform, git):
    folder = write(platform.folder / "origin", a__txt="1\n")
    send(platform, "p/origin", folder)
    url = platform.cli("codeset", "clone-url", "-n", "origin", "-p", "p", "--with-token").json[
        "url"
    ]
    register = ("codeset", "register", "-n", "far", "-p", "p", "--mirror", "--every", "3600", url)
    made = platform.cli(*register).json
    assert made["head"] == platform.get("/codesets/p/origin")["head"]
    assert "@" not in made["origin"]
    write(folder, a__txt="2\n")
    new = send(platform, "p/origin", folder)["head"]
    mac = hmac.new(made["secret"].encode(), b"{}", hashlib.sha256).hexdigest()
    answer = httpx.post(made["webhook"], content=b"{}", headers={"X-Gitea-Signature": mac})
    assert answer.status_code == 202
    wait_for("the fetch", lambda: platform.get("/codesets/p/far")["head"] == new, 60)


@pytest.mark.slow
def test_all_of_it_is_there_after_a_restart(platform, git):
    send(platform, "p/kept", write(platform.folder / "kept", train__py="1\n"))
    before = platform.items("/codesets")
    platform.down()
    platform.start()
    after = platform.items("/codesets")
    assert [(each["name"], each["head"]) for each in after] == [
        (each["name"], each["head"]) for each in before
    ]
    (last,) = [each for each in after if each["name"] == "kept"]
    url = platform.cli("codeset", "clone-url", "-n", "kept", "-p", "p", "--with-token").json["url"]
    git("clone", "--quiet", url, "restarted")
    assert git("rev-parse", "HEAD", cwd=platform.folder / "restarted") == last["head"]
