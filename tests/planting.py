"""A defect of one line, in a copy of the package that a process is given instead of Holter (PYTHONPATH)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import holter

ROOT = Path(holter.__file__).parent


class Defect(NamedTuple):
    """In `file`, `right` becomes `wrong`."""

    file: str
    right: str
    wrong: str


def planted(defect: Defect, folder: Path) -> str:
    """A copy with the defect; what PYTHONPATH must say for it to be imported."""
    copy = folder / "planted" / "holter"
    copy.mkdir(parents=True)
    for name in ("__init__.py", "__main__.py", "cli.py", "py.typed"):
        shutil.copy(ROOT / name, copy / name)
    for name in ("agent", "backends"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    source = (copy / defect.file).read_text()
    assert source.count(defect.right) == 1, f"{defect.file} has no such line, or two: {defect.right}"
    (copy / defect.file).write_text(source.replace(defect.right, defect.wrong))
    return str(copy.parent)
