"""The tape of this process: one journal and one shipper, opened by the first event and never at import.

Everything above is called from the user's path, so every entry is `harmless`: an error of ours becomes one line on
stderr, and the job goes on. That decorator holds the only broad `except` of the whole user path.
"""

from __future__ import annotations

import os
import sys
from _thread import RLock
from errno import ENOSPC, ETIMEDOUT
from functools import wraps
from os import write
from zlib import crc32

from ..backends.clock import token
from ..backends.errors import RunTimeout
from . import identity, secrets
from .knobs import complain, knobs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    from ..backends.base import Backend
    from .active import ActiveRun
    from .journal import Journal
    from .knobs import Knobs
    from .shipper import Shipper

    P = ParamSpec("P")
    R = TypeVar("R")

VERSION = "0.1.0"
PARENT = "HOLTER_PARENT"  # environment variable by which `holter run` links what it starts to itself
CAUSE = "HOLTER_CAUSE"  # by which `holter rerun` and automations say why they started this process: JSON
ARGV_LIMIT = 100  # words of a command line
LINE_LIMIT = 64 * 1024  # bytes: only a larger write can be torn by a kill on a local file system
LOCK_SECONDS = 0.5  # that one thread waits for another to write
SYNCED_LOCK_SECONDS = 10.0  # where each of many threads waits for the disk
WAITING_LIMIT = 10_000  # state events held in memory while the disk is full
# Modes of a journal whose process exited in order but could not write its last events, because the disk was full:
# a mode needs no room on the disk. Whoever adopts the journal must not call those runs crashed.
EXITED_LOSING_SUCCESS = 0o700
EXITED_LOSING = 0o710


def harmless(function: Callable[P, R]) -> Callable[P, R | None]:
    """The one place where an error of ours is swallowed: it is said once on stderr, and the job goes on."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return function(*args, **kwargs)
        except RunTimeout:  # a flow's time was up while we wrote something down: that is no error of ours
            raise
        except Exception as error:  # noqa: BLE001 - recording never hurts the job
            try:
                what = function.__name__.strip("_").replace("_", " ")
                complain(f"{what}: {type(error).__name__}: {error}; the job goes on")
            except RecursionError:  # the job has used up the stack, and will hear of it
                pass
            return None

    return guarded


class _Process:
    """What this process records into.

    `runs` are the open runs by id; `waiting` are state events that the disk refused and that go out with the next
    write; `lock` orders the threads that are not on the fast path; `outer` is the run of `holter run` that this process
    belongs to, or ""; `afar` are stand-ins for the runs of other processes that it works for; `cause` is what CAUSE
    says, `traceparent` what TRACEPARENT says; `prefix` goes into the ids that a forked child makes. `fd` is where an
    event goes at once: -1 while there is no journal yet, while something waits, or where recording is off.
    """

    __slots__ = (
        "afar",
        "cause",
        "fd",
        "journal",
        "lock",
        "off",
        "outer",
        "prefix",
        "runs",
        "shipper",
        "signals",
        "traceparent",
        "waiting",
    )

    def __init__(self) -> None:
        self.forget()

    def forget(self, prefix: str = "") -> None:
        """Begin anew, as a process that has recorded nothing."""
        self.fd = -1
        self.lock = RLock()
        self.journal: Journal | None = None
        self.shipper: Shipper | None = None
        self.off = False
        self.outer = _outer_run()
        self.cause = os.environ.get(CAUSE, "")
        self.traceparent = os.environ.get("TRACEPARENT", "")
        self.prefix = prefix
        self.runs: dict[str, ActiveRun] = {}
        self.afar: list[ActiveRun] = []
        self.waiting: list[bytes] = []
        self.signals = False


def _outer_run() -> str:
    """The run that `holter run` made for the command that this process is, or ""."""
    outer = os.environ.get(PARENT, "")
    return outer if outer.replace(".", "").replace("-", "").isalnum() and len(outer) <= 80 else ""


process = _Process()


def emit(body: str, keep: bool = True) -> None:
    """Seal and write one event. `keep` holds it back for the next write where the disk refuses it."""
    data = body.encode()
    line = b'%b,"c":"%08x"}\n' % (data, crc32(data))
    fd = process.fd
    if fd < 0 or len(line) > LINE_LIMIT:
        return _emit_slowly(line, keep)
    try:
        if write(fd, line) == len(line):
            return
        error = OSError(ENOSPC, os.strerror(ENOSPC))
        process.journal.torn = True  # type: ignore[union-attr]
    except RunTimeout:  # an OSError that is none: it was set on this thread and met it here
        raise
    except OSError as refused:
        error = refused
    _hold_back(line, keep, error)


def _emit_slowly(line: bytes, keep: bool) -> None:
    """The first event of a process, one after the disk was full, or one that is too large."""
    if len(line) > LINE_LIMIT:
        line = _smaller(line)
    # Threads that begin together must neither open a journal each nor write what waits twice. Not for ever: a signal
    # handler may stand in the way of whoever holds the lock.
    lock, journal = process.lock, process.journal
    durable = knobs().durability == "host" if journal is None else journal.durable
    if not lock.acquire(timeout=SYNCED_LOCK_SECONDS if durable else LOCK_SECONDS):
        return _hold_back(line, keep, OSError(ETIMEDOUT, "another thread is still writing"))
    try:
        _emit_in_turn(line, keep)
    finally:
        lock.release()


def _emit_in_turn(line: bytes, keep: bool) -> None:
    if process.journal is None and not process.off:
        process.journal = _open()
    if process.journal is None:
        return
    written = False
    try:
        _write_waiting(process.journal)
        process.journal.write(line, keep)
        written = True
        _write_waiting(process.journal)  # of threads that did not wait for us any longer
    except RunTimeout:
        raise
    except OSError as error:
        return _hold_back(line, keep and not written, error)
    if not process.journal.durable:  # there every event comes this way
        process.fd = process.journal.fd


def _write_waiting(journal: Journal) -> None:
    """Others may add to what waits meanwhile, at its end; only who holds the lock takes away, at its beginning."""
    while process.waiting:
        line = process.waiting.pop(0)
        try:
            journal.write(line, keep=True)
        except BaseException:
            process.waiting.insert(0, line)
            raise


def _smaller(line: bytes) -> bytes:
    """A too large event without its largest fields: half of it is better than a run without end."""
    from json import dumps, loads

    from ..backends.lines import encode

    event = loads(line)
    del event["c"]
    while len(line) > LINE_LIMIT:
        del event[max(event, key=lambda field: len(dumps(event[field])))]
        line = encode(event)
    return line


def _hold_back(line: bytes, keep: bool, error: OSError) -> None:
    process.fd = -1
    if keep and len(process.waiting) < WAITING_LIMIT:
        process.waiting.append(line)
    complain(f"cannot write to {process.journal and process.journal.path}: {error.strerror}")


def _open() -> Journal | None:
    """Open this process's journal and start its shipper; where that cannot be, recording is off for the process."""
    from .journal import Journal
    from .shared_home import is_guest, project_in
    from .shipper import Shipper

    settings = knobs()
    if settings.backend.startswith("off:"):
        process.off = True
        return None
    secrets.use_patterns(settings.redact)
    try:
        os.makedirs(settings.home, mode=0o700, exist_ok=True)
        project = project_in(settings.home, settings.project)
        said = header(settings.home, project, settings.backend, settings.heartbeat)
        if settings.durability == "host":
            said["durability"] = "host"
        journal = Journal(f"{settings.home}/journals", said)
    except OSError as error:
        process.off = True
        complain(
            f"not recording, cannot write to {settings.home}: {error.strerror} (set HOLTER_HOME to a writable folder)"
        )
        return None
    runs = process.runs
    guest = is_guest(settings.home)  # the watchdog ships what we write
    store = None if guest else lambda: _open_store(settings)
    process.shipper = Shipper(journal, settings.heartbeat, store, lambda: list(runs))
    try:
        process.shipper.start()
    except RuntimeError:  # no thread to be had: the journal is shipped by the next `holter` command
        pass
    return journal


def header(home: str, project: str, backend: str, heartbeat: float) -> dict[str, Any]:
    """What a journal of this process says first: who it is, what it runs, under the seal of `home`, and which store
    it is for."""
    from ..backends.urls import redacted
    from .host_seal import seal_of

    script = sys.argv[0] if sys.argv and os.path.isfile(sys.argv[0]) else None
    who = {
        **identity.me(),
        "argv": secrets.command_line(list(getattr(sys, "orig_argv", sys.argv)))[:ARGV_LIMIT],
        "cwd": cwd(),
    }
    return {
        **who,
        "seal": seal_of(home, who),
        "code": identity.code_of(script),
        "project": project,
        "store": redacted(backend),
        "heartbeat": heartbeat,
        "holter": VERSION,
    }


def cwd() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # the folder was removed under the job
        return None


def _open_store(settings: Knobs) -> Backend:
    from ..backends.urls import open_backend

    return open_backend(settings.backend, settings.home, timeout=None)


def _after_fork_in_child() -> None:
    """The child lets go of the parent's journal and opens its own on first use; it ends none of its parent's runs."""
    if process.journal is not None:
        process.journal.let_go()
    for run in process.runs.values():
        run.inherited = True
    process.forget(prefix=f"{token(8)}-")


os.register_at_fork(after_in_child=_after_fork_in_child)
