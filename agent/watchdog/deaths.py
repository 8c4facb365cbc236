"""Waking up the moment a process dies: pidfds in an epoll, so that nobody has to poll.

This is an alarm clock, not a judge: the verdict is the sweep's, by the lock. Where there is no pidfd (not Linux, another
PID namespace) the sweep simply comes with its interval.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterable

from .. import identity
from .adopt import Live


class Deaths:
    """Waits for the death of any of the processes it was told of, or for `wake`."""

    def __init__(self) -> None:
        self._pidfds: dict[int, int] = {}  # pid to descriptor
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.epoll() if hasattr(select, "epoll") else None
        if self._poll is not None:
            self._poll.register(self._reader, select.EPOLLIN)

    def follow(self, live: Iterable[Live]) -> None:
        """Follow exactly the processes of these journals, as far as pids mean something here."""
        wanted = {int(str(each.header["pid"])) for each in live if identity.alive(each.header)}
        for pid in set(self._pidfds) - wanted:
            self._forget(pid)
        for pid in wanted - set(self._pidfds):
            self._add(pid)

    def _add(self, pid: int) -> None:
        if self._poll is None or not hasattr(os, "pidfd_open"):
            return
        try:
            fd = os.pidfd_open(pid)
        except OSError:  # it died meanwhile, or descriptors ran out: the next sweep sees it
            return
        self._pidfds[pid] = fd
        self._poll.register(fd, select.EPOLLIN)

    def _forget(self, pid: int) -> None:
        fd = self._pidfds.pop(pid)
        if self._poll is not None:
            self._poll.unregister(fd)
        os.close(fd)

    def wait(self, seconds: float) -> None:
        """Return when a followed process died, `wake` was called, or the time is up."""
        if self._poll is not None:
            ready = {fd for fd, _ in self._poll.poll(seconds)}
        else:
            ready = set(select.select([self._reader], [], [], seconds)[0])
        for pid, fd in list(self._pidfds.items()):
            if fd in ready:
                self._forget(pid)  # else the dead would wake us again and again until the sweep is done with them
        if self._reader in ready:
            os.read(self._reader, 4096)

    def wake(self) -> None:
        """From another thread or a signal handler: end the wait."""
        try:
            os.write(self._writer, b"x")
        except BlockingIOError:  # it is full of wake-ups already
            return

    def close(self) -> None:
        for pid in list(self._pidfds):
            self._forget(pid)
        if self._poll is not None:
            self._poll.close()
        os.close(self._reader)
        os.close(self._writer)
