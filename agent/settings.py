"""Settings: one frozen object, from holter.yaml, the environment and what the caller says.

Later wins: defaults < HOLTER_HOME/holter.yaml (or the file that HOLTER_CONFIG names) < HOLTER_PROJECT, HOLTER_BACKEND,
HOLTER_HEARTBEAT < arguments. Nothing is read from the working directory: a cron job and a shell see the same settings.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from attrs import evolve

from ..backends.errors import ScheduleError, SettingsError
from ..backends.schedule import parse_duration
from . import settings_yaml
from .setting_types import Channel, Check, Limit, RetentionPolicy, Rule, Settings, WatchdogSettings

__all__ = [
    "Channel",
    "Check",
    "Limit",
    "RetentionPolicy",
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
    """Read the settings. Raises SettingsError (one line, with the setting's path and a hint) for what cannot be used."""
    place = os.path.abspath(os.path.expanduser(home or environ.get("HOLTER_HOME") or "~/.holter"))
    named = environ.get("HOLTER_CONFIG")
    path = os.path.abspath(named) if named else f"{place}/holter.yaml"
    found = settings_yaml.read(path, required=bool(named))
    given = {name: environ[f"HOLTER_{name.upper()}"] for name in _FROM_ENVIRON if environ.get(f"HOLTER_{name.upper()}")}
    if "heartbeat" in given:
        given["heartbeat"] = _heartbeat(given["heartbeat"])
    changes = {**given, **{name: value for name, value in overrides.items() if value is not None}}
    return evolve(found or Settings(), home=place, config=path if found else None, **changes)


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


def refresh_cache(home: str, config: str | None) -> dict[str, Any]:
    """`job_view` of the file alone, left in HOME/cache/knobs.json too, so that jobs need not read YAML while the file is
    the same. `config` is what HOLTER_CONFIG says. Raises SettingsError."""
    settings = load(home, {"HOLTER_CONFIG": config} if config else {})  # what one job's environment says is not for all
    view = job_view(settings)
    if settings.config is not None:
        try:
            _write_cache(settings.home, settings.config, view)
        except OSError:  # a read-only home: then every job reads the YAML itself
            pass
    return view


def _write_cache(home: str, config: str, view: dict[str, Any]) -> None:
    from json import dumps

    stat = os.stat(config)
    folder = f"{home}/cache"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    draft = f"{folder}/.knobs.{os.getpid()}"
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(dumps({"key": [config, stat.st_mtime_ns, stat.st_size, stat.st_ino], "view": view}))
    os.replace(draft, f"{folder}/knobs.json")


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
