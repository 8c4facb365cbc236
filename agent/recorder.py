"""What happens in this process, written down as it happens.

One journal and one shipper per process, opened by the first run and never at import. Every function here is called
from the user's path, so every one of them is `harmless`: an error inside becomes one line on stderr, and the job
goes on. That decorator holds the only broad `except` of the whole user path.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from contextvars import ContextVar
from errno import ENOSPC
from functools import wraps
from os import write
from resource import getrusage
from time import perf_counter_ns, process_time, time_ns
from zlib import crc32

from ..backends.clock import new_id, root_of, token
from . import identity, redact
from .knobs import complain, knobs
from .redact import clean, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, ParamSpec, TypeVar

    from ..backends.base import Backend
    from .journal import Journal
    from .shipper import Shipper

    P = ParamSpec("P")
    R = TypeVar("R")

VERSION = "0.1.0"
PARENT = "HOLTER_PARENT"  # environment variable by which `holter run` links what it starts to itself
CHUNK = 32 * 1024  # characters of one log event
MESSAGE_LIMIT = 2**20  # characters of one message; the middle of a longer one is left out and counted
LINE_LIMIT = 64 * 1024  # bytes: only a larger write can be torn by a kill on a local file system
BODY_LIMIT = LINE_LIMIT - 1024
WAITING_LIMIT = 10_000  # state events held in memory while the disk is full
# Modes of a journal whose process exited in order but could not write its last events, because the disk was full:
# a mode needs no room on the disk. Whoever adopts the journal must not call those runs crashed.
EXITED_LOSING_SUCCESS = 0o700
EXITED_LOSING = 0o710

_current: ContextVar[ActiveRun | None] = ContextVar("holter_run", default=None)
_tags: ContextVar[tuple[str, ...]] = ContextVar("holter_tags", default=())


class _Process:
    """What this process records into. `runs` are the open runs by id; `waiting` are state events that the disk
    refused and that go out with the next write. `outer` is the run of `holter run` that this process belongs to. `fd` is where an event goes at once: -1 while there is no journal yet,
    while something waits, or where recording is off."""

    __slots__ = ("fd", "journal", "off", "outer", "prefix", "runs", "shipper", "signals", "waiting")

    def __init__(self, prefix: str = "") -> None:
        self.fd = -1
        self.journal: Journal | None = None
        self.shipper: Shipper | None = None
        self.off = False
        self.outer = _outer_run()
        self.prefix = prefix
        self.runs: dict[str, ActiveRun] = {}
        self.waiting: list[bytes] = []
        self.signals = False


def _outer_run() -> str:
    """The run that `holter run` made for the command that this process is, or ""."""
    outer = os.environ.get(PARENT, "")
    return outer if outer.replace(".", "").replace("-", "").isalnum() and len(outer) <= 80 else ""


_process = _Process()


def harmless(function: Callable[P, R]) -> Callable[P, R | None]:
    """The one place where an error of ours is swallowed: it is said once on stderr, and the job goes on."""

    @wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            complain(f"{function.__name__}: {type(error).__name__}: {error}; the job goes on")
            return None

    return guarded


class _Tree:
    """A root run's ids: children are `<root>.<n>`, in another process `<root>.<token>-<n>`."""

    __slots__ = ("count", "prefix", "root_id")

    def __init__(self, root_id: str, prefix: str) -> None:
        self.root_id = root_id
        self.prefix = prefix
        self.count = 0


class ActiveRun:
    """A run of this process while it lives: `id`, `root_id`, `parent_id`, `kind`, `name`, `run_name`, `tags`,
    `state`, `attempt` (1..), after its end `error` (as recorded, or None), and `dropped` (log lines left out).
    `partial` is what `print(..., end="")` has said of a line that is not complete."""

    # Class attributes, not slots: a step that needs none of these does not pay for setting them.
    run_name: str | None = None
    tags: tuple[str, ...] = ()
    state = "RUNNING"
    attempt = 1
    dropped = 0
    partial = ""
    error: dict[str, Any] | None = None
    id: str
    parent_id: str | None
    log_prints: bool
    log_records: bool
    _tree: _Tree
    _cpu = 0.0
    _progress_at = 0.0

    def __init__(self, kind: str, name: str, parent: ActiveRun | None) -> None:
        self.kind = kind
        self.name = name
        if parent is not None:
            self.parent_id = parent.id
            self.log_prints = parent.log_prints
            self.log_records = parent.log_records
            self._tree = tree = parent._tree
            tree.count = number = tree.count + 1
            self.id = f"{tree.root_id}.{_process.prefix or tree.prefix}{number}"
        else:
            self._become_root()
        self._began = perf_counter_ns()

    def _become_root(self) -> None:
        self.log_prints = self.log_records = False
        self.parent_id = outer = _process.outer or None
        self._cpu = process_time()
        if outer is None:
            self.id = new_id()
            self._tree = _Tree(self.id, "")
        else:
            self._tree = _Tree(root_of(outer), f"{token(8)}-")
            self._tree.count = 1
            self.id = f"{self._tree.root_id}.{self._tree.prefix}1"

    @property
    def root_id(self) -> str:
        return self._tree.root_id

    # --- events ---

    @harmless
    def try_again(self, attempt: int) -> None:
        """Attempt number `attempt` begins (1: a run that was PENDING starts)."""
        self.attempt = attempt
        self.state = "RUNNING"
        if attempt == 1:
            self._began = perf_counter_ns()
        _emit(f'{{"event":"attempt","run":"{self.id}","at":{time_ns() // 1000}e-6,"attempt":{attempt}')

    @harmless
    def retry(self, error: dict[str, Any] | None, delay: float, reason: str | None = None) -> None:
        """The current attempt failed; the next one begins after `delay` seconds."""
        from json import dumps

        self.state = "RETRYING"
        _emit(
            f'{{"event":"retry","run":"{self.id}","at":{time_ns() // 1000}e-6,"attempt":{self.attempt},"delay":{delay:.6f}'
            f',"reason":{dumps(reason)},"error":{dumps(error)}'
        )

    @harmless
    def end(
        self,
        state: str,
        result: Any = None,
        *,
        error: dict[str, Any] | None = None,
        reason: str | None = None,
        exit_code: int | None = None,
        signal: str | None = None,
        usage: dict[str, Any] | None = None,
    ) -> None:
        """The run's one ending. A second call says nothing: a finished run never changes its ending."""
        if _process.runs.pop(self.id, None) is None:
            return
        micros = (perf_counter_ns() - self._began) // 1000
        if self.partial:
            self.log(self.partial, stream="print")
        if self.dropped:
            self.drop(self.dropped, 0)
        self.state = state
        body = f'{{"event":"end","run":"{self.id}","at":{time_ns() // 1000}e-6,"state":"{state}","seconds":{micros}e-6'
        if result is not None:
            body += f',"result":{redact.preview(result)}'
        if reason is not None:
            body += f',"reason":{quote(clean(reason)[:2000])}'
        if error is not None or exit_code is not None or usage is not None or signal is not None:
            self.error = error
            body += _details(error, exit_code, signal, usage)
        if self._cpu and usage is None:
            body += _usage_since(self._cpu)
        _emit(body)

    @harmless
    def log(self, text: str, level: str = "INFO", stream: str = "log", at: float | None = None) -> None:
        """Record a message. It is cleaned of secrets; one of more than MESSAGE_LIMIT characters loses its middle."""
        if _process.shipper is not None and _process.shipper.behind:
            self.dropped += 1
            return
        left_out = len(text) - MESSAGE_LIMIT
        if left_out > 0:
            half = MESSAGE_LIMIT // 2
            text = f"{text[:half]}\n... {left_out} characters left out ...\n{text[-half:]}"
        text = clean(text)
        when = f"{time_ns() // 1000}e-6" if at is None else f"{at:.6f}"
        when = f"{time_ns() // 1000}e-6" if at is None else f"{at:.6f}"
        head = (
            f'{{"event":"log","run":"{self.id}","at":{when},'
            f'"level":{quote(level)},"stream":{quote(stream)},"text":'
        )
        for start in range(0, len(text) or 1, CHUNK):
            quoted = quote(text[start : start + CHUNK])
            if len(quoted) > BODY_LIMIT:  # every character escaped: in four parts it fits
                for part in range(start, min(start + CHUNK, len(text)), CHUNK // 8):
                    _emit(head + quote(text[part : min(part + CHUNK // 8, start + CHUNK)]), keep=False)
            else:
                _emit(head + quoted, keep=False)
        if left_out > 0:
            self.drop(1, left_out)

    @harmless
    def drop(self, lines: int, size: int) -> None:
        """Record that `lines` log lines, `size` bytes, were left out."""
        _emit(f'{{"event":"drop","run":"{self.id}","at":{time_ns() // 1000}e-6,"lines":{lines},"bytes":{size}')

    @harmless
    def progress(self, done: float, total: float | None = None, text: str | None = None) -> None:
        """Say how far the run is. Written at most five times a second, and always when done reaches total."""
        now = time.monotonic()
        if now - self._progress_at < 0.2 and done != total:
            return
        self._progress_at = now
        shown = "null" if text is None else quote(clean(text)[:200])
        _emit(
            f'{{"event":"progress","run":"{self.id}","at":{time_ns() // 1000}e-6,"done":{redact.preview(done)}'
            f',"total":{redact.preview(total)},"text":{shown}'
        )

    @harmless
    def artifact(self, key: str, kind: str, data: Any, description: str | None = None) -> None:
        """Attach something to look at. `data` is JSON; what does not fit a line is cut and says so."""
        from json import dumps

        shown = clean(dumps(data, default=str))
        if len(shown) > BODY_LIMIT - 2000:
            shown = dumps({"cut": shown[: BODY_LIMIT // 2], "bytes": len(shown)})
        _emit(
            f'{{"event":"artifact","run":"{self.id}","at":{time_ns() // 1000}e-6,"key":{quote(key[:200])}'
            f',"type":{quote(kind)},"description":{dumps(description and clean(description)[:500])},"data":{shown}'
        )

    @harmless
    def slot(self, limit: str, occupy: int, waited: float, held: float | None = None) -> None:
        """Slots of `limit` were waited for and held, both in seconds."""
        shown = "null" if held is None else f"{held:.6f}"
        _emit(
            f'{{"event":"slot","run":"{self.id}","at":{time_ns() // 1000}e-6,"limit":{quote(limit)},"occupy":{occupy}'
            f',"waited":{waited:.6f},"held":{shown}'
        )


# Times are written as whole microseconds with an exponent (1795413582123456e-6): a JSON number like any other, and
# 0.2 us cheaper than a formatted float, of which a step has three.

# --- starting and finding runs -------------------------------------------------------------------------------


@harmless
def start(
    kind: str,
    name: str,
    *,
    parent: ActiveRun | None = None,
    facts: str = "",
    run_name: str | None = None,
    parameters: str = "",
    tags: tuple[str, ...] = (),
    pending: bool = False,
) -> ActiveRun:
    """Record that a run begins. `facts` and `parameters` are JSON texts, made by the caller: `,"check":{...}` and the
    like, and `{"name":value}`."""
    return record_start(kind, name, parent, head_of(kind, name) + facts, parameters, tags, run_name, pending)


def record_start(
    kind: str,
    name: str,
    parent: ActiveRun | None,
    head: str,
    parameters: str,
    tags: tuple[str, ...],
    run_name: str | None,
    pending: bool,
) -> ActiveRun:
    """`start` for the drivers, which have their own guard and give `head` (from `head_of`) ready-made."""
    run = ActiveRun(kind, name, parent)
    body = f'{{"event":"start","run":"{run.id}","at":{time_ns() // 1000}e-6{head}'
    if run.parent_id is not None:
        body += f',"parent":"{run.parent_id}"'
    if parameters:
        body += f',"parameters":{parameters}'
    if (extra := _tags.get()) or tags:
        run.tags = tuple(dict.fromkeys(extra + tags))
        body += f',"tags":[{",".join(map(quote, run.tags))}]'
    if run_name is not None:
        run.run_name = run_name
        body += f',"run_name":{quote(clean(run_name)[:300])}'
    if pending:
        run.state = "PENDING"
        body += ',"pending":true'
    _process.runs[run.id] = run  # before the event is written: a rotation meanwhile carries it over
    if kind != "task" and not _process.signals:
        _process.signals = True
        from .signals import watch

        watch()
    _emit(body)
    return run


def head_of(kind: str, name: str) -> str:
    """The part of a start event that is the same for every run of a function."""
    return f',"kind":"{kind}","name":{quote(name)}'


def current() -> ActiveRun | None:
    """The innermost run of this context; in a thread without one, the only root run of the process."""
    run = _current.get()
    return run if run is not None else sole_root()


def sole_root() -> ActiveRun | None:
    """The one root run that is open in this process, if there is just one: what a bare thread works for."""
    found = None
    for run in tuple(_process.runs.values()):
        if run.kind != "task" and (run.parent_id is None or run.parent_id == _process.outer):
            if found is not None:
                return None
            found = run
    return found


def open_runs() -> list[ActiveRun]:
    """The runs of this process that have not ended, outermost first."""
    return list(_process.runs.values())


@harmless
def error_of(error: BaseException) -> dict[str, Any]:
    """An exception as a record: `type, message, traceback` (without our own frames) and `fingerprint`."""
    from .failure import describe

    return describe(error)


def end_all(state: str, reason: str, signal: str | None = None) -> None:
    """End every open run of this process, innermost first."""
    for run in reversed(open_runs()):
        run.end(state, reason=reason, signal=signal)


# --- the journal ---------------------------------------------------------------------------------------------


def _emit(body: str, keep: bool = True) -> None:
    """Seal and write one event. `keep` holds it back for the next write where the disk refuses it."""
    data = body.encode()
    line = b'%b,"c":"%08x"}\n' % (data, crc32(data))
    fd = _process.fd
    if fd < 0 or len(line) > LINE_LIMIT:
        return _emit_slowly(line, keep)
    try:
        if write(fd, line) == len(line):
            return
        error = OSError(ENOSPC, os.strerror(ENOSPC))
        _process.journal.torn = True  # type: ignore[union-attr]
    except OSError as refused:
        error = refused
    _hold_back(line, keep, error)


def _emit_slowly(line: bytes, keep: bool) -> None:
    """The first event of a process, one after the disk was full, or one that is too large."""
    process = _process
    if process.journal is None and not process.off:
        process.journal = _open()
    if process.journal is None:
        return
    if len(line) > LINE_LIMIT:
        return complain("an event of more than 64 KiB was left out")
    try:
        for each in (*process.waiting, line):
            process.journal.write(each)
            if process.waiting:
                del process.waiting[0]
    except OSError as error:
        return _hold_back(line, keep, error)
    process.fd = process.journal.fd


def _hold_back(line: bytes, keep: bool, error: OSError) -> None:
    process = _process
    process.fd = -1
    if keep and len(process.waiting) < WAITING_LIMIT:
        process.waiting.append(line)
    complain(f"cannot write to {process.journal and process.journal.path}: {error.strerror}")


def _open() -> Journal | None:
    """Open this process's journal and start its shipper; where that cannot be, recording is off for the process."""
    from .journal import Journal
    from .shipper import Shipper

    settings = knobs()
    if settings.backend.startswith("off:"):
        _process.off = True
        return None
    redact.use_patterns(settings.redact)
    try:
        os.makedirs(settings.home, mode=0o700, exist_ok=True)
        journal = Journal(f"{settings.home}/journals", header(settings.project, settings.backend, settings.heartbeat))
    except OSError as error:
        _process.off = True
        complain(f"not recording, cannot write to {settings.home}: {error.strerror} (set HOLTER_HOME to a writable folder)")
        return None
    _process.shipper = Shipper(journal, settings.heartbeat, _open_store, lambda: list(_process.runs))
    try:
        _process.shipper.start()
    except RuntimeError:  # no thread to be had: the journal is shipped by the next `holter` command
        pass
    return journal


def header(project: str, backend: str, heartbeat: float) -> dict[str, Any]:
    """What a journal of this process says first: who it is, what it runs, and which store it is for."""
    from ..backends.urls import redacted

    script = sys.argv[0] if sys.argv and os.path.isfile(sys.argv[0]) else None
    return {
        **identity.me(),
        "argv": redact.command_line(list(getattr(sys, "orig_argv", sys.argv)))[:100],
        "cwd": _cwd(),
        "code": identity.code_of(script),
        "project": project,
        "store": redacted(backend),
        "heartbeat": heartbeat,
        "holter": VERSION,
    }


def _cwd() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # the folder was removed under the job
        return None


def _open_store() -> Backend:
    from ..backends.urls import open_backend

    settings = knobs()
    return open_backend(settings.backend, settings.home, timeout=None)


def _details(
    error: dict[str, Any] | None, exit_code: int | None, signal: str | None, usage: dict[str, Any] | None
) -> str:
    from json import dumps

    found = {"error": error, "exit_code": exit_code, "signal": signal, "usage": usage}
    return "".join(f',"{key}":{dumps(value)}' for key, value in found.items() if value is not None)


def _usage_since(cpu: float) -> str:
    used = getrusage(0)  # RUSAGE_SELF
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return f',"usage":{{"cpu_seconds":{used.ru_utime + used.ru_stime - cpu:.6f},"max_rss_bytes":{peak}}}'


@harmless
def _at_exit() -> None:
    """The interpreter ends: open runs are ended, the journal is closed and shipped for a bounded time."""
    end_all("CRASHED", "the interpreter exited while it was still running")
    process = _process
    if process.journal is None:
        return
    _emit(f'{{"event":"close","at":{time_ns() // 1000}e-6')
    if process.waiting:
        lost = [line for line in process.waiting if line.startswith(b'{"event":"end"')]
        fine = all(b'"state":"COMPLETED"' in line for line in lost)
        os.fchmod(process.journal.fd, EXITED_LOSING_SUCCESS if fine else EXITED_LOSING)
    if process.shipper is not None:
        process.shipper.finish()


def _after_fork_in_child() -> None:
    """The child lets go of the parent's journal and opens its own on first use; it ends none of its parent's runs."""
    global _process
    if _process.journal is not None:
        _process.journal.let_go()
    _process = _Process(prefix=f"{token(8)}-")


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)


def tagged(names: Iterable[str]) -> Any:
    """Add tags to every run that starts in this context; returns the token that `untag` takes."""
    return _tags.set(tuple(dict.fromkeys((*_tags.get(), *names))))


def untag(mark: Any) -> None:
    _tags.reset(mark)
