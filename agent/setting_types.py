"""What can be set: one class for each group of settings. Durations are seconds."""

from __future__ import annotations

from typing import NewType

from attrs import field, frozen

from ..backends.states import CONDITIONS, ENDINGS

Seconds = NewType("Seconds", float)
Bytes = NewType("Bytes", int)
EVENTS = (
    *(state.lower() for state in ENDINGS),
    *CONDITIONS,
    *("stale", "late", "missed", "recovered", "slot_wait", "slot_hold", "short", "frequent", "not_fresh"),
    *("unjudged", "unfinished", "zone_mismatch", "disk", "memory", "load", "host_restarted", "watch_gap"),
    *("settings_refused", "watch_broken", "channel_broken", "automation"),
)


@frozen
class Limit:
    """A named limit: `slots` places; `scope` host (kernel locks) or shared (leases of `lease` seconds in the backend).
    `on_lease_lost`: warn, or cancel the block whose lease ran out. Who waits longer than `wait_alert`, or holds longer
    than `hold_alert` seconds, is told of. `per_second`: so many slots come back to Prefect's `rate_limit`."""

    slots: int = 1
    scope: str = "host"
    lease: Seconds = Seconds(30.0)
    on_lease_lost: str = "warn"
    wait_alert: Seconds | None = None
    hold_alert: Seconds | None = None
    per_second: float | None = None


@frozen
class Check:
    """What is expected of a job; durations in seconds. None: nothing is expected. `finish_by` is a clock time ("06:00")
    or a duration after the expected time, `max_runs_per` a rate ("3 per 1h"), `max_times_median` so many times the
    median of the last `median_of` completed runs (20). `on_overdue` is alert (None) or kill."""

    schedule: str | None = None
    timezone: str | None = None
    grace: Seconds | None = None
    max_duration: Seconds | None = None
    min_duration: Seconds | None = None
    stall_after: Seconds | None = None
    fresh_within: Seconds | None = None
    finish_by: str | None = None
    max_runs_per: str | None = None
    max_times_median: float | None = None
    median_of: int | None = None
    on_overdue: str | None = None
    needs: tuple[str, ...] | None = None
    on_unmet: str | None = None
    needs_wait: Seconds | None = None


@frozen
class Channel:
    """Where alerts go. `kind` is apprise (`target`: URL), webhook (`target`: URL, `secret` signs), command, log
    (`target`: an absolute path) or desktop (no `target`)."""

    kind: str
    target: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)


@frozen
class After:
    """How much has to go wrong before it is told: `count` bad endings among the last `of` (the same: in a row)."""

    count: int = 1
    of: int = 1

    @classmethod
    def parse(cls, value: After | int | str) -> After:
        """`2` (in a row) or "3 of 5". Raises ValueError."""
        if isinstance(value, After):
            return value
        count, _, of = str(value).partition(" of ")
        after = cls(int(count), int(of or count))
        if isinstance(value, bool) or not 1 <= after.count <= after.of <= 1000:
            raise ValueError(value)
        return after


@frozen
class Bound:
    """How often at most: `count` times in any `seconds`."""

    count: int = 3
    seconds: float = 3600.0


def _after(value: After | int | str) -> After:
    return After.parse(value)


@frozen
class QuietHours:
    """When a rule keeps what it finds for later: daily from `start` to `end` ("HH:MM" in `timezone`; through midnight
    where `end` is not later), on the `days` ("mon" ... "sun") on which they begin; none named: on all."""

    start: str
    end: str
    timezone: str = "UTC"
    days: tuple[str, ...] = ()


@frozen
class Rule:
    """When to speak: `on` events, about `jobs`, `tags` and `projects` (shell patterns; None: every root run), `to`
    channels, `after` so many bad endings, of crashes `after_crashed` and of misses `after_missed` in a row, `remind`
    every so many seconds, tell when `recovered`, `fallback` channel, and what comes in `quiet_hours` when they end.

    It may also do something: `run` a command or `rerun` the job, at most `max` for each job, with a pause of
    `back_off` seconds after one that doubles with each more in that time."""

    on: tuple[str, ...]
    to: tuple[str, ...] = ()
    jobs: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    projects: tuple[str, ...] | None = None
    after: After = field(default=After(), converter=_after)
    after_crashed: After = field(default=After(), converter=_after)
    after_missed: int = 1
    remind: Seconds | None = None
    recovered: bool = True
    fallback: str | None = None
    quiet_hours: QuietHours | None = None
    run: str | None = None
    rerun: bool = False
    max: Bound = Bound()
    back_off: Seconds = Seconds(60.0)


@frozen
class RerunSettings:
    """What of the environment a rerun gets: names as shell patterns. None: all of it from the command line, and from
    the watchdog its own PATH, HOME, LANG and the like."""

    env: tuple[str, ...] | None = None


@frozen
class RetentionPolicy:
    """What is kept how long: runs `days`, failures `keep_failures` seconds, log lines `logs_days`. Of a store that
    takes more than `max_bytes`, the oldest runs go sooner."""

    days: float = 90.0
    keep_failures: Seconds = Seconds(365 * 86400.0)
    logs_days: float = 30.0
    max_bytes: Bytes | None = None


@frozen
class Room:
    """How much has to be free: `size` bytes, `percent` of the whole, or the lesser of both."""

    size: int | None = None
    percent: float | None = None


@frozen
class HostSettings:
    """When a host is in trouble: less than `disk_free` on the disk of HOLTER_HOME or of a path in `paths`, less than
    `memory_free` available, more than `memory_pressure` percent of a minute waited for memory, more than `load` per
    core over five minutes. Looked at every so many seconds (`every`)."""

    disk_free: Room = Room(10**9, 5.0)
    memory_free: Room = Room(percent=3.0)
    memory_pressure: float = 20.0
    load: float = 4.0
    paths: tuple[str, ...] = ()
    every: Seconds = Seconds(10.0)


@frozen
class WatchdogSettings:
    """`interval` seconds between passes, `ping` a URL that is called after each pass. A run of another host is `lost`
    when the store has heard nothing of its process for `lost_after` seconds. More than `digest` alerts that wait for a
    channel become one message, and a channel's messages are rationed; 0: every alert is a message. `ping` is called at
    most every `ping_every` seconds."""

    ping: str | None = None
    ping_every: Seconds = Seconds(30.0)
    interval: Seconds = Seconds(1.0)
    lost_after: Seconds = Seconds(60.0)
    digest: int = 5


DURABILITIES = ("process", "host")


@frozen
class OtelSettings:
    """Where the watchdog exports to: `endpoint` is the base URL of an OTLP/HTTP receiver (None: nowhere), `headers` go
    with each request; `logs` says whether lines go too, metrics every so many seconds (`metrics_every`)."""

    endpoint: str | None = None
    headers: dict[str, str] = field(factory=dict, repr=False)
    logs: bool = True
    metrics_every: Seconds = Seconds(60.0)


@frozen
class Settings:
    """Everything that can be set. `home` is HOLTER_HOME (absolute), `config` the file that was read, or None.
    `durability` is what a recorded event survives: the end of its process, or that of its host too."""

    home: str = ""
    config: str | None = None
    project: str = "default"
    backend: str = "sqlite:///holter.db"
    heartbeat: Seconds = Seconds(5.0)
    durability: str = "process"
    limits: dict[str, Limit] = field(factory=dict)
    checks: dict[str, Check] = field(factory=dict)
    channels: dict[str, Channel] = field(factory=dict)
    alerts: tuple[Rule, ...] = ()
    retention: RetentionPolicy = RetentionPolicy()
    redact: tuple[str, ...] = ()
    public: tuple[str, ...] = ()
    watchdog: WatchdogSettings = WatchdogSettings()
    host: HostSettings = HostSettings()
    rerun: RerunSettings = RerunSettings()
    otel: OtelSettings = OtelSettings()
