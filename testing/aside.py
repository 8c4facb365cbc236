"""This process records elsewhere for a while: what the fixtures of the pytest plugin stand on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..agent import knobs, lease_keeper, recorder
from ..agent.tape import process
from ..agent.watchdog.adopt import catch_up
from ..backends.base import Backend
from ..backends.clock import token
from ..backends.queries import LogQuery, RunQuery
from ..backends.records import Run
from ..backends.urls import open_backend


@contextmanager
def aside(home: Path, patch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Record into `home`, a new folder, until the end; then all of it has been shipped (within a second, else it stays
    in its journal), and this process goes on where it was."""
    home.mkdir(mode=0o700)
    backend = os.environ.get("HOLTER_BACKEND", "")
    for name in [name for name in os.environ if name.startswith("HOLTER_")]:
        patch.delenv(name)
    patch.setenv("HOLTER_HOME", str(home))
    told = {key: value for key, value in knobs._configured.items() if key not in ("backend", "project")}
    told["home"] = str(home)
    if backend.startswith(("off:", "memory:")):
        told["backend"] = "off:" if backend.startswith("off:") else f"memory:{token(16)}"
        patch.setenv("HOLTER_BACKEND", told["backend"])
    patch.setattr(knobs, "_configured", told)
    patch.setattr(knobs, "_resolved", None)
    patch.setattr(lease_keeper, "_keeper", None)
    before = {name: getattr(process, name) for name in process.__slots__}
    process.forget()
    process.signals = before["signals"]
    try:
        yield home
    finally:
        lease_keeper._at_exit()
        recorder.finish("the test ended while it was still running")
        for name, value in before.items():
            setattr(process, name, value)


class Runs:
    """What was recorded in a home. Calling it ships first what is not in the store yet."""

    def __init__(self, home: Path) -> None:
        self._home = str(home)
        self._backend: Backend | None = None

    def __call__(self, name: str | None = None) -> list[Run]:
        """All runs, oldest first, or those of one name."""
        backend = self._store()
        if backend is None:
            return []
        found = backend.runs(RunQuery(limit=None))
        found.sort(key=lambda run: (run.created_at, len(run.id), run.id))
        return [run for run in found if name is None or run.name == name]

    def lines(self, run: Run) -> list[str]:
        """The texts that the run and all inside it said, in order."""
        backend = self._store()
        return [log.text for log in backend.logs(LogQuery(run.id, tree=True))] if backend else []

    def close(self) -> None:
        if self._backend is not None:
            self._backend.close()

    def _store(self) -> Backend | None:
        url = knobs.knobs().backend
        if url.startswith("off:"):
            return None
        if self._backend is None:
            self._backend = open_backend(url, self._home)
        catch_up(self._home, self._backend)
        return self._backend
