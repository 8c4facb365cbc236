"""`holter rerun`: this process becomes the recorded command."""

from __future__ import annotations

import os
import shlex
import signal
import sys

import click

from . import screen
from .options import RUN_HELP, run_argument

NOT_FOUND, REFUSED = 127, 126


@click.command(epilog=RUN_HELP)
@run_argument
def rerun(run: str) -> int:
    """Start a run's recorded command again; exit with its code."""
    from ..identity import me
    from ..lookup import find_run
    from ..rerun import command_of, environment
    from .desk import opened

    with opened() as desk:
        desk.refresh()
        found = find_run(desk.backend, run)
        argv, folder = command_of(desk.backend, found, desk.settings.home)
        allowed = desk.settings.rerun.env
    screen.say(f"again {found.id}: {shlex.join(argv)} (in {folder})")
    environ = environment(os.environ, allowed, {"rerun_of": found.id, "by": me()["user"]})
    return _become(argv, folder, environ)


def _become(argv: list[str], folder: str, environ: dict[str, str]) -> int:
    """Output, signals and exit code are the command's own. Comes back only where it cannot be started."""
    os.chdir(folder)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and the command would inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], argv, environ)  # noqa: S606 - no shell is what we want
    except FileNotFoundError:
        screen.say(f"command not found: {argv[0]}")
        return NOT_FOUND
    except OSError as error:
        screen.say(f"cannot execute {argv[0]}: {error.strerror}")
        return REFUSED
