"""What one setting says of another, and values that no type can refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from ..backends.errors import ScheduleError, SettingsError
from ..backends.schedule import Schedule, parse_deadline, parse_need, parse_rate
from .setting_types import DURABILITIES, EVENTS, Check, Limit, OtelSettings, Rule, Settings

Fault = tuple[str, str, str]  # the setting's place below its group, what is wrong with it, a hint


def cross_check(settings: Settings, path: str) -> None:
    """Raises SettingsError for the first setting that cannot be meant."""
    for place, message, hint in _faults(settings):
        raise SettingsError(f"{place} in {path}: {message}", path=place, hint=hint)


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint that names the one that was probably meant, or ""."""
    near = get_close_matches(name.lower(), list(names), n=1)
    return f"did you mean {near[0]}?" if near else ""


def _faults(settings: Settings) -> Iterator[Fault]:
    groups: list[tuple[str, Iterable[Fault]]] = [
        ("durability", _one_of("", settings.durability, *DURABILITIES)),
        *((f"limits.{name}", _of_limit(limit)) for name, limit in settings.limits.items()),
        *((f"checks.{name}", _of_check(check)) for name, check in settings.checks.items()),
        *(
            (f"alerts[{number}]", _of_rule(rule, settings.channels))
            for number, rule in enumerate(settings.alerts)
        ),
        ("otel", _of_otel(settings.otel)),
    ]
    for place, faults in groups:
        for key, message, hint in faults:
            yield f"{place}{key}", message, hint


def _of_limit(limit: Limit) -> Iterator[Fault]:
    if limit.slots < 1:
        yield "", f"{limit.slots} slots", "at least 1"
    yield from _one_of(".scope", limit.scope, "host", "shared")
    if not 0.5 <= limit.lease <= 86400:
        yield ".lease", f"{limit.lease:g} is out of range", "from 0.5 to 86400 seconds"
    yield from _one_of(".on_lease_lost", limit.on_lease_lost, "warn", "cancel")
    if limit.per_second is not None and not limit.per_second > 0:
        yield ".per_second", f"{limit.per_second:g}", "more than 0, as 5"


def _of_check(check: Check) -> Iterator[Fault]:
    zone = check.timezone
    yield from _unreadable(".timezone", "@daily", lambda text: Schedule.parse(text, zone))
    yield from _unreadable(".schedule", check.schedule, lambda text: Schedule.parse(text, zone))
    yield from _unreadable(".finish_by", check.finish_by, parse_deadline)
    yield from _unreadable(".max_runs_per", check.max_runs_per, parse_rate)
    if check.max_times_median is not None and not 1 < check.max_times_median <= 1000:
        yield ".max_times_median", f"{check.max_times_median:g}", "more than 1, as 3"
    if check.median_of is not None and not 3 <= check.median_of <= 1000:
        yield ".median_of", f"{check.median_of} runs", "from 3 to 1000"
    yield from _one_of(".on_overdue", check.on_overdue, "alert", "kill")
    yield from _one_of(".on_unmet", check.on_unmet, "refuse", "wait", "warn")
    for need in check.needs or ():
        yield from _unreadable(".needs", need, parse_need)


def _of_rule(rule: Rule, channels: Iterable[str]) -> Iterator[Fault]:
    for event in rule.on:
        if event not in EVENTS:
            yield ".on", f"no event {event!r}", nearest(event, EVENTS) or f"known: {', '.join(EVENTS)}"
    if rule.run is not None and rule.rerun:
        yield "", "both run and rerun", "make two rules of it"
    if rule.after_missed < 1:
        yield ".after_missed", str(rule.after_missed), "at least 1"
    for channel in (*rule.to, *([rule.fallback] if rule.fallback else [])):
        if channel not in channels:
            yield "", f"no channel {channel!r}", nearest(channel, channels) or "add it to channels"


def _of_otel(otel: OtelSettings) -> Iterator[Fault]:
    if otel.endpoint is not None and not otel.endpoint.startswith(("http://", "https://", "${")):
        hint = "of an OTLP/HTTP receiver, for example http://localhost:4318"
        yield ".endpoint", f"{otel.endpoint!r} is no URL", hint


def _one_of(key: str, value: str | None, *known: str) -> Iterator[Fault]:
    if value is not None and value not in known:
        yield key, repr(value), f"{', '.join(known[:-1])} or {known[-1]}"


def _unreadable(key: str, text: str | None, read: Callable[[str], Any]) -> Iterator[Fault]:
    try:
        if text is not None:
            read(text)
    except ScheduleError as error:
        yield key, error.message, error.hint
