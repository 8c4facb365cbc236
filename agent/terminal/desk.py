"""What a verb that reads starts from: settings, and an open store that was just brought up to date."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen

from ...backends.base import Backend
from ...backends.clock import SYSTEM
from ...backends.errors import StorageError
from ...backends.urls import open_backend
from ..settings import Settings, load
from ..shared_home import is_guest
from ..watchdog import pulse
from ..watchdog.adopt import catch_up
from . import screen

TIMEOUT = 5.0  # seconds that a verb waits for another writer of the store
MANY = 50  # journals that are worth a spinner


@frozen
class Desk:
    """`settings`, the open `backend`, and `now` (Unix seconds): the moment that all printed is judged at."""

    settings: Settings
    backend: Backend
    now: float

    def refresh(self) -> None:
        """Take in what the journals of this home have gained, and the endings of processes that died.

        A store that cannot be written now can still be read: that is one line on stderr, not an error.
        """
        home = self.settings.home
        with screen.busy("Taking in what was recorded", worth=_journals(home) > MANY):
            try:
                swept = catch_up(home, self.backend)
            except StorageError as error:
                screen.say(f"not up to date: {error}")
                return
        if swept.unread:
            screen.say(f"not up to date: {swept.unread[0]}")


def _journals(home: str) -> int:
    try:
        return len(os.listdir(f"{home}/journals"))
    except OSError:
        return 0


@contextmanager
def opened() -> Iterator[Desk]:
    """Settings and store as they are. Raises SettingsError, UnknownBackend, StorageError."""
    settings = load()
    if is_guest(settings.home):
        raise StorageError(
            f"the records in {settings.home} are of several users, and only its owner reads them all",
            hint="sudo, or the dashboard that its owner serves",
        )
    backend = open_backend(settings.backend, settings.home, timeout=TIMEOUT)
    try:
        yield Desk(settings, backend, SYSTEM.wall())
    finally:
        backend.close()


@contextmanager
def reading() -> Iterator[Desk]:
    """`opened`, brought up to date; on stderr, in one line, that nobody watches where nobody does."""
    with opened() as desk:
        desk.refresh()
        if warning := pulse.warning(desk.backend, desk.now):
            screen.say(warning)
        yield desk
