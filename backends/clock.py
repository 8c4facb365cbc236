"""The one door for time and randomness, so that a test can hold both.

Times are Unix seconds (UTC, float) everywhere inside Holter, and RFC 3339 text at its edges.
"""

from __future__ import annotations

import os
import time

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: no i, l, o, u


class Clock:
    """Wall time, monotonic time and sleep of this machine. Tests pass their own subclass."""

    def wall(self) -> float:
        """Unix seconds, UTC; may jump when somebody sets the clock."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back; only differences mean something, and only inside this process."""
        return time.monotonic()

    def since_boot(self) -> float | None:
        """Seconds since this machine started, those that it slept among them: what processes are dated by. None where
        the system does not tell."""
        boottime = getattr(time, "CLOCK_BOOTTIME", None)
        return None if boottime is None else time.clock_gettime(boottime)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


SYSTEM = Clock()


def base32(number: int, width: int) -> str:
    """`number` in `width` base-32 digits, so that text order is number order."""
    return "".join([_DIGITS[number >> shift & 31] for shift in range(5 * width - 5, -1, -5)])


def new_id() -> str:
    """A 16-character id that sorts by time: 45 bits of Unix milliseconds, then 35 random bits.

    Two ids made in the same millisecond anywhere collide with probability 3e-11.
    """
    random = int.from_bytes(os.urandom(5), "big") >> 5
    return base32(time.time_ns() // 1_000_000 << 35 | random, 16)


def time_of(identifier: str) -> float | None:
    """Unix seconds, to the millisecond, at which `new_id` made this id; None for an id of another make."""
    if len(identifier) != 16 or not set(identifier) <= set(_DIGITS):
        return None
    number = 0
    for char in identifier[:9]:
        number = number << 5 | _DIGITS.index(char)
    return number / 1000


def root_of(run_id: str) -> str:
    """The id of a run's root: descendants are `<root>.<suffix>`."""
    return run_id.partition(".")[0]


def token(width: int) -> str:
    """`width` random base-32 digits (5 bits each) from the operating system."""
    return base32(int.from_bytes(os.urandom((width * 5 + 7) // 8), "big"), width)


def rfc3339(at: float | None) -> str | None:
    """Unix seconds as UTC text with milliseconds, `2026-11-23T05:59:42.123Z`; None stays None."""
    if at is None:
        return None
    millis = round(at * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(millis // 1000)) + f".{millis % 1000:03d}Z"


def uniform(low: float, high: float) -> float:
    """A random number from `low` to `high`; the random module would cost 5 ms of import."""
    return low + (high - low) * int.from_bytes(os.urandom(4), "big") / 0xFFFFFFFF
