"""An installation of what requirements.lock names and nothing else, as `make demo` makes it:
the tests' own has more, pandas among it."""

from __future__ import annotations

import re
import sys
import venv
from importlib.metadata import distributions
from pathlib import Path

LOCK = Path(__file__).parents[2] / "requirements.lock"


def plain_installation(folder: Path) -> Path:
    """The interpreter of a new virtual environment in `folder`, whose packages are links to
    the tests' own."""
    venv.create(folder, symlinks=True)
    site = next(folder.glob("lib/python*/site-packages"))
    locked = set(re.findall(r"(?m)^([A-Za-z0-9._-]+)==", LOCK.read_text()))
    wanted = {_canonical(name) for name in locked} | {"volant"}
    for each in distributions():
        if _canonical(each.metadata["Name"]) in wanted:
            for part in {file.parts[0] for file in each.files or ()} - {"..", "__pycache__"}:
                link, source = site / part, Path(str(each.locate_file(part)))
                if not link.exists():
                    link.symlink_to(source)
    uv = Path(sys.executable).with_name("uv")
    if uv.is_file():
        (folder / "bin" / "uv").symlink_to(uv)
    return folder / "bin" / "python"


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
