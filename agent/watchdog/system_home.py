"""A system-wide home on disk: its folders and their modes, and what the watchdog keeps ready in it for the users' jobs.

HOME               owner:group 2750   the group may enter and list it, nothing more
HOME/holter.yaml                0640
HOME/journals                   3730   the group may add files, and neither list them nor touch another's
HOME/cache                      2750
HOME/slots/<limit>              2750   slots are made by the owner: who may remove one could hold it twice
HOME/slots/<limit>/slot-000     0660   everybody in the group may lock it
HOME/slots/<limit>/queue        3770
HOME/holter.db                  0600
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

from ...backends.errors import HolterError
from ..settings import Settings, refresh_cache
from ..shared_home import is_shared
from ..slot_files import folder_of, slot_path

FOLDERS = {"": 0o2750, "cache": 0o2750, "slots": 0o2750, "journals": 0o3730}


class NoSystemHome(HolterError, RuntimeError):
    """This cannot become a system-wide home."""


def make(home: str, group: str) -> None:
    """Make `home` one, owned by root; idempotent. Raises NoSystemHome, OSError."""
    import grp

    if os.geteuid() != 0:
        raise NoSystemHome("a system-wide home is root's", hint="sudo holter init --system")
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise NoSystemHome(f"there is no group {group}", hint=f"groupadd --system {group}") from None
    if _text("/proc/sys/fs/protected_hardlinks").strip() == "0":
        hint = "sysctl -w fs.protected_hardlinks=1"
        raise NoSystemHome("this kernel lets everybody make hard links to others' files", hint=hint)
    _check_above(home)
    for name, mode in FOLDERS.items():
        _folder(f"{home}/{name}".rstrip("/"), gid, mode)
    for name in os.listdir(home):
        path = f"{home}/{name}"
        if name.startswith("holter.db") and not os.path.islink(path):
            os.chmod(path, 0o600)


def prepare(settings: Settings) -> None:
    """In a system-wide home: slots of the limits that the settings name, and the settings as jobs need them."""
    if not is_shared(settings.home) or os.geteuid() != os.stat(settings.home).st_uid:
        return
    for name, limit in settings.limits.items():
        if limit.scope == "host":
            _make_slots(folder_of(settings.home, name), limit.slots)
    if settings.config is not None:
        named = settings.config if settings.config != f"{settings.home}/holter.yaml" else None
        refresh_cache(settings.home, named)


def _make_slots(folder: str, slots: int) -> None:
    """What is missing. Group and set-group-id come from the folder above: a service that may set neither makes them
    too, if it asks for the mode when it makes a folder, and not afterwards."""
    held = os.umask(0)
    try:
        for path, mode in ((folder, 0o750), (f"{folder}/queue", 0o1770)):
            with suppress(FileExistsError):
                os.mkdir(path, mode)
        for number in range(slots):
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with suppress(FileExistsError):
                os.close(os.open(slot_path(folder, number), flags, 0o660))
    finally:
        os.umask(held)


def _folder(path: str, gid: int, mode: int) -> None:
    """A folder of ours with this group and mode; nothing is followed."""
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        found = os.lstat(path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise NoSystemHome(f"{path} is not a folder of root's", hint="move it away") from None
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(fd, os.geteuid(), gid)
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def _check_above(home: str) -> None:
    """Nobody but root may be able to put another folder in the place of this one."""
    above = os.path.dirname(os.path.realpath(home))
    while True:
        if os.path.isdir(above):
            found = os.stat(above)
            loose = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
            if found.st_uid != 0 or loose:
                raise NoSystemHome(
                    f"{above} is another user's, or anybody may write into it", hint="choose /var/lib/holter"
                )
        if above == "/":
            return
        above = os.path.dirname(above)


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""
