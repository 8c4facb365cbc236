"""Waking up the moment a process dies: pidfds in an epoll, so that nobody has to poll.

This is an alarm clock, not a judge: the verdict is the sweep's, by the lock. Where there is no pidfd (not Linux,
another PID namespace) the sweep simply comes with its interval.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterable

from .. import identity
from ..journal import SUFFIX
from .adopt import Live, header_at
from .births import Births


class Deaths:
    """Waits for the death of any process that it follows, or for `wake`: of those it is told of, and of those whose
    journal appears in the folder of `births`."""

    def __init__(self, births: Births | None = None) -> None:
        self._births = births
        self._pidfds: dict[int, int] = {}  # pid to descriptor
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.epoll() if hasattr(select, "epoll") else None
        if self._poll is not None:
            self._poll.register(self._reader, select.EPOLLIN)
            if births is not None and births.fd >= 0:
                self._poll.register(births.fd, select.EPOLLIN)

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
        """Return when a followed process died, `wake` was called, or the time is up. Processes whose journal appears
        meanwhile are followed too."""
        end = time.monotonic() + seconds
        while not self._woken(max(0.0, end - time.monotonic())) and time.monotonic() < end:
            self._welcome()

    def _woken(self, seconds: float) -> bool:
        if self._poll is not None:
            ready = {fd for fd, _ in self._poll.poll(seconds)}
        else:
            ready = set(select.select([self._reader], [], [], seconds)[0])
        dead = [pid for pid, fd in self._pidfds.items() if fd in ready]
        for pid in dead:
            self._forget(pid)  # else the dead would wake us again and again until the sweep is done with them
        if self._reader in ready:
            os.read(self._reader, 4096)
        return bool(dead) or self._reader in ready

    def _welcome(self) -> None:
        if self._births is None:
            return
        for name in self._births.names():
            header = header_at(f"{self._births.folder}/{name}") if name.endswith(SUFFIX) else None
            if header is not None and identity.alive(header) and header["pid"] not in self._pidfds:
                self._add(int(str(header["pid"])))

    def wake(self) -> None:
        """From another thread or a signal handler: end the wait."""
        try:
            os.write(self._writer, b"x")
        except BlockingIOError:  # it is full of wake-ups already
            return

    def close(self) -> None:
        for pid in list(self._pidfds):
            self._forget(pid)
        if self._births is not None:
            self._births.close()
        if self._poll is not None:
            self._poll.close()
        os.close(self._reader)
        os.close(self._writer)
