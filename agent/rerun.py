"""Start a run's command again: what was recorded of it, in its folder, with its cause said.

What runs is the process that the run was in, whole: a script with several flows runs all of them, and a command goes
through `holter run` with the options that it had. Not guaranteed: that files, data and environment are as they were.
"""

from __future__ import annotations

import os
import sys
from fnmatch import fnmatchcase
from json import dumps

from ..backends.errors import HolterError
from .identity import host
from .secrets import BLANK, WORD_LIMIT
from .tape import ARGV_LIMIT, CAUSE, PARENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..backends.base import Backend
    from ..backends.records import Json, Run

ALLOWED = (  # of the watchdog's environment, for what it starts; HOLTER_* besides
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR"),
    *("VIRTUAL_ENV", "PYTHONPATH", "XDG_*", "SSL_CERT_*", "DBUS_SESSION_BUS_ADDRESS"),
)


class NotRerun(HolterError, RuntimeError):
    """This run cannot be started again from here."""


def command_of(backend: Backend, run: Run) -> tuple[list[str], str]:
    """The argv and the folder with which `run` is started again. Raises NotRerun: for a run inside another, one that
    goes on, of another host, and where its command line is not known whole."""
    if run.parent_id is not None:
        raise NotRerun(
            f"{run.id} ran inside {run.root_id}", hint=f"`holter rerun {run.root_id}` starts all of it again"
        )
    if not run.ended:
        raise NotRerun(f"{run.id} is {run.state}", hint=f"`holter logs -f {run.id}` follows it to its end")
    if run.host != host():
        raise NotRerun(f"{run.id} ran on {run.host}, this is {host()}", hint=f"type it on {run.host}")
    argv = _argv_of(backend, run)
    if why := _unknown(argv):
        raise NotRerun(
            f"the command line of {run.id} {why}",
            hint=f"`holter show {run.id}` has the rest: start it by hand",
        )
    if run.cwd is None or not os.path.isdir(run.cwd):
        raise NotRerun(
            f"the folder of {run.id} is gone: {run.cwd}", hint="make it again, or start it by hand"
        )
    return argv, run.cwd


def environment(environ: Mapping[str, str], patterns: Sequence[str] | None, cause: Json) -> dict[str, str]:
    """What of `environ` the new run gets (`patterns`: names as shell patterns, None: everything), and its `cause`."""
    kept = {
        name: value
        for name, value in environ.items()
        if name.startswith("HOLTER_")
        or patterns is None
        or any(fnmatchcase(name, pattern) for pattern in patterns)
    }
    kept.pop(PARENT, None)
    return {**kept, CAUSE: dumps(cause)}


def holter(*words: str) -> list[str]:
    """A command line of this Holter."""
    return [sys.executable, "-P", "-m", "holter", *words]  # -P: nothing is imported from the job's folder


def _argv_of(backend: Backend, run: Run) -> list[str]:
    if run.kind != "command":
        return list(run.argv)
    known = backend.processes(open_only=False, journals=[run.journal] if run.journal else [])
    own = list(known[0].header.get("argv") or ()) if known else []  # of `holter run`: with its options
    if "run" in own[:4] and len(own) < ARGV_LIMIT and own[-len(run.argv) :] == list(run.argv):
        return own
    tags = [word for tag in run.tags for word in ("--tag", tag)]
    return holter("run", "--name", run.name, *tags, "--", *run.argv) if run.argv else []


def _unknown(argv: Sequence[str]) -> str:
    """What is missing of a recorded command line; "" where it is whole."""
    if not argv:
        return "was not recorded"
    if any(BLANK in word for word in argv):
        return f"holds a secret, of which only {BLANK} was recorded"
    if len(argv) >= ARGV_LIMIT or argv[-1] == "..." or any(len(word) >= WORD_LIMIT for word in argv):
        return "is too long to be recorded whole"
    if argv[1:2] in ([], ["-"]) and os.path.basename(argv[0]).startswith("python"):
        return "has no script: it was typed, or came through a pipe"
    if "--multiprocessing-fork" in argv:
        return "is that of a worker of another process"
    return ""
