"""`volant init` as far as it is the command's: files that exist, or don't."""

from __future__ import annotations

import pytest


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "wine.csv"
    file.write_text("x,color,y\n" + "".join(f"{n}.5,red,{'ab'[n % 2]}\n" for n in range(20)))
    return file


def test_it_writes_a_file_that_names_the_target(bare, data):
    done = bare("init", "--from", data, "--target", "y", "--name", "wine-quality")
    assert done.code == 0
    assert done.out == "Wrote volant.yaml.\n"
    text = (data.parent / "volant.yaml").read_text()
    assert "name: wine-quality" in text
    assert '"y"' in text


def test_it_never_writes_over_a_file_unasked(bare, data):
    (data.parent / "volant.yaml").write_text("mine")
    done = bare("init", "--from", data, "--target", "y")
    assert done.code == 4
    assert "--force" in done.err
    assert (data.parent / "volant.yaml").read_text() == "mine"
    assert bare("init", "--from", data, "--target", "y", "--force", "--json").code == 0


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--from", "none.csv", "--target", "y"], "There is no file none.csv"),
        (["--from", "wine.csv", "--target", "nothing"], "nothing"),
        (["--from", "wine.csv", "--target", "y", "-o", "no/such/folder.yaml"], "can't be written"),
    ],
)
def test_what_cannot_be_begun(bare, data, args, told):
    done = bare("init", *args)
    assert done.code in (2, 6)
    assert told in done.err
    assert not (data.parent / "volant.yaml").exists()
