from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from small_disk import mounted

from volant.adapters.local.artifacts import LocalArtifacts
from volant.errors import Conflict, InvalidInput, NotFound, ResourceExhausted, Unavailable
from volant.ports.artifacts import Artifacts
from volant.testing.artifacts_contract import ARTIFACTS_CONTRACT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "home" / "artifacts"


@pytest.fixture
def artifacts(root: Path) -> LocalArtifacts:
    return LocalArtifacts(root)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "data" / "model.pkl").write_bytes(b"x" * 100_000)
    return folder


@pytest.mark.parametrize("check", ARTIFACTS_CONTRACT, ids=lambda check: check.__name__)
def test_artifacts(
    check: Callable[[Artifacts, Path], None], artifacts: LocalArtifacts, tmp_path: Path
) -> None:
    check(artifacts, tmp_path)


def test_uri_survives_a_move_of_the_home(
    artifacts: LocalArtifacts, root: Path, source: Path
) -> None:
    uri, files = artifacts.put_tree("models/wine & more/run-1", source)
    assert uri == "artifacts:/models/wine%20%26%20more/run-1"
    moved = root.parent.with_name("moved")
    shutil.move(root.parent, moved)
    LocalArtifacts(moved / "artifacts").verify(uri, files)
    with pytest.raises(NotFound):
        artifacts.local_path(uri)


def test_nothing_is_left_beside(artifacts: LocalArtifacts, root: Path, source: Path) -> None:
    artifacts.put_tree("models/wine/run-1", source)
    artifacts.put_tree("models/wine/run-1", source)
    assert list((root / ".incoming").iterdir()) == []
    assert sorted(path.name for path in root.iterdir()) == [".incoming", "models"]


def test_the_last_tree_takes_its_empty_folders_with_it(
    artifacts: LocalArtifacts, root: Path, source: Path
) -> None:
    uris = [artifacts.put_tree(f"models/wine/{run}/a", source)[0] for run in ("run-1", "run-2")]
    artifacts.remove(uris[0])
    assert [path.name for path in (root / "models" / "wine").iterdir()] == ["run-2"]
    artifacts.remove(uris[1])
    assert list((root / "models").iterdir()) == []
    uri, files = artifacts.put_tree("models/wine/run-1/a", source)  # and again
    artifacts.verify(uri, files)


def test_a_folder_that_goes_while_a_tree_comes_is_made_again(
    artifacts: LocalArtifacts, root: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, gone = Path.rename, []

    def raced(path: Path, target: Path) -> Path:
        if not gone:
            target.parent.rmdir()
            gone.append(target.parent)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", raced)
    uri, files = artifacts.put_tree("models/wine/run-1", source)
    assert gone == [root / "models" / "wine"]
    artifacts.verify(uri, files)


@pytest.mark.parametrize("error", [FileNotFoundError, FileExistsError])
def test_a_folder_that_goes_while_it_is_made_is_made_again(
    artifacts: LocalArtifacts,
    root: Path,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[OSError],
) -> None:
    mkdir, gone = Path.mkdir, []

    def raced(path: Path, *args: Any, **options: Any) -> None:
        if path == root / "models" / "wine" and not gone:
            gone.append(path)
            raise error(path)
        mkdir(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", raced)
    uri, files = artifacts.put_tree("models/wine/run-1", source)
    assert len(gone) == 1
    artifacts.verify(uri, files)


def test_a_folder_that_goes_while_it_is_looked_at_is_no_file(
    artifacts: LocalArtifacts, root: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_dir, wine, gone = Path.is_dir, root / "models" / "wine", []
    wine.mkdir(parents=True)

    def raced(path: Path) -> bool:
        if path == wine and not gone:
            gone.append(path)
            wine.rmdir()
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", raced)
    uri, files = artifacts.put_tree("models/wine/run-1", source)
    assert gone
    artifacts.verify(uri, files)


def test_two_last_trees_that_go_at_once(
    artifacts: LocalArtifacts, root: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (artifacts.put_tree(f"models/wine/{run}", source)[0] for run in "ab")
    rename, raced = Path.rename, []

    def renamed(path: Path, target: Path) -> Path:
        moved = rename(path, target)
        if not raced:
            raced.append(path)
            artifacts.remove(second)  # and with it the folder that was both's
        return moved

    monkeypatch.setattr(Path, "rename", renamed)
    artifacts.remove(first)
    assert raced
    assert list((root / "models").iterdir()) == []


def test_trees_that_come_and_go_at_once(root: Path, source: Path) -> None:
    def turn(place: int) -> None:
        artifacts = LocalArtifacts(root)
        for _ in range(20):
            uri, files = artifacts.put_tree(f"models/wine/run-{place}", source)
            artifacts.verify(uri, files)
            artifacts.remove(uri)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(turn, range(4)))
    assert list((root / "models").iterdir()) == []


def test_an_altered_byte_is_found(artifacts: LocalArtifacts, source: Path) -> None:
    uri, files = artifacts.put_tree("models/wine/run-1", source)
    path = artifacts.local_path(uri) / "data" / "model.pkl"
    path.write_bytes(b"y" + path.read_bytes()[1:])
    with pytest.raises(Conflict, match=r"data/model\.pkl.*altered"):
        artifacts.verify(uri, files)
    path.unlink()
    with pytest.raises(Conflict, match=r"data/model\.pkl.*missing"):
        artifacts.verify(uri, files)


def test_an_added_file_is_found(artifacts: LocalArtifacts, source: Path) -> None:
    uri, files = artifacts.put_tree("models/wine/run-1", source)
    (artifacts.local_path(uri) / "extra.py").touch()
    with pytest.raises(Conflict, match=r"extra\.py.*added"):
        artifacts.verify(uri, files)


def test_a_key_inside_stored_artifacts(artifacts: LocalArtifacts, source: Path) -> None:
    artifacts.put_tree("models/wine", source)
    with pytest.raises(Conflict, match="inside"):
        artifacts.put_tree("models/wine/run-1", source)
    with pytest.raises(Conflict):
        artifacts.put_tree("models", source)


def test_links_in_the_store_lead_nowhere(
    artifacts: LocalArtifacts, root: Path, source: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    root.mkdir(parents=True)
    (root / "out").symlink_to(outside)
    for key in ("out", "out/run-1"):
        with pytest.raises(InvalidInput):
            artifacts.put_tree(key, source)
    with pytest.raises(InvalidInput, match="link"):
        artifacts.local_path("artifacts:/out")
    with pytest.raises(InvalidInput):
        artifacts.local_path("artifacts:/%2e%2e/secret")
    assert list(outside.iterdir()) == []


def test_a_link_within_the_tree_is_followed(artifacts: LocalArtifacts, source: Path) -> None:
    (source / "latest.pkl").symlink_to("data/model.pkl")
    uri, files = artifacts.put_tree("models/wine/run-1", source)
    assert files["latest.pkl"] == files["data/model.pkl"]
    assert not (artifacts.local_path(uri) / "latest.pkl").is_symlink()
    artifacts.verify(uri, files)


def test_what_is_no_file_is_refused(artifacts: LocalArtifacts, source: Path) -> None:
    os.mkfifo(source / "pipe")
    with pytest.raises(InvalidInput, match="pipe"):
        artifacts.put_tree("models/wine/run-1", source)


DIES = """
import os, signal, sys
from pathlib import Path
from volant.adapters.local import artifacts
class Dying(artifacts.LocalArtifacts):
    def _rename(self, incoming, target):
        os.kill(os.getpid(), signal.SIGKILL)
Dying(Path(sys.argv[1])).put_tree("models/wine/run-1", Path(sys.argv[2]))
"""


def test_killed_before_the_rename(artifacts: LocalArtifacts, root: Path, source: Path) -> None:
    """Nothing is at the key; the next put clears the remains and succeeds."""
    command = [sys.executable, "-c", DIES, str(root), str(source)]
    assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
    with pytest.raises(NotFound):
        artifacts.local_path("artifacts:/models/wine/run-1")
    assert len(list((root / ".incoming").iterdir())) == 1
    artifacts.verify(*artifacts.put_tree("models/wine/run-1", source))
    assert list((root / ".incoming").iterdir()) == []


def test_another_put_under_way_is_left_alone(
    artifacts: LocalArtifacts, root: Path, source: Path
) -> None:
    with artifacts._incoming() as theirs:
        (theirs / "half").touch()
        artifacts.put_tree("models/wine/run-1", source)
        assert (theirs / "half").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with mounted(tmp_path / "disk", "1m") as folder:
        yield folder


def test_a_full_disk_leaves_nothing(small_disk: Path, source: Path) -> None:
    artifacts = LocalArtifacts(small_disk / "artifacts")
    (source / "big.bin").write_bytes(os.urandom(2_000_000))
    with pytest.raises(ResourceExhausted, match="No space is left"):
        artifacts.put_tree("models/wine/run-1", source)
    with pytest.raises(NotFound):
        artifacts.local_path("artifacts:/models/wine/run-1")
    assert list((small_disk / "artifacts" / ".incoming").iterdir()) == []
    (source / "big.bin").unlink()
    artifacts.verify(*artifacts.put_tree("models/wine/run-1", source))


def test_a_root_that_is_a_file(root: Path, source: Path) -> None:
    root.parent.mkdir(parents=True)
    root.write_text("in the way")
    with pytest.raises(Unavailable, match="can't be stored"):
        LocalArtifacts(root).put_tree("models/wine/run-1", source)


def test_files_that_may_not_be_read(artifacts: LocalArtifacts, source: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (source / "MLmodel").chmod(0)
    with pytest.raises(Unavailable, match="MLmodel"):
        artifacts.put_tree("models/wine/run-1", source)
