"""Sockets of the fleet: where internal ones lie, and who may reach them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from volant.serving.door import internal_socket, socket_folder, socket_name


@pytest.fixture
def home():
    """Short enough for sockets in it, which pytest's own folders need not be."""
    with tempfile.TemporaryDirectory(prefix="v") as folder:
        yield Path(folder)


def test_serving_internal_sockets_are_the_users_own(home):
    folder = socket_folder(home / "run")
    assert folder == home / "run"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for _ in range(2):  # one that was left behind is replaced
        internal_socket(folder / "s.sock").close()


def test_serving_a_long_home_gets_a_short_folder(tmp_path):
    deep = tmp_path / ("d" * 120) / "run"
    folder = socket_folder(deep)
    try:
        assert socket_folder(deep) == folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        name = socket_name("x" * 200, 12345, 678)
        assert len(os.fsencode(folder / name)) <= 100
        internal_socket(folder / name).close()
        assert socket_folder(tmp_path / ("e" * 120)) != folder
    finally:
        shutil.rmtree(folder)


def test_serving_a_folder_of_somebody_elses_is_refused(home):
    (home / "elsewhere").mkdir()
    (home / "run").symlink_to(home / "elsewhere")
    with pytest.raises(PermissionError):
        socket_folder(home / "run")
