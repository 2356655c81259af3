"""A model's folder on this machine, copied as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from volant.errors import InvalidInput
from volant.formats.unpack import plain_copy


def test_a_folder_and_a_single_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "MLmodel").write_text("a")
    (source / "sub" / "data").write_text("b")
    copy = plain_copy(source, tmp_path / "copy")
    assert (copy / "MLmodel").read_text() == "a"
    assert (copy / "sub" / "data").read_text() == "b"
    alone = plain_copy(source / "MLmodel", tmp_path / "copy")
    assert [path.name for path in alone.iterdir()] == ["MLmodel"]


def test_links_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "secret").write_text("x")
    (source / "model.pkl").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidInput, match="is a link"):
        plain_copy(source, tmp_path / "copy")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(InvalidInput, match="holds no file"):
        plain_copy(tmp_path / "source", tmp_path / "copy")
