"""Durations and schedules as people write them, and the moments that they mean.

Cron text follows Debian's cron at daylight-saving changes (through cronsim): a time inside the gap runs once, right
after it; a time inside the overlap runs once. Not guaranteed: minutes by star in a named hour (`* 1 * * *`) within
a day of a clock change, where the answer can depend on the moment that one counts from. Moments are Unix seconds.
"""

from __future__ import annotations

from itertools import count

from .errors import ScheduleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import tzinfo
    from typing import Any

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION_HINT = "write seconds or 500ms, 30s, 15m, 2h, 1h30m, 7d, 1w"
_SCHEDULE_HINT = 'write five cron fields ("0 2 * * *"), @hourly, @daily, @weekly, @monthly or "every 15m"'
_RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))  # minute, hour, day, month, weekday (7 is Sunday, too)
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
_LEAST_INTERVAL = 0.001  # seconds; far below it, adding a turn to a Unix time changes nothing


def parse_duration(value: Any) -> float:
    """Seconds from a number or a text like `15m` or `1h30m`. Raises ScheduleError for anything else, and below zero."""
    seconds = _sum_of_parts(value) if isinstance(value, str) else value
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0 <= seconds < 1e10:  # also false for NaN
        raise ScheduleError(f"{_shown(value)} is no duration", hint=_DURATION_HINT)
    return float(seconds)


def parse_need(text: str) -> tuple[str, float | None]:
    """`job within 26h` as the job and the seconds; `job` alone (None): whenever it completed. Raises ScheduleError."""
    name, mark, span = str(text).partition(" within ")
    if not name.strip():
        raise ScheduleError(f"{text!r} names no job", hint='write "job within 26h" or just "job"')
    return name.strip(), parse_duration(span.strip()) if mark else None


def _sum_of_parts(text: str) -> float:
    rest, total = text.strip().lower(), 0.0
    if _is_number(rest):
        return float(rest)
    if not rest:
        return -1.0
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :].lstrip()
        unit = rest[:2] if rest[:2] == "ms" else rest[:1]
        if not _is_number(number) or unit not in _UNITS:
            return -1.0
        total += float(number) * _UNITS[unit]
        rest = rest[len(unit) :].lstrip()
    return total


def _is_number(text: str) -> bool:
    return text.count(".") <= 1 and text.replace(".", "", 1).isascii() and text.replace(".", "", 1).isdigit()


def _shown(value: Any) -> str:
    return f"{value!r:.60}"


def format_duration(seconds: float) -> str:
    """Short text for people, two units at most: `3.2s`, `4m 10s`, `2h 5m`, `90d`; below zero with a minus."""
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
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


def parse_rate(value: Any) -> tuple[int, float]:
    """How many in how many seconds, from a text like `3 per 1h`. Raises ScheduleError for anything else."""
    count, per, span = value.partition(" per ") if isinstance(value, str) else ("", "", "")
    count = count.strip()  # of more kinds of blanks than int() takes away
    if (
        not per
        or not count.isdecimal()
        or len(count) > 9  # int() refuses thousands of digits in words of its own
        or not 1 <= int(count) <= 10_000
        or not parse_duration(span) > 0
    ):
        raise ScheduleError(f"{_shown(value)} is no rate", hint='write "3 per 1h", at most 10000')
    return int(count), parse_duration(span)


def clock_time(value: Any) -> tuple[int, int] | None:
    """Hour and minute of a text like `06:00`; None for any other."""
    hour, colon, minute = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not 1 <= len(hour) <= 2 or len(minute) != 2 or not (hour + minute).isdecimal():
        return None
    return (int(hour), int(minute)) if int(hour) <= 23 and int(minute) <= 59 else None


def parse_deadline(value: Any) -> str:
    """`finish_by` as text: a clock time (`06:00`), or a duration after the expected time. Raises ScheduleError."""
    if clock_time(value) is not None:
        return str(value)
    try:
        parse_duration(value)
    except ScheduleError:
        raise ScheduleError(
            f"{_shown(value)} is no deadline", hint='write a clock time "06:00" or a duration like 3h'
        ) from None
    return str(value)


def check_syntax(text: str) -> None:
    """Refuse what can be no schedule, without loading a cron library (a decorator calls this inside the job)."""
    words = text.split() if isinstance(text, str) else []
    if len(words) == 5:
        for word, (least, most) in zip(words, _RANGES, strict=True):
            _check_numbers(text, word, least, most)
        return
    if len(words) == 1 and words[0] in _ALIASES:
        return
    if len(words) == 2 and words[0] == "every" and parse_duration(words[1]) >= _LEAST_INTERVAL:
        return
    raise ScheduleError(f"{_shown(text)} is no schedule", hint=_SCHEDULE_HINT)


def _check_numbers(text: str, word: str, least: int, most: int) -> None:
    """Of one field of a cron text; the rest of its syntax is for the library."""
    for part in word.split(","):
        for number in part.partition("/")[0].split("-"):
            if number.isascii() and number.isdecimal() and not least <= int(number[:9]) <= most:
                raise ScheduleError(
                    f"{_shown(text)} is no schedule: {number[:9]} is not from {least} to {most}",
                    hint=_SCHEDULE_HINT,
                )


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
        zone = time_zone(timezone or "UTC")
        words = text.split()
        if len(words) == 2:
            return cls(text, timezone, "", parse_duration(words[1]), zone)
        cron = _ALIASES.get(words[0], text)
        _iterate(cron, 0.0, zone)
        return cls(text, timezone, cron, 0.0, zone)

    def expected_between(self, since: float, until: float, at_most: int = _AT_MOST) -> list[float]:
        """The expected moments t with since < t <= until, in order; `at_most` so many of them."""
        found: list[float] = []
        for moment in self._after(since):
            if moment > until or len(found) >= at_most:
                break
            found.append(moment)
        return found

    def next_after(self, at: float) -> float | None:
        """The first expected moment after `at`; None if there is none within fifty years."""
        return next(self._after(at), None)

    def last_before(self, at: float) -> float | None:
        """The last expected moment at or before `at`; None if there is none in the fifty years before."""
        if self._every:
            whole = at // self._every
            return max(n * self._every for n in (whole, whole + 1) if n * self._every <= at)
        back = _iterate(self._cron, at // 1 + 1, self._zone, reverse=True)
        before = next((moment for moment in back if moment <= at), None)
        if before is None:
            return None
        # Backwards, cronsim passes over what falls into the second half of an hour that comes twice.
        return (self.expected_between(before, at) or [before])[-1]

    def utc_offset(self, at: float) -> float:
        """Seconds by which the schedule's zone is ahead of UTC at a moment."""
        from datetime import datetime

        offset = datetime.fromtimestamp(at, self._zone).utcoffset()
        return offset.total_seconds() if offset is not None else 0.0

    def _after(self, at: float) -> Iterator[float]:
        """All that is expected after `at`, in order; without end for an interval."""
        moments = _iterate(self._cron, at // 1, self._zone) if self._cron else _multiples(self._every, at)
        # A step of a float may round down to `at`; and in an hour that comes twice, cronsim begins anew.
        return (moment for moment in moments if moment > at)


def _multiples(every: float, at: float) -> Iterator[float]:
    return (n * every for n in count(at // every))


def _iterate(cron: str, at: float, zone: tzinfo, *, reverse: bool = False) -> Iterator[float]:
    """Moments after (or before) `at`, which is a whole second: cronsim would round it, and lose what lies between."""
    from datetime import datetime

    from cronsim import CronSim, CronSimError

    try:
        times = CronSim(cron, datetime.fromtimestamp(at, zone), reverse=reverse)
    except CronSimError as error:
        raise ScheduleError(f"{_shown(cron)} is no schedule: {error}", hint=_SCHEDULE_HINT) from None
    return (moment.timestamp() for moment in times)


def time_zone(name: str) -> tzinfo:
    """The zone of this name, from the system's database or the package tzdata. Raises ScheduleError."""
    from datetime import UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        known = available_timezones()
        if not known:
            hint = "install the system's tzdata, or: pip install tzdata"
            raise ScheduleError("this machine knows no time zones but UTC", hint=hint) from None
        from difflib import get_close_matches

        near = get_close_matches(str(name), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "write a name like Europe/Berlin"
        raise ScheduleError(f"there is no time zone {_shown(name)}", hint=hint) from None
