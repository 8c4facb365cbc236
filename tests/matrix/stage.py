"""Fixtures of the tables about processes, storage and retries, beside those of conftest."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest


class Strays:
    """Processes that a script left behind: they end with the test."""

    def __init__(self) -> None:
        self._pids: list[int] = []

    def add(self, pid: int) -> int:
        assert alive(pid)
        self._pids.append(pid)
        return pid

    def end(self) -> None:
        for pid in self._pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(name="strays")
def _strays() -> Iterator[Strays]:
    strays = Strays()
    yield strays
    strays.end()
