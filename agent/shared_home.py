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


def is_guest(home: str) -> bool:
    """Whether we are one of the users of a system-wide home, and neither its owner nor root."""
    return is_shared(home) and os.geteuid() not in (0, os.stat(home).st_uid)


def project_in(home: str, project: str, user: str | None = None) -> str:
    """The project of what `user` (None: who we are) records. In a system-wide home it begins with the user's name, so
    that nobody's runs pass for another's; only the home's owner records as the settings say."""
    if not is_shared(home):
        return project
    owner, mine = name_of(os.stat(home).st_uid), user or name_of(os.geteuid())
    if mine in (owner, "root") or project == mine or project.startswith(f"{mine}/"):
        return project
    return mine if project == "default" else f"{mine}/{project}"


def name_of(uid: int) -> str:
    """The user's name; the number where it has none."""
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return str(uid)
