"""What goes out alone and what together, and what a digest says. Pure: what waits and was said lately in, answer out.

A channel's messages are rationed: ten in an hour, then one every six minutes, so at most twenty in any hour. A job
that spoke six times on a channel in an hour speaks there once in ten minutes. Whatever had to wait goes out together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from attrs import frozen

from ...backends.clock import rfc3339
from ...backends.records import Json
from .message import Facts as Said
from .message import compose, exception_line, job_name, said
from .rules import INCIDENTS

HOUR = 3600.0
BURST, PAUSE = 10, 360.0  # messages of a channel in an hour, and seconds between any further ones
JOB_BURST, JOB_PAUSE = 6, 600.0  # the same for one job on a channel
AT_MOST = 10_000  # alerts in one digest
_NAMED = 10  # jobs, hosts that a digest names
_MEMBERS = 100  # alerts that its JSON lists
_WORST = (
    *("watch_gap", "channel_broken", "host_restarted", "crashed", "lost", "missed", "failed", "timed_out"),
    *("disk", "memory", "unfinished", "not_fresh", "overdue", "unresponsive", "stalled", "late"),
)


@frozen
class Item:
    """A document that waits: its key, and the document."""

    key: str
    doc: Json

    @property
    def job(self) -> tuple[str, str | None]:
        return self.doc["alert"]["project"], self.doc["alert"]["job"]


@frozen
class Spoken:
    """A message that was let out: the key of its document, when (Unix seconds), and about which job if one only."""

    key: str
    at: float
    job: str | None = None


Group = tuple[Item, ...]


def plan(items: Sequence[Item], spoken: Sequence[Spoken], now: float, size: int) -> list[Group]:
    """The messages that a channel is to get now, each of one alert or a digest of several; the rest waits.

    `items` in the order in which they came. `size`: more alerts than this become a digest; 0: none ever does. A job's
    alerts never overtake each other: those that would end up in different digests wait for the next time.
    """
    if size == 0:
        return [(item,) for item in items]
    lately = [each for each in spoken if now - HOUR < each.at <= now + 60]
    reserved = {each.key for each in lately}  # let out by a watchdog that died before it had done so
    out: list[Group] = [(item,) for item in items if item.key in reserved]
    fresh = [item for item in items if item.key not in reserved and not _hoarse(item, lately, now)]
    ration = BURST - len(lately)
    if not fresh or (ration <= 0 and now - max(each.at for each in lately) < PAUSE):
        return out
    groups = _groups(fresh, lately, size)
    if len(groups) > max(1, ration) or any(item.doc["alert"]["event"] == "watch_gap" for item in fresh):
        groups = [tuple(fresh[:AT_MOST])]
    return out + _in_order(groups, fresh)


def name_of(job: tuple[str, str | None]) -> str | None:
    return f"{job[0]}/{job[1]}" if job[1] else None


def _hoarse(item: Item, lately: Sequence[Spoken], now: float) -> bool:
    """Whether the item's job spoke too often to speak now."""
    job = name_of(item.job)
    spoken = [each.at for each in lately if job and each.job == job]
    return len(spoken) >= JOB_BURST and now - max(spoken) < JOB_PAUSE


def _groups(fresh: Sequence[Item], lately: Sequence[Spoken], size: int) -> list[Group]:
    """What belongs together by its cause; of the rest each alone, or all together where that is too much."""
    loud = {job for job, times in Counter(each.job for each in lately).items() if job and times >= JOB_BURST}
    causes: dict[tuple[str, str], list[Item]] = {}
    for item in fresh:
        if cause := _cause(item.doc, loud, name_of(item.job)):
            causes.setdefault(cause, []).append(item)
    together = [tuple(each[:AT_MOST]) for each in causes.values() if len(each) > 1]
    grouped = {item.key for each in causes.values() if len(each) > 1 for item in each}
    rest = [item for item in fresh if item.key not in grouped]
    if len(rest) > size:
        return [*together, tuple(rest[:AT_MOST])]
    return [*together, *((item,) for item in rest)]


def _cause(doc: Json, loud: set[str], job: str | None) -> tuple[str, str] | None:
    """What several alerts have in common: a host that restarted or fell silent, quiet hours that ended, a job that
    fails again and again."""
    alert = doc["alert"]
    host, event, reason = alert.get("host"), alert["event"], str(alert.get("reason") or "")
    if host and (event == "host_restarted" or (event == "crashed" and reason.startswith("host restarted"))):
        return "restarted", host
    if host and event == "lost":
        return "lost", host
    if doc["state"] == "held":
        return "held", ""
    return ("job", job) if job in loud and job else None


def _in_order(groups: list[Group], fresh: Sequence[Item]) -> list[Group]:
    """The groups without those alerts that would overtake, or be overtaken by, an earlier one of their job."""
    kinds = {item.key: n if len(group) > 1 else -1 for n, group in enumerate(groups) for item in group}
    first: dict[tuple[str, str | None], int | None] = {}
    kept = set()
    for item in fresh:
        kind = kinds.get(item.key)
        if first.setdefault(item.job, kind) != kind:
            first[item.job] = None  # and so is whatever comes after it
        elif kind is not None:
            kept.add(item.key)
    left = (tuple(item for item in group if item.key in kept) for group in groups)
    return [group for group in left if group]


def worded(channel: str, dedupe_key: str, docs: Sequence[Json], at: float) -> Json:
    """The alert that tells of several (`docs`, in the order in which they came): counts, jobs, hosts, the worst first,
    what is over by now, and what to type."""
    alerts = sorted((doc["alert"] for doc in docs), key=_rank)
    jobs = _distinct(job_name(each["job"], each["project"]) for each in alerts if each["job"])
    hosts = _distinct(each["host"] for each in alerts if each.get("host"))
    common = compose(None, Said("digest", dedupe_key, at))
    one = {(each["project"], each["job"]) for each in alerts}
    if len(one) == 1:
        common["project"], common["job"] = next(iter(one))
    common["host"] = hosts[0] if len(hosts) == 1 else None
    over = [doc for doc in docs if doc.get("over_at")]
    members = [{name: each.get(name) for name in _LISTED} for each in alerts[:_MEMBERS]]
    return {
        **common,
        "reason": _counts(alerts),
        "title": _title(alerts, jobs, hosts),
        "body": _body(alerts, hosts, over, at),
        "count": len(alerts),
        "members": members,
    }


_LISTED = ("event", "job", "project", "host", "run_id", "dedupe_key")


def _rank(alert: Json) -> int:
    event = alert["event"]
    if event in _WORST:
        return _WORST.index(event)
    return len(_WORST) + (0 if event in INCIDENTS else 1 if event != "recovered" else 2)


def _title(alerts: Sequence[Json], jobs: Sequence[str], hosts: Sequence[str]) -> str:
    where = f" on {hosts[0]}" if len(hosts) == 1 else f" on {len(hosts)} hosts" if hosts else ""
    whom = jobs[0] if len(jobs) == 1 else f"{len(jobs)} jobs" if jobs else ""
    restarted = any(str(each.get("reason") or "").startswith("host restarted") for each in alerts)
    if restarted and len(hosts) == 1:
        return f"{hosts[0]} was restarted: {_counts(alerts)}"
    return f"{len(alerts)} alerts" + (f" about {whom}" if whom else "") + f"{where}: {_counts(alerts)}"


def _counts(alerts: Sequence[Json]) -> str:
    """`3 crashed, 7 failed`, the worst first."""
    counts = Counter(each["event"] for each in alerts)
    return ", ".join(f"{count} {_counted(event)}" for event, count in counts.items())


def _counted(event: str) -> str:
    """The event in words after a number: `lost`, where one alone `is lost`."""
    return said(event).removeprefix("is ").removeprefix("was ")


def _body(alerts: Sequence[Json], hosts: Sequence[str], over: Sequence[Json], at: float) -> str:
    lines = [f"{len(alerts)} alerts until {rfc3339(at)}, the worst first:", ""]
    for event in _distinct(each["event"] for each in alerts):
        same = [each for each in alerts if each["event"] == event]
        who = _distinct(_who(each) for each in same)
        lines.append(f"{len(same)} {_counted(event)}: {_few(who)}")
        lines += [f"  {why}" for why in _distinct(_why(each) for each in same)[:3] if why]
    lines += ["", f"Hosts ({len(hosts)}): {_few(hosts)}"] if len(hosts) > 1 else []
    if over:
        lines.append(f"Over by now ({len(over)}): {_few(_distinct(_who(doc['alert']) for doc in over))}")
    return "\n".join([*lines, "", "See more: holter alerts, holter status"])


def _who(alert: Json) -> str:
    if alert["job"]:
        return job_name(alert["job"], alert["project"])
    return str(alert["title"]).partition(f" {said(alert['event'])}")[0]


def _why(alert: Json) -> str:
    return exception_line(alert.get("error")) or str(alert.get("reason") or "")


def _few(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
