"""What an upload is told to be, and what is refused before anything of it is loaded."""

from __future__ import annotations

import io
import json
import pickle
import tarfile
from hashlib import sha256

import pytest
from sklearn.dummy import DummyClassifier

from volant.errors import InvalidInput, MissingExtra
from volant.formats.detect import detect
from volant.formats.inspect import inspect
from volant.formats.pickles import is_pickle, pickles_in
from volant.formats.requirements import complete, normal, requirements_of, unmet
from volant.formats.unpack import unpack


def archive(path, *members):
    with tarfile.open(path, "w") as tar:
        for member, content in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def link(name, to, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


@pytest.mark.parametrize(
    "member",
    [
        "../out",
        "/etc/out",
        "a/../../out",
        "a\\..\\out",
        link("model.onnx", "/etc/passwd"),
        link("model.onnx", "../../x", tarfile.LNKTYPE),
        link("pipe", "", tarfile.FIFOTYPE),
        "n" * 300,
    ],
)
def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path, member):
    with pytest.raises(InvalidInput, match="archive holds"):
        unpack(archive(tmp_path / "m.tar", (member, b"")), tmp_path / "out")
    assert not list(tmp_path.glob("out*/*/../../out"))
    assert not (tmp_path.parent / "out").exists()


def test_an_archive_that_holds_a_name_twice_or_too_much_is_refused(tmp_path):
    twice = archive(tmp_path / "a.tar", ("m", b"1"), ("m", b"2"))
    with pytest.raises(InvalidInput, match="twice"):
        unpack(twice, tmp_path / "out")
    both = archive(tmp_path / "b.tar", ("m", b"1"), ("m/x", b"2"))
    with pytest.raises(InvalidInput, match="as a file and a folder"):
        unpack(both, tmp_path / "out")
    large = archive(tmp_path / "c.tar", ("m", bytes(3000)))
    with pytest.raises(InvalidInput, match="more than"):
        unpack(large, tmp_path / "out", most_bytes=2999)
    (tmp_path / "d.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(InvalidInput, match="isn't a tar"):
        unpack(tmp_path / "d.tar", tmp_path / "out")


def test_an_archive_of_one_folder_is_that_folder(tmp_path, made):
    packed = archive(tmp_path / "m.tar", ("my/wine.onnx", (made / "wine.onnx").read_bytes()))
    assert detect(unpack(packed, tmp_path / "out")).file == "wine.onnx"


def folder_of(path, **files):
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        target = path / name.replace("__", ".")
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("files", "format", "why"),
    [
        ({"m__onnx": b"graph"}, "onnx", "an ONNX graph"),
        ({"m__txt": "tree\nversion=v4\n"}, "lightgbm", "LightGBM's text model"),
        ({"m__json": '{"learner": {}}'}, "xgboost", "XGBoost's model file"),
        ({"m__joblib": b"x"}, "sklearn", "a pickled estimator"),
        ({"m__pt2": b"PK"}, "torch", "a program of torch.export"),
        ({"model__py": "class Model: ..."}, "code", "a class Model of your own"),
        ({"model__py": "from mine import Thing as Model"}, "code", "a class Model of your own"),
        (
            {
                "config__json": '{"model_type": "bert", "architectures": '
                '["BertForSequenceClassification"]}',
                "model__safetensors": b"",
                "tokenizer__json": "{}",
            },
            "transformers",
            "Hugging Face, BertForSequenceClassification",
        ),
        (
            {"MLmodel": "flavors: {lightgbm: {data: model.lgb}}", "model__lgb": "tree\n"},
            "lightgbm",
            "MLflow, lightgbm",
        ),
        (
            {"MLmodel": "flavors: {keras: {}, python_function: {}}"},
            "mlflow",
            "MLflow, keras",
        ),
    ],
)
def test_the_format_is_told_from_the_files(tmp_path, files, format, why):
    found = detect(folder_of(tmp_path / "m", **files, requirements__txt="numpy"))
    assert (found.format, found.why) == (format, why)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"notes__md": "hello"}, "No model that Volant knows"),
        ({"a__onnx": b"", "b__onnx": b""}, "Several files"),
        ({"m__txt": "hello"}, "isn't a model that LightGBM"),
        ({"m__json": "[1]"}, "isn't a model that XGBoost"),
        ({"m__json": "{"}, "isn't JSON"),
        ({"model__py": "class Other: ..."}, "has no class Model"),
        ({"model__py": "def ("}, "isn't Python"),
        ({"MLmodel": "flavors: {spark: {}}"}, "serves none of them"),
        ({"MLmodel": ": ["}, "can't be used"),
        ({"MLmodel": "[1, 2]"}, "MLmodel must be a mapping"),
        ({"MLmodel": ""}, "MLmodel must be a mapping"),
        ({"MLmodel": "a: 1"}, "names no flavors"),
        ({"MLmodel": "flavors: [lightgbm]"}, "names no flavors"),
        ({"MLmodel": "flavors: {lightgbm: x}"}, "`flavors.lightgbm` must be a mapping"),
        ({"MLmodel": "flavors: {lightgbm: {data: ../../x.lgb}}"}, "serves none of them"),
        ({"m__pt": b"\x80\x02}"}, "pickle of torch.save"),
        ({"config__json": '{"model_type": "bert"}'}, "has no weights"),
    ],
)
def test_what_is_no_model_is_refused_with_words(tmp_path, files, said):
    with pytest.raises(InvalidInput, match=said):
        detect(folder_of(tmp_path / "m", **files))


@pytest.mark.parametrize("files", [{"x__txt": "hello"}, {"notes__md": "hello"}])
def test_a_version_of_a_folder_without_a_model_says_what_to_log(tmp_path, files):
    folder = folder_of(tmp_path / "m", **files)
    hashes = {p.name: sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    stored = {"folder": str(folder), "files": hashes, "name": "m version 1"}
    with pytest.raises(InvalidInput, match="no MLmodel") as caught:
        inspect({"stored": stored}, tmp_path)
    assert "Log a model" in caught.value.fix


def test_pickles_are_found_by_name_and_by_content(tmp_path):
    model = DummyClassifier()
    folder = folder_of(
        tmp_path / "m",
        a__pkl=b"",
        b__bin=pickle.dumps(model),
        c__dat=pickle.dumps([1], protocol=2),
        d__safetensors=b"\x80\x00\x00",
        e__txt=b"plain",
    )
    assert set(pickles_in(folder)) == {"a.pkl", "b.bin", "c.dat"}
    assert not is_pickle(folder / "d.safetensors")


def test_requirements_are_plain_lines(tmp_path):
    lines = ["# comment", "NumPy == 2.1.0  # pinned", "scikit_learn>=1.0,<3", "", "numpy==2.1.0"]
    assert normal(lines, "r") == ("numpy==2.1.0", "scikit-learn>=1.0,<3")
    for bad in ("--index-url http://x", "-e .", "x @ http://y/z.whl", "./local", "a b"):
        with pytest.raises(InvalidInput, match="isn't a plain requirement"):
            normal([bad], "requirements.txt")


def test_requirements_of_conda_and_python_env(tmp_path):
    conda = "dependencies: [python=3.11, pip, 'scipy=1.13', {pip: ['mlflow==3.0']}]"
    assert requirements_of(folder_of(tmp_path / "a", conda__yaml=conda)) == (
        "mlflow==3.0",
        "scipy==1.13",
    )
    env = "dependencies: [-r requirements.txt]"
    folder = folder_of(tmp_path / "b", python_env__yaml=env, requirements__txt="numpy")
    assert requirements_of(folder) == ("numpy",)
    assert requirements_of(folder_of(tmp_path / "c")) is None


@pytest.mark.parametrize("text", ["dependencies: 5", "dependencies: [{pip: 5}]"])
def test_requirements_that_are_no_list(tmp_path, text):
    with pytest.raises(InvalidInput, match="must be a list"):
        requirements_of(folder_of(tmp_path / "a", conda__yaml=text))


def test_an_own_environment_is_taken_for_what_this_one_lacks():
    assert unmet(["numpy>=1", "mlflow==9.0"], "onnx") == []
    assert unmet(["numpy==1.26.4"], "onnx")
    assert unmet(["no-such-thing-at-all"], "code")
    assert unmet(["mlflow==9.0"], "mlflow") == ["mlflow==9.0 (not installed)"]
    assert "scikit-learn" in complete([], "native")
    assert "uvloop" in complete([], "code")


def test_inspect_says_what_it_is_and_where_it_could_be_served(tmp_path, made):
    upload = tmp_path / "m.tar"
    files = [(f"m/{p.name}", p.read_bytes()) for p in sorted((made / "code").iterdir())]
    archive(upload, *files, ("m/requirements.txt", b"no-such-thing-at-all==1.0"))
    found = inspect({"upload": str(upload), "env": "auto"}, tmp_path / "work")
    assert (found["format"], found["environment"]["kind"], found["pickles"]) == ("code", "own", {})
    assert "no-such-thing-at-all==1.0" in found["environment"]["requirements"]
    forced = inspect({"upload": str(upload), "env": "volant"}, tmp_path / "other")
    assert forced["environment"]["kind"] == "volant"
    assert forced["digest"] == found["digest"]


def test_a_library_that_is_missing_here_is_told_with_its_extra(tmp_path):
    model = tmp_path / "m.pt2"
    model.write_bytes(b"PK")
    with pytest.raises(MissingExtra) as told:
        inspect({"upload": str(model)}, tmp_path / "work")
    assert told.value.fix == "Run: pip install 'volant[torch]'"
    json.dumps(told.value.to_dict())
