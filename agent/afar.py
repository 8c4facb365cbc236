"""A run as seen from another process: what a task there has to know to be a part of it.

The stand-in is no run of that process: it is in no list, so nothing there ends it, carries it on or beats for it, and
the death of that process is none of its business.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from typing import Any

from ..backends.clock import root_of, token
from . import identity, recorder, secrets, signals
from .active import ActiveRun, Tree
from .engine import listen
from .knobs import configure, knobs
from .tape import harmless, process

Sender = dict[str, Any]
_SHARED = ("project", "backend", "heartbeat", "redact", "limits")  # with a process of the same host
_shipped_at_exit = False


def sender(data: bytes) -> Sender:
    """Who sends `data`: the current run, and the settings of this process."""
    run, settings = recorder.current(), knobs()
    off = {"backend": "off:"} if process.off else {}
    return {
        "run": None if run is None else run.id,
        "kind": run and run.kind,
        "name": run and run.name,
        "log_prints": bool(run and run.log_prints),
        "log_records": bool(run and run.log_records),
        "tags": recorder._tags.get(),
        "place": _place(),
        "pid": os.getpid(),
        "home": settings.home,
        "settings": {name: getattr(settings, name) for name in _SHARED} | off,
        "secrets": secrets.known_in(data),
    }


@contextmanager
def part_of(sent_by: Sender) -> Iterator[None]:
    """Inside, tasks belong to the sender's run, are tagged like it, and keep what they print where it does."""
    _move_in(sent_by)
    run = process.runs.get(sent_by["run"]) or _stand_in(sent_by)
    before = recorder._current.set(run), recorder._tags.set(tuple(sent_by["tags"]))
    if run is not None:
        process.afar.append(run)
    try:
        with ExitStack() as stack:
            if run is not None:
                listen(run, stack)
            yield
    finally:
        if run is not None:
            process.afar.remove(run)
        recorder._current.reset(before[0])
        recorder._tags.reset(before[1])


def _stand_in(sent_by: Sender) -> ActiveRun | None:
    if sent_by["run"] is None:
        return None
    run = ActiveRun.__new__(ActiveRun)
    run.id, run.kind, run.name = sent_by["run"], sent_by["kind"], sent_by["name"]
    run.parent_id, run.inherited, run.thread = None, True, 0
    run.log_prints, run.log_records = sent_by["log_prints"], sent_by["log_records"]
    run.tags = tuple(sent_by["tags"])
    run._tree = tree = Tree(root_of(run.id), _prefix())
    tree.next = _next
    project = sent_by["settings"]["project"]
    if project != knobs().project:
        tree.said = f',"project":{secrets.quote(project)}'
    return run


def _next() -> str:
    """No number of a tree: a forked worker may have inherited one of the same root."""
    return f"f{_numbers()}"


_numbers = count(1).__next__  # of all that this process does for others


def _prefix() -> str:
    """Of the ids that this process makes. (A forked one has it already, and it wins.)"""
    global _own_prefix
    if not _own_prefix:
        _own_prefix = f"{token(8)}-"
    return _own_prefix


_own_prefix = ""


@harmless
def _move_in(sent_by: Sender) -> None:
    """Record where the sender does, if that is this host and nothing was recorded here yet."""
    if sent_by["pid"] == os.getpid() and sent_by["place"] == _place():
        return
    secrets.remember(sent_by["secrets"])
    if process.journal is None:
        said = sent_by["settings"]
        if sent_by["place"] == _place() and _writable(sent_by["home"]):
            configure(home=sent_by["home"], **said)
        elif said["backend"].startswith("off:"):
            configure(backend=said["backend"])
        elif said["redact"]:
            configure(redact=(*knobs().redact, *said["redact"]))
    if not process.signals:
        process.signals = signals.watch()  # who ends a worker ends its task
    _ship_at_exit()


def _place() -> tuple[str, str]:
    return identity.host(), identity.boot_id()


def _writable(home: str) -> bool:
    there = home
    while not os.path.exists(there):
        there = os.path.dirname(there)
    return os.access(there, os.W_OK)


def _ship_at_exit() -> None:
    """A worker of a pool leaves by `os._exit`, past the functions of `atexit`: let its last records arrive too."""
    global _shipped_at_exit
    if _shipped_at_exit:
        return
    _shipped_at_exit = True
    from multiprocessing import parent_process
    from multiprocessing.util import Finalize

    if parent_process() is not None:
        Finalize(None, recorder._at_exit, exitpriority=0)


def _after_fork_in_child() -> None:
    global _shipped_at_exit
    _shipped_at_exit = False


os.register_at_fork(after_in_child=_after_fork_in_child)
