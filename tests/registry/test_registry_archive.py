"""A version as one file: the same bytes each time, and nothing but those bytes is taken."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_world import World

from volant.domain.codec import to_plain
from volant.domain.model import Lineage, ModelVersion, Stage
from volant.errors import Conflict, InvalidInput
from volant.registry import archive
from volant.registry.archive import FileFacts, Manifest, manifest_of, read, size_of, write
from volant.registry.tarball import END, header, padding


@pytest.fixture
def version(world: World) -> ModelVersion:
    return world.register("wine", run="run-1", params={"depth": 3, "rate": 0.1, "none": None})


@pytest.fixture
def manifest(world: World, version: ModelVersion) -> Manifest:
    return manifest_of(version, world.models.folder(version), {"card.limits": "few"}, "A model.")


@pytest.fixture
def whole(world: World, version: ModelVersion, manifest: Manifest) -> bytes:
    return b"".join(write(manifest, world.models.folder(version)))


def refused(tmp_path: Path, content: bytes) -> InvalidInput:
    """The refusal of a file, after which nothing of it is where it was unpacked to."""
    file = tmp_path / "given.volant"
    file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        read(file, tmp_path / "out")
    assert caught.value.fix
    assert not (tmp_path / "out").exists()
    return caught.value


def test_what_is_written_is_read(
    tmp_path: Path, world: World, version: ModelVersion, manifest: Manifest, whole: bytes
) -> None:
    assert len(whole) == size_of(manifest)
    file = tmp_path / "wine.volant"
    file.write_bytes(whole)
    assert read(file, tmp_path / "out") == manifest == archive.read_manifest(file) == read(file)
    for name in version.files:
        stored = world.models.folder(version) / name
        assert (tmp_path / "out" / name).read_bytes() == stored.read_bytes()
    assert (manifest.stage, manifest.description) == (Stage.CANDIDATE, "A model.")


def test_the_same_version_gives_the_same_bytes(
    world: World, version: ModelVersion, manifest: Manifest, whole: bytes
) -> None:
    world.deployment("wine")
    world.activate("wine", version.version)  # what serves here is none of its content
    again = world.models.get("wine", 1)
    assert again.stage is Stage.CHAMPION
    folder = world.models.folder(again)
    told = manifest_of(again, folder, {"card.limits": "few"}, "A model.")
    assert b"".join(write(told, folder)) == whole
    assert told.identity() == replace(manifest, model="other", version=9, tags={}).identity()
    assert told.identity() != replace(manifest, metrics={"rmse": 0.4}).identity()


def test_others_can_read_it(tmp_path: Path, whole: bytes, version: ModelVersion) -> None:
    with tarfile.open(fileobj=io.BytesIO(whole)) as found:
        names = [member.name for member in found.getmembers()]
        assert names == [
            "manifest.json",
            *(f"files/{name}" for name in sorted(version.files)),
            "manifest.sha256",
        ]
        assert all(m.mtime == m.uid == m.gid == 0 and m.mode == 0o644 for m in found.getmembers())
    file = tmp_path / "wine.volant"
    file.write_bytes(whole)
    listed = subprocess.run(["tar", "tf", file], capture_output=True, text=True, check=True)
    assert listed.stdout.splitlines() == names


@pytest.mark.parametrize("name", ["a" * 100, "a" * 101, "d/" * 30 + "x", "Grüße/模型.bin", "a b"])
def test_any_name_has_a_header_that_tar_understands(name: str) -> None:
    body = header(name, 5) + b"hello" + padding(5) + END
    with tarfile.open(fileobj=io.BytesIO(body)) as found:
        (member,) = found.getmembers()
        opened = found.extractfile(member)
        assert opened is not None
        assert (member.name, opened.read()) == (name, b"hello")
    big = tarfile.TarInfo.frombuf(header("big", 9 << 30), "utf-8", "strict")
    assert big.size == 9 << 30


@settings(max_examples=150)
@given(data=st.data())
def test_no_byte_can_be_changed_added_or_left_out(data: st.DataObject) -> None:
    whole, folder = _made()
    place = data.draw(st.integers(0, len(whole) - 1), "place")
    how = data.draw(st.sampled_from(["changed", "cut", "added", "left out"]), "how")
    if how == "changed":
        flipped = whole[place] ^ data.draw(st.integers(1, 255), "by")
        content = whole[:place] + bytes([flipped]) + whole[place + 1 :]
    elif how == "cut":
        content = whole[:place]
    elif how == "added":
        content = whole[:place] + b"\0" + whole[place:]
    else:
        content = whole[:place] + whole[place + 1 :]
    file = folder / "given.volant"
    file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        read(file)
    assert caught.value.error_code in ("model.export_broken", "model.export_format")


def _made() -> tuple[bytes, Path]:
    if not hasattr(_made, "found"):
        import tempfile

        folder = Path(tempfile.mkdtemp(prefix="archive-"))
        (folder / "model").mkdir()
        (folder / "model" / "model.onnx").write_bytes(bytes(range(256)) * 3)
        (folder / "volant.json").write_text("{}")
        whole = b"".join(write(_manifest(folder), folder))
        (folder / "whole.volant").write_bytes(whole)
        _made.found = (whole, folder)  # type: ignore[attr-defined]
    return _made.found  # type: ignore[attr-defined]


def _manifest(folder: Path, **more: object) -> Manifest:
    from volant.testing import samples

    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        body = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        files[name] = FileFacts(hashlib.sha256(body).hexdigest(), len(body))
    made = samples.model_version("wine", run_id="run-1")
    told = manifest_of(replace(made, files={}), folder)
    return replace(told, files=files, **more)  # type: ignore[arg-type]


def _file(manifest: Manifest | dict, *members: bytes) -> bytes:
    """A file whose manifest may say anything; whole else."""
    if isinstance(manifest, Manifest):
        manifest = to_plain(manifest)
    told = json.dumps(manifest, sort_keys=True, ensure_ascii=False).encode()
    digest = hashlib.sha256(told).hexdigest().encode()
    return b"".join(
        (_member("manifest.json", told), *members, _member(archive.DIGEST, digest), END)
    )


def _member(name: str, body: bytes) -> bytes:
    return header(name, len(body)) + body + padding(len(body))


def _hostile(name: str, body: bytes = b"x") -> bytes:
    _, folder = _made()
    facts = FileFacts(hashlib.sha256(body).hexdigest(), len(body))
    return _file(replace(_manifest(folder), files={name: facts}), _member(f"files/{name}", body))


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/x", "a/../../x", "a//b", "./a", "a/", "", ".", "a\\b", "a\nb", "a\0b",
     "x" * 300, "/".join("a" * 50)],
)  # fmt: skip
def test_a_path_that_climbs_or_cant_be_is_refused(tmp_path: Path, name: str) -> None:
    assert "path" in refused(tmp_path, _hostile(name)).what
    assert not (tmp_path.parent / "x").exists()


def test_a_link_in_the_place_of_a_file_is_refused(tmp_path: Path) -> None:
    _, folder = _made()
    manifest = _manifest(folder)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as made:
        told = manifest.encoded()
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(told)
        made.addfile(entry, io.BytesIO(told))
        for name in sorted(manifest.files):
            link = tarfile.TarInfo(f"files/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            made.addfile(link)
    content = buffer.getvalue().ljust(size_of(manifest), b"\0")[: size_of(manifest)]
    assert refused(tmp_path, content).error_code == "model.export_broken"


def test_missing_and_extra_files_are_refused(
    tmp_path: Path, world: World, version: ModelVersion, manifest: Manifest
) -> None:
    folder = world.models.folder(version)
    bodies = {name: (folder / name).read_bytes() for name in sorted(version.files)}
    members = {name: _member(f"files/{name}", body) for name, body in bodies.items()}
    assert _file(manifest, *members.values()) == b"".join(write(manifest, folder))
    first = next(iter(members))
    missing = [body for name, body in members.items() if name != first]
    assert "missing" in refused(tmp_path, _file(manifest, *missing)).what
    extra = [*members.values(), _member("files/zz.sh", b"echo")]
    assert "added" in refused(tmp_path, _file(manifest, *extra)).what
    swapped = list(members.values())[::-1]
    assert "something else stands" in refused(tmp_path, _file(manifest, *swapped)).what
    whole = _file(manifest, *members.values())
    assert refused(tmp_path, whole[: -len(END)] + b"\1" * len(END)).what
    other = replace(manifest, metrics={"rmse": 0.4})
    told = header("manifest.json", len(other.encoded())) + other.encoded()
    changed = (
        told
        + padding(len(other.encoded()))
        + whole[
            len(header("manifest.json", 0))
            + len(manifest.encoded() + padding(len(manifest.encoded()))) :
        ]
    )
    assert "manifest" in refused(tmp_path, changed).what


def test_more_than_may_be_is_refused_before_it_is_read(tmp_path: Path) -> None:
    _, folder = _made()
    plain = to_plain(_manifest(folder))
    facts = {"sha256": "0" * 64, "bytes": 1}
    many = {**plain, "files": {f"f{n}": facts for n in range(archive.MAX_FILES + 1)}}
    assert "over" in refused(tmp_path, _file(many)).what
    huge = {**plain, "files": {"f": {**facts, "bytes": archive.MAX_BYTES + 1}}}
    assert "over" in refused(tmp_path, _file(huge)).what
    told = header("manifest.json", archive.MAX_MANIFEST + 1)
    assert "larger than" in refused(tmp_path, told + b" ").what
    negative = {**plain, "files": {"f": {**facts, "bytes": -1}}}
    assert refused(tmp_path, _file(negative)).what


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": 2}, {"format": None}, {"stage": "champion"}, {"stage": "live"},
        {"files": {}}, {"files": {"a": {"sha256": "0", "bytes": 1}}}, {"metrics": {"a": "b"}},
        {"lineage": {}}, {"more": 1}, {"files": {"\ud800": {"sha256": "0" * 64, "bytes": 1}}},
    ],
)  # fmt: skip
def test_a_manifest_that_isnt_ours_is_refused(tmp_path: Path, wrong: dict) -> None:
    _, folder = _made()
    told = json.dumps({**to_plain(_manifest(folder)), **wrong}, sort_keys=True).encode()
    content = header("manifest.json", len(told)) + told + padding(len(told)) + END
    assert refused(tmp_path, content).error_code in (
        "model.export_broken", "model.export_format",
    )  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\0" * 2048, b"[" * 200_000, b"{}" * 500])
def test_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, content)
    nested = b"[" * 100_000
    body = header("manifest.json", len(nested)) + nested + padding(len(nested)) + END
    assert refused(tmp_path, body)


def test_a_file_and_a_folder_of_one_name_are_refused(tmp_path: Path) -> None:
    _, folder = _made()
    facts = FileFacts(hashlib.sha256(b"x").hexdigest(), 1)
    told = replace(_manifest(folder), files={"a": facts, "a/b": facts})
    content = _file(told, _member("files/a", b"x"), _member("files/a/b", b"x"))
    assert "a file and a folder" in refused(tmp_path, content).what


def test_an_altered_version_isnt_written(
    world: World, version: ModelVersion, manifest: Manifest
) -> None:
    file = world.models.folder(version) / "MLmodel"
    file.chmod(0o644)
    file.write_bytes(b"flavors: []\n")
    with pytest.raises(InvalidInput, match="MLmodel"):
        b"".join(write(manifest, world.models.folder(version)))
    file.unlink()
    with pytest.raises(Conflict, match="MLmodel"):
        manifest_of(version, world.models.folder(version))


def test_one_that_is_only_registered_isnt_exported(world: World) -> None:
    version = world.only_registered("wine")
    with pytest.raises(Conflict, match="only registered") as caught:
        manifest_of(version, world.models.folder(version))
    assert "volant models prepare wine 1" in caught.value.fix


def test_its_lineage_stays_true_over_any_number_of_moves(world: World, manifest: Manifest) -> None:
    here = replace(
        world.register("other"),
        lineage=archive.lineage_of(manifest),
        runtime=archive.imported(manifest, {"profile": "serve"}),
        files={name: facts.sha256 for name, facts in manifest.files.items()},
        params=manifest.params,
    )
    assert here.lineage.run_id == manifest.identity()
    assert (here.lineage.tracking_run, here.lineage.parent_version) == (None, None)
    folder = world.models.folder(world.models.get("wine", 1))
    again = manifest_of(here, folder)
    assert again.lineage == manifest.lineage
    assert isinstance(again.lineage, Lineage)
    assert again.identity() == manifest.identity()
