"""Uploads made to do harm: archives, YAML and paths. Each is refused in words, nothing of
it gets out of its folder, and none takes long."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volant.errors import InvalidInput
from volant.formats.detect import detect
from volant.formats.pickles import pickles_in
from volant.formats.requirements import requirements_of
from volant.formats.unpack import unpack
from volant.registry.mlmodel import UNKNOWN, read_signature

DOUBLED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40)
)
LAUGHS = "a0: &a0 [lol]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40)
)
HOSTILE_YAML = {
    "merges that double": DOUBLED + "flavors: *a39\nsignature: *a39\ndependencies: *a39\n",
    "a tagged merge": DOUBLED.replace("<<:", "!!merge x:") + "flavors: *a39\n",
    "a billion laughs": LAUGHS + "flavors: *a39\nsignature: {inputs: *a39}\n",
    "python objects": "flavors: !!python/object/apply:os.system ['touch owned']\n",
    "python names": "flavors: {python_function: !!python/name:os.system }\n",
    "a loop": "flavors: &a {python_function: *a}\nsignature: &b {inputs: *b}\n",
    "depth": "flavors: " + "[" * 20_000,
    "depth of maps": "flavors: " + "{a: " * 20_000,
    "many values": "flavors: [" + "1, " * 300_000 + "]",
    "giant": "flavors: {python_function: {}}\n#" + "x" * (5 << 20),
    "a giant number": "flavors: " + "9" * 100_000,
    "a wrong date": "flavors: 2024-99-99",
    "no text": "flavors: \x00\x01",
    "no mapping": "- flavors",
    "a list of flavors": "flavors: [onnx]",
    "a flavor that is none": "flavors: {onnx: 3}",
    "no python function": "flavors: {python_function: 3}",
    "keys of any kind": "flavors: {? [a, b] : 1}",
    "a climbing file": "flavors: {onnx: {data: ../../../../etc/passwd}}",
    "an absolute file": "flavors: {sklearn: {pickled_model: /etc/passwd}}",
    "a name too long": "flavors: {onnx: {data: " + "a" * 5000 + "}}",
    "a NUL": 'flavors: {onnx: {data: "a\\0b"}}',
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", HOSTILE_YAML)
def test_a_hostile_mlmodel_is_refused(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text(HOSTILE_YAML[what])
    with pytest.raises(InvalidInput) as caught:
        detect(folder)
    assert len(caught.value.what) < 1000
    assert read_signature(folder) == UNKNOWN
    assert not (tmp_path / "owned").exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["conda.yaml", "python_env.yaml"])
@pytest.mark.parametrize(
    "what", ["merges that double", "python objects", "depth", "giant", "a loop"]
)
def test_hostile_requirements_are_refused(tmp_path, name, what):
    text = HOSTILE_YAML[what].replace("flavors", "dependencies")
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput):
        requirements_of(tmp_path)


@pytest.mark.parametrize(
    "inputs",
    [
        '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [Infinity]}}]',
        '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [NaN]}}]',
        '[{"type": "tensor", "tensor-spec": {"dtype": [], "shape": 3}}]',
        '[{"type": ["double"]}]',
        '[{"type": {}, "name": {}}]',
        "[3]",
        "{}",
        "[" * 100_000,
        '[{"type": "double"}' + ', {"type": "double"}' * 20_000 + "]",
        "9" * 10_000,
    ],
)
def test_a_hostile_signature_says_nothing(tmp_path, inputs):
    (tmp_path / "MLmodel").write_text(f"signature: {{inputs: '{inputs}'}}\n")
    assert read_signature(tmp_path) == UNKNOWN


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["flavors", "signature", "inputs", "onnx", "data", "sklearn"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=10,
    )
)
def test_any_mlmodel_is_understood_or_refused(tmp_path, body):
    import yaml

    (tmp_path / "MLmodel").write_text(yaml.safe_dump(body, allow_unicode=True))
    refused = None
    try:
        detect(tmp_path)
    except InvalidInput as error:
        refused = error
    assert refused is None or refused.fix
    read_signature(tmp_path)


# archives


def tar_of(path: Path, *members: tarfile.TarInfo | tuple[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def special(name: str, kind: bytes, to: str = "", **more) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    for key, value in more.items():
        setattr(info, key, value)
    return info


def bomb(path: Path, size: int) -> Path:
    """A tar of one file of zeros that says its true size, packed."""
    info = tarfile.TarInfo("model.onnx")
    info.size = size
    with gzip.open(path, "wb", 1) as out:
        out.write(info.tobuf())
        for _ in range(size >> 20):
            out.write(bytes(1 << 20))
        out.write(bytes(1024))
    return path


@pytest.mark.parametrize(
    "members",
    [
        [special("a", tarfile.SYMTYPE, "."), ("a/x", b"1")],
        [special("a", tarfile.SYMTYPE, "/tmp"), ("a/x", b"1")],
        [("x", b"1"), special("y", tarfile.LNKTYPE, "x")],
        [special("d", tarfile.DIRTYPE), special("d", tarfile.SYMTYPE, "/tmp"), ("d/x", b"1")],
        [special("null", tarfile.CHRTYPE, devmajor=1, devminor=3)],
        [special("disk", tarfile.BLKTYPE, devmajor=8)],
        [special("x", b"Z")],
        [("./../x", b"1")],
        [("a/./../../x", b"1")],
        [("//x", b"1")],
        [("~/x", b"1"), ("..", b"1")],
        [("a\nb", b"1")],
        [("a\x1b[2Jb", b"1")],
        [("/".join(["d"] * 60), b"1")],
        [special("x", tarfile.REGTYPE, pax_headers={"path": "../../out"})],
        [special("../out", tarfile.DIRTYPE)],
        [special("/tmp/volant-out", tarfile.DIRTYPE)],
    ],
    ids=range(17),
)
def test_an_archive_that_would_do_harm_is_refused(tmp_path, members):
    out = tmp_path / "in" / "out"
    with pytest.raises(InvalidInput):
        unpack(tar_of(tmp_path / "m.tar", *members), out)
    assert [p for p in tmp_path.rglob("*") if p.is_symlink()] == []
    assert {p.name for p in tmp_path.iterdir()} == {"m.tar", "in"}
    assert {p.name for p in out.parent.iterdir()} == {"out"}
    assert not Path("/tmp/volant-out").exists()


def test_an_archive_that_unfolds_to_much_is_ended_early(tmp_path):
    packed = bomb(tmp_path / "m.tar.gz", 256 << 20)
    assert packed.stat().st_size < 2 << 20
    with pytest.raises(InvalidInput, match="more than"):
        unpack(packed, tmp_path / "out", most_bytes=64 << 20)
    assert sum(p.stat().st_size for p in (tmp_path / "out").rglob("*")) <= 64 << 20


def test_an_archive_of_very_many_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("volant.formats.unpack.MAX_FILES", 50)
    many = tar_of(tmp_path / "m.tar", *((f"f{i}", b"") for i in range(51)))
    with pytest.raises(InvalidInput, match="50 files"):
        unpack(many, tmp_path / "out")


@pytest.mark.parametrize("size", [1 << 40, -1, -512, -1024, -(1 << 40)])
def test_a_tar_that_lies_about_a_size_is_refused(tmp_path, size):
    head = bytearray(tarfile.TarInfo("m.onnx").tobuf(tarfile.GNU_FORMAT))
    head[124:136] = (size % 256**12 | (size >= 0) << 95).to_bytes(12, "big")
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    (tmp_path / "m.tar").write_bytes(head + b"x" * 512 + bytes(1024))
    with pytest.raises(InvalidInput):
        unpack(tmp_path / "m.tar", tmp_path / "out")


@pytest.mark.parametrize("cut", [1, 300, 511, 512, 700, 1024, 1500])
def test_an_archive_that_breaks_off_is_refused(tmp_path, cut):
    whole = tar_of(tmp_path / "w.tar", ("a", os.urandom(400)), ("b", os.urandom(400)))
    for name, data in (
        ("m.tar", whole.read_bytes()[:cut]),
        ("m.tar.gz", gzip.compress(whole.read_bytes())[: cut // 2]),
    ):
        (tmp_path / name).write_bytes(data)
        found = None
        try:
            found = unpack(tmp_path / name, tmp_path / "out")
        except InvalidInput:
            continue
        # A tar may end without its mark: then what there is is whole.
        assert all(len(p.read_bytes()) == 400 for p in found.rglob("*"))


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=2000), st.integers(0, 4096))
def test_any_bytes_as_an_archive_are_unpacked_or_refused(tmp_path, noise, at):
    whole = tar_of(tmp_path / "w.tar", ("a/b", b"1" * 600), ("a/c", b"2")).read_bytes()
    (tmp_path / "m.tar").write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    refused = None
    try:
        unpack(tmp_path / "m.tar", tmp_path / "in" / "out")
    except InvalidInput as error:
        refused = error
    assert refused is None or refused.what
    assert {p.name for p in tmp_path.iterdir()} <= {"w.tar", "m.tar", "in"}
    for path in tmp_path.rglob("*"):
        assert not path.is_symlink()


def test_a_zip_is_no_folder(tmp_path):
    """Zips aren't unpacked at all, whatever their members are called."""
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as made:
        made.writestr("../../out", b"x")
    folder = unpack(tmp_path / "m.zip", tmp_path / "out")
    with pytest.raises(InvalidInput):
        detect(folder)
    assert not (tmp_path.parent / "out").exists()


@pytest.mark.parametrize("name", ["m.onnx", "weights.bin", "a/b/c.txt", "x.safetensors"])
def test_a_pickle_under_another_name_is_found(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(os.system))
    assert name in pickles_in(tmp_path)
