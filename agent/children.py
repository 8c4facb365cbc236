"""A command as a child process: started in a session of its own, heard until it ends, ended with all it started.

The child stays a zombie until `reap`, so that its number, which is also its group's, cannot pass to a stranger while
we may still signal it.

Not guaranteed: outside Linux a process that left the group (`setsid`) survives the kill. What the command left behind
when it ended by itself is left alone, but its output is heard for SILENCE seconds only, and then its pipe is closed.
"""

from __future__ import annotations

import os
import signal
import sys
from errno import ENOENT, ENOEXEC
from fcntl import fcntl
from selectors import EVENT_READ, DefaultSelector

from ..backends.clock import SYSTEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

READ = 128 * 1024
SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux: fewer, larger reads
SILENCE = 0.5  # seconds without a word from whoever kept the pipe open after the command ended
LAST_WORDS = 2.0  # seconds that such a process is heard at most
GRACE = 5.0  # seconds from SIGTERM to SIGKILL
TICK = 0.05
SWEEP = 2.0  # seconds in which everything that got SIGKILL has to be gone


class Child:
    """A running command. `code` is None while it runs, then its exit code, or minus the signal that ended it.
    `timed_out` is true once the deadline of `limit` has passed."""

    def __init__(self, argv: list[str], environ: dict[str, str], *, adopt: bool = False) -> None:
        """Start it, with our stdin; `adopt` (Linux) lets `reap` find also what left its group.

        Raises FileNotFoundError, or another OSError where it cannot be executed.
        """
        self.code: int | None = None
        self._strangers = _adopt_orphans() if adopt else None
        self.timed_out = False
        self._killed = False
        self._grace = GRACE
        self._warned: set[int] = set()
        out, its_out = _pipe()
        err, its_err = _pipe()
        self._pipes = {out: "stdout", err: "stderr"}
        try:
            self.pid = _spawn(
                argv, environ, [(os.POSIX_SPAWN_DUP2, its_out, 1), (os.POSIX_SPAWN_DUP2, its_err, 2)]
            )
        except BaseException:
            self._close()
            raise
        finally:
            os.close(its_out)
            os.close(its_err)

    def send(self, number: int) -> None:
        """Send a signal to the command's whole group. Not after `reap`."""
        try:
            os.killpg(self.pid, number)
        except OSError:  # all of it has ended, or runs as somebody else by now
            return

    def limit(self, seconds: float, grace: float = GRACE) -> None:
        """End it after `seconds`: SIGTERM to the group, and after `grace` more seconds SIGKILL.

        By SIGALRM, which also arrives while we are stuck in a write to a reader that does not read.
        """
        self._grace = grace
        signal.signal(signal.SIGALRM, self._on_alarm)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def _on_alarm(self, number: int, frame: Any) -> None:
        if self.timed_out:
            self._killed = True
            self.send(signal.SIGKILL)
        elif not self._has_ended():
            self.timed_out = True
            self.send(signal.SIGTERM)
            signal.setitimer(signal.ITIMER_REAL, self._grace)

    def listen(self, heard: Callable[[str, bytes], None], wake: int) -> None:
        """Call `heard(stream, data)` for what it says, until it has ended and said all.

        `wake` is a non-blocking descriptor that becomes readable on SIGCHLD. Whoever the command left behind with its
        pipe is heard a little longer; after a time-out they are waited for until the grace is over.
        """
        ended = spoke = SYSTEM.monotonic()
        with DefaultSelector() as selector:
            for fd in (*self._pipes, wake):
                selector.register(fd, EVENT_READ)
            while True:
                for key, _ in selector.select(None if self.code is None else TICK):
                    data = os.read(key.fd, READ)
                    if key.fd == wake:
                        self._bury_orphans()
                    elif data:
                        heard(self._pipes[key.fd], data)
                        spoke = SYSTEM.monotonic()
                    else:
                        selector.unregister(key.fd)
                now = SYSTEM.monotonic()
                if self.code is None:
                    ended = now
                if self._has_ended():
                    silent = now - max(ended, spoke) > SILENCE or now - ended > LAST_WORDS
                    if (silent or len(selector.get_map()) == 1) and not self._awaits_family():
                        break
            # Time passes for who is stopped, too: what was said meanwhile waits in the pipe.
            for key, _ in selector.select(0):
                if key.fd != wake and (data := os.read(key.fd, READ)):
                    heard(self._pipes[key.fd], data)

    def _has_ended(self) -> bool:
        """Look without reaping."""
        if self.code is None:
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                self.code = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        return self.code is not None

    def _bury_orphans(self) -> None:
        """Reap children of ours that we did not start: an adopted orphan, or all of them where we are process 1."""
        while (
            found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        ) and found.si_pid != self.pid:
            os.waitpid(found.si_pid, 0)
            if self._strangers is not None:
                self._strangers.discard(found.si_pid)

    def _awaits_family(self) -> bool:
        """After a time-out: whether somebody is left. An orphan from outside the group hears of it here."""
        if not self.timed_out or self._killed:
            return False
        group, orphans = self._left()
        for pid in orphans - group - self._warned:
            self._warned.add(pid)
            os.kill(pid, signal.SIGTERM)
        return bool(group or orphans)

    def _left(self) -> tuple[set[int], set[int]]:
        """The living of the group, and the living orphans that became ours: their numbers stay theirs until we reap
        them, so they can be signalled."""
        group, orphans = set(), set()
        for pid, parent, its_group in _living():
            if its_group == self.pid:
                group.add(pid)
            if self._strangers is not None and parent == os.getpid() and pid not in self._strangers:
                orphans.add(pid)
        return group, orphans

    def reap(self, *, kill: bool) -> dict[str, float]:
        """Let go of it after it has ended; with `kill`, end whatever it left behind.

        Returns what it used: `cpu_seconds` (user and system, with the children that it waited for) and
        `max_rss_bytes` (of the largest of them; Linux counts from our own size at its start, some 20 MB).
        """
        signal.setitimer(signal.ITIMER_REAL, 0)
        if kill:
            self._sweep()
        _, _, usage = os.wait4(self.pid, 0)
        self._close()
        peak = usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024
        return {"cpu_seconds": round(usage.ru_utime + usage.ru_stime, 6), "max_rss_bytes": peak}

    def _sweep(self) -> None:
        """SIGKILL to the group, and to each orphan that becomes ours when its parent dies, until there is none."""
        until = SYSTEM.monotonic() + SWEEP
        self.send(signal.SIGKILL)
        while any(left := self._left()) and SYSTEM.monotonic() < until:
            for pid in left[1]:
                os.kill(pid, signal.SIGKILL)
            SYSTEM.sleep(0.005)

    def _close(self) -> None:
        for fd in self._pipes:
            os.close(fd)


def _adopt_orphans() -> set[int] | None:
    """Become the parent of every descendant whose own parent dies. Returns the children that we have already (by an
    `exec` in a shell with background jobs) and that are not to be ended; None where the system cannot do it."""
    if not sys.platform.startswith("linux"):
        return None
    from ctypes import CDLL

    if CDLL(None).prctl(36, 1, 0, 0, 0) != 0:  # PR_SET_CHILD_SUBREAPER
        return None
    return {pid for pid, parent, _ in _living() if parent == os.getpid()}


def _living() -> Iterator[tuple[int, int, int]]:
    """Pid, parent and process group of every process that is no zombie; nothing where there is no /proc."""
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    stat = file.read()
            except OSError:  # it ended meanwhile
                continue
            state, parent, group = stat[stat.rfind(b")") + 2 :].split(None, 3)[:3]
            if state not in b"ZX":
                yield int(name), int(parent), int(group)


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    try:
        fcntl(read, SET_PIPE_SIZE, READ)
    except OSError:  # not Linux, or this user's pipes take too much memory already
        pass
    return read, write


def _spawn(argv: list[str], environ: dict[str, str], actions: list[tuple[int, int, int]]) -> int:
    """Find the command on the PATH of `environ` as a shell does, and start it."""
    name = argv[0]
    paths = [name] if "/" in name else [f"{folder or '.'}/{name}" for folder in os.get_exec_path(environ)]
    refused: OSError = FileNotFoundError(ENOENT, os.strerror(ENOENT), name)
    for path in paths:
        try:
            return _start(path, argv, environ, actions)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            refused = error
        except OSError as error:
            if error.errno != ENOEXEC:
                raise
            return _start("/bin/sh", ["/bin/sh", path, *argv[1:]], environ, actions)  # a script without #!
    raise refused


def _start(path: str, argv: list[str], environ: dict[str, str], actions: list[tuple[int, int, int]]) -> int:
    # Python ignores SIGPIPE, and what is ignored stays so over exec: `cmd | head` inside the command would not end.
    defaults = [signal.SIGPIPE, signal.SIGXFSZ]
    return os.posix_spawn(path, argv, environ, file_actions=actions, setsid=True, setsigdef=defaults)
