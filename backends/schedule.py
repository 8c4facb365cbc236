"""Durations and schedules as people write them, and the moments that they mean.

Cron text follows Debian's cron at daylight-saving changes (through cronsim): a time inside the gap runs once, right
after it; a time inside the overlap runs once. Moments are Unix seconds.
"""

from __future__ import annotations

from .errors import ScheduleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo
    from typing import Any

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION_HINT = "write seconds or 500ms, 30s, 15m, 2h, 1h30m, 7d, 1w"
_SCHEDULE_HINT = 'write five cron fields ("0 2 * * *"), @hourly, @daily, @weekly, @monthly or "every 15m"'
_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_AT_MOST = 100_000  # expected times of one question
_YEARS = 5 * 366 * 86400.0  # how far to look for a time: past the next 29 February


def parse_duration(value: Any) -> float:
    """Seconds from a number or a text like `15m` or `1h30m`. Raises ScheduleError for anything else, and below zero."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        seconds = _sum_of_parts(value) if isinstance(value, str) else -1.0
    if not 0.0 <= seconds < 1e10:  # also false for NaN
        raise ScheduleError(f"{value!r} is no duration", hint=_DURATION_HINT)
    return seconds


def _sum_of_parts(text: str) -> float:
    rest, total = text.strip().lower().replace(" ", ""), 0.0
    if _is_number(rest):
        return float(rest)
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        unit = rest[digits : digits + 2] if rest[digits : digits + 2] == "ms" else rest[digits : digits + 1]
        if not _is_number(rest[:digits]) or unit not in _UNITS:
            return -1.0
        total += float(rest[:digits]) * _UNITS[unit]
        rest = rest[digits + len(unit) :]
    return total if text.strip() else -1.0


def _is_number(text: str) -> bool:
    return text.count(".") <= 1 and text.replace(".", "", 1).isascii() and text.replace(".", "", 1).isdigit()


def format_duration(seconds: float) -> str:
    """Short text for people, two units at most: `3.2s`, `4m 10s`, `2h 5m`, `90d`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms" if seconds >= 0.0005 or seconds == 0 else "<1ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s".replace(".0s", "s")
    whole = round(seconds)
    for large, small in (("d", "h"), ("h", "m"), ("m", "s")):
        if whole >= _UNITS[large]:
            first, rest = divmod(whole, int(_UNITS[large]))
            second = rest // int(_UNITS[small])
            return f"{first}{large} {second}{small}" if second else f"{first}{large}"
    return f"{whole}s"


def check_syntax(text: str) -> None:
    """Refuse what can be no schedule, without loading a cron library (a decorator calls this inside the job)."""
    words = text.split() if isinstance(text, str) else []
    if len(words) in (5, 6) or (len(words) == 1 and words[0] in _ALIASES):
        return
    if len(words) == 2 and words[0] == "every" and parse_duration(words[1]) > 0:
        return
    raise ScheduleError(f"{text!r} is no schedule", hint=_SCHEDULE_HINT)


class Schedule:
    """When something is expected. `text` and `timezone` are as written; `timezone` None means UTC."""

    __slots__ = ("_cron", "_every", "_zone", "text", "timezone")

    def __init__(self, text: str, timezone: str | None, cron: str, every: float, zone: tzinfo) -> None:
        self.text = text
        self.timezone = timezone
        self._cron = cron
        self._every = every
        self._zone = zone

    @classmethod
    def parse(cls, text: str, timezone: str | None = None) -> Schedule:
        """From cron text, an alias like @daily, or `every 15m` (counted from the Unix epoch).

        Raises ScheduleError for text that is none of these and for an unknown zone.
        """
        check_syntax(text)
        zone = _zone(timezone or "UTC")
        words = text.split()
        if words[0] == "every":
            return cls(text, timezone, "", parse_duration(words[1]), zone)
        cron = _ALIASES.get(words[0], text)
        _iterate(cron, 0.0, zone)
        return cls(text, timezone, cron, 0.0, zone)

    def expected_between(self, since: float, until: float) -> list[float]:
        """The expected moments t with since < t <= until, in order; at most 100,000 of them."""
        found: list[float] = []
        for moment in self._after(since):
            if moment > until or len(found) >= _AT_MOST:
                break
            found.append(moment)
        return found

    def next_after(self, at: float) -> float | None:
        """The first expected moment after `at`; None if there is none within five years."""
        return next((moment for moment in self._after(at) if moment - at < _YEARS), None)

    def last_before(self, at: float) -> float | None:
        """The last expected moment at or before `at`; None if there is none in the five years before."""
        if self._every:
            return at // self._every * self._every
        step = 3600.0
        while step < 2 * _YEARS:
            found = self.expected_between(at - step, at)
            if found:
                return found[-1]
            step *= 8
        return None

    def _after(self, at: float) -> Iterator[float]:
        if self._every:
            moment = (at // self._every + 1) * self._every
            while True:
                yield moment
                moment += self._every
        yield from _iterate(self._cron, at, self._zone)


def _iterate(cron: str, at: float, zone: tzinfo) -> Iterator[float]:
    from datetime import datetime

    from cronsim import CronSim, CronSimError

    try:
        times = CronSim(cron, datetime.fromtimestamp(at, zone))
    except CronSimError as error:
        raise ScheduleError(f"{cron!r} is no schedule: {error}", hint=_SCHEDULE_HINT) from None
    return (moment.timestamp() for moment in times)


def _zone(name: str) -> tzinfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        from difflib import get_close_matches

        near = get_close_matches(name, available_timezones(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "write a name like Europe/Berlin"
        raise ScheduleError(f"there is no time zone {name!r}", hint=hint) from None
