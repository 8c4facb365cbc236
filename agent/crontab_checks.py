"""What a crontab's line lets one expect: its times as a check's schedule, in the zone that cron goes by."""

from __future__ import annotations

import os
import re

from ..backends.errors import ScheduleError
from ..backends.schedule import Schedule, format_duration
from .crontab import Line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GRACE = 300  # seconds, beside the width of a random range
_RANDOM = re.compile(r"(\d*)~(\d*)")
_WIDTHS = ((0, 59, 60), (0, 23, 3600))  # first, last and unit (seconds) of the fields that may be random here


def check_of(line: Line, zone: str, grace: float | None = None) -> tuple[dict[str, Any], str]:
    """The check (as `holter checks add` keeps it) of a job's line, and why there is none ({} then).

    `zone` is the one that cron goes by. `grace` in seconds; without it the judge's own, and for a random range (`0~30`)
    its width more, counted from its first moment.
    """
    if line.times == "@reboot":
        return {}, "@reboot has no time to expect it at"
    times, width = _first_moment(line.times)
    if "~" in times:
        return {}, "its random range has no first moment"
    check: dict[str, Any] = {"schedule": times, "timezone": zone}
    if grace is not None or width:
        check["grace"] = float((GRACE if grace is None else grace) + width)
    try:
        Schedule.parse(times, zone)
    except ScheduleError as error:
        return {}, error.message
    return check, ""


def _first_moment(times: str) -> tuple[str, int]:
    """The times with the beginning of each random minute and hour in its place, and how wide they are (seconds)."""
    fields, width = times.split(), 0
    for place, (first, last, unit) in enumerate(_WIDTHS[: len(fields)]):
        if found := _RANDOM.fullmatch(fields[place]):
            low, high = int(found[1] or first), int(found[2] or last)
            fields[place], width = str(low), width + (high - low) * unit
    return " ".join(fields), width


def in_words(check: dict[str, Any]) -> str:
    grace = f", {format_duration(check['grace'])} of grace" if "grace" in check else ""
    return f"{check['schedule']} {check['timezone']}{grace}"


def system_zone(root: str = "") -> str:
    """The time zone of this machine, as a name; "UTC" where none is set."""
    try:
        target = os.path.realpath(f"{root}/etc/localtime")
    except OSError:
        target = ""
    if "/zoneinfo/" in target:
        return target.partition("/zoneinfo/")[2].removeprefix("posix/") or "UTC"
    try:
        with open(f"{root}/etc/timezone", encoding="ascii") as file:
            return file.read().strip() or "UTC"
    except (OSError, ValueError):
        return "UTC"
