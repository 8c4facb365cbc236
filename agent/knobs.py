"""The few settings that the recording process needs, resolved without YAML, attrs or cattrs.

Those three cost five times a whole hello-world run. So `settings` (which validates everything) leaves the values
that a job needs in HOLTER_HOME/cache/knobs.json, and this module reads them from there while holter.yaml is the
same file (path, size, time, inode). Later wins: defaults < holter.yaml < HOLTER_* < `configure()`.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_BACKEND = "sqlite:///holter.db"
_configured: dict[str, Any] = {}
_resolved: Knobs | None = None
_complained = False


class Knobs:
    """What the job's process has to know.

    `home` (absolute folder), `project`, `backend` (URL), `heartbeat` (seconds between beats, default 5),
    `durability` (what an event survives: the end of the `process`, the default, or that of the `host` too),
    `redact` (extra name patterns), `limits` (name to `{"slots": n, "scope": "host" | "shared"}`),
    `needs` (job to `needs`, `on_unmet` and `wait` of its check),
    `config` (path of the YAML file that was read, or None).
    """

    __slots__ = (
        "backend",
        "config",
        "durability",
        "heartbeat",
        "home",
        "limits",
        "needs",
        "project",
        "redact",
    )

    def __init__(self, home: str, config: str | None, view: dict[str, Any]) -> None:
        self.home = home
        self.config = config
        self.project: str = str(view.get("project") or "default")
        self.backend: str = str(view.get("backend") or DEFAULT_BACKEND)
        self.heartbeat: float = _seconds(view.get("heartbeat"), 5.0)
        self.durability: str = _survives(view.get("durability"))
        self.redact: tuple[str, ...] = tuple(view.get("redact") or ())
        self.limits: dict[str, dict[str, Any]] = {
            name: limit if isinstance(limit, dict) else {"slots": int(limit), "scope": "host"}
            for name, limit in (view.get("limits") or {}).items()
        }
        self.needs: dict[str, dict[str, Any]] = view.get("needs") or {}


def configure(**settings: Any) -> None:
    """Set settings for this process; they win over holter.yaml and the environment.

    Takes `home`, `project`, `backend`, `heartbeat` (seconds), `durability` (process or host), `redact` (list of name
    patterns) and `limits` (name to slots).
    Call it before the first flow: a journal that is already open keeps its place.
    Raises TypeError for an unknown name.
    """
    global _resolved
    for name in settings:
        if name not in Knobs.__slots__ or name in ("config", "needs"):
            allowed = ", ".join(sorted(set(Knobs.__slots__) - {"config", "needs"}))
            raise TypeError(f"configure() has no setting {name!r} (it takes {allowed})")
    _configured.update(settings)
    _resolved = None


def knobs() -> Knobs:
    """The settings of this process, resolved on first use."""
    global _resolved
    if _resolved is None:
        _resolved = _resolve()
    return _resolved


def home() -> str:
    """HOLTER_HOME as an absolute path; `~/.holter` where it is not set."""
    given = _configured.get("home") or os.environ.get("HOLTER_HOME") or "~/.holter"
    return os.path.abspath(os.path.expanduser(str(given)))


def complain(message: str) -> None:
    """Say once per process, in one line on stderr, that recording does not work; the job goes on."""
    global _complained
    if _complained or sys.stderr is None:
        return
    _complained = True
    from .secrets import clean

    try:
        sys.stderr.write(f"holter: {' '.join(clean(str(message)).split())}\n")
    except (OSError, ValueError):
        return  # stderr is closed: there is nobody left to tell


def _resolve() -> Knobs:
    place = home()
    environ = os.environ
    config = environ.get("HOLTER_CONFIG") or f"{place}/holter.yaml"
    try:
        stat = os.stat(config)
    except OSError:
        if "HOLTER_CONFIG" in environ:
            complain(f"no settings file {config} (HOLTER_CONFIG); going on with defaults")
        view, found = {}, None
    else:
        key: list[Any] = [os.path.abspath(config), stat.st_mtime_ns, stat.st_size, stat.st_ino]
        view, found = _cached(place, key) or _parsed(place, key[0]), config
    for name in ("project", "backend", "heartbeat", "durability"):
        if value := environ.get(f"HOLTER_{name.upper()}"):
            view[name] = value
    view.update((name, value) for name, value in _configured.items() if name != "home")
    return Knobs(place, found, view)


def _cached(place: str, key: list[Any]) -> dict[str, Any] | None:
    """The settings of the file whose `key` this is (path, time, size, inode); of its path alone, as they last were."""
    from json import loads

    try:
        with open(f"{place}/cache/knobs.json", encoding="utf-8") as file:
            cache = loads(file.read())
        return dict(cache["view"]) if cache["key"][: len(key)] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _parsed(place: str, path: str) -> dict[str, Any]:
    """A file with a mistake in it counts as it was before that: defaults would be another store, and tell secrets."""
    from ..backends.errors import SettingsError
    from .settings import refresh_cache

    try:
        return refresh_cache(place, os.environ.get("HOLTER_CONFIG"))
    except SettingsError as error:
        before = _cached(place, [path])
        complain(f"{error}; going on with {'defaults' if before is None else 'the settings before that'}")
        return before or {}


def _survives(value: Any) -> str:
    if value not in (None, "process", "host"):
        complain(f"durability {value!r} is neither process nor host; going on with process")
    return "host" if value == "host" else "process"


def _seconds(value: Any, default: float) -> float:
    if value is None:
        return default
    from ..backends.errors import ScheduleError
    from ..backends.schedule import parse_duration

    try:
        seconds = parse_duration(value)
    except ScheduleError:
        seconds = -1.0
    if 0.05 <= seconds <= 3600:
        return seconds
    complain(f"heartbeat {value!r} is not a number of seconds from 0.05 to 3600; going on with {default:g}")
    return default
