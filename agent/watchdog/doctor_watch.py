"""What `holter doctor` says of watching: is somebody at it, how well, by which settings, and how is the host?"""

from __future__ import annotations

import os
from collections.abc import Iterator

from ...backends.base import Backend
from ...backends.clock import Clock, rfc3339
from ...backends.records import Json
from ...backends.schedule import format_duration
from .. import identity
from ..settings import Settings
from . import gaps, host_signals, pulse
from .finding import Finding
from .incidents import open_incidents
from .reload import look_at

DAY = 86400.0
SLOW = 5.0  # seconds that a pass should not take
SYSTEMD = "/run/systemd/system"  # there where systemd runs the host


def watchdog(settings: Settings, backend: Backend, clock: Clock) -> Iterator[Finding]:
    """Whether somebody watches; how its passes went; the gaps of the last day."""
    now = clock.wall()
    warning = pulse.warning(backend, now)
    if warning is not None:
        yield Finding("warn", "watchdog", warning.partition(": ")[0], _start())
    else:
        last = pulse.latest(backend) or {}
        yield Finding(
            "ok",
            "watchdog",
            f"pid {last['pid']} on {last['host']}, {now - last['at']:.0f} s ago{_passes(last)}",
        )
        mine = pulse.mine(backend)
        if mine is not None and pulse.stale(mine, now):
            yield Finding("warn", "watchdog", f"none on this host since {_stamp(mine['at'])}", _start())
        yield from _ailments(last)
        yield from _settings_of(last, now)
    for gap in gaps.of_host(backend, identity.host()):
        if gap.end > now - DAY:
            detail = f"nobody watched here for {format_duration(round(gap.end - gap.start))} until {_stamp(gap.end)}"
            yield Finding("ok", "gap", detail)
    for each in open_incidents(backend):
        yield Finding("warn", each.event, f"{each.reason} (since {_stamp(each.since)})", _remedy(each.event))


def host(settings: Settings, backend: Backend, clock: Clock) -> Iterator[Finding]:
    """The host as it is now, by its thresholds. (What lasts is told as incidents of the watchdog too.)"""
    paths = [path for path in settings.host.paths if not os.path.exists(path)]
    for path in paths:
        yield Finding("fail", "host", f"{path} does not exist", "correct host.paths in holter.yaml")
    reading = host_signals.read((settings.home, *settings.host.paths))
    signals = host_signals.judge(reading, settings.host)
    for each in signals:
        yield Finding("warn", "disk" if each.event == "disk" else "host", each.text, _remedy(each.event))
    full = {each.about for each in signals if each.event == "disk"}
    for path, (free, total) in reading.disks.items():
        if path not in full:
            text = f"{host_signals.size(free)} of {host_signals.size(total)} free at {path}"
            yield Finding("ok", "disk", text)
    if len(signals) == len(full):
        load = f"load {reading.load:.1f} per core" if reading.load is not None else "load unknown"
        memory = f"{host_signals.size(reading.memory[0])} of memory available, " if reading.memory else ""
        yield Finding("ok", "host", f"{memory}{load}")


def _passes(last: Json) -> str:
    about = last.get("passes")
    if not about or not about["count"]:
        return ""
    return (
        f"; {about['count']:,} passes, the last took {about['seconds'] * 1000:.0f} ms, {about['journals']} live "
        f"journals, {about['alerts_pending']} alerts wait"
    )


def _ailments(last: Json) -> Iterator[Finding]:
    about = last.get("passes") or {}
    for name, error in (about.get("errors") or {}).items():
        yield Finding(
            "fail", "watchdog", f"{name} fails: {error}", "the watchdog tries again; correct the cause"
        )
    if about.get("alerts_undelivered"):
        detail = f"{about['alerts_undelivered']} alerts found no channel that took them"
        yield Finding(
            "fail", "watchdog", detail, "holter alerts shows them; `holter alerts test` tries channels"
        )
    if about.get("seconds", 0.0) > SLOW:
        detail = f"its last pass took {about['seconds']:.1f} s"
        yield Finding("warn", "watchdog", detail, "look at the store: its disk, its size, its network")


def _settings_of(last: Json, now: float) -> Iterator[Finding]:
    """Whether the watchdog of this host goes by the file as it is; it may not for a few seconds."""
    held = last.get("settings")
    if not held or last["host"] != identity.host():
        return
    if held["refused"]:
        yield Finding(
            "fail", "watchdog", f"it goes by its old settings: {held['refused']}", "correct the file"
        )
    elif held["version"] != list(look_at(held["path"]) or ()) and _age(held["path"], now) > 2 * pulse.EVERY:
        yield Finding(
            "warn", "watchdog", f"{held['path']} is newer than what it goes by", "kill -HUP its pid"
        )


def _age(path: str, now: float) -> float:
    try:
        return now - os.stat(path).st_mtime
    except OSError:
        return 0.0


def _start() -> str:
    if os.path.isdir(SYSTEMD):
        return "start one: `holter watch` as a service (docs/watchdog.md has the systemd unit), or --once from cron"
    return "start one: `holter watch` (or --once from cron)"


def _remedy(event: str) -> str:
    return {
        "disk": "make room: a full disk loses log lines; `holter prune` forgets old runs",
        "memory": "give it more memory, or limit what runs at once: `holter run --limit`",
        "load": "limit what runs at once: `holter run --limit`",
        "settings_refused": "correct the file",
    }.get(event, "holter status and holter alerts show more")


def _stamp(at: float) -> str:
    return f"{str(rfc3339(at))[:19]}Z"
