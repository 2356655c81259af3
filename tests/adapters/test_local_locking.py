"""Locks of codesets' environments, from an index of a few wheels in a folder."""

from __future__ import annotations

import base64
import hashlib
import json
import platform
import subprocess
import zipfile
from pathlib import Path

import pytest

from volant.adapters.local.environments import READY
from volant.adapters.local.locking import Asked, fits, prepare
from volant.errors import InvalidInput


def _wheel(
    folder: Path, name: str, version: str, tag: str = "py3-none-any", needs: str = ""
) -> None:
    about = f"{name}-{version}.dist-info"
    needed = f"Requires-Dist: {needs}\n" if needs else ""
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}",
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(
        f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in files.items()
    )
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
        wheel.writestr(f"{about}/RECORD", f"{record}{about}/RECORD,,\n")


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    _wheel(folder, "vlt_old", "1.0", "cp36-cp36m-linux_x86_64")  # no wheel for this Python
    for version in ("1.5", "2.0", "3.0"):
        _wheel(folder, "vlt_old", version)
    _wheel(folder, "vlt_plain", "1.0")
    _wheel(folder, "vlt_plain", "2.0")
    _wheel(folder, "vlt_picky", "1.0", needs="vlt_plain<2")
    _wheel(folder, "vlt_picky", "1.1", needs="vlt_plain>=2")
    return folder


def _locked(
    root: Path, *lines: str, python: str | None = None, conda: frozenset[str] = frozenset()
):
    told: list[str] = []
    lock, _ = prepare(root, Asked(python, lines, conda), strict=False, tell=told.append)
    return lock


@pytest.mark.parametrize(
    ("spec", "python", "fit"),
    [
        ("==3.6.*", "3.11.7", False),
        ("==3.11.*", "3.11.7", True),
        ("==3.11", "3.11.7", False),
        (">=3.8,<3.12", "3.11.7", True),
        ("<3.11", "3.11.7", False),
        ("<=3.11", "3.11.7", True),
        (">3.11", "3.11.7", False),
        ("~=3.9", "3.11.7", True),
        ("~=3.9", "4.0.0", False),
        ("!=3.11.*", "3.11.7", False),
        ("three", "3.11.7", False),
    ],
)
def test_which_python_fits(spec: str, python: str, fit: bool) -> None:
    assert fits(spec, python) is fit


def test_as_it_is_asked_for(index: Path, tmp_path: Path) -> None:
    root = tmp_path / "envs"
    lock = _locked(root, "vlt-plain==1.0", "vlt-picky")
    assert lock.lines == ("vlt-picky==1.0", "vlt-plain==1.0")
    assert lock.changes == ()
    python = root / lock.key / "bin" / "python"
    said = subprocess.check_output(
        [python, "-c", "import vlt_plain, vlt_picky; print(vlt_plain.VERSION)"], text=True
    )
    assert said == "1.0\n"


def test_an_old_pin_gets_the_nearest_later_one(index: Path, tmp_path: Path) -> None:
    lock = _locked(tmp_path / "envs", "vlt-old==1.0", "vlt-plain", python="==3.6.*")
    assert lock.lines == ("vlt-old==1.5", "vlt-plain==2.0")
    here = platform.python_version()
    assert [change.partition(": ")[0] for change in lock.changes] == [
        f"python=3.6 → {here}",
        "vlt-old==1.0 → 1.5",
    ]


def test_pins_that_exclude_each_other_are_opened(index: Path, tmp_path: Path) -> None:
    lock = _locked(tmp_path / "envs", "vlt-picky==1.0", "vlt-plain==2.0")
    assert lock.lines == ("vlt-picky==1.1", "vlt-plain==2.0")
    assert [change.partition(": ")[0] for change in lock.changes] == ["vlt-picky==1.0 → 1.1"]


def test_what_conda_alone_has_is_left_out_and_told(index: Path, tmp_path: Path) -> None:
    lock = _locked(
        tmp_path / "envs", "vlt-plain", "vlt-conda>=1", conda=frozenset({"vlt-conda>=1"})
    )
    assert lock.lines == ("vlt-plain==2.0",)
    assert lock.changes == ("vlt-conda>=1 → nothing: conda alone has it, and no index",)


def test_a_name_that_no_index_has_is_an_error(index: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No index has 'vlt-typo'") as raised:
        _locked(tmp_path / "envs", "vlt-plain", "vlt-typo==1")
    assert raised.value.error_code == "environment.unknown_package"


def test_strict_refuses_with_the_list(index: Path, tmp_path: Path) -> None:
    asked = Asked("==3.6.*", ("vlt-old==1.0",))
    with pytest.raises(InvalidInput, match=r"vlt-old==1.0 → 1.5") as raised:
        prepare(tmp_path / "envs", asked, strict=True, tell=print)
    assert len(raised.value.details["changes"]) == 2
    assert not list((tmp_path / "envs").glob("*/" + READY))


def test_the_same_again_asks_no_index_and_builds_nothing(index: Path, tmp_path: Path) -> None:
    root = tmp_path / "envs"
    first = _locked(root, "vlt-plain")
    _wheel(index, "vlt_plain", "9.0")
    asked = Asked(None, ("vlt-plain",))
    again, known = prepare(root, asked, strict=False, tell=print)
    assert (again, known) == (first, True)
    fresh, known = prepare(root, asked, strict=False, tell=print, fresh=True)
    assert (fresh.lines, known) == (("vlt-plain==9.0",), False)


def test_nothing_wanted_is_an_empty_environment(tmp_path: Path) -> None:
    root = tmp_path / "envs"
    lock = _locked(root)
    assert lock.lines == ()
    assert (root / lock.key / "bin" / "python").exists()


def test_a_torn_record_is_locked_anew(index: Path, tmp_path: Path) -> None:
    root = tmp_path / "envs"
    first = _locked(root, "vlt-plain")
    (stored,) = root.glob("*.lock.json")
    stored.write_text(json.dumps({"key": "x"}))
    assert _locked(root, "vlt-plain") == first


def test_setuptools_that_comes_along_has_pkg_resources(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()  # not the real one's setuptools
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "empty").as_uri())
    _wheel(index, "vlt_tools", "1.0", needs="setuptools")
    _wheel(index, "vlt_newer", "1.0", needs="setuptools>=81")
    for version in ("80.0", "84.0"):
        _wheel(index, "setuptools", version)

    def locked(*lines: str) -> tuple[str, ...]:
        return prepare(tmp_path / "envs", Asked(None, lines), strict=False, tell=print)[0].lines

    assert locked("vlt_tools") == ("setuptools==80.0", "vlt-tools==1.0")
    assert locked("vlt_tools", "setuptools")[0] == "setuptools==84.0"  # asked for
    assert locked("vlt_newer")[0] == "setuptools==84.0"  # needed
