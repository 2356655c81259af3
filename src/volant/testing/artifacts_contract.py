"""What every implementation of the artifacts port must do.

Each check takes the artifacts and an empty folder to work in; run them all:

    @pytest.mark.parametrize("check", ARTIFACTS_CONTRACT, ids=lambda check: check.__name__)
    def test_artifacts(check, artifacts, tmp_path):
        check(artifacts, tmp_path)

They need no test framework and make their own keys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from volant.errors import Conflict, InvalidInput, NotFound
from volant.ports.artifacts import Artifacts
from volant.testing import samples
from volant.testing.records import at_once, raises

FILES = {
    "MLmodel": b"flavors: {}\n",
    "data/model.pkl": bytes(range(256)) * 9000,  # more than one read
    "data/deep/empty": b"",
    "strange names/ä ö%20.txt": b"x",
}
HASHES = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}


def _tree(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def check_round_trip(artifacts: Artifacts, folder: Path) -> None:
    """All files come back, byte for byte, with their hashes."""
    source = _tree(folder / "source")
    uri, hashes = artifacts.put_tree(samples.name("models/wine"), source)
    assert dict(hashes) == HASHES
    stored = artifacts.local_path(uri)
    assert stored.resolve() != source.resolve()
    found = {
        path.relative_to(stored).as_posix(): path.read_bytes()
        for path in stored.rglob("*")
        if path.is_file()
    }
    assert found == FILES
    artifacts.verify(uri, hashes)


def check_once(artifacts: Artifacts, folder: Path) -> None:
    """The same key with the same content changes nothing, with other content it conflicts."""
    key = samples.name("models/wine")
    first = artifacts.put_tree(key, _tree(folder / "source"))
    assert artifacts.put_tree(key, _tree(folder / "same")) == first
    altered = _tree(folder / "altered", FILES | {"MLmodel": b"other"})
    raises(Conflict, lambda: artifacts.put_tree(key, altered))
    more = _tree(folder / "more", FILES | {"more": b""})
    raises(Conflict, lambda: artifacts.put_tree(key, more))
    artifacts.verify(*first)


def check_at_once(artifacts: Artifacts, folder: Path) -> None:
    """Many put the same at once: all get the same answer."""
    key = samples.name("models/wine")
    sources = [_tree(folder / str(number)) for number in range(6)]
    stored = at_once([lambda s=s: artifacts.put_tree(key, s) for s in sources])
    assert all(one == stored[0] for one in stored)
    artifacts.verify(*stored[0])


def check_verify(artifacts: Artifacts, folder: Path) -> None:
    """A file that is missing, added or altered is named."""
    uri, hashes = artifacts.put_tree(samples.name("models/wine"), _tree(folder / "source"))
    expected = dict(hashes)
    without = {name: value for name, value in expected.items() if name != "MLmodel"}
    assert "MLmodel" in raises(Conflict, lambda: artifacts.verify(uri, without)).what
    more = {**expected, "weights.bin": "0" * 64}
    assert "weights.bin" in raises(Conflict, lambda: artifacts.verify(uri, more)).what
    other = {**expected, "data/model.pkl": "0" * 64}
    assert "data/model.pkl" in raises(Conflict, lambda: artifacts.verify(uri, other)).what


def check_report(artifacts: Artifacts, folder: Path) -> None:
    """Every file is told of, also when nothing is there."""
    uri, hashes = artifacts.put_tree(samples.name("models/wine"), _tree(folder / "source"))
    assert artifacts.check(uri, hashes) == dict.fromkeys(hashes, "right")
    known = {name: value for name, value in hashes.items() if name != "MLmodel"}
    told = artifacts.check(uri, {**known, "data/model.pkl": "0" * 64, "weights.bin": "0" * 64})
    assert told["MLmodel"] == "added"
    assert told["data/model.pkl"] == "changed"
    assert told["weights.bin"] == "missing"
    assert artifacts.check(uri + "-not", hashes) == dict.fromkeys(hashes, "missing")


def check_remove(artifacts: Artifacts, folder: Path) -> None:
    """All of a tree is gone and its neighbours stay; the key is free again."""
    key = samples.name("models/wine")
    uri, hashes = artifacts.put_tree(f"{key}/a", _tree(folder / "source"))
    other = artifacts.put_tree(f"{key}/b", _tree(folder / "other"))
    at_once([lambda: artifacts.remove(uri) for _ in range(4)])
    artifacts.remove(uri)
    raises(NotFound, lambda: artifacts.local_path(uri))
    artifacts.verify(*other)
    assert artifacts.put_tree(f"{key}/a", _tree(folder / "again")) == (uri, hashes)
    artifacts.verify(uri, hashes)


def check_refusals(artifacts: Artifacts, folder: Path) -> None:
    """Keys and links that climb out, folders without files, URIs of nothing."""
    source = _tree(folder / "source")
    for key in (
        "",
        ".",
        "./",
        "./.",
        "/",
        "/etc",
        "..",
        "../x",
        "a/../../x",
        "a//b",
        "./a",
        "a/",
        "a\0b",
    ):
        raises(InvalidInput, lambda key=key: artifacts.put_tree(key, source))
    empty = folder / "empty"
    empty.mkdir()
    raises(InvalidInput, lambda: artifacts.put_tree(samples.name("m"), empty))
    raises(NotFound, lambda: artifacts.put_tree(samples.name("m"), folder / "nothing"))
    for number, target in enumerate((folder / "source/MLmodel", folder, Path("gone"))):
        linked = _tree(folder / f"linked{number}", {"file": b""})
        (linked / "link").symlink_to(target)
        raises(InvalidInput, lambda linked=linked: artifacts.put_tree(samples.name("m"), linked))
    uri, hashes = artifacts.put_tree(samples.name("models/wine"), source)
    raises(NotFound, lambda: artifacts.local_path(uri + "-not"))
    raises(NotFound, lambda: artifacts.verify(uri + "-not", hashes))
    raises(InvalidInput, lambda: artifacts.local_path("unknown-scheme:/x"))


def check_remove_below(artifacts: Artifacts, folder: Path) -> None:
    """All that lies below a key goes with it."""
    key = samples.name("checkpoints/run")
    source = _tree(folder / "source")
    uris = [artifacts.put_tree(f"{key}/train/{n}", source)[0] for n in (1, 2)]
    artifacts.remove(uris[0].removesuffix("/train/1"))
    for uri in uris:
        raises(NotFound, lambda uri=uri: artifacts.local_path(uri))
    other, hashes = artifacts.put_tree(samples.name("checkpoints/other"), source)
    scheme = other.partition(":")[0]
    for climbing in ("/../x", "/.", "/./", "/", "/%2e"):
        raises(InvalidInput, lambda uri=f"{scheme}:{climbing}": artifacts.remove(uri))
    artifacts.verify(other, hashes)


ARTIFACTS_CONTRACT: tuple[Callable[[Artifacts, Path], None], ...] = (
    check_round_trip,
    check_once,
    check_at_once,
    check_verify,
    check_report,
    check_remove,
    check_refusals,
    check_remove_below,
)
