"""`volant models`: diff, card, verify, delete, retire, tag, prune, export and import."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from volant.registry.archive import FileFacts, manifest_of, write
from volant.registry.exporting import Export
from volant.testing import samples

WINE = "wine-quality"


@pytest.fixture
def export(tmp_path):
    """A file as `volant models export` writes it."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "volant.json").write_text("{}")
    facts = FileFacts(hashlib.sha256(b"{}").hexdigest(), 2)
    told = manifest_of(replace(samples.model_version("wine"), files={}), folder)
    return b"".join(write(replace(told, files={"volant.json": facts}), folder))


def test_diff(volant):
    done = volant("models", "diff", f"{WINE}@1", "@2")
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    assert ["accuracy", "0.91", "0.92", "+0.01", "better"] in lines
    assert ["rows", "10", "-"] in lines
    assert volant("models", "diff", f"{WINE}/1", f"{WINE}@2", "--json").json["a"]["version"] == 1
    assert volant("models", "diff", f"{WINE}@1", f"{WINE}@9").code == 3
    assert volant("models", "diff", "@1", "@2").code == 2


def test_card(volant, tmp_path):
    assert volant("models", "card", WINE, "1").out == "# wine\n"
    assert volant("models", "card", WINE, "1", "--format", "html").out == "<h1>wine</h1>"
    file = tmp_path / "card.html"
    assert volant("models", "card", WINE, "1", "--format", "html", "-o", file).code == 0
    assert file.read_text() == "<h1>wine</h1>"
    assert volant("models", "card", WINE, "1", "-o", tmp_path / "no" / "card.md").code == 2
    assert [path.name for path in tmp_path.glob("*card*")] == ["card.html"]
    assert volant("models", "card", WINE, "9").code == 3


def test_a_cards_form_follows_the_files_name(volant, tmp_path):
    for name, text in (
        ("a.html", "<h1>wine</h1>"),
        ("a.md", "# wine\n"),
        ("a.HTM", "<h1>wine</h1>"),
    ):
        assert volant("models", "card", WINE, "1", "-o", tmp_path / name).code == 0
        assert (tmp_path / name).read_text() == text
    assert (
        volant("models", "card", WINE, "1", "--format", "md", "-o", tmp_path / "b.html").code == 0
    )
    assert (tmp_path / "b.html").read_text() == "# wine\n"


def test_verify(volant):
    assert volant("models", "verify", WINE).code == 0
    wrong = volant("models", "verify", WINE, "2")
    assert wrong.code == 1
    assert wrong.out.splitlines()[1].split() == ["2", "model.onnx", "changed"]
    assert "1 of 1 files" in wrong.err


def test_delete_and_retire(volant, platform):
    refused = volant("models", "delete", WINE, "1")
    assert refused.code == 4
    assert "Retire it" in refused.err
    assert "Deleted wine-quality version 2." in volant("models", "delete", WINE, "2").out
    assert platform.registry.deleted == [(WINE, 2)]
    assert "retired" in volant("models", "retire", WINE, "1").out


def test_tag(volant, platform):
    done = volant("models", "tag", WINE, "1", "card.limits=a = b", "gone=")
    assert done.code == 0, done.err
    assert platform.registry.tags == {"card.limits": "a = b"}
    assert volant("models", "tag", WINE, "1", "nothing").code == 2


def test_alias(volant, platform):
    done = volant("models", "alias", WINE, "best", "1")
    assert done.code == 0, done.err
    assert [line.split() for line in done.out.splitlines()] == [["ALIAS", "VERSION"], ["best", "1"]]
    assert volant("models", "alias", WINE, "newest", "2", "--json").json == {"best": 1, "newest": 2}
    assert volant("models", "alias", WINE, "best", "--delete").out.splitlines()[1:] == ["newest  2"]
    assert platform.registry.aliases == {"newest": 2}
    for args in (["best"], ["best", "1", "--delete"]):
        refused = volant("models", "alias", WINE, *args)
        assert refused.code == 2
        assert "Give either VERSION or --delete." in refused.err


def test_prune(volant):
    told = volant("models", "prune", "--keep", "1")
    assert "would go" in told.out
    assert "stays: it has the alias champion" in told.out
    assert "--apply" in told.err
    done = volant("models", "prune", "wine", "--keep", "1", "--apply")
    assert "deleted" in done.out
    assert volant("models", "prune", "--keep", "0").code == 2


def test_export(volant, platform, tmp_path, export):
    def opened(name, version, *, without_pickles=False):
        return Export("x", len(export), iter([export[:700], export[700:]]))

    platform.registry.export = opened
    file = tmp_path / "wine.volant"
    assert volant("models", "export", WINE, "1", "-o", file).code == 0
    assert file.read_bytes() == export
    assert volant("models", "export", WINE, "1", "-o", file).code == 4
    assert volant("models", "export", WINE, "1", "-o", file, "--overwrite").code == 0


def test_an_export_that_breaks_off_or_is_changed_leaves_nothing(volant, platform, tmp_path, export):
    file = tmp_path / "wine.volant"
    changed = export[:-2000] + bytes([export[-2000] ^ 1]) + export[-1999:]
    for size, body in ((len(export), export[:-600]), (len(export), changed)):
        platform.registry.export = lambda *_a, s=size, b=body, **_k: Export("x", s, iter([b]))
        done = volant("models", "export", WINE, "1", "-o", file)
        assert done.code == 6, done.err
        assert not list(tmp_path.glob("*wine.volant*"))


def test_import(volant, platform, tmp_path, export):
    file = tmp_path / "wine.volant"
    file.write_bytes(export)
    asked = {}

    def begin(name, upload, trusted_by=None):
        asked[name] = trusted_by
        return platform.registrations.get(name, "registration-1")

    platform.registry.import_file = begin
    platform.models.get = lambda name, version, get=platform.models.get: get(WINE, "1")
    folder = volant("models", "import", tmp_path)
    assert folder.code == 2
    assert "is a folder" in folder.err
    assert "`volant models export` wrote" in folder.err
    assert volant("models", "import", file, "--name", WINE).code == 0
    assert volant("models", "import", file, "--trust-pickle").code == 0
    assert asked[WINE] is None
    assert asked["wine"]  # the manifest's own name
    file.write_bytes(export[:-1])
    refused = volant("models", "import", file)
    assert refused.code == 2
    assert "isn't an exported model" in refused.err
    assert volant("models", "import", tmp_path / "no").code == 2
