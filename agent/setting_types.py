"""What can be set: one class for each group of settings. Durations are seconds."""

from __future__ import annotations

from typing import NewType

from attrs import field, frozen

from ..backends.fold import CONDITIONS, ENDINGS

Seconds = NewType("Seconds", float)
Bytes = NewType("Bytes", int)
EVENTS = (
    *(state.lower() for state in ENDINGS),
    *CONDITIONS,
    *("stale", "late", "missed", "recovered", "slot_wait", "slot_hold", "short", "frequent", "not_fresh"),
)


@frozen
class Limit:
    """A named limit: `slots` places; `scope` host (kernel locks) or shared (leases of `lease` seconds in the backend).
    `on_lease_lost`: warn, or cancel the block whose lease ran out."""

    slots: int = 1
    scope: str = "host"
    lease: Seconds = Seconds(30.0)
    on_lease_lost: str = "warn"


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
    """What is kept how long: runs `days`, failures `keep_failures` seconds, log lines `logs_days`. Of a store that
    takes more than `max_bytes`, the oldest runs go sooner."""

    days: float = 90.0
    keep_failures: Seconds = Seconds(365 * 86400.0)
    logs_days: float = 30.0
    max_bytes: Bytes | None = None


@frozen
class WatchdogSettings:
    """`interval` seconds between passes, `ping` a URL that is called after each pass. A run of another host is `lost`
    when the store has heard nothing of its process for `lost_after` seconds."""

    ping: str | None = None
    interval: Seconds = Seconds(1.0)
    lost_after: Seconds = Seconds(60.0)


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
