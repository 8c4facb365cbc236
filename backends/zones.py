"""Starts that keep a schedule, but in another time zone: a constant shift by whole hours, named before anybody is said
to be late. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from .expected import EARLY, Expectation
from .schedule import Schedule, format_duration

HOUR = 3600.0
FARTHEST = 14  # hours between two zones
SEEN = 3  # starts with one and the same shift, where the host's zone does not explain it
TOLERANCE = 600.0  # seconds after the shifted time, at most, in which a start counts as kept


@frozen
class Start:
    """A start (Unix seconds), and what its process said of its host's zone: name and seconds ahead of UTC."""

    at: float
    host: str | None = None
    zone: str | None = None
    utc_offset: float | None = None


@frozen
class Mismatch:
    """The schedule is kept `shift` seconds after (below zero: before) its times; first seen at `since`."""

    shift: float
    since: float
    reason: str


def off_turn(expected: Expectation, at: float) -> bool:
    """Whether a start does not keep a timetable's turn: then its host's zone may say why."""
    if expected.schedule is None or expected.period is not None:
        return False
    return not _keeps(expected.schedule, at, 0.0, expected.grace)


def mismatch(expected: Expectation, starts: Sequence[Start]) -> Mismatch | None:
    """Which shift explains the newest starts (`starts`: the newest first); None where they need no explanation.

    One start is enough where the zone of its host explains it; otherwise three with the same shift.
    """
    schedule = expected.schedule
    if schedule is None or not starts or not off_turn(expected, starts[0].at):
        return None
    newest, within = starts[0], min(expected.grace, TOLERANCE)
    if newest.utc_offset is not None:
        shift = schedule.utc_offset(newest.at) - newest.utc_offset
        if shift and _keeps(schedule, newest.at, shift, within):
            return Mismatch(shift, _since(schedule, starts, shift, within), _said(schedule, newest, shift))
    for hours in sorted({*range(-FARTHEST, FARTHEST + 1)} - {0}, key=abs):
        shift = hours * HOUR
        if len(starts) >= SEEN and all(_keeps(schedule, each.at, shift, within) for each in starts[:SEEN]):
            return Mismatch(shift, _since(schedule, starts, shift, within), _said(schedule, newest, shift))
    return None


def _keeps(schedule: Schedule, at: float, shift: float, within: float) -> bool:
    turn = schedule.last_before(at - shift + EARLY)
    return turn is not None and at - shift <= turn + within


def _since(schedule: Schedule, starts: Sequence[Start], shift: float, within: float) -> float:
    """The first of the starts in a row that are shifted like the newest."""
    since = starts[0].at
    for each in starts:
        if not _keeps(schedule, each.at, shift, within):
            break
        since = each.at
    return since


def _said(schedule: Schedule, start: Start, shift: float) -> str:
    zone, host = schedule.timezone or "UTC", start.host or "its host"
    away = f"{format_duration(abs(shift))} {'after' if shift > 0 else 'before'} the expected time"
    said = f'starts come {away}: "{schedule.text}" is meant in {zone}'
    if start.utc_offset is None:
        return f"{said}; write the time zone that {host} keeps it in as the check's timezone"
    sign, minutes = "-" if start.utc_offset < 0 else "+", abs(int(start.utc_offset)) // 60
    offset = f"UTC{sign}{minutes // 60:02d}:{minutes % 60:02d}"
    name = f"{start.zone}, {offset}" if start.zone and start.zone != "UTC" else offset
    write = "timezone: UTC" if not start.utc_offset else f"the zone of {host} as timezone"
    return (
        f"{said}, but {host} is at {name}; write {write} into the check, or CRON_TZ={zone} into its crontab"
    )
