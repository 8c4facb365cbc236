"""`holter doctor`: is everything here that recording, watching and alerting need, and if not, what to do?"""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
import time
from collections.abc import Callable, Iterator

from ...backends.base import Backend
from ...backends.clock import SYSTEM, Clock
from ...backends.errors import AccessDenied, ChannelError, HolterError, SettingsError
from ...backends.mounts import file_system, is_network
from ...backends.queries import RunQuery
from ...backends.urls import open_backend, path_of, redacted
from ..settings import Settings, load
from . import doctor_watch, outbox
from .adopt import Adopted, catch_up
from .channels import open_channel
from .finding import Finding
from .trial import trial

AHEAD = 60.0  # seconds that a record may be ahead of this clock


def examine(clock: Clock = SYSTEM, *, alert: bool = False) -> Iterator[Finding]:
    """Every finding, in the order in which one needs the other; with `alert`, a test alert goes out through every
    channel. Raises no HolterError and no OSError."""
    yield from _python()
    try:
        settings = load()
    except SettingsError as error:
        yield Finding(
            "fail", "settings", error.message, error.hint or "correct the file; jobs go on with defaults"
        )
        return
    yield from _home(settings.home)
    yield from _settings(settings)
    try:
        backend = open_backend(settings.backend, settings.home, clock=clock, timeout=5.0)
    except HolterError as error:
        yield Finding(
            "fail", "backend", error.message, error.hint or "jobs go on; their records wait in journals"
        )
        return
    try:
        for look in (_store, _journals, doctor_watch.watchdog, doctor_watch.host, _channels, _clock):
            yield from _guarded(look, settings, backend, clock)
    finally:
        backend.close()
    if alert and settings.channels:
        yield from _alerts(settings, clock)


Look = Callable[[Settings, Backend, Clock], Iterator[Finding]]


def _guarded(look: Look, settings: Settings, backend: Backend, clock: Clock) -> Iterator[Finding]:
    about = look.__name__.strip("_")
    try:
        yield from look(settings, backend, clock)
    except AccessDenied as error:
        if look in (_store, _journals):
            yield Finding("fail", about, error.message, error.hint)
        else:  # a host that only sends is in order with a token that only may; `_store` says if it is a bad one
            yield Finding("ok", about, f"not to be seen from here: {error.message}")
    except HolterError as error:
        yield Finding("fail", about, error.message, error.hint or "try again; if it stays, restore the store")
    except OSError as error:
        yield Finding("fail", about, str(error), "look at the path and its permissions")


def _python() -> Iterator[Finding]:
    from ... import __version__

    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("ok", "holter", f"{__version__} on Python {version}, SQLite {sqlite3.sqlite_version}")


def _home(home: str) -> Iterator[Finding]:
    todo = "set HOLTER_HOME to a folder that you may write"
    if not os.path.exists(home):
        yield Finding(
            "warn", "home", f"{home} does not exist yet", "the first recorded run makes it, or `holter init`"
        )
        return
    if not os.path.isdir(home) or not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("fail", "home", f"{home} is no folder that this user may write", todo)
        return
    mode = stat.S_IMODE(os.stat(home).st_mode)
    if mode & 0o077:
        yield Finding("warn", "home", f"{home} is open to others (mode {mode:o})", f"chmod 700 {home}")
    else:
        yield Finding("ok", "home", f"{home} (mode {mode:o})")
    yield _file_system("HOLTER_HOME", home)


def _file_system(what: str, path: str) -> Finding:
    kind = file_system(path)
    if is_network(kind):
        todo = f"move {what} to a local disk: locks of a network file system prove nothing"
        return Finding("warn", "file system", f"{path} is on a network file system ({kind})", todo)
    return Finding("ok", "file system", kind or "unknown to this system")


def _settings(settings: Settings) -> Iterator[Finding]:
    if settings.config is None:
        yield Finding("ok", "settings", "defaults (no holter.yaml)", "`holter init` writes one to start from")
        return
    mode = stat.S_IMODE(os.stat(settings.config).st_mode)
    if mode & 0o077 and settings.channels:
        todo = f"chmod 600 {settings.config}: channels hold tokens"
        yield Finding("warn", "settings", f"{settings.config} can be read by others (mode {mode:o})", todo)
    else:
        yield Finding("ok", "settings", settings.config)


def _store(settings: Settings, backend: Backend, clock: Clock) -> Iterator[Finding]:
    if settings.backend.startswith(("sqlite:", "file:")):
        place = path_of(settings.backend.partition("?")[0], settings.home)
        if is_network(file_system(place)):
            yield _file_system("the store", place)
    said = backend.check()
    level, todo = (
        ("ok", "") if said["ok"] else ("fail", "restore the store from a backup; journals keep what is new")
    )
    yield Finding(level, "backend", f"{redacted(settings.backend)}: {said['detail']}", todo)


def _journals(settings: Settings, backend: Backend, clock: Clock) -> Iterator[Finding]:
    found: Adopted = catch_up(settings.home, backend, clock)
    if found.damaged:
        todo = f"look into {settings.home}/journals: a journal without a readable first line is not Holter's"
        yield Finding("warn", "journals", f"{found.damaged} cannot be read", todo)
    if found.waiting:
        todo = "they go out once the backend is the one they were written for, or on the host that wrote them"
        yield Finding("warn", "journals", f"{found.waiting} wait for another store or another host", todo)
    if not found.damaged and not found.waiting:
        yield Finding("ok", "journals", f"{len(found.live)} of live processes, none waits")


def _channels(settings: Settings, backend: Backend, clock: Clock) -> Iterator[Finding]:
    if not settings.channels:
        yield Finding(
            "warn",
            "channels",
            "none, so nobody is told of anything",
            "add one under `channels:` in holter.yaml",
        )
    for name, channel in settings.channels.items():
        try:
            open_channel(channel)
        except ChannelError as error:
            yield Finding(
                "fail", "channels", f"{name}: {error.message}", error.hint or "correct it in holter.yaml"
            )
        else:
            yield Finding(
                "ok", "channels", f"{name} ({channel.kind})", f"`holter alerts test {name}` tries it"
            )
    for broken in outbox.broken_channels(backend):
        detail = f"{broken['channel']} fails since {broken['failing_since']}: {broken['last_error']}"
        yield Finding("fail", "channels", detail, f"holter alerts test {broken['channel']}")


def _alerts(settings: Settings, clock: Clock) -> Iterator[Finding]:
    for tried in trial(settings.channels, clock=clock):
        if tried.error is None:
            yield Finding("ok", "test alert", f"{tried.channel} took it")
        else:
            todo = tried.error.hint or "correct it in holter.yaml"
            yield Finding("fail", "test alert", f"{tried.channel}: {tried.error.message}", todo)


def _clock(settings: Settings, backend: Backend, clock: Clock) -> Iterator[Finding]:
    now = clock.wall()
    newest = backend.runs(RunQuery(limit=1))
    ahead = newest[0].created_at - now if newest else 0.0
    detail = time.strftime("%Y-%m-%d %H:%M:%S %Z (UTC%z)", time.localtime(now))
    if ahead > AHEAD:
        todo = "set the clocks of both hosts by NTP"
        yield Finding(
            "warn", "clock", f"{detail}; a run of {newest[0].host} is {ahead:.0f} s ahead of it", todo
        )
    else:
        yield Finding("ok", "clock", detail)
