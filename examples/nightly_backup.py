"""Pack a folder into a compressed archive, read it back, and write its SHA-256 beside it:
`python nightly_backup.py [FOLDER [ARCHIVE.tar.xz]]`. Without a folder it packs Python's standard library.

Killed at any moment it leaves a `.part` file, never an archive that only looks whole.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
import tarfile
from pathlib import Path

from holter import flow, progress, task

SKIPPED = {"__pycache__", "site-packages", "dist-packages", "test", ".git"}
MADE_AGAIN = {".pyc", ".so", ".a", ".o"}  # by a compiler, when they are needed


@task
def find(folder: Path) -> list[Path]:
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.suffix not in MADE_AGAIN)
    return [file for file in files if not SKIPPED.intersection(file.relative_to(folder).parts)]


@task
def check(part: Path, expected: int) -> str:
    """Read the archive back; its SHA-256."""
    with tarfile.open(part) as archive:
        found = sum(1 for _ in archive)
    if found != expected:
        raise RuntimeError(f"{part} holds {found} files, but {expected} were packed")
    with part.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@flow(name="nightly-backup", log_prints=True, max_duration="1h", stall_after="5m")
def nightly_backup(folder: Path, target: Path) -> None:
    files = find(folder)
    part = target.with_name(f"{target.name}.part")
    with tarfile.open(part, "w:xz", preset=3) as archive:
        for file in progress(files):
            archive.add(file, file.relative_to(folder))
    digest = check(part, len(files))
    target.with_name(f"{target.name}.sha256").write_text(f"{digest}  {target.name}\n")
    part.replace(target)
    print(f"{len(files):,} files, {target.stat().st_size / 1e6:.1f} MB: {target}")


if __name__ == "__main__":
    given = [Path(argument).absolute() for argument in sys.argv[1:]]
    folder = given[0] if given else Path(sysconfig.get_path("stdlib"))
    nightly_backup(folder, given[1] if given[1:] else Path("backup.tar.xz").absolute())
