"""Other users of this machine, and what they run: this Holter, wherever it is installed.

Python and a virtual environment may lie in a folder that only we can enter. So they and the source are bound, in a
mount namespace of the command's own, to places that everybody can read.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import holter

SOURCE = Path(holter.__file__).resolve().parent
BINDS = """
place=$1 && shift
for each in python site source/holter; do mount --bind "$1" "$place/$each" && shift || exit 125; done
exec "$@"
"""


def can_be_others() -> str:
    """Why this process cannot run commands as other users; "" where it can."""
    if os.geteuid() != 0:
        return "running commands as other users takes root"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return "this machine lets nobody make a mount namespace"
    return ""


class Readable:
    """A folder that everybody can enter, through which others reach this Holter."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for each in (folder, *(folder / name for name in ("python", "site", "source", "source/holter"))):
            each.mkdir(mode=0o755, exist_ok=True)
            each.chmod(0o755)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.python = str(folder / "python" / "bin" / version)

    def command(
        self, uid: int, gid: int, words: Sequence[str], before: Sequence[str] = (), groups: str = ""
    ) -> list[str]:
        """`words` as a user without any right of root; `before` is what starts them (unshare, ...)."""
        who = [
            "setpriv",
            f"--reuid={uid}",
            f"--regid={gid}",
            f"--groups={groups}" if groups else "--clear-groups",
        ]
        bare = [*who, "--inh-caps=-all", "--bounding-set=-all"] if not before else who
        site = sysconfig.get_path("purelib")
        places = [str(self.folder), sys.base_prefix, site, str(SOURCE)]
        binds = ["unshare", "--mount", "sh", "-c", BINDS, "sh", *places]
        return [*binds, *bare, *before, *words]

    def env(self, **more: str) -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "TZ") if key in os.environ}
        path = f"{self.folder}/source:{self.folder}/site"
        kept["LD_LIBRARY_PATH"] = f"{self.folder}/python/lib"
        return {**kept, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent", **more}

    def start(
        self, command: list[str], env: dict[str, str], cwd: str = "/", **keywords: Any
    ) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env=env, cwd=cwd, **{**pipes, **keywords})
