"""Where the contract suite opens stores: a `Site` says how one is set up, a `Place` is one that stands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import count
from pathlib import Path

from attrs import field, frozen

from ..backends.base import Backend
from ..backends.clock import SYSTEM, Clock
from ..backends.urls import open_backend

NOON = 1_800_000_000.0  # when most histories begin
_numbers = count(1)


class HandClock(Clock):
    """A wall clock that stands still until a test sets it."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def wall(self) -> float:
        return self.now


class Place:
    """One store while a test uses it. Every `open` is another handle on it; `close` closes them all.

    `url` and `home` are what `open_backend` takes, `clock` is the one that the store has: a test sets `clock.now`.
    """

    def __init__(self, site: Site, url: str, home: str, clock: HandClock) -> None:
        self.site, self.url, self.home, self.clock = site, url, home, clock
        self.handles: list[Backend] = []

    def open(self, timeout: float | None = 10.0) -> Backend:
        self.handles.append(open_backend(self.url, self.home, clock=self.clock, timeout=timeout))
        return self.handles[-1]

    def close(self) -> None:
        for handle in self.handles:
            handle.close()
        self.handles.clear()

    def open_files(self) -> list[str]:
        """Files of this place that this process holds open."""
        found = []
        for number in os.listdir("/dev/fd"):
            try:
                found.append(os.readlink(f"/dev/fd/{number}"))
            except OSError:
                continue
        return [path for path in found if path.startswith(self.home)]


@frozen
class Site:
    """How a store is set up for a test.

    `url` is its URL; `{number}` in it becomes a number that no other place of this process has, and relative paths
    start at the place's own empty folder. `beside(folder, clock)` runs what the store needs (a database, a server) as a
    context manager, which gives the URL instead. `shared`: other processes see it, too, by the same URL. `local`: it
    keeps its files in the folder. `upsets` are what may happen to such a store at any time without a change of its
    answers, by name: functions of the place, which may close its handles.
    """

    url: str = ""
    shared: bool = True
    local: bool = False
    beside: Callable[[str, Clock], AbstractContextManager[str]] | None = None
    upsets: Mapping[str, Callable[[Place], None]] = field(factory=dict)

    def found(self, folder: str, clock: Clock = SYSTEM) -> AbstractContextManager[str]:
        """The URL of a new place, for as long as what it needs is running."""
        if self.beside is not None:
            return self.beside(folder, clock)
        return nullcontext(self.url.format(number=next(_numbers)))

    @contextmanager
    def set_up(self, folder: str) -> Iterator[Place]:
        """A new place in an empty folder. When it goes, everything must have been closed."""
        clock = HandClock()
        with self.found(folder, clock) as url:
            place = Place(self, url, folder, clock)
            try:
                yield place
            finally:
                place.close()
        assert place.open_files() == []


# --- what may happen to the folder of a file store -----------------------------------------------------------


def _lose_index(place: Place) -> None:
    for path in Path(place.home).glob("store/index.db*"):
        path.unlink()


def _lose_only_the_database(place: Place) -> None:
    for path in Path(place.home).glob("store/index.db"):
        path.unlink()


def _lose_the_wal(place: Place) -> None:
    place.close()
    for path in Path(place.home).glob("store/index.db-wal"):
        path.unlink()


def _spoil_index(place: Place) -> None:
    place.close()
    _lose_index(place)
    Path(place.home, "store", "index.db").write_bytes(b"no database" * 1000)


def _move_to_a_copy(place: Place) -> None:
    folder, copied = Path(place.home, "store"), Path(place.home, "copied")
    shutil.copytree(folder, copied)
    place.close()
    shutil.rmtree(folder)
    copied.rename(folder)


def _collecting(backend: str) -> Callable[[str, Clock], AbstractContextManager[str]]:
    def collecting(folder: str, clock: Clock) -> AbstractContextManager[str]:
        from .collector import collector  # needs holter[web]

        return collector(folder, clock, backend)

    return collecting


@contextmanager
def _collecting_in_postgres(folder: str, clock: Clock) -> Iterator[str]:
    with _in_postgres(folder, clock) as url, _collecting(url)(folder, clock) as collected:
        yield collected


def _in_postgres(folder: str, clock: Clock) -> AbstractContextManager[str]:
    from .database import schema

    return schema()


SITES: dict[str, Site] = {
    "memory": Site("memory:{number}", shared=False),
    "sqlite": Site("sqlite:///holter.db", local=True),
    "file": Site(
        "file:///store",
        local=True,
        upsets={
            "index lost": _lose_index,
            "database lost": _lose_only_the_database,
            "wal lost": _lose_the_wal,
            "index spoiled": _spoil_index,
            "moved to a copy": _move_to_a_copy,
        },
    ),
    "postgres": Site(beside=_in_postgres),
    "http+sqlite": Site(local=True, beside=_collecting("sqlite:///holter.db")),
    "http+postgres": Site(beside=_collecting_in_postgres),
}
