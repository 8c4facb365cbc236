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
from .host_seal import is_sealed
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


def command_of(backend: Backend, run: Run, home: str) -> tuple[list[str], str]:
    """The argv and the folder with which `run` is started again. Raises NotRerun: for a run inside another, one that
    goes on, of another host, one that was not recorded into `home`, and where its command line is not known whole."""
    if run.parent_id is not None:
        raise NotRerun(
            f"{run.id} ran inside {run.root_id}", hint=f"`holter rerun {run.root_id}` starts all of it again"
        )
    if not run.ended:
        raise NotRerun(f"{run.id} is {run.state}", hint=f"`holter logs -f {run.id}` follows it to its end")
    if run.host != host():
        raise NotRerun(f"{run.id} ran on {run.host}, this is {host()}", hint=f"type it on {run.host}")
    if os.geteuid() == 0 and run.user not in (None, "root"):
        raise NotRerun(f"{run.id} ran as {run.user}, and this is root", hint=f"type it as {run.user}")
    header = _header(backend, run)
    argv, folder = _argv_of(header, run), header.get("cwd") or run.cwd
    if why := _unknown(argv):
        raise NotRerun(
            f"the command line of {run.id} {why}",
            hint=f"`holter show {run.id}` has the rest: start it by hand",
        )
    if folder is None or not os.path.isdir(folder):
        raise NotRerun(f"the folder of {run.id} is gone: {folder}", hint="make it again, or start it by hand")
    if argv != header.get("argv") or not is_sealed(home, header):
        raise NotRerun(
            f"{run.id} carries no seal of {home}: what others sent starts nothing here",
            hint=f"`holter show {run.id}` has its command line: if you trust it, start it by hand",
        )
    return argv, str(folder)


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


def _header(backend: Backend, run: Run) -> Json:
    """What the run's process said of itself."""
    known = backend.processes(open_only=False, journals=[run.journal]) if run.journal else []
    return known[0].header if known else {}


def _argv_of(header: Json, run: Run) -> list[str]:
    if run.kind != "command":
        return list(run.argv)
    own = list(header.get("argv") or ())  # of `holter run`: with its options
    if "run" in own[:4] and len(own) < ARGV_LIMIT and own[-len(run.argv) :] == list(run.argv):
        return own
    return list(run.argv)


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
