"""A fresh environment with nothing but Holter's wheel in it: what a user gets, and what whole scripts are timed in."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any

_NOT_OURS = ("pip", "setuptools", "wheel")  # every environment has them


def make(folder: str) -> str:
    """Install the project there without any extra; return the environment's interpreter."""
    root = pathlib.Path(__file__).parent.parent
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = f"{folder}/bin/python"
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    pip = [python, "-m", "pip", "install", "--quiet", "--quiet", "--quiet"]
    with tempfile.TemporaryDirectory() as source:  # a build leaves files beside the sources
        copy = f"{source}/holter"
        shutil.copytree(
            root,
            copy,
            ignore=shutil.ignore_patterns(".git", "build", "*.egg-info", ".*_cache", "__pycache__"),
        )
        subprocess.run([*pip, copy], check=True, env=quiet)
    subprocess.run([python, "-m", "compileall", "-q", folder], check=False)
    return python


def size(python: str) -> dict[str, Any]:
    """Packages and megabytes in site-packages, without pip and setuptools, which were there before."""
    out = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], check=True, capture_output=True, text=True
    )
    names = [line.partition("==")[0].lower() for line in out.stdout.splitlines() if line]
    site = next(pathlib.Path(python).parent.parent.glob("lib/python*/site-packages"))
    mine = [
        path
        for path in site.iterdir()
        if not path.name.lower().startswith((*_NOT_OURS, "_distutils", "pkg_res"))
    ]
    taken = sum(
        file.stat().st_size for path in mine for file in ([path] if path.is_file() else path.rglob("*"))
    )
    return {"packages": len([n for n in names if n not in _NOT_OURS]), "megabytes": round(taken / 2**20, 1)}
