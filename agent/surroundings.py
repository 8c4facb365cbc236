"""What a run had around it, said at its end: versions of imported packages, names of environment variables.

Only what costs nothing to know: a package's own `__version__`, of what is imported already. Values of variables are
never looked at.
"""

from __future__ import annotations

import os
import sys

from .secrets import quote

PACKAGES = 60  # at most
NAMES = 80
_USUAL = frozenset(
    "_ COLORTERM COLUMNS DBUS_SESSION_BUS_ADDRESS DISPLAY EDITOR HISTSIZE HOME HOSTNAME INVOCATION_ID JOURNAL_STREAM "
    "LANG LESS LESSCLOSE LESSOPEN LINES LOGNAME LS_COLORS MAIL MOTD_SHOWN OLDPWD PAGER PATH PS1 PWD SHELL SHLVL "
    "SUDO_COMMAND SUDO_GID SUDO_UID SUDO_USER TERM TERM_PROGRAM TMUX TMUX_PANE USER VIRTUAL_ENV_PROMPT".split()
)
_PREFIXES = ("SSH_", "XDG_", "LC_", "BASH_", "VTE_", "HOLTER_", "SYSTEMD_", "GPG_", "PYTEST_")
# What our own thread imports to reach a store, at a moment of its own: it would come and go between equal runs.
_OURS = frozenset(("holter", "dateutil", "psycopg", "psycopg_binary", "psycopg_c"))
_known: tuple[int, int, str] = (
    -1,
    -1,
    "",
)  # how many modules and variables there were, and what was said of them


def said(kind: str) -> str:
    """`,"about":{...}` for the end of a root run of this kind; "" where there is nothing to say.

    Put together anew only where modules or variables have become more or fewer: a call must cost microseconds.
    """
    global _known
    if kind == "command":  # the packages of `holter run` are not the command's
        return _said("{}")
    now = (len(sys.modules), len(os.environ))
    if _known[:2] != now:
        _known = (*now, _said(_packages()))
    return _known[2]


def _said(packages: str) -> str:
    names = [name for name in sorted(os.environ) if name not in _USUAL and not name.startswith(_PREFIXES)]
    if packages == "{}" and not names:
        return ""
    return f',"about":{{"packages":{packages},"environ":[{",".join(quote(name[:100]) for name in names[:NAMES])}]}}'


def _packages() -> str:
    """As a JSON object."""
    found = {}
    for name, module in list(sys.modules.items()):
        if "." in name or name in sys.stdlib_module_names or name in _OURS:
            continue
        version = getattr(module, "__dict__", {}).get("__version__")  # a module's own __getattr__ may import
        if isinstance(version, str):
            found[name[:100]] = version[:40]
    pairs = [f"{quote(name)}:{quote(version)}" for name, version in sorted(found.items())[:PACKAGES]]
    return f"{{{','.join(pairs)}}}"
