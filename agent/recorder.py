"""What happens in this process: runs begin, are found again, and end with the process."""

from __future__ import annotations

import atexit
import os
import sys
from _thread import get_ident
from contextvars import ContextVar
from time import time_ns

from .active import ActiveRun
from .secrets import clean, quote
from .tape import EXITED_LOSING, EXITED_LOSING_SUCCESS, emit, harmless, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

TAGS_LIMIT = 50  # of one run, of 100 characters each
_current: ContextVar[ActiveRun | None] = ContextVar("holter_run", default=None)
_tags: ContextVar[tuple[str, ...]] = ContextVar("holter_tags", default=())


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
    run = ActiveRun(kind, name, parent)
    record_start(run, head_of(kind, name) + facts, parameters, extras_of(run, tags, run_name, pending))
    return run


def record_start(run: ActiveRun, head: str, parameters: str, extras: str) -> None:
    """`start` for the drivers, which have their own guard and give `head` (from `head_of`) ready-made; `extras` are
    more fields (from `extras_of`)."""
    tree = run._tree
    if run.parent_id is not None and (run.parent_id is not tree.root_id or tree.said):
        head = f'{head}{tree.said},"parent":"{run.parent_id}"'
    if parameters:
        head = f'{head},"parameters":{parameters}'
    if run.parent_id is None:
        if process.cause:
            extras += _cause()
        if process.traceparent or "opentelemetry.trace" in sys.modules:
            extras += _trace()
    process.runs[run.id] = run  # before the event is written: a rotation meanwhile carries it over
    if run.kind != "task" and not process.signals:
        from .signals import watch

        process.signals = watch()
    emit(f'{{"event":"start","run":"{run.id}","at":{time_ns() // 1000}e-6{head}{extras}')


def _cause() -> str:
    """What started this process, as a field of its root runs; "" for what is no object."""
    from json import dumps, loads

    try:
        said = loads(process.cause[:4000])
    except (ValueError, RecursionError):  # a thousand brackets
        return ""
    return f',"cause":{dumps(said)}' if isinstance(said, dict) else ""


def _trace() -> str:
    """What its root runs are a part of, for whoever traces; "" where they are not."""
    from .tracing import parent

    said = parent(process.traceparent)
    return f',"traceparent":"{said}"' if said else ""


def extras_of(run: ActiveRun, tags: tuple[str, ...], run_name: str | None, pending: bool) -> str:
    """The fields of a start event that most runs do not have; sets them on the run as well."""
    extras = ""
    if (outer := _tags.get()) or tags:
        run.tags = tuple(dict.fromkeys(outer + tags))[:TAGS_LIMIT]
        extras += f',"tags":[{",".join(quote(clean(tag)[:100]) for tag in run.tags)}]'
    if run_name is not None:
        run.run_name = run_name
        extras += f',"run_name":{quote(clean(run_name)[:300])}'
    if pending:
        run.state = "PENDING"
        extras += ',"pending":true'
    return extras


def head_of(kind: str, name: str) -> str:
    """The part of a start event that is the same for every run of a function."""
    return f',"kind":"{kind}","name":{quote(name)}'


def current() -> ActiveRun | None:
    """The innermost run of this context; in a thread without one, the only root run of the process."""
    run = _current.get()
    return run if run is not None else sole_root()


def sole_root() -> ActiveRun | None:
    """The one root run that is open in this process, if there is just one: what a bare thread works for.

    Its own thread is no bare one: where the run is not current there, as between two steps of a generator, it is not
    meant."""
    found = None
    for run in tuple(process.runs.values()):
        if run.kind != "task" and (run.parent_id is None or run.parent_id == process.outer):
            if found is not None:
                return None
            found = run
    if found is None:
        return process.afar[0] if len(process.afar) == 1 else None
    return found if found.thread != get_ident() else None


def open_runs() -> list[ActiveRun]:
    """The runs of this process that have not ended, outermost first."""
    return list(process.runs.values())


@harmless
def error_of(error: BaseException) -> dict[str, Any]:
    """An exception as a record: `type, message, traceback` (without our own frames) and `fingerprint`."""
    try:
        from .failure import describe

        return describe(error)
    except (MemoryError, ImportError):
        # What failed holds all the memory, and there is none left to say where it did.
        return {"type": type(error).__qualname__, "message": "", "traceback": "", "fingerprint": ""}


def end_all(state: str, reason: str, signal: str | None = None) -> None:
    """End every open run of this process, innermost first."""
    for run in reversed(open_runs()):
        run.end(state, reason=reason, signal=signal)


@harmless
def _at_exit() -> None:
    finish("the interpreter exited while it was still running")
    if getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1"):
        _interrupt_again()


def finish(reason: str) -> None:
    """Open runs are ended for this reason, the journal is closed and shipped for a bounded time."""
    end_all("CRASHED", reason)
    if process.journal is None:
        return
    emit(f'{{"event":"close","at":{time_ns() // 1000}e-6')
    if process.waiting:
        lost = [line for line in process.waiting if line.startswith(b'{"event":"end"')]
        fine = all(b'"state":"COMPLETED"' in line for line in lost)
        os.fchmod(process.journal.fd, EXITED_LOSING_SUCCESS if fine else EXITED_LOSING)
    shipper, unfinished = process.shipper, process.runs
    # What still happens, in daemon threads and later exit functions, gets a new journal.
    process.forget(process.prefix)
    if shipper is not None:
        shipper.finish(unfinished)


def _interrupt_again() -> None:
    """Python ends a script that Ctrl-C ended by SIGINT, but forgets to once anything compiled a text after that, as
    every namedtuple does that is made while we ship: then the parent would see exit code 1."""
    try:
        exec("raise KeyboardInterrupt")  # noqa: S102 - it is what Python looks at
    except KeyboardInterrupt:
        return


def tagged(names: Iterable[str]) -> Any:
    """Add tags to every run that starts in this context; returns the token that `untag` takes."""
    return _tags.set(tuple(dict.fromkeys((*_tags.get(), *map(str, names)))))


def untag(mark: Any) -> None:
    _tags.reset(mark)


def _before_fork() -> None:
    """What the child works for, while it can be told: a pool's thread that replaces a worker has no run of its own."""
    global _forking
    _forking = current()


def _after_fork_in_child() -> None:
    _current.set(_forking)


_forking: ActiveRun | None = None
os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
