"""Dead journals: ship what is left in them, write the endings that their processes could not write, remove them.

The proof of death is the lock on the journal being free. It is not enough where the process lives by its pid and start
time: it may have replaced its program (`exec`), which drops the lock. The verdict is appended to the dead journal
itself, after all that the process wrote, and arrives with it; and the lock is held from the proof to the removal; so
whoever else tries at the same time, or goes on after a kill half-way, can neither lose nor double anything.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Container, Iterable
from errno import EACCES, EISDIR, ELOOP, ENOENT, EPERM
from functools import partial

from attrs import define, evolve, field, frozen

from ...backends.base import Backend
from ...backends.clock import SYSTEM, Clock
from ...backends.errors import AccessDenied, Refused, StorageError
from ...backends.lines import encode
from ...backends.queries import RunQuery
from ...backends.states import OPEN
from .. import identity
from ..journal import SUFFIX, before_removal, is_durable
from ..shared_home import is_shared
from .autopsy import Explain, verdicts
from .headers import Header, header_of, who
from .owners import Owners
from .remains import append, end_of_torn, is_closed, is_dead, ship

_NOTHING_TO_READ = (ENOENT, EACCES, EPERM, ELOOP, EISDIR)  # gone, not ours, or no journal
DRAFT_AGE = 60.0  # seconds: a draft (a journal without its name yet) older than this has no maker any more


@frozen
class Live:
    """A journal whose process lives: `path`, `header`, `size` (bytes) and the store's `offset` (None: unknown)."""

    journal: str
    path: str
    header: Header
    size: int
    offset: int | None


@define
class Adopted:
    """What one sweep did: `shipped` bytes of the dead, runs found `crashed`, journals `removed`, those `waiting` for
    another store or another machine, `damaged` ones, with what was wrong in `faults`
    (`unread`: those of them that could not be read, or judged, just now), and the `live` ones. `restarted`
    of the crashed are of an earlier boot of this host."""

    shipped: int = 0
    crashed: int = 0
    restarted: int = 0
    removed: int = 0
    waiting: int = 0
    damaged: int = 0
    faults: list[str] = field(factory=list)
    unread: list[str] = field(factory=list)
    live: list[Live] = field(factory=list)


def catch_up(
    home: str,
    backend: Backend,
    clock: Clock = SYSTEM,
    *,
    before: Iterable[Live] | None = None,
    only: Collection[str] | None = None,
    living: Container[object] = (),
    explain: Explain = lambda header: None,
    owners: Owners | None = None,
) -> Adopted:
    """Bring `backend` up to date with every journal of this home.

    What live processes have not sent yet is sent too, so that a reader sees the last line; but where `before` is given
    (the live journals of the last sweep), only for those that have not grown since: others ship for themselves.
    `only` names the journals (file names) that something happened to; of all others, what is in `before` still holds.
    `living` are the processes (`who`) of `before` that the kernel says have not died: their locks need not be tried.
    `explain` is asked why a process died that says nothing itself. In a home that several users share `owners` says
    whose word counts (None: asked anew), and all that live processes wrote is sent, since they do not.
    Raises StorageError where the store cannot be written; what was done until then stays done.
    """
    folder = f"{home}/journals"
    known = None if before is None else {each.journal: each for each in before}
    try:
        names = sorted(os.listdir(folder) if only is None else only)
    except FileNotFoundError:
        return Adopted()
    shared = (owners or Owners(backend)) if is_shared(home) else None
    sweep = _Sweep(backend, clock, known, living, explain, shared)
    if only is not None:
        sweep.out.live = [each for each in (known or {}).values() if f"{each.journal}{SUFFIX}" not in only]
    for name in names:
        if name.startswith("."):
            _sweep_draft(f"{folder}/{name}")
        elif name.endswith(SUFFIX):
            sweep.visit(f"{folder}/{name}", name.removesuffix(SUFFIX))
    if sweep.refused is not None:
        raise sweep.refused
    return sweep.out


def _offsets(backend: Backend) -> dict[str, int]:
    """How far the store has each journal; of a collector whose token may only append, each append will tell."""
    try:
        return {process.journal: process.offset for process in backend.processes()}
    except AccessDenied:
        return {}


@define
class _Sweep:
    """One pass over the journals. `known`: the live ones of the pass before, None without one."""

    backend: Backend
    clock: Clock
    known: dict[str, Live] | None
    living: Container[object]
    explain: Explain
    owners: Owners | None = None
    out: Adopted = field(factory=Adopted)
    _offsets: dict[str, int] | None = None
    refused: Refused | None = None  # raised at the end: one journal that is not taken must not hold up others

    def visit(self, path: str, journal: str) -> None:
        if self._is_followed(journal):
            return
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            if error.errno not in _NOTHING_TO_READ:  # it is there, and what is in it is not known
                self._unread(path, error)
            return
        try:
            self._look_into(fd, path, journal)
        except Refused as error:
            self.refused = self.refused or error
            self.out.waiting += 1
        except StorageError:
            raise
        except OSError as error:
            self._unread(path, error)
        except Exception as error:  # noqa: BLE001 - one journal that cannot be read must not keep all others waiting
            self._fault(path, f"{type(error).__name__}: {error}")
        finally:
            os.close(fd)

    def _look_into(self, fd: int, path: str, journal: str) -> None:
        header = header_of(fd)
        if header is None and self.owners is None:
            header = self._remembered(journal)
        if header is None:
            self._fault(path, "its first line cannot be read")
        elif self.owners and (why := self.owners.objection(fd, journal, header)):
            self._fault(path, why)
        elif header.get("store") != self.backend.url or identity.foreign(header):
            self.out.waiting += 1
        elif is_dead(fd, header):
            self._adopt(fd, path, journal, header)
        else:
            self._note_live(fd, path, journal, header)

    def _fault(self, path: str, what: str) -> None:
        self.out.damaged += 1
        shown = path if path.isprintable() else ascii(path)  # in a shared home, anybody chose the name
        self.out.faults.append(f"{shown}: {what}")

    def _unread(self, path: str, error: OSError) -> None:
        self._fault(path, error.strerror or str(error))
        self.out.unread.append(self.out.faults[-1])

    def _ship(self, fd: int, journal: str, offset: int) -> int:
        cleared = None if self.owners is None else partial(self.owners.cleared, fd)
        return ship(fd, journal, offset, self.backend, cleared)

    def _is_followed(self, journal: str) -> bool:
        """Whether the kernel says that its process lives, and nothing waits to be sent for it; then a look at its size
        is all that it needs."""
        held = (self.known or {}).get(journal)
        if held is None or who(held.header) not in self.living:
            return False
        try:
            size = os.stat(held.path).st_size
        except FileNotFoundError:  # the process went on in another one
            return True
        if size != held.offset and (size == held.size or self.owners is not None):
            return False
        self.out.live.append(held if size == held.size else evolve(held, size=size))
        return True

    def _note_live(self, fd: int, path: str, journal: str, header: Header) -> None:
        offset, size = self._offset(journal), os.fstat(fd).st_size
        held = None if self.known is None else self.known.get(journal)
        ours = self.known is None or self.owners is not None or (held is not None and held.size == size)
        if size != offset and ours:
            offset = self._ship(fd, journal, offset or 0)
        self.out.live.append(Live(journal, path, header, size, offset))

    def _offset(self, journal: str) -> int | None:
        """Where the store stands; it is asked at once for all, and only if one has to know."""
        if self._offsets is None:
            self._offsets = _offsets(self.backend)
        return self._offsets.get(journal)

    def _open_there(self, journal: str, ahead: int) -> dict[str, float]:
        """Runs that the store has open where it is `ahead` of the journal, and when each was active last."""
        if ahead <= 0:
            return {}
        try:
            found = self.backend.runs(RunQuery(journal=journal, states=OPEN, limit=None))
        except AccessDenied:  # its token may only append
            return {}
        return {run.id: run.active_at for run in sorted(found, key=lambda run: (run.created_at, run.id))}

    def _remembered(self, journal: str) -> Header | None:
        """The first line of a journal as the store has it: the disk may have lost it with the power."""
        try:
            found = self.backend.processes(open_only=False, journals=[journal])
        except AccessDenied:
            return None
        return found[0].header or None if found else None

    def _adopt(self, fd: int, path: str, journal: str, header: Header) -> None:
        """The process is gone, and this descriptor holds the lock: ship the rest, judge, remove."""
        if not os.path.exists(path) or os.stat(path).st_ino != os.fstat(fd).st_ino:
            return  # removed by whoever held the lock before
        size, stood = os.fstat(fd).st_size, self._offset(journal)
        if stood is None or stood > size:
            stood = self._ship(fd, journal, stood or 0)  # that tells where the store stands
        ahead = stood - size  # more than nothing where the power was lost, and with it what the store has
        lines, judged = verdicts(fd, header, self.clock, self.explain, self._open_there(journal, ahead))
        if not is_closed(fd):
            lines.append(encode({"event": "close", "at": self.clock.wall()}))
        try:
            append(fd, b"".join([b"\n" * ahead or end_of_torn(fd, size), *lines]))
        finally:  # a full disk takes no verdict, but what the process said arrives
            offset = self._ship(fd, journal, stood)
        before_removal(is_durable(header))
        os.unlink(path)
        self.out.crashed += judged
        self.out.restarted += judged if identity.rebooted(header) else 0
        self.out.shipped += offset
        self.out.removed += 1


def _sweep_draft(path: str) -> None:
    """A process was killed between creating its journal and naming it: nothing was recorded in it."""
    try:
        if time.time() - os.stat(path).st_mtime > DRAFT_AGE:
            os.unlink(path)
    except OSError:
        return
