"""What systemd wants to hear of a service with `Type=notify`: one datagram each, in its own words.

Without NOTIFY_SOCKET every call does nothing. A socket that is gone or full is no reason to stop watching.
"""

from __future__ import annotations

import os
import socket
from math import inf

from attrs import define, field


def tell(*lines: str) -> bool:
    """Send one message; whether it went out."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # a name in Linux's abstract namespace
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            line.setblocking(False)
            line.sendto("\n".join(lines).encode(), address)
    except OSError:
        return False
    return True


def patience() -> float:
    """Seconds after which systemd kills a service that says nothing; infinite where it does not (WATCHDOG_USEC)."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    meant = os.environ.get("WATCHDOG_PID") in (None, "", str(os.getpid()))
    return int(microseconds) / 1e6 if meant and microseconds.isdecimal() and int(microseconds) else inf


@define
class Systemd:
    """Signs of life: `every` so many seconds, half of what systemd waits for (infinite: it waits for none)."""

    every: float = field(factory=lambda: patience() / 2)
    _ready: bool = False
    _next: float = 0.0

    def passed(self, now: float) -> None:
        """A pass was completed (`now`: monotonic seconds); a loop that hangs in one says nothing."""
        if not self._ready:
            self._ready = True
            tell("READY=1")
        if now >= self._next and self.every != inf:
            self._next = now + self.every / 2  # passes are not on time to the millisecond
            tell("WATCHDOG=1")
