"""From plain values to settings, with an error that says which setting is wrong, and what was meant."""

from __future__ import annotations

import re
from typing import Any

import cattrs
from attrs import fields, has
from cattrs.errors import ForbiddenExtraKeysError

from ..backends.errors import HolterError, ScheduleError, SettingsError
from ..backends.schedule import Schedule, parse_duration
from .setting_types import After, Bound, Bytes, Channel, QuietHours, Room, Seconds, Settings
from .settings_checks import cross_check, nearest


def structured(raw: Any, path: str) -> Settings:
    """The settings that these values mean. Raises SettingsError naming the first setting that is wrong."""
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
    cross_check(settings, path)
    return settings


def _long_forms(raw: dict[str, Any]) -> dict[str, Any]:
    """The short forms written out: `database: 3`, `ops: slack://...`."""
    out = dict(raw)
    if isinstance(raw.get("limits"), dict):
        out["limits"] = {k: {"slots": v} if isinstance(v, int) else v for k, v in raw["limits"].items()}
    for name in ("limits", "checks", "channels", "retention", "watchdog", "host", "rerun", "otel"):
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
    if isinstance(value, bool) or not number.replace(".", "", 1).isdecimal() or len(number) > 30:
        raise SettingsError(f"{value!r} is no size", hint="for example 2GB or 500MiB")
    return int(float(number) * factor)


def _bound(value: Any, _: Any) -> Bound:
    count, _, span = str(value).partition(" per ")
    count = count.strip()  # of more kinds of blanks than int() takes away
    if not count.isdecimal() or len(count) > 9 or not 1 <= int(count) <= 1000:
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
        hint = nearest(wrong, names) or f"known: {', '.join(names)}"
        return SettingsError(f"unknown setting {at} in {path}", path=at, hint=hint)
    if isinstance(error, cattrs.BaseValidationError):
        inner = error.exceptions[0]
        # A missing key is named by the error itself.
        step = "" if isinstance(inner, KeyError) else _step(inner)
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
