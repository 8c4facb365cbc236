"""New settings without a restart: on SIGHUP, and when the file is another one than it was.

A file that cannot be used is refused with one line, and what held before goes on holding. The store stays the one that
the watchdog was started with: halves have it open.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from attrs import evolve
from loguru import logger

from ...backends.errors import SettingsError
from ...backends.records import Json
from ..settings import Settings, load
from .sd_notify import tell

EVERY = 2.0  # seconds between looks at the file

Look = tuple[int, int, int] | None


class Reloader:
    """`settings` are those that hold; `refused` is why the file as it is now does not, "" if it does."""

    def __init__(self, settings: Settings, read: Callable[[str], Settings] = load) -> None:
        self.settings = settings
        self.refused = ""
        self.asked = False  # by SIGHUP: to read it whether it changed or not
        self._read = read
        self._store = settings.backend
        self._path = os.path.abspath(os.environ.get("HOLTER_CONFIG") or f"{settings.home}/holter.yaml")
        self._seen = look_at(self._path)
        self._next = 0.0

    def look(self, now: float) -> Settings | None:
        """The new settings if there are any that can be used. `now` is monotonic seconds. Raises nothing."""
        if now < self._next and not self.asked:
            return None
        self._next = now + EVERY
        seen = look_at(self._path)
        if seen == self._seen and not self.asked:
            return None
        # Before reading: what changes while it is read is looked at again.
        self._seen, self.asked = seen, False
        tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        try:
            return self._take_over()
        finally:
            tell("READY=1")

    def _take_over(self) -> Settings | None:
        try:
            new = self._read(self.settings.home)
        except SettingsError as error:
            self.refused = str(error)
            logger.error("the new settings are refused, the old ones hold: {}", error)
            return None
        self.refused = ""
        if new.backend != self._store:
            self.refused = "the backend changes only with a restart of the watchdog"
            logger.error("{}; everything else is taken over", self.refused)
        self.settings = evolve(new, backend=self._store)
        logger.info("settings read again")
        return self.settings

    def to_json(self) -> Json:
        """Which version of which file holds, for the pulse."""
        return {"path": self._path, "version": list(self._seen or ()), "refused": self.refused}


def look_at(path: str) -> Look:
    """What tells one version of a file from another; None where there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
