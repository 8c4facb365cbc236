"""Waking up the moment a process dies: pidfds in an epoll, so that nobody has to poll.

This is an alarm clock, not a judge: the verdict is the sweep's, by the lock. Where there is no pidfd (not Linux,
another PID namespace) the sweep simply comes with its interval.
"""

from __future__ import annotations

import os
import resource
import select
import time
from collections.abc import Container, Iterable

from .. import identity
from ..journal import SUFFIX
from .adopt import Live
from .births import Births
from .headers import Header, Who, header_at, who

SPARE = 256  # descriptors that are left, at most a quarter, to journals, the store and channels


class Deaths:
    """Waits for the death of any process that it follows, or for `wake`: of those it is told of, and of those whose
    journal appears in the folder of `births`. It remembers to which journals something happened."""

    def __init__(self, births: Births | None = None) -> None:
        self._births = births
        self._pidfds: dict[Who, int] = {}  # process to descriptor
        self._journals: dict[Who, set[str]] = {}  # process to the file names of its journals
        self._unseen: set[str] = set()  # journals of processes that cannot be followed
        self._touched: set[str] = set()
        self._all = True  # anything may have happened
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.epoll() if hasattr(select, "epoll") else None
        if self._poll is not None:
            self._poll.register(self._reader, select.EPOLLIN)
            if births is not None and births.fd >= 0:
                self._poll.register(births.fd, select.EPOLLIN)

    def touched(self) -> set[str] | None:
        """The journals (file names) to which something may have happened since the last call: they appeared, their
        process died, or it cannot be followed. None: any."""
        self._welcome()
        self._woken(0.0)
        found, self._touched = self._touched | self._unseen, set()
        if self._all or self._births is None or self._births.fd < 0:
            self._all = False
            return None
        return found

    @property
    def living(self) -> Container[object]:
        """The processes (`who`) that are followed and have not died, as far as it was waited for."""
        return self._pidfds.keys()

    def follow(self, live: Iterable[Live]) -> None:
        """Follow exactly the processes of these journals, as far as pids mean something here."""
        self._journals, self._unseen = {}, set()
        for each in live:
            name = f"{each.journal}{SUFFIX}"
            if self._follows(each.header):
                self._journals.setdefault(who(each.header), set()).add(name)
            else:
                self._unseen.add(name)
        for gone in set(self._pidfds) - set(self._journals):
            self._forget(gone)

    def _follows(self, header: Header) -> bool:
        """Follow the process of a journal's header from now on, if that can be."""
        pid = header.get("pid")
        if who(header) in self._pidfds:
            return True
        if self._poll is None or not hasattr(os, "pidfd_open") or not isinstance(pid, int):
            return False
        try:
            fd = os.pidfd_open(pid)
        except (OSError, OverflowError):  # it is gone, or descriptors ran out: the sweep sees it
            return False
        # It is asked who lives only now: the number may have passed to a stranger meanwhile.
        if _is_among_the_last(fd) or not identity.alive(header):
            os.close(fd)
            return False
        self._pidfds[who(header)] = fd
        self._poll.register(fd, select.EPOLLIN)
        return True

    def _forget(self, process: Who) -> None:
        fd = self._pidfds.pop(process)
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
        dead = [each for each, fd in self._pidfds.items() if fd in ready] if ready else []
        for each in dead:
            self._forget(each)  # else the dead would wake us again and again until they are swept
            self._touched |= self._journals.pop(each, set())
        if self._reader in ready:
            os.read(self._reader, 4096)
        return bool(dead) or self._reader in ready

    def _welcome(self) -> None:
        if self._births is None or self._births.fd < 0:
            return
        names = self._births.names()
        self._all = self._all or names is None
        for name in names or ():
            if not name.endswith(SUFFIX):
                continue
            self._touched.add(name)
            header = header_at(f"{self._births.folder}/{name}")
            if header is not None and self._follows(header):
                self._journals.setdefault(who(header), set()).add(name)

    def wake(self) -> None:
        """From another thread or a signal handler: end the wait."""
        try:
            os.write(self._writer, b"x")
        except BlockingIOError:  # it is full of wake-ups already
            return

    def close(self) -> None:
        for each in list(self._pidfds):
            self._forget(each)
        if self._births is not None:
            self._births.close()
        if self._poll is not None:
            self._poll.close()
        os.close(self._reader)
        os.close(self._writer)


def _is_among_the_last(fd: int) -> bool:
    """Whether descriptors would run short: the kernel gives the lowest number that is free."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most != resource.RLIM_INFINITY and fd >= most - min(SPARE, most // 4)
