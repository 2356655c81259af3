"""git itself as the client of codesets: clone, fetch, push, and all that goes wrong."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import os
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from code_archive import archive
from served_codesets import Served

from volant.domain.principal import Principal, Role


@pytest.fixture
def served(store, tmp_path):
    made = Served(store, tmp_path)
    made.desk.register("p", "code")
    yield made
    made.close()


@pytest.fixture
def git(tmp_path):
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
    }

    def run(*words, cwd=tmp_path, ok=True, start=False, **more):
        command = ["git", "-c", "user.name=Eva", "-c", "user.email=e@x", *map(str, words)]
        if start:
            return subprocess.Popen(
                command,
                cwd=cwd,
                env={**env, **more},
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**env, **more},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert not ok or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def work(git, served, tmp_path):
    """A folder with one commit that was pushed."""
    folder = tmp_path / "work"
    git("clone", "--quiet", served.address(), folder)
    commit(git, folder, {"train.py": "print(1)\n"})
    git("push", "--quiet", "origin", "HEAD:main", cwd=folder)
    return folder


def commit(git, folder, files, message="More"):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    git("add", "--all", cwd=folder)
    git("commit", "--quiet", "-m", message, cwd=folder)
    return head(git, folder)


def head(git, folder):
    return git("rev-parse", "HEAD", cwd=folder).stdout.strip()


def audited(served):
    return [(each.principal, each.outcome) for each in served.store.audit.page(50)[0]]


def test_clone_push_and_fetch(served, git, work, tmp_path):
    first = head(git, work)
    other = tmp_path / "other"
    git("clone", "--quiet", served.address(Role.VIEWER), other)
    assert (other / "train.py").read_text() == "print(1)\n"
    second = commit(git, work, {"train.py": "print(2)\n"})
    git("push", "--quiet", cwd=work)
    git("pull", "--quiet", cwd=other)
    assert head(git, other) == second
    assert served.heads() == [first, second]
    stored = served.desk.get("p", "code")
    assert (stored.head, stored.branch) == (second, "main")
    events = served.store.events.page(1)[0]
    assert events[0].data["by"] == "developer"
    assert audited(served) == [("developer", "ok")] * 2


@pytest.mark.parametrize("version", ["0", "1", "2"])
def test_every_version_of_the_protocol(served, git, work, tmp_path, version):
    spoken = ("-c", f"protocol.version={version}")
    git(*spoken, "clone", "--quiet", served.address(), tmp_path / "new")
    after = commit(git, tmp_path / "new", {"x": version})
    git(*spoken, "push", "--quiet", cwd=tmp_path / "new")
    git(*spoken, "pull", "--quiet", "origin", "main", cwd=work)
    assert head(git, work) == after


def test_shallow_and_partial_clones(served, git, work, tmp_path):
    for n in range(4):
        commit(git, work, {"n": str(n)})
    git("push", "--quiet", cwd=work)
    shallow, partial = tmp_path / "shallow", tmp_path / "partial"
    git("clone", "--quiet", "--depth", "2", served.address(), shallow)
    assert len(git("log", "--format=%H", cwd=shallow).stdout.split()) == 2
    git("fetch", "--quiet", "--unshallow", cwd=shallow)
    assert len(git("log", "--format=%H", cwd=shallow).stdout.split()) == 5
    git("clone", "--quiet", "--filter=blob:none", served.address(), partial)
    assert (partial / "n").read_text() == "3"


def test_an_old_commit_can_be_fetched_by_its_hash(served, git, work, tmp_path):
    first = head(git, work)
    commit(git, work, {"n": "1"})
    git("push", "--quiet", cwd=work)
    fresh = tmp_path / "fresh"
    git("init", "--quiet", fresh)
    git("fetch", "--quiet", "--depth", "1", served.address(), first, cwd=fresh)
    assert git("rev-parse", "FETCH_HEAD", cwd=fresh).stdout.strip() == first


def test_who_may_what(served, git, work, tmp_path):
    commit(git, work, {"x": "y"})
    refused = git("push", served.address(Role.VIEWER), "HEAD:main", cwd=work, ok=False)
    assert refused.returncode
    assert "viewer is a viewer; codesets.push needs the role developer" in refused.stderr
    for token in ("vlt_wrong", "nothing"):
        unknown = git("clone", served.address(token=token), tmp_path / "no", ok=False)
        assert "Authentication failed" in unknown.stderr
    bare = git("ls-remote", f"{served.url}/git/p/code.git", ok=False)
    assert "could not read Username" in bare.stderr
    served.limits["p", "developer"] = Principal("developer", Role.VIEWER)
    limited = git("push", served.address(), "HEAD:main", cwd=work, ok=False)
    assert "developer is a viewer" in limited.stderr
    assert len(served.heads()) == 1


def test_what_isnt_there(served, git):
    missing = git("ls-remote", served.address(name="cod"), ok=False)
    assert "Did you mean p/code?" in missing.stderr
    get = httpx.Client(base_url=served.url, auth=("any", served.tokens[Role.ADMIN])).get
    for path in (
        "/git/p/code.git/HEAD",
        "/git/p/code.git/objects/info/packs",
        "/git/p/..%2f..%2fvolant.git/info/refs?service=git-upload-pack",
        "/git/..%2fp/code.git/info/refs?service=git-upload-pack",
        "/git/%2e%2e/code.git/info/refs?service=git-upload-pack",
        "/git/p/code.git/info/refs",
        "/git/p/code.git/info/refs?service=git-shell",
        "/git/p/-x.git/info/refs?service=git-upload-pack",
        "/git/",
    ):
        answer = get(path)
        assert answer.status_code in (400, 404), path
        assert answer.headers["content-type"].startswith("text/plain")


def test_a_mirror_takes_no_push(served, git, work):
    served.desk.register("p", "far")
    served.mirrors.set("p", "far", "https://example.com/x.git")
    refused = git("push", served.address(name="far"), "HEAD:main", cwd=work, ok=False)
    assert "is a mirror of https://example.com/x.git" in refused.stderr


def test_what_goes_back_needs_force_and_the_branch_stays(served, git, work):
    first = head(git, work)
    second = commit(git, work, {"n": "1"})
    git("push", "--quiet", cwd=work)
    git("reset", "--quiet", "--hard", first, cwd=work)
    third = commit(git, work, {"n": "2"})
    assert "rejected" in git("push", cwd=work, ok=False).stderr
    git("push", "--quiet", "--force", cwd=work)
    assert served.heads() == [first, second, third]
    gone = git("push", "origin", ":main", cwd=work, ok=False)
    assert gone.returncode
    assert served.desk.get("p", "code").head == third
    hidden = git("push", "origin", "HEAD:refs/volant/kept/x", cwd=work, ok=False)
    assert hidden.returncode
    assert "volant" not in git("ls-remote", "origin", cwd=work).stdout


def test_branches_and_tags_come_and_go_and_start_nothing(served, git, work):
    first = head(git, work)
    git("push", "--quiet", "origin", "HEAD:try/this", cwd=work)
    git("tag", "v1", cwd=work)
    git("push", "--quiet", "origin", "v1", cwd=work)
    assert served.desk.resolve("p", "code", "v1").version == first
    git("push", "--quiet", "origin", ":try/this", cwd=work)
    assert served.heads() == [first]


def test_two_pushes_at_once_one_wins(served, git, work, tmp_path):
    folders = [tmp_path / f"at{n}" for n in range(4)]
    for n, folder in enumerate(folders):
        git("clone", "--quiet", served.address(), folder)
        commit(git, folder, {"n": str(n)})
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda folder: git("push", cwd=folder, ok=False), folders))
    won = [folder for folder, push in zip(folders, done, strict=True) if not push.returncode]
    assert len(won) == 1
    for push in done:
        assert not push.returncode or "rejected" in push.stderr or "lock" in push.stderr
    assert served.desk.get("p", "code").head == head(git, won[0])
    assert served.heads()[1:] == [head(git, won[0])]


def test_a_large_push_streams_both_ways(served, git, work, tmp_path):
    """Sent in chunks, as git does above 1 MB; neither side holds it whole."""
    large = commit(git, work, {"large.bin": os.urandom(12 << 20)})
    git("push", "--quiet", cwd=work)
    assert served.desk.get("p", "code").head == large
    git("clone", "--quiet", served.address(), tmp_path / "again")
    assert (tmp_path / "again" / "large.bin").stat().st_size == 12 << 20


def test_a_push_that_is_too_large_is_refused_and_leaves_nothing(served, git, work):
    first = head(git, work)
    served.desk.max_bytes = served.desk.repository("p", "code").size() + (1 << 20)
    commit(git, work, {"large.bin": os.urandom(6 << 20)})
    refused = git("push", cwd=work, ok=False)
    assert refused.returncode
    assert served.desk.get("p", "code").head == first
    objects = served.desk.repository("p", "code").path / "objects"
    assert not list(objects.glob("tmp_objdir*"))
    served.desk.max_bytes = 1
    full = git("push", cwd=work, ok=False)
    assert "all that it may have" in full.stderr


def test_a_push_cut_off_half_way_leaves_nothing_and_the_next_works(served, git, work):
    first = head(git, work)
    second = commit(git, work, {"large.bin": os.urandom(16 << 20)})
    push = git("push", cwd=work, start=True, GIT_TRACE_CURL="1", GIT_TRACE_CURL_NO_DATA="1")
    for line in push.stderr:  # until the pack is on its way
        if "git-receive-pack HTTP" in line:
            break
    time.sleep(0.05)
    os.killpg(push.pid, signal.SIGKILL)  # its helpers too
    push.wait()
    push.stderr.close()
    repository = served.desk.repository("p", "code")
    deadline = time.monotonic() + 30
    while list((repository.path / "objects").glob("tmp_objdir*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert repository.tip("main") == first
    assert git("fsck", cwd=repository.path).returncode == 0
    git("push", "--quiet", cwd=work)
    assert served.desk.get("p", "code").head == second
    assert served.heads() == [first, second]


def raw(served, service, body, headers=None, name="code"):
    return httpx.post(
        f"{served.url}/git/p/{name}.git/git-{service}",
        content=body,
        auth=("any", served.tokens[Role.DEVELOPER]),
        headers=headers or {},
        timeout=30,
    )


def line(text):
    return f"{len(text) + 4:04x}{text}".encode()


def wants(commit_hash):
    """A fetch's question in protocol 0, in full."""
    return line(f"want {commit_hash} no-progress\n") + b"0000" + line("done\n")


def test_a_question_may_be_gzipped(served, git, work):
    asked = wants(head(git, work))
    plain = raw(served, "upload-pack", asked)
    assert b"PACK" in plain.content
    packed = raw(served, "upload-pack", gzip.compress(asked), {"Content-Encoding": "gzip"})
    assert packed.content == plain.content


@pytest.mark.parametrize(
    "body",
    [b"no gzip", gzip.compress(b"0000" * 9, mtime=0)[:-6], b""],
    ids=["none", "cut", "empty"],
)
def test_a_broken_gzip_is_refused(served, work, body):
    answer = raw(served, "upload-pack", body, {"Content-Encoding": "gzip"})
    assert answer.status_code in (200, 400)
    assert b"PACK" not in answer.content


def test_a_question_that_unfolds_too_far_is_cut_off(served, work, monkeypatch):
    monkeypatch.setattr("volant.web.git.door.ASKED_LIMIT", 1 << 20)
    bomb = gzip.compress(b"0032want " + b"0" * (8 << 20))
    answer = raw(served, "upload-pack", bomb, {"Content-Encoding": "gzip"})
    assert answer.status_code in (200, 413)
    assert b"PACK" not in answer.content


@pytest.mark.parametrize(
    "body", [b"", b"0000", b"zzzz", b"0008abcd", line("hello"), os.urandom(300)]
)
def test_garbage_is_no_push(served, git, work, body):
    first = head(git, work)
    answer = raw(served, "receive-pack", body)
    assert answer.status_code in (200, 400)
    assert served.desk.repository("p", "code").tip("main") == first
    assert served.heads() == [first]


def test_objects_are_checked(served, git, work):
    """A tree with `.git` in it, which would write into whoever checks it out."""
    first = head(git, work)
    blob = git("rev-parse", "HEAD:train.py", cwd=work).stdout.strip()
    made = subprocess.run(
        ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"],
        input=b"100644 .git\0" + bytes.fromhex(blob),
        cwd=work,
        capture_output=True,
        check=True,
    )
    tree = made.stdout.decode().strip()
    mean = git("commit-tree", tree, "-p", first, "-m", "mean", cwd=work).stdout.strip()
    refused = git("push", "origin", f"{mean}:main", cwd=work, ok=False)
    assert refused.returncode
    assert "hasDotgit" in refused.stderr
    assert served.desk.get("p", "code").head == first


def test_a_protocol_header_is_no_way_in(served, git, work):
    for value in ("version=2; touch x", "version=2\x7f", "x" * 5000):
        answer = httpx.get(
            f"{served.url}/git/p/code.git/info/refs?service=git-upload-pack",
            auth=("any", served.tokens[Role.VIEWER]),
            headers={"Git-Protocol": value},
        )
        assert answer.status_code in (200, 400)


def test_a_client_that_goes_while_it_is_answered_ends_git(served, git, work):
    commit(git, work, {"large.bin": os.urandom(8 << 20)})
    git("push", "--quiet", cwd=work)
    asked = wants(head(git, work))
    with socket.create_connection(("127.0.0.1", served.port)) as client:
        secret = httpx.BasicAuth("any", served.tokens[Role.DEVELOPER])._auth_header
        client.sendall(
            b"POST /git/p/code.git/git-upload-pack HTTP/1.1\r\nHost: x\r\n"
            + f"Authorization: {secret}\r\nContent-Length: {len(asked)}\r\n\r\n".encode()
            + asked
        )
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    deadline = time.monotonic() + 30
    while running("upload-pack", served):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running(service, served):
    """git programs of this service on the test's repository."""
    wanted = str(served.desk.repository("p", "code").path)
    found = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    return [each for each in found.stdout.splitlines() if service in each and wanted in each]


def test_a_head_that_was_not_stored_is_stored_by_the_next_look(served, git, work, monkeypatch):
    first = head(git, work)

    def fails(*_):
        from volant.errors import Unavailable

        raise Unavailable("The database is busy.", "Try again.")

    with monkeypatch.context() as patched:
        patched.setattr(served.desk.pushes, "settle", fails)
        second = commit(git, work, {"n": "1"})
        git("push", "--quiet", cwd=work)
    assert served.heads() == [first]
    served.mirrors.tick()
    assert served.heads() == [first, second]


def test_registering_a_folder_and_pushing_go_together(served, git, work):
    served.desk.receive("p", "code", [archive({"train.py": b"print(3)\n"})], by="eva")
    commit(git, work, {"other.py": ""})
    assert "rejected" in git("push", cwd=work, ok=False).stderr
    git("reset", "--quiet", "--hard", "HEAD~1", cwd=work)
    git("pull", "--quiet", cwd=work)
    assert (work / "train.py").read_text() == "print(3)\n"


def test_a_mirror_follows_its_origin(served, git, work):
    """The origin is another codeset of the same server, behind a login."""
    served.desk.register("p", "copy")
    told = served.mirrors.set("p", "copy", served.address(Role.VIEWER), 3600)
    served.mirrors.start()
    wait(lambda: served.desk.get("p", "copy").head == head(git, work))
    git("tag", "v1", cwd=work)
    after = commit(git, work, {"n": "1"})
    git("push", "--quiet", "origin", "HEAD:main", "v1", cwd=work)
    body = b'{"ref": "refs/heads/main"}'
    hook = f"{served.url}/api/v1/codesets/p/copy/webhook"
    assert httpx.post(hook, content=body).status_code == 401
    mac = hmac.new(told["secret"].encode(), body, hashlib.sha256).hexdigest()
    for _ in range(3):
        answer = httpx.post(hook, content=body, headers={"X-Hub-Signature-256": f"sha256={mac}"})
        assert answer.status_code == 202
    wait(lambda: served.desk.get("p", "copy").head == after)
    assert (
        served.desk.resolve("p", "copy", "v1").version
        == git("rev-parse", "v1", cwd=work).stdout.strip()
    )
    assert served.mirrors.get("p", "copy")["error"] is None


def wait(look, timeout_s=40):
    until = time.monotonic() + timeout_s
    while not look():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_webhooks_body_has_a_bound(served, monkeypatch):
    monkeypatch.setattr("volant.web.git.webhooks.BODY_LIMIT", 1000)
    hook = f"{served.url}/api/v1/codesets/p/code/webhook"
    assert httpx.post(hook, content=b"x" * 2000).status_code == 413
