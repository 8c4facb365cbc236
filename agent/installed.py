"""Where this `holter` is, for what starts it later from elsewhere: cron and systemd, whose PATH is short."""

from __future__ import annotations

import os
import sys
import sysconfig

from ..backends.errors import HolterError


class NotInstalled(HolterError, RuntimeError):
    """There is no `holter` command to write down."""


def program() -> str:
    """The absolute path of the `holter` command. Raises NotInstalled."""
    typed = os.path.abspath(sys.argv[0]) if sys.argv and sys.argv[0] else ""
    for path in (typed, os.path.join(sysconfig.get_path("scripts"), "holter")):
        if os.path.basename(path) == "holter" and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise NotInstalled("cannot tell where `holter` is", hint="pip install it, and call it by that name")
