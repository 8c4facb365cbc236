"""The channel that runs a program."""

from __future__ import annotations

import errno
import os
import shlex
import signal
import subprocess
import tempfile
from contextlib import suppress
from json import dumps
from typing import TYPE_CHECKING, Any

from ...backends.errors import ChannelError
from .channel_common import spoken

if TYPE_CHECKING:
    from ...backends.records import Json

_SHORTAGES = (
    errno.EAGAIN,
    errno.ENOMEM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ETXTBSY,
)  # of what a program needs


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
        self._place = f"command {self._argv[0]}"

    def send(self, alert: Json, timeout: float) -> None:
        # Files, not pipes: a program that never reads, or leaves a child with its output open, blocks nobody.
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as output:
            stdin.write(dumps(alert).encode())
            stdin.seek(0)
            process = self._start(stdin, output)
            try:
                code = process.wait(timeout)
            except subprocess.TimeoutExpired as error:
                raise ChannelError(f"{self._place} did not end within {timeout:g} s") from error
            finally:
                if process.poll() is None:
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if code:
                raise ChannelError(f"{self._place} ended with {code}{_last_line(output)}")

    def _start(self, stdin: Any, output: Any) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                self._argv, stdin=stdin, stdout=output, stderr=output, start_new_session=True
            )
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or "cannot be run"
            permanent = getattr(error, "errno", None) not in _SHORTAGES
            hint = "write the program's whole path, and make it executable" if permanent else ""
            raise ChannelError(f"{self._place}: {said}", permanent=permanent, hint=hint) from error


def _last_line(output: Any) -> str:
    """The end of what a command said, for its error."""
    output.seek(max(0, output.seek(0, os.SEEK_END) - 4096))
    return spoken(output.read().decode("utf-8", "replace").split("\n"))
