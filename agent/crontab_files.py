"""Where a crontab is read from and written to: the user's own through `crontab`, or a file, which is replaced whole."""

from __future__ import annotations

import os
import subprocess
import time

from attrs import frozen

from ..backends.errors import HolterError

TIMEOUT = 20.0  # seconds that `crontab` may take
NONE_YET = b"no crontab for"


class CrontabError(HolterError, RuntimeError):
    """The crontab cannot be read or written; it is as it was."""


@frozen
class Crontab:
    """The user's own crontab (`path` None), or a file. `system`: with a user column."""

    path: str | None = None
    system: bool = False

    @property
    def title(self) -> str:
        return self.path or "your crontab"

    def read(self) -> bytes:
        """Its bytes; b"" where the user has none. Raises CrontabError, OSError."""
        if self.path is not None:
            with open(self.path, "rb") as file:
                return file.read()
        done = _crontab("-l")
        if done.returncode and NONE_YET in done.stderr:
            return b""
        return _well(done).stdout

    def write(self, text: bytes) -> None:
        """Replace it. Raises CrontabError where cron refuses the text, OSError."""
        if self.path is None:
            _well(_crontab("-", text))
        else:
            _replace(os.path.realpath(self.path), text)

    def says_cronie(self) -> bool:
        """Whether the cron here is cronie, which reads times in CRON_TZ; Debian's does not."""
        try:
            done = _crontab("-V")
        except CrontabError:
            return False
        return b"cronie" in done.stdout + done.stderr


def keep(home: str, text: bytes, title: str) -> str:
    """Write a backup into HOME/crontabs, mode 0600, never over another one; return its path. Raises OSError.

    Not beside the crontab: some crons would run that too.
    """
    folder = f"{home}/crontabs"
    for each in (home, folder):
        os.makedirs(each, mode=0o700, exist_ok=True)
    stem = f"{folder}/{os.path.basename(title).replace(' ', '-')}.{time.strftime('%Y%m%d-%H%M%S')}"
    number = 0
    while True:
        path = f"{stem}.{number}" if number else stem
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            number += 1
            continue
        with open(fd, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        return path


def _crontab(argument: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["crontab", argument], input=text, capture_output=True, timeout=TIMEOUT, check=False
        )
    except FileNotFoundError:
        hint = "install cron, or name a file: --file /etc/cron.d/NAME"
        raise CrontabError("there is no `crontab` command here", hint=hint) from None
    except subprocess.TimeoutExpired:
        raise CrontabError(
            f"`crontab {argument}` did not end within {TIMEOUT:g} s", hint="try it by hand"
        ) from None


def _well(done: subprocess.CompletedProcess[bytes]) -> subprocess.CompletedProcess[bytes]:
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split()) or f"exit code {done.returncode}"
        raise CrontabError(f"`crontab {done.args[1]}`: {said}", hint="nothing was changed")
    return done


def _replace(path: str, text: bytes) -> None:
    """Whole or not at all, with the mode and the owner that the file has."""
    before = os.stat(path)
    draft = f"{os.path.dirname(path)}/.holter.{os.getpid()}.tmp"  # no cron runs a file with dots in its name
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(text)
            file.flush()
            if os.geteuid() == 0 or (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(fd, before.st_uid, before.st_gid)
            os.fchmod(fd, before.st_mode & 0o7777)
            os.fsync(fd)
        os.replace(draft, path)
    except BaseException:
        _forget(draft)
        raise


def _forget(draft: str) -> None:
    try:
        os.unlink(draft)
    except OSError:
        return
