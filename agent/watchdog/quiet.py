"""Quiet hours: until when a rule keeps what it finds for later. Pure."""

from __future__ import annotations

from datetime import datetime, time, timedelta

from attrs import asdict

from ...backends.records import Json
from ...backends.schedule import time_zone
from ..setting_types import QuietHours

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def quiet_until(hours: QuietHours | None, now: float) -> float | None:
    """When the quiet hours that hold at `now` end (Unix seconds); None where none hold.

    They begin and end by the wall clock of their zone, so that a night in which the clocks change is an hour shorter
    or longer. Where `end` is not later than `start` they last into the next day; equal times are a whole day.
    """
    if hours is None:
        return None
    zone = time_zone(hours.timezone)
    today = datetime.fromtimestamp(now, zone).date()
    start, end = time.fromisoformat(hours.start), time.fromisoformat(hours.end)
    for day in (today - timedelta(days=1), today):
        if hours.days and _DAYS[day.weekday()] not in hours.days:
            continue
        over = day + timedelta(days=end <= start)
        until = datetime.combine(over, end, zone).timestamp()
        if datetime.combine(day, start, zone).timestamp() <= now < until:
            return until
    return None


def kept(hours: QuietHours | None) -> Json | None:
    """The hours as a document keeps them."""
    return asdict(hours) if hours else None


def held_back(doc: Json, now: float) -> float | None:
    """Until when the quiet hours of a document's rule last, if they hold at `now`."""
    hours = doc.get("quiet")
    return quiet_until(QuietHours(**{**hours, "days": tuple(hours["days"])}), now) if hours else None
