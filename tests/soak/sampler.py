"""Looks at processes and folders from outside, every so often: memory, descriptors, sizes; and how long a question to
the collector takes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from holter.backends.base import Backend
from holter.backends.errors import StorageError
from holter.backends.queries import RunQuery

PAGE = os.sysconf("SC_PAGE_SIZE")
MB = 1e6


class Sample(NamedTuple):
    """One value of the measurement `of`, about `life`: a pid, or 0 for what outlives processes. `at`: monotonic."""

    at: float
    of: str
    life: int
    value: float


class Sampler(threading.Thread):
    """`processes` by name gives the pid of each that runs now, `folders` by name what is summed up; and the store is
    asked for its newest runs."""

    def __init__(
        self,
        processes: Callable[[], Mapping[str, int]],
        folders: Mapping[str, Callable[[], int]],
        open_store: Callable[[], Backend] | None,
        every: float,
    ) -> None:
        super().__init__(daemon=True)
        self._processes, self._folders, self._open_store = processes, folders, open_store
        self._every, self._over = every, threading.Event()
        self.samples: list[Sample] = []

    def finish(self) -> None:
        self._over.set()
        self.join(30.0)

    def run(self) -> None:
        store = self._open_store() if self._open_store else None
        while not self._over.wait(self._every):
            self.samples += self._look(time.monotonic())
            if store is not None:
                with suppress(StorageError):  # the collector is being restarted
                    self.samples.append(_question(store))
        if store is not None:
            store.close()

    def _look(self, now: float) -> Iterable[Sample]:
        for name, pid in self._processes().items():
            with suppress(FileNotFoundError, ProcessLookupError):  # it was killed just now
                yield Sample(now, f"memory of {name}", pid, memory(pid))
                yield Sample(now, f"descriptors of {name}", pid, descriptors(pid))
        for name, size in self._folders.items():
            yield Sample(now, f"size of {name}", 0, size() / MB)

    def values(self, of: str, since: float, until: float) -> list[float]:
        """What was measured in that time; of a process, of the life that has most of it."""
        found: dict[int, list[float]] = {}
        for each in self.samples:
            if each.of == of and since <= each.at <= until:
                found.setdefault(each.life, []).append(each.value)
        return max(found.values(), key=len, default=[])

    def names(self) -> list[str]:
        return list(dict.fromkeys(each.of for each in self.samples))


def _question(store: Backend) -> Sample:
    began = time.monotonic()
    store.runs(RunQuery(roots=True, limit=50))
    return Sample(began, "answer of the collector", 0, (time.monotonic() - began) * 1000)


def memory(pid: int) -> float:
    """Resident, in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / MB


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def size_of(paths: Iterable[Path]) -> int:
    """Bytes of the files of these folders."""
    total = 0
    for folder in paths:
        for path in folder.rglob("*"):
            with suppress(FileNotFoundError):  # removed just now
                total += path.stat().st_size if path.is_file() else 0
    return total
