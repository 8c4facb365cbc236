"""The channels that run a program: one's own, and the desktop's."""

from __future__ import annotations

import errno
import html
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from json import dumps
from typing import TYPE_CHECKING, Any

from ...backends.errors import ChannelError
from ..secrets import command_line
from .channel_common import spoken
from .fitting import fitted, printable, title_of

if TYPE_CHECKING:
    from ...backends.records import Json

_SHORTAGES = (
    errno.EAGAIN,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ETXTBSY,
)  # of what a program needs
_BUBBLE = 600  # characters of a message on a desktop


class Command:
    """Runs a program (no shell) with the alert as JSON on its stdin. Delivered by exit code 0.

    After the timeout its whole process group is killed. A program that is missing or may not be run is permanent.
    """

    def __init__(self, line: str) -> None:
        try:
            self._argv = shlex.split(line)
        except ValueError as error:
            raise ChannelError(f"the command does not parse: {error}", permanent=True) from error
        if not self._argv:
            raise ChannelError("the command is empty", permanent=True, hint="write command: /path/of/program")
        command_line(self._argv)  # what is secret in it is known from now on, and blank in errors

    def send(self, alert: Json, timeout: float) -> None:
        _run(self._argv, f"command {self._argv[0]}", timeout, dumps(alert).encode())


class Desktop:
    """Shows the alert on the desktop of the user who runs the watchdog, with `notify-send`.

    Not guaranteed: that somebody sits there. Without a session of that user it fails, and is tried again.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._program = shutil.which("notify-send", path=environ.get("PATH"))
        if self._program is None:
            hint = "apt-get install libnotify-bin, or use another channel on a host without a desktop"
            raise ChannelError("desktop: there is no notify-send here", permanent=True, hint=hint)
        bus = f"/run/user/{os.getuid()}/bus"  # a service or a crontab is not told
        self._environ = {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}", **environ}

    def send(self, alert: Json, timeout: float) -> None:
        good = alert["event"] in ("recovered", "completed", "test")
        body = html.escape(fitted(printable(alert["body"]), _BUBBLE), quote=False)  # desktops read markup
        words = ["--app-name=holter", f"--urgency={'normal' if good else 'critical'}", "--"]
        _run([str(self._program), *words, title_of(alert), body], "desktop", timeout, environ=self._environ)


def _run(
    argv: list[str], place: str, timeout: float, said: bytes = b"", environ: Mapping[str, str] | None = None
) -> None:
    # Files, not pipes: a program that never reads, or leaves a child with its output open, blocks nobody.
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
        stdin.write(said)
        stdin.seek(0)
        process = _start(argv, place, stdin=stdin, stdout=output, stderr=output, env=environ)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise ChannelError(f"{place} did not end within {timeout:g} s", ambiguous=True) from error
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        if code:
            raise ChannelError(f"{place} ended with {code}{_last_line(output)}")


def _start(argv: list[str], place: str, **files: Any) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(argv, start_new_session=True, **files)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "cannot be run"
        permanent = getattr(error, "errno", None) not in _SHORTAGES
        hint = "write the program's whole path, and make it executable" if permanent else ""
        raise ChannelError(f"{place}: {said}", permanent=permanent, hint=hint) from error


def _last_line(output: Any) -> str:
    """The end of what a command said, for its error."""
    output.seek(max(0, output.seek(0, os.SEEK_END) - 4096))
    return spoken(output.read().decode("utf-8", "replace").split("\n"))
