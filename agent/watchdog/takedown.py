"""Ending a process from outside: SIGTERM, a grace, SIGKILL, to exactly the process that was meant and its family.

Everybody who is to be ended is held by a pidfd from the start, and who it is was looked at after the descriptor was
taken; so a number that passes to a stranger is never hit, however long the grace.

Not guaranteed: anything without pidfds (not Linux) or for processes that this user may not signal; that what the
process starts, outside its group, after it was asked to end is ended too.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress

from attrs import define, field

from ...backends.clock import SYSTEM, Clock
from .. import identity
from ..shared_home import name_of
from .headers import Header

TERM_GRACE = 5.0  # seconds from SIGTERM to SIGKILL


@define
class TakeDown:
    """One process (`members[0]`) and its family on their way out; `look` again and again until `done`.

    The leader and its group are asked first, so that a process that ends its children by itself can; those of the
    family that outlive it are asked then, and have the same grace.
    """

    members: tuple[int, ...]
    rest: tuple[int, ...] = ()
    clock: Clock = SYSTEM
    grace: float = TERM_GRACE
    done: bool = False
    killed: bool = False
    _kill_at: float = field(default=0.0)
    _asked_rest: bool = False

    def begin(self) -> None:
        send(self.members, signal.SIGTERM)
        self._kill_at = self.clock.monotonic() + self.grace

    def look(self) -> bool:
        """Go on as far as it is time to; true once all of them are gone, or had their SIGKILL."""
        everybody = (*self.members, *self.rest)
        if self.done or all(map(is_dead, everybody)):
            return self._finish()
        now = self.clock.monotonic()
        if not self._asked_rest and is_dead(self.members[0]):
            send(everybody, signal.SIGTERM)
            self._asked_rest, self._kill_at = True, now + self.grace
        if now >= self._kill_at:
            self.killed = True
            send(everybody, signal.SIGKILL)
            return self._finish()
        return False

    def _finish(self) -> bool:
        if not self.done:
            self.done = True
            let_go((*self.members, *self.rest))
        return True


def take_down(header: Header, clock: Clock = SYSTEM, grace: float = TERM_GRACE) -> TakeDown | None:
    """What will end the process of a journal's header and all that descends from it, nothing sent yet; None where it
    cannot be signalled from here, or is no longer itself."""
    members = tuple(hold(header))
    if not members:
        return None
    return TakeDown(members, tuple(_descendants(int(str(header["pid"])), members[0])), clock, grace)


def hold(header: Header) -> Iterator[int]:
    """Pidfds of the process and, where it leads its group, of the others in it; none where it cannot be signalled.

    A descriptor is taken before its process is looked at, so a number that passes to a stranger is never hit.
    """
    pid = int(str(header["pid"]))
    leader = _open(pid)
    if leader is None:
        return
    try:
        signal.pidfd_send_signal(leader, 0)
        wanted = identity.alive(header) is True and pid != os.getpid() and _is_of(header.get("user"), pid)
    except (PermissionError, ProcessLookupError):
        wanted = False
    if not wanted:
        return os.close(leader)
    yield leader
    if _group(pid) == pid != os.getpgrp():
        for name in os.listdir(identity.PROC):
            if not name.isdigit() or int(name) == pid or _group(int(name)) != pid:
                continue
            member = _open(int(name))
            if member is not None and _group(int(name)) == pid and _is_like(pid, int(name)):
                yield member
            elif member is not None:
                os.close(member)


def _descendants(pid: int, leader: int) -> Iterator[int]:
    """Pidfds of all below a process that is held; a parent must have lived until its child was held and looked at."""
    born: dict[int, list[int]] = {}
    for name in os.listdir(identity.PROC):
        if name.isdigit() and int(name) != os.getpid():
            born.setdefault(_parent(int(name)), []).append(int(name))
    front = [(pid, leader)]
    for parent, held in front:  # grows while it is walked
        for child in born.get(parent, ()):
            fd = _open(child)
            if fd is None:
                continue
            if _parent(child) == parent and not is_dead(held) and _is_like(pid, child):
                front.append((child, fd))
                yield fd
            else:
                os.close(fd)


def _is_of(user: object, pid: int) -> bool:
    """Whether root may take a header's word for whose process it is: who wrote it could name anybody's."""
    if os.geteuid() != 0 or user is None:
        return True
    owner = _owner(pid)
    return owner is not None and name_of(owner) == user


def _is_like(leader: int, pid: int) -> bool:
    """Whether a relative is ended with its leader: the leader's own user's, or whoever a leader of root's may end."""
    return os.geteuid() != 0 or _owner(leader) in (0, _owner(pid))


def _owner(pid: int) -> int | None:
    try:
        return os.stat(f"{identity.PROC}/{pid}").st_uid
    except OSError:
        return None


def _parent(pid: int) -> int:
    try:
        with open(f"{identity.PROC}/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return 0
    return int(text[text.rfind(b")") + 2 :].split()[1])


def _open(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):  # gone, no descriptors left, or no pidfds (not Linux)
        return None


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def send(members: Iterable[int], number: signal.Signals) -> None:
    for fd in members:
        with suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(fd, number)


def is_dead(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def let_go(members: Iterable[int]) -> None:
    for fd in members:
        os.close(fd)
