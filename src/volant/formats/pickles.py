"""Which files of a model are pickles, or other programs. Nothing is loaded here: loading one
runs whatever its maker put in."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

# TensorFlow's graphs may read and write files, and old releases of Keras run Python that
# is in an .h5: https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md
_PROGRAMS = ("saved_model.pb", "saved_model.pbtxt", ".h5", ".hdf5")
WEIGHTS = "tf_model.h5"  # transformers' name for weights, which nothing here opens
_ENDINGS = (".pkl", ".pickle", ".pck", ".joblib", ".dill", ".cloudpickle", ".pth", ".ckpt")
# The first opcode after a protocol's mark: what pickles begin with in practice.
_OPENERS = frozenset(b"\x95}](c\x8cXKNJM\x8a\x8bG)\x88\x89BCU\x8e\x8f")


def pickles_in(folder: Path, served_safely: str | None = None) -> dict[str, str]:
    """SHA-256 by relative path of every pickle in `folder`, and of TensorFlow's programs.
    `served_safely` names a file
    whose runtime reads its pickled parts as data alone (TorchScript, `torch.export`)."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            if name != served_safely and (_is_program(path.name) or is_pickle(path)):
                with path.open("rb") as file:
                    found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _is_program(name: str) -> bool:
    return name.lower().endswith(_PROGRAMS) and name != WEIGHTS


def is_pickle(path: Path) -> bool:
    """By its ending, by its first bytes, or as a zip archive that `torch.save` wrote."""
    if path.name.lower().endswith(_ENDINGS):
        return True
    with path.open("rb") as file:
        head = file.read(4)
    if head[:2] == b"PK":
        return any(name.endswith("data.pkl") for name in _names(path))
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5 and head[2] in _OPENERS


def is_torchscript(path: Path) -> bool:
    """Whether `torch.jit.save` wrote it: code beside constants."""
    names = _names(path)
    return any("/code/" in name for name in names) and any(
        name.endswith("/constants.pkl") for name in names
    )


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []
