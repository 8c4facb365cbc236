"""Recorded values as safe, short text. Nothing here loads rich, so that `logs` and errors cost nothing."""

from __future__ import annotations

import re
import time

# Escape sequences (colours, titles, cursor moves), then every other control byte except newline and tab, then
# the marks that turn the direction of text: what a script printed must not be able to steer the reader's
# terminal.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_MONTHS = [
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
]  # the C library's names follow the locale
NOTHING = "-"


def clean(text: object) -> str:
    """The text without what a terminal would obey; newlines and tabs stay, a lone return is a newline."""
    return _CONTROL.sub("", str(text).replace("\r\n", "\n").replace("\r", "\n"))


def line(text: object) -> str:
    """The text in one line."""
    return " ".join(clean(text).split())


def moment(at: float | None, now: float) -> str:
    """Unix seconds in the local zone, shorter the nearer: `06:41:03`, `Nov 21 06:41`, `2025-11-21`."""
    if at is None:
        return NOTHING
    then, today = time.localtime(at), time.localtime(now)
    if then[:3] == today[:3]:
        return time.strftime("%H:%M:%S", then)
    if abs(now - at) < 300 * 86400:
        return f"{_MONTHS[then.tm_mon - 1]} {then.tm_mday:2} {then.tm_hour:02}:{then.tm_min:02}"
    return time.strftime("%Y-%m-%d", then)


def stamp(at: float) -> str:
    """Unix seconds in the local zone, whole: `2026-11-23 06:41:03 UTC`."""
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at))


def unix(text: str) -> float:
    """RFC 3339 text as Unix seconds."""
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def took(seconds: float | None) -> str:
    """A duration in at most seven characters: `<1ms`, `4ms`, `3.2s`, `1m 20s`, `2h 05m`, `3d 04h`."""
    if seconds is None:
        return NOTHING
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms" if seconds >= 0.0005 else "<1ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    minutes = whole // 60
    if minutes < 24 * 60:
        return f"{minutes // 60}h {minutes % 60:02}m"
    return f"{minutes // 1440}d {minutes % 1440 // 60:02}h"


def share(rate: float | None) -> str:
    """A rate as percent that says 100 only where nothing is missing: `99.9%`."""
    if rate is None:
        return NOTHING
    percent = int(rate * 1000) / 10
    return f"{percent:.0f}%" if percent == int(percent) else f"{percent:.1f}%"


def size(count: float) -> str:
    """Bytes: `512 B`, `45.1 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
