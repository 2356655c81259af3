from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from volant import plugins
from volant.errors import Conflict, InvalidInput, MissingExtra, NotFound, VolantError

MODULE = """
class Thing:
    def __init__(self, size, *, color="red"):
        self.size, self.color = size, color

not_callable = 3
"""


def install(folder: Path, name: str, points: dict[str, str], **modules: str) -> None:
    """A real installed distribution: its metadata and modules in a folder of the path."""
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    lines = [f"{key} = {value}" for key, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[volant.testing_port]", *lines, ""]))
    for module, source in modules.items():
        (folder / f"{module}.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_plug_in_is_made_with_its_arguments(site: Path) -> None:
    install(site, "acme", {"thing": "acme_one:Thing"}, acme_one=MODULE)
    thing = plugins.load("testing_port", "thing", size=3, color="blue")
    assert (thing.size, thing.color) == (3, "blue")
    assert plugins.names("testing_port") == ["thing"]


def test_the_built_ins_are_plug_ins() -> None:
    for group in ("tables", "artifacts", "compute", "engine", "replicas"):
        assert plugins.names(group)


def test_a_built_in_is_made(tmp_path: Path) -> None:
    artifacts = plugins.load("artifacts", "local", root=tmp_path)
    assert type(artifacts).__name__ == "LocalArtifacts"


def test_an_unknown_name_tells_what_is_installed() -> None:
    with pytest.raises(NotFound) as caught:
        plugins.load("tables", "dleta")
    assert caught.value.fix == "Did you mean delta? Installed: delta."
    with pytest.raises(NotFound) as caught:
        plugins.load("no_such_port", "x")
    assert caught.value.fix == "Installed: none."


def test_a_known_extra_is_told() -> None:
    with pytest.raises(MissingExtra) as caught:
        plugins.load("tables", "postgres")
    assert caught.value.fix == "Run: pip install 'volant[postgres]'"


def test_a_plug_in_that_lacks_a_library_names_both(site: Path) -> None:
    install(site, "acme", {"thing": "acme_two:Thing"}, acme_two="import zzz_not_there\n")
    with pytest.raises(VolantError) as caught:
        plugins.load("testing_port", "thing")
    assert "from acme 1.2" in caught.value.what
    assert caught.value.fix == "Install zzz_not_there, which acme needs, or reinstall acme."


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("acme_three:Thing", "raise RuntimeError('odd')"),
        ("acme_four:Missing", MODULE),
        ("acme_five:Thing", "def broken(:\n"),
        ("acme_six_absent:Thing", ""),
    ],
)
def test_a_plug_in_that_cannot_be_imported_names_its_distribution(
    site: Path, value: str, source: str
) -> None:
    module = value.partition(":")[0]
    install(site, "acme", {"thing": value}, **({module: source} if source else {}))
    with pytest.raises(VolantError) as caught:
        plugins.load("testing_port", "thing")
    assert caught.value.error_code == "plugin.broken"
    assert caught.value.fix == "Run: pip install --force-reinstall acme"


def test_an_error_of_ours_goes_through(site: Path) -> None:
    source = "from volant.errors import MissingExtra\nraise MissingExtra('foo', 'bar')\n"
    install(site, "acme", {"thing": "acme_seven:Thing"}, acme_seven=source)
    with pytest.raises(MissingExtra):
        plugins.load("testing_port", "thing")


@pytest.mark.parametrize(
    ("value", "code"),
    [("acme_eight:Thing", "plugin.incompatible"), ("acme_eight:not_callable", "plugin.broken")],
)
def test_a_factory_that_does_not_fit_is_refused(site: Path, value: str, code: str) -> None:
    install(site, "acme", {"thing": value}, acme_eight=MODULE)
    with pytest.raises(InvalidInput) as caught:
        plugins.load("testing_port", "thing", weight=3)
    assert caught.value.error_code == code
    assert "from acme 1.2" in caught.value.what


def test_a_type_error_inside_a_factory_is_its_own(site: Path) -> None:
    source = "def make():\n    raise TypeError('inside')\n"
    install(site, "acme", {"thing": "acme_nine:make"}, acme_nine=source)
    with pytest.raises(TypeError, match="inside"):
        plugins.load("testing_port", "thing")


def test_two_distributions_with_one_name_are_refused(site: Path) -> None:
    install(site, "acme", {"thing": "acme_ten:Thing"}, acme_ten=MODULE)
    install(site, "other", {"thing": "other_ten:Thing"}, other_ten=MODULE)
    with pytest.raises(Conflict) as caught:
        plugins.load("testing_port", "thing", size=1)
    assert "acme 1.2, other 1.2" in caught.value.what


CONTROL_PLANE = (
    "volant.loops.desk",
    "volant.loops.infer",
    "volant.events.dispatcher",
    "volant.events.schedule",
    "volant.registry.desk",
    "volant.tracking.desk",
    "volant.access.desk",
    "volant.plugins",
)


def test_the_control_planes_rooms_import_nothing_heavy() -> None:
    heavy = "numpy pyarrow deltalake sklearn lightgbm onnx onnxruntime optuna pandas croniter"
    script = f"import sys, {', '.join(CONTROL_PLANE)}\n" + (
        f"print(*(set({heavy.split()!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")
