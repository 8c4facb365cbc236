"""Settings: one frozen object, from holter.yaml, the environment and what the caller says.

Later wins: defaults < HOLTER_HOME/holter.yaml (or the file that HOLTER_CONFIG names) < HOLTER_PROJECT, HOLTER_BACKEND,
HOLTER_HEARTBEAT < arguments. Nothing is read from the working directory: a cron job and a shell see the same settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, NewType

import cattrs
from attrs import evolve, field, fields, frozen, has
from cattrs.errors import ForbiddenExtraKeysError

from ..backends.errors import HolterError, ScheduleError, SettingsError
from ..backends.fold import CONDITIONS, ENDINGS
from ..backends.schedule import Schedule, parse_duration

Seconds = NewType("Seconds", float)
SIZE_LIMIT = 2**20  # bytes of a settings file
EVENTS = (
    *(state.lower() for state in ENDINGS),
    *CONDITIONS,
    *("stale", "late", "missed", "recovered", "slot_wait", "slot_hold", "short", "frequent"),
)


@frozen
class Limit:
    """A named limit: `slots` places; `scope` host (kernel locks) or shared (leases of `lease` seconds)."""

    slots: int = 1
    scope: str = "host"
    lease: Seconds = Seconds(30.0)


@frozen
class Check:
    """What is expected of a job; durations in seconds. None: nothing is expected."""

    schedule: str | None = None
    timezone: str | None = None
    grace: Seconds | None = None
    max_duration: Seconds | None = None
    min_duration: Seconds | None = None
    stall_after: Seconds | None = None
    fresh_within: Seconds | None = None


@frozen
class Channel:
    """Where alerts go. `kind` is apprise (`target`: URL), webhook (`target`: URL, `secret` signs) or command."""

    kind: str
    target: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)


@frozen
class Rule:
    """When to speak: `on` events, about `jobs` (shell patterns; None: every root run), `to` channels, `after` so many
    bad endings in a row, `remind` every so many seconds, tell when `recovered`, `fallback` channel."""

    on: tuple[str, ...]
    to: tuple[str, ...] = ()
    jobs: tuple[str, ...] | None = None
    after: int = 1
    remind: Seconds | None = None
    recovered: bool = True
    fallback: str | None = None


@frozen
class RetentionPolicy:
    """What is kept how long: runs `days`, failures `keep_failures` seconds, log lines `logs_days`."""

    days: float = 90.0
    keep_failures: Seconds = Seconds(365 * 86400.0)
    logs_days: float = 30.0


@frozen
class WatchdogSettings:
    """`interval` seconds between passes, `ping` a URL that is called after each pass."""

    ping: str | None = None
    interval: Seconds = Seconds(1.0)


@frozen
class Settings:
    """Everything that can be set. `home` is HOLTER_HOME (absolute), `config` the file that was read, or None."""

    home: str = ""
    config: str | None = None
    project: str = "default"
    backend: str = "sqlite:///holter.db"
    heartbeat: Seconds = Seconds(5.0)
    limits: dict[str, Limit] = field(factory=dict)
    checks: dict[str, Check] = field(factory=dict)
    channels: dict[str, Channel] = field(factory=dict)
    alerts: tuple[Rule, ...] = ()
    retention: RetentionPolicy = RetentionPolicy()
    redact: tuple[str, ...] = ()
    watchdog: WatchdogSettings = WatchdogSettings()


def load(home: str | None = None, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """Read the settings. Raises SettingsError (one line, with the setting's path and a hint) for what cannot be used."""
    place = os.path.abspath(os.path.expanduser(home or environ.get("HOLTER_HOME") or "~/.holter"))
    named = environ.get("HOLTER_CONFIG")
    path = os.path.abspath(named) if named else f"{place}/holter.yaml"
    raw = _read(path, required=bool(named))
    settings = _structured({} if raw is None else raw, path)
    given = {name: environ[f"HOLTER_{name.upper()}"] for name in _FROM_ENVIRON if environ.get(f"HOLTER_{name.upper()}")}
    if "heartbeat" in given:
        given["heartbeat"] = _heartbeat(given["heartbeat"])
    changes = {**given, **{name: value for name, value in overrides.items() if value is not None}}
    return evolve(settings, home=place, config=None if raw is None else path, **changes)


_FROM_ENVIRON = ("project", "backend", "heartbeat")


def _heartbeat(text: str) -> Any:
    try:
        return parse_duration(text)
    except ScheduleError as error:
        raise SettingsError(f"HOLTER_HEARTBEAT: {error.message}", path="heartbeat", hint=error.hint) from None


def expand(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Replace `${NAME}` by the environment's values, where the value is used: a job that runs without the variable
    must not fail for it. Raises SettingsError naming a variable that is missing."""
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environ:
            raise SettingsError(f"the environment has no {name}", path=name, hint=f"export {name}=... for the watchdog")
        return environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", value, text)


# --- from YAML to classes ------------------------------------------------------------------------------------


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
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise SettingsError(f"{path}{place}: {problem}", hint="indent with spaces, quote text that has a colon") from None


def _loader() -> Any:
    """PyYAML's SafeLoader, but `on` and `off` are texts, as in YAML 1.2: rules have a key `on`."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way to be told
            first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|false|False)$"), list("tTfF"))
    return Loader


def _structured(raw: Any, path: str) -> Settings:
    if not isinstance(raw, dict):
        raise SettingsError(f"{path} holds no settings", hint="write `name: value` lines; `holter init` makes an example")
    for key in ("home", "config"):
        if key in raw:
            raise SettingsError(f"{key} cannot be set in {path}", path=key, hint="HOLTER_HOME and HOLTER_CONFIG do that")
    try:
        settings: Settings = _CONVERTER.structure(_long_forms(raw), Settings)
    except Exception as error:
        raise _explained(error, path) from None
    _cross_check(settings, path)
    return settings


def _long_forms(raw: dict[str, Any]) -> dict[str, Any]:
    """The short forms written out: `database: 3`, `ops: slack://...`."""
    out = dict(raw)
    if isinstance(raw.get("limits"), dict):
        out["limits"] = {k: {"slots": v} if isinstance(v, int) else v for k, v in raw["limits"].items()}
    for name in ("limits", "checks", "channels", "retention", "watchdog"):
        if name in out and out[name] is None:
            out[name] = {}
    for name in ("alerts", "redact"):
        if name in out and out[name] is None:
            out[name] = []
    if isinstance(raw.get("alerts"), dict):
        out["alerts"] = [raw["alerts"]]
    return out


def _channel(value: Any, _: Any) -> Channel:
    if isinstance(value, str):
        return Channel("apprise", value)
    if isinstance(value, dict) and isinstance(value.get("command"), str) and set(value) == {"command"}:
        return Channel("command", value["command"])
    if isinstance(value, dict) and isinstance(value.get("webhook"), str) and set(value) <= {"webhook", "secret"}:
        return Channel("webhook", value["webhook"], value.get("secret"))
    raise SettingsError("is no channel", hint="write an Apprise URL, {webhook: URL, secret: ...} or {command: ...}")


def _texts(value: Any, _: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise SettingsError("is a list of texts", hint="write [one, two]")
    return tuple(items)


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


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)
    for kind in (str, int, float, bool):
        converter.register_structure_hook(kind, _plain(kind))
    converter.register_structure_hook(Channel, _channel)
    converter.register_structure_hook_func(lambda kind: kind is Seconds, lambda value, _: Seconds(parse_duration(value)))
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
    for name, check in settings.checks.items():
        try:
            if check.schedule is not None:
                Schedule.parse(check.schedule, check.timezone)
        except ScheduleError as error:
            raise wrong(f"checks.{name}.schedule", error.message, error.hint) from None
    for number, rule in enumerate(settings.alerts):
        for event in rule.on:
            if event not in EVENTS:
                raise wrong(f"alerts[{number}].on", f"no event {event!r}", _nearest(event, EVENTS))
        for channel in (*rule.to, *([rule.fallback] if rule.fallback else [])):
            if channel not in settings.channels:
                near = _nearest(channel, settings.channels) or "add it to channels"
                raise wrong(f"alerts[{number}]", f"no channel {channel!r}", near)
        if rule.after < 1:
            raise wrong(f"alerts[{number}].after", f"{rule.after}", "at least 1")


def _explained(error: BaseException, path: str, place: str = "") -> SettingsError:
    """The first thing that cattrs objects to, as one line with its dotted path."""
    if isinstance(error, ForbiddenExtraKeysError):
        wrong = sorted(map(str, error.extra_fields))[0]
        names = [each.name for each in fields(error.cl)] if has(error.cl) else []
        at = f"{place}.{wrong}".lstrip(".")
        hint = _nearest(wrong, names) or f"known: {', '.join(name for name in names if name not in ('home', 'config'))}"
        return SettingsError(f"unknown setting {at} in {path}", path=at, hint=hint)
    if isinstance(error, cattrs.BaseValidationError):
        inner = error.exceptions[0]
        step = "" if isinstance(inner, KeyError) else _step(inner)  # a missing key is named by the error itself
        return _explained(inner, path, place + step)
    if isinstance(error, HolterError):
        return SettingsError(f"{place.lstrip('.')} in {path}: {error.message}", path=place.lstrip("."), hint=error.hint)
    at = place.lstrip(".")
    if isinstance(error, KeyError):
        return SettingsError(f"{at} in {path}: {error.args[0]} is missing", path=at, hint="`holter init` makes an example")
    return SettingsError(f"{at} in {path}: has the wrong form", path=at, hint="`holter init` makes an example")


def _step(error: BaseException) -> str:
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, cattrs.AttributeValidationNote):
            return f".{note.name}"
        if isinstance(note, cattrs.IterableValidationNote):
            return f"[{note.index}]" if isinstance(note.index, int) else f".{note.index}"
    return ""


def _nearest(name: str, names: Any) -> str:
    near = get_close_matches(name, list(names), n=1)
    return f"did you mean {near[0]}?" if near else ""


# --- for the job's own process -------------------------------------------------------------------------------


def job_view(settings: Settings) -> dict[str, Any]:
    """The few settings that a job needs, as plain JSON."""
    return {
        "project": settings.project,
        "backend": settings.backend,
        "heartbeat": settings.heartbeat,
        "redact": list(settings.redact),
        "limits": {name: {"slots": limit.slots, "scope": limit.scope} for name, limit in settings.limits.items()},
    }


def write_cache(settings: Settings) -> None:
    """Leave `job_view` in HOME/cache/knobs.json, so that jobs need not read YAML while the file is the same."""
    from json import dumps

    if settings.config is None:
        return
    try:
        stat = os.stat(settings.config)
        key = [settings.config, stat.st_mtime_ns, stat.st_size, stat.st_ino]
        folder = f"{settings.home}/cache"
        os.makedirs(folder, mode=0o700, exist_ok=True)
        draft = f"{folder}/.knobs.{os.getpid()}"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
            file.write(dumps({"key": key, "view": job_view(settings)}))
        os.replace(draft, f"{folder}/knobs.json")
    except OSError:  # a read-only home: then every job reads the YAML itself
        return


TEMPLATE = """\
# Holter's settings. Everything is optional; remove a # to use a line. `holter doctor` checks this file.

# project: billing                       # groups jobs; several projects can share a store
# backend: sqlite:///holter.db           # or file:///records; relative to this folder
# heartbeat: 5s                          # how often a live process says so

# limits: {database: 3, gpu: 1}          # places for `with concurrency("database")` and `--limit database`

# checks:                                # what you expect of a job, by its name
#   nightly-etl: {schedule: "0 2 * * *", timezone: Europe/Berlin, grace: 15m, max_duration: 2h, fresh_within: 26h}

# channels:                              # where alerts can go
#   ops: slack://tokenA/tokenB/tokenC    # any Apprise URL (pip install 'holter[alerts]')
#   hook: {webhook: "https://example.org/hook", secret: "${HOOK_SECRET}"}
#   pager: {command: "/usr/local/bin/page-me"}   # gets the alert as JSON on stdin

# alerts:                                # when to speak; without this, all trouble goes to all channels
#   - {on: [failed, crashed, timed_out, overdue, stale], jobs: ["nightly-*"], to: [ops], after: 1, remind: 4h, fallback: pager}

# retention: {days: 90, keep_failures: 365d, logs_days: 30}
# redact: ["*_token"]                    # more names whose values are never recorded
# watchdog: {interval: 1s}
"""
