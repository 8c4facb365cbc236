"""Settings: one frozen object, from holter.yaml, the environment and what the caller says.

Later wins: defaults < HOLTER_HOME/holter.yaml (or the file that HOLTER_CONFIG names) < HOLTER_PROJECT, HOLTER_BACKEND,
HOLTER_HEARTBEAT, HOLTER_DURABILITY < arguments. Nothing is read from the working directory: a cron job and a shell see
the same settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from operator import attrgetter
from typing import Any

from attrs import evolve

from ..backends.errors import ScheduleError, SettingsError
from ..backends.schedule import parse_duration
from . import settings_yaml
from .setting_types import (
    DURABILITIES,
    Channel,
    Check,
    HostSettings,
    Limit,
    RetentionPolicy,
    Room,
    Rule,
    Seconds,
    Settings,
    WatchdogSettings,
)
from .shared_home import is_shared

__all__ = [
    "Channel",
    "Check",
    "HostSettings",
    "Limit",
    "RetentionPolicy",
    "Room",
    "Rule",
    "Settings",
    "TEMPLATE",
    "WatchdogSettings",
    "expand",
    "job_view",
    "load",
    "refresh_cache",
]


def load(home: str | None = None, environ: Mapping[str, str] = os.environ, **overrides: Any) -> Settings:
    """Read the settings. Raises SettingsError for what cannot be used: one line, the setting's path, a hint."""
    place = os.path.abspath(os.path.expanduser(home or environ.get("HOLTER_HOME") or "~/.holter"))
    named = environ.get("HOLTER_CONFIG")
    path = os.path.abspath(named) if named else f"{place}/holter.yaml"
    found = settings_yaml.read(path, required=bool(named))
    if found:
        _check_ranges(found, f" in {path}")
    given: dict[str, Any] = {name: environ.get(f"HOLTER_{name.upper()}") for name in _FROM_ENVIRON}
    if given["heartbeat"]:
        given["heartbeat"] = _heartbeat(given["heartbeat"])
    if given["durability"] not in (None, "", *DURABILITIES):
        hint = " or ".join(DURABILITIES)
        raise SettingsError(
            "durability (HOLTER_DURABILITY) is none that there is", path="durability", hint=hint
        )
    changes = {name: value for name, value in given.items() if value}
    changes.update((name, value) for name, value in overrides.items() if value is not None)
    return evolve(found or Settings(), home=place, config=path if found else None, **changes)


_FROM_ENVIRON = ("project", "backend", "heartbeat", "durability")


_RANGES = (  # below, a loop has no pause, or the past begins in the future and pruning forgets everything
    ("heartbeat", 0.05, 3600.0),
    ("watchdog.interval", 0.01, 3600.0),
    ("watchdog.lost_after", 0.1, 86400.0),
    ("watchdog.ping_every", 0.1, 86400.0),
    ("host.memory_pressure", 0.0, 100.0),
    ("host.load", 0.0, 10000.0),
    ("host.every", 0.1, 3600.0),
    ("otel.metrics_every", 1.0, 86400.0),
    ("watchdog.digest", 0, 1000),
    ("retention.days", 0.0, 36525.0),
    ("retention.logs_days", 0.0, 36525.0),
)


def _check_ranges(settings: Settings, where: str) -> None:
    for path, least, most in _RANGES:
        value = attrgetter(path)(settings)
        if not least <= value <= most:  # true for NaN too
            hint = f"from {least:g} to {most:g}"
            raise SettingsError(f"{path}{where}: {value:g} is out of range", path=path, hint=hint)


def _heartbeat(text: str) -> Seconds:
    where = " (HOLTER_HEARTBEAT)"
    try:
        seconds = Seconds(parse_duration(text))
    except ScheduleError as error:
        raise SettingsError(f"heartbeat{where}: {error.message}", path="heartbeat", hint=error.hint) from None
    _check_ranges(Settings(heartbeat=seconds), where)
    return seconds


def expand(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Replace `${NAME}` by the environment's values, where the value is used: a job that runs without the variable
    must not fail for it. Raises SettingsError naming a variable that is missing."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environ:
            hint = f"export {name}=... for the watchdog"
            raise SettingsError(f"the environment has no {name}", path=name, hint=hint)
        return environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", value, text)


# --- for the job's own process -------------------------------------------------------------------------------


def job_view(settings: Settings) -> dict[str, Any]:
    """The few settings that a job needs, as plain JSON."""
    limits = {name: _limit_view(limit) for name, limit in settings.limits.items()}
    needs = {job: said for job, check in settings.checks.items() if (said := _needs_view(check))}
    return {
        "project": settings.project,
        "backend": settings.backend,
        "heartbeat": settings.heartbeat,
        "durability": settings.durability,
        "redact": list(settings.redact),
        "limits": limits,
        "needs": needs,
    }


def _needs_view(check: Check) -> dict[str, Any]:
    said = {
        "needs": check.needs and list(check.needs),
        "on_unmet": check.on_unmet,
        "wait": check.needs_wait,
    }
    return {name: value for name, value in said.items() if value is not None}


def _limit_view(limit: Limit) -> dict[str, Any]:
    view: dict[str, Any] = {"slots": limit.slots, "scope": limit.scope}
    if limit.per_second is not None:
        view["per_second"] = limit.per_second
    if limit.scope == "shared":
        view.update(lease=limit.lease, on_lease_lost=limit.on_lease_lost)
    return view


def refresh_cache(home: str, config: str | None) -> dict[str, Any]:
    """`job_view` of the file alone, left in HOME/cache/knobs.json too: while the file is the same, jobs need no YAML.

    `home` is absolute, `config` what HOLTER_CONFIG says. The environment's other words are left out: they are one
    job's, and the cache is for all. Raises SettingsError.
    """
    # The key is taken before reading: of a file that changes meanwhile, the old must not pass for the new.
    key = _identity(os.path.abspath(config) if config else f"{home}/holter.yaml")
    settings = load(home, {"HOLTER_CONFIG": config} if config else {})
    view = job_view(settings)
    if key is not None and settings.config is not None:
        _write_cache(settings.home, {"key": key, "view": view})
    return view


def _identity(path: str) -> list[Any] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return [path, stat.st_mtime_ns, stat.st_size, stat.st_ino]


def _write_cache(home: str, cache: dict[str, Any]) -> None:
    from json import dumps

    folder = f"{home}/cache"
    draft = f"{folder}/.knobs.{os.getpid()}"
    try:
        for each in (home, folder):  # one by one: makedirs gives its mode to the last folder only
            os.makedirs(each, mode=0o700, exist_ok=True)
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
            if is_shared(home):
                os.fchmod(file.fileno(), 0o640)
            file.write(dumps(cache))
        os.replace(draft, f"{folder}/knobs.json")
    except OSError:  # a home that is read-only or full: then every job reads the YAML itself
        with suppress(OSError):
            os.unlink(draft)


TEMPLATE = """\
# Holter's settings. Everything is optional; remove a # to use a line. `holter doctor` checks this file.

# project: billing                       # groups jobs; several projects can share a store
# backend: sqlite:///holter.db           # or file:///records; relative to this folder
# heartbeat: 5s                          # how often a live process says so
# durability: process                    # or host: every event but log lines is synced to the disk

# limits:                                # places for `with concurrency("database")` and `--limit database`
#   database: 3
#   api: {slots: 2, wait_alert: 10m, hold_alert: 2h}     # tell of who waits, or holds, for longer
#   web: {slots: 5, per_second: 2}         # for Prefect's rate_limit("web"): so many come back a second
#   gpu: {slots: 1, scope: shared, lease: 30s, on_lease_lost: warn}   # among all hosts of the backend

# checks:                                # what you expect of a job, by its name
#   nightly-etl:
#     schedule: "0 2 * * *"              # or @daily, or every 15m
#     timezone: Europe/Berlin            # of the schedule
#     grace: 15m                         # it may start so late
#     max_duration: 2h                   # longer is overdue
#     on_overdue: alert                  # or kill: the watchdog ends it
#     min_duration: 5s                   # shorter is suspicious
#     stall_after: 10m                   # so long without progress is stalled
#     fresh_within: 26h                  # the last good run may be so old
#     finish_by: "06:00"                 # it has completed by then; or 3h after the expected time
#     max_runs_per: 3 per 1h             # more starts are suspicious
#     max_times_median: 3                # longer than so many times the usual duration is overdue
#     median_of: 20                      # usual: the median of so many completed runs
#     needs: ["extract within 26h"]      # it must not start before these have completed
#     on_unmet: refuse                   # or wait, or warn
#     needs_wait: 1h                     # wait so long at most

# channels:                              # where alerts can go
#   ops: slack://tokenA/tokenB/tokenC    # any Apprise URL (pip install 'holter[alerts]')
#   hook: {webhook: "https://example.org/hook", secret: "${HOOK_SECRET}"}   # from the watchdog's environment
#   pager: {command: "/usr/local/bin/page-me"}   # gets the alert as JSON on stdin
#   log: {log: "/var/log/holter-alerts.log"}     # a line for each alert; as JSON if named .jsonl
#   desk: {desktop: true}                # notify-send

# alerts:                                # when to speak; without this, all trouble goes to all channels
#   - on: [failed, crashed, timed_out, overdue, stale]
#     jobs: ["nightly-*"]                # without this, every run that no other run started
#     to: [ops]
#     tags: [etl]                        # only runs with one of these tags (shell patterns)
#     projects: ["billing*"]             # only jobs of these projects
#     after: 1                           # so many bad endings in a row, or "3 of 5"
#     after_crashed: 1                   # crashes have a count of their own,
#     after_missed: 1                    # and so do runs that did not come
#     quiet_hours: "22:00-07:00 Europe/Berlin"   # kept for later; or {from, to, timezone, days: [sat, sun]}
#     remind: 4h                         # again, while it lasts
#     recovered: true                    # and when it is over
#     fallback: pager                    # where `to` cannot be reached
#     rerun: true                        # and start the job again; or run: "systemctl restart x"
#     max: 3 per 1h                      # so often at most, for each job
#     back_off: 1m                       # and not sooner after the last one; doubles

# retention: {days: 90, keep_failures: 365d, logs_days: 30, max_bytes: 2GB}
# redact: ["*_token"]                    # more names whose values are never recorded
# public: [billing]                      # projects whose status page and badges `holter serve` shows to anybody
# watchdog:
#   interval: 1s                         # between two passes
#   lost_after: 60s                      # silence of another host
#   digest: 5                            # more alerts at once than this are one message
#   ping: "https://example.org/ping/abc" # called after good passes: whoever misses it watches the watchdog
#   ping_every: 30s
# rerun: {env: [PATH, HOME, "LC_*"]}     # what of the environment a rerun gets
# otel: {endpoint: "http://localhost:4318", headers: {api-key: "${OTEL_KEY}"}, logs: true, metrics_every: 60s}
# host: {disk_free: 1GB, memory_free: 3%, memory_pressure: 20, load: 4, paths: [/var], every: 10s}   # what is trouble
"""
