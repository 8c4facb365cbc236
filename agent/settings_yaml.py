"""From a YAML file to settings, with an error that says which line or which setting is wrong, and what was meant."""

from __future__ import annotations

import os
import re
from difflib import get_close_matches
from typing import Any

import cattrs
from attrs import fields, has
from cattrs.errors import ForbiddenExtraKeysError

from ..backends.errors import HolterError, ScheduleError, SettingsError
from ..backends.schedule import Schedule, parse_deadline, parse_duration, parse_need, parse_rate
from .setting_types import EVENTS, After, Bound, Bytes, Channel, QuietHours, Room, Seconds, Settings

SIZE_LIMIT = 2**20  # bytes of a settings file


def read(path: str, *, required: bool) -> Settings | None:
    """The settings that the file holds; None where there is none and none is `required`. Raises SettingsError."""
    raw = _read(path, required=required)
    return None if raw is None else _structured(raw, path)


def _read(path: str, *, required: bool) -> Any:
    """The file's content, {} for an empty one, None where there is none."""
    try:
        with open(path, "rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except FileNotFoundError:
        if required:
            raise SettingsError(f"there is no settings file {path}", hint="HOLTER_CONFIG names it") from None
        return None
    except OSError as error:
        if required or os.path.exists(path):
            raise SettingsError(f"cannot read {path}: {error.strerror}") from None
        return None
    if len(data) > SIZE_LIMIT:
        raise SettingsError(f"{path} is larger than 1 MiB")
    return _parse(data, path)


def _parse(data: bytes, path: str) -> Any:
    import yaml

    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(data)):
            raise SettingsError(f"{path} uses YAML aliases (*name)", hint="write the value out")
        return yaml.load(data, Loader=_loader()) or {}  # noqa: S506 - a SafeLoader with fewer words for true
    except SettingsError:
        raise
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        # PyYAML lets a date that does not exist, a number of 5,000 digits or 5,000 brackets end in Python's own errors
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise SettingsError(
            f"{path}{place}: {problem}", hint="indent with spaces, quote text that has a colon"
        ) from None


def _loader() -> Any:
    """PyYAML's SafeLoader, but `on` and `off` are texts, as in YAML 1.2: rules have a key `on`."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way to be told
            first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile("^(?:true|True|false|False)$"), list("tTfF")
    )
    return Loader


def _structured(raw: Any, path: str) -> Settings:
    if not isinstance(raw, dict):
        raise SettingsError(
            f"{path} holds no settings", hint="write `name: value` lines; `holter init` makes an example"
        )
    for key in ("home", "config"):
        if key in raw:
            raise SettingsError(
                f"{key} cannot be set in {path}", path=key, hint="HOLTER_HOME and HOLTER_CONFIG do that"
            )
    try:
        settings: Settings = _CONVERTER.structure(_long_forms(raw), Settings)
    except Exception as error:  # noqa: BLE001 - whatever cattrs objects to, in one line
        raise _explained(error, path) from None
    _cross_check(settings, path)
    return settings


def _long_forms(raw: dict[str, Any]) -> dict[str, Any]:
    """The short forms written out: `database: 3`, `ops: slack://...`."""
    out = dict(raw)
    if isinstance(raw.get("limits"), dict):
        out["limits"] = {k: {"slots": v} if isinstance(v, int) else v for k, v in raw["limits"].items()}
    for name in ("limits", "checks", "channels", "retention", "watchdog", "host", "rerun"):
        if name in out and out[name] is None:
            out[name] = {}
    for name in ("alerts", "public", "redact"):
        if name in out and out[name] is None:
            out[name] = []
    if isinstance(raw.get("alerts"), dict):
        out["alerts"] = [raw["alerts"]]
    return out


def _channel(value: Any, _: Any) -> Channel:
    if isinstance(value, str):
        return Channel("apprise", value)
    if value == {"desktop": True}:
        return Channel("desktop", "")
    for kind in ("command", "log"):
        if isinstance(value, dict) and set(value) == {kind} and isinstance(value[kind], str):
            return Channel(kind, value[kind])
    texts = isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
    if texts and "webhook" in value and set(value) <= {"webhook", "secret"}:
        return Channel("webhook", value["webhook"], value.get("secret"))
    raise SettingsError(
        "is no channel",
        hint="write an Apprise URL, {webhook: URL, secret: ...}, {command: ...}, {log: PATH} or {desktop: true}",
    )


def _texts(value: Any, _: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise SettingsError("is a list of texts", hint="write [one, two]")
    return tuple(items)


def _after(value: Any, _: Any) -> After:
    try:
        return After.parse(value if isinstance(value, int | str) else "")
    except ValueError:
        raise SettingsError(
            f"is no count: {value!r}", hint="at least 1: write 3 (in a row) or 3 of 5"
        ) from None


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _quiet_hours(value: Any, _: Any) -> QuietHours:
    """`{from: "22:00", to: "07:00", timezone: Europe/Berlin, days: [sat]}`, or "22:00-07:00 Europe/Berlin"."""
    if isinstance(value, str):
        times, _, zone = value.strip().partition(" ")
        start, _, end = times.partition("-")
        value = {"from": start, "to": end, "timezone": zone.strip() or "UTC"}
    if not isinstance(value, dict) or not {"from", "to"} <= set(value) <= {"from", "to", "timezone", "days"}:
        raise SettingsError(
            "are no quiet hours", hint='write "22:00-07:00 Europe/Berlin" or {from, to, timezone, days}'
        )
    for time in (value["from"], value["to"]):
        if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", str(time)):
            raise SettingsError(f"{time!r} is no time of the day", hint='write "22:00", with the quotes')
    zone = value.get("timezone", "UTC")
    try:
        Schedule.parse("@daily", zone)
    except ScheduleError as error:
        raise SettingsError(error.message, hint=error.hint) from None
    days = tuple(day[:3].lower() for day in _texts(value.get("days", []), None))
    if wrong := next((day for day in days if day not in _DAYS), None):
        raise SettingsError(f"no day {wrong!r}", hint=f"known: {', '.join(_DAYS)}")
    return QuietHours(value["from"], value["to"], zone, days)


def _plain(kind: type) -> Any:
    def structure(value: Any, _: Any) -> Any:
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not fits:
            words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
            raise SettingsError(f"is {words[kind]}, not {value!r}")
        return value

    return structure


def parse_size(value: Any) -> int:
    """Bytes from a number or a text like `2GB` (10^9) or `500MiB` (2^20)."""
    text = str(value).strip().lower().removesuffix("b")
    factor = 1
    for power, letter in enumerate("kmgt", 1):
        if text.endswith((letter, f"{letter}i")):
            factor = 1024**power if text.endswith("i") else 1000**power
    number = text.rstrip("kmgti").strip()
    if isinstance(value, bool) or not number.replace(".", "", 1).isdecimal():
        raise SettingsError(f"{value!r} is no size", hint="for example 2GB or 500MiB")
    return int(float(number) * factor)


def _bound(value: Any, _: Any) -> Bound:
    count, _, span = str(value).partition(" per ")
    if not count.strip().isdecimal() or not 1 <= int(count) <= 1000:
        raise SettingsError(f"is no bound: {value!r}", hint='write "3 per 1h"')
    return Bound(int(count), parse_duration(span.strip()))


def _room(value: Any, _: Any) -> Room:
    if isinstance(value, str) and value.strip().endswith("%"):
        number = value.strip().removesuffix("%").strip()
        if not number.replace(".", "", 1).isdecimal() or float(number) > 100:
            raise SettingsError(f"{value!r} is no share", hint="for example 5%")
        return Room(percent=float(number))
    return Room(parse_size(value))


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind in (str, int, float, bool):
        converter.register_structure_hook(kind, _plain(kind))
    converter.register_structure_hook(Channel, _channel)
    converter.register_structure_hook(After, _after)
    converter.register_structure_hook(Room, _room)
    converter.register_structure_hook(Bound, _bound)
    converter.register_structure_hook(QuietHours, _quiet_hours)
    converter.register_structure_hook_func(
        lambda kind: kind is Seconds, lambda value, _: Seconds(parse_duration(value))
    )
    converter.register_structure_hook_func(
        lambda kind: kind is Bytes, lambda value, _: Bytes(parse_size(value))
    )
    converter.register_structure_hook_func(lambda kind: kind == tuple[str, ...], _texts)
    return converter


_CONVERTER = _converter()


def _cross_check(settings: Settings, path: str) -> None:
    """What one setting says of another."""

    def wrong(place: str, message: str, hint: str = "") -> SettingsError:
        return SettingsError(f"{place} in {path}: {message}", path=place, hint=hint)

    for name, limit in settings.limits.items():
        if limit.slots < 1:
            raise wrong(f"limits.{name}", f"{limit.slots} slots", "at least 1")
        if limit.scope not in ("host", "shared"):
            raise wrong(f"limits.{name}.scope", repr(limit.scope), "host or shared")
        if not 0.5 <= limit.lease <= 86400:
            raise wrong(
                f"limits.{name}.lease", f"{limit.lease:g} is out of range", "from 0.5 to 86400 seconds"
            )
        if limit.on_lease_lost not in ("warn", "cancel"):
            raise wrong(f"limits.{name}.on_lease_lost", repr(limit.on_lease_lost), "warn or cancel")
    for name, check in settings.checks.items():
        for key, text in (("timezone", "@daily"), ("schedule", check.schedule)):
            try:
                if text is not None:
                    Schedule.parse(text, check.timezone)
            except ScheduleError as error:
                raise wrong(f"checks.{name}.{key}", error.message, error.hint) from None
        for key, read in (("finish_by", parse_deadline), ("max_runs_per", parse_rate)):
            try:
                if getattr(check, key) is not None:
                    read(getattr(check, key))
            except ScheduleError as error:
                raise wrong(f"checks.{name}.{key}", error.message, error.hint) from None
        if check.max_times_median is not None and not 1 < check.max_times_median <= 1000:
            raise wrong(f"checks.{name}.max_times_median", f"{check.max_times_median:g}", "more than 1, as 3")
        if check.median_of is not None and not 3 <= check.median_of <= 1000:
            raise wrong(f"checks.{name}.median_of", f"{check.median_of} runs", "from 3 to 1000")
        if check.on_overdue not in (None, "alert", "kill"):
            raise wrong(f"checks.{name}.on_overdue", repr(check.on_overdue), "alert or kill")
        if check.on_unmet not in (None, "refuse", "wait", "warn"):
            raise wrong(f"checks.{name}.on_unmet", repr(check.on_unmet), "refuse, wait or warn")
        for need in check.needs or ():
            try:
                parse_need(need)
            except ScheduleError as error:
                raise wrong(f"checks.{name}.needs", error.message, error.hint) from None
    for number, rule in enumerate(settings.alerts):
        for event in rule.on:
            if event not in EVENTS:
                raise wrong(
                    f"alerts[{number}].on",
                    f"no event {event!r}",
                    _nearest(event, EVENTS) or f"known: {', '.join(EVENTS)}",
                )
        if rule.run is not None and rule.rerun:
            raise wrong(f"alerts[{number}]", "both run and rerun", "make two rules of it")
        if rule.after_missed < 1:
            raise wrong(f"alerts[{number}].after_missed", str(rule.after_missed), "at least 1")
        for channel in (*rule.to, *([rule.fallback] if rule.fallback else [])):
            if channel not in settings.channels:
                near = _nearest(channel, settings.channels) or "add it to channels"
                raise wrong(f"alerts[{number}]", f"no channel {channel!r}", near)


def _explained(error: BaseException, path: str, place: str = "") -> SettingsError:
    """The first thing that cattrs objects to, as one line with its dotted path."""
    if isinstance(error, ForbiddenExtraKeysError):
        wrong = min(map(str, error.extra_fields))
        names = (
            [each.name for each in fields(error.cl) if each.name not in ("home", "config")]
            if has(error.cl)
            else []
        )
        at = f"{place}.{wrong}".lstrip(".")
        hint = _nearest(wrong, names) or f"known: {', '.join(names)}"
        return SettingsError(f"unknown setting {at} in {path}", path=at, hint=hint)
    if isinstance(error, cattrs.BaseValidationError):
        inner = error.exceptions[0]
        step = (
            "" if isinstance(inner, KeyError) else _step(inner)
        )  # a missing key is named by the error itself
        return _explained(inner, path, place + step)
    if isinstance(error, HolterError):
        return SettingsError(
            f"{place.lstrip('.')} in {path}: {error.message}", path=place.lstrip("."), hint=error.hint
        )
    at = place.lstrip(".")
    if isinstance(error, KeyError):
        return SettingsError(
            f"{at} in {path}: {error.args[0]} is missing", path=at, hint="`holter init` makes an example"
        )
    return SettingsError(
        f"{at} in {path}: has the wrong form", path=at, hint="`holter init` makes an example"
    )


def _step(error: BaseException) -> str:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, cattrs.AttributeValidationNote):
            return f".{note.name}"
        if isinstance(note, cattrs.IterableValidationNote):
            return f"[{note.index}]" if isinstance(note.index, int) else f".{note.index}"
    return ""


def _nearest(name: str, names: Any) -> str:
    near = get_close_matches(name.lower(), list(names), n=1)
    return f"did you mean {near[0]}?" if near else ""
