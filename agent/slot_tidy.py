"""Lock files of limits that no longer exist, taken away so that nobody can notice.

A lock file may go only while one holds its lock: who opened it before and locks it after finds that it has no name any
more, and tries again (`Gate` looks). Who makes the folder anew in the same instant finds it gone, and makes it again.
"""

from __future__ import annotations

import os
from collections.abc import Container

from ..backends.gate import Gate
from .slot_files import drafts, folder_of, limits, slot_numbers, slot_path, tickets


def tidy_limits(home: str, configured: Container[str], before: float) -> list[str]:
    """Remove the files of the limits that are not `configured` and that nobody used since `before` (Unix seconds), and
    return their names. Raises StorageError where the home cannot be read."""
    idle = [name for name in limits(home) if name not in configured and _used_at(home, name) < before]
    return [name for name in idle if _remove(folder_of(home, name))]


def _used_at(home: str, limit: str) -> float:
    """When a slot was taken last, or somebody came to wait."""
    folder = folder_of(home, limit)
    paths = [f"{folder}/queue", *(slot_path(folder, number) for number in slot_numbers(folder))]
    try:
        return max(os.lstat(path).st_mtime for path in paths)
    except OSError:  # just being made, or taken away
        return float("inf")


def _remove(folder: str) -> bool:
    paths = [slot_path(folder, number) for number in slot_numbers(folder)]
    locks: list[Gate] = []
    try:
        for path in paths:
            locks.append(Gate(path))
            if not locks[-1].take(0.0):
                return False
        if tickets(folder) or drafts(folder):
            return False
        os.rmdir(f"{folder}/queue")
        for path in paths:
            os.unlink(path)
        os.rmdir(folder)
    except OSError:  # in use after all, or not ours
        return False
    finally:
        for lock in locks:
            lock.close()
    return True
