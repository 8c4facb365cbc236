"""A home that several users share (`holter init --system`): how a job knows one, and what differs in it.

Its `journals` folder has the sticky bit: everybody in the group may add a journal, nobody may touch another's. Nobody
but the watchdog's user reads or writes the store; the watchdog ships what the jobs recorded.
"""

from __future__ import annotations

import os
import stat


def is_shared(home: str) -> bool:
    """Whether `home` is a system-wide one."""
    try:
        return bool(os.stat(f"{home}/journals").st_mode & stat.S_ISVTX)
    except OSError:
        return False


def project_in(home: str, project: str, user: str | None = None) -> str:
    """The project of what `user` (None: who we are) records. In a system-wide home it begins with the user's name, so
    that nobody's runs pass for another's; only the home's owner records as the settings say."""
    if not is_shared(home):
        return project
    owner, mine = _name(os.stat(home).st_uid), user or _name(os.geteuid())
    if mine == owner:
        return project
    return mine if project == "default" else f"{mine}/{project}"


def _name(uid: int) -> str:
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return str(uid)
