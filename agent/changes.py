"""What is different about a run, held against the last success of its job. Pure.

A difference says what it was and what it is. It is no cause yet: `causes` weighs them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from json import dumps
from typing import Any

from attrs import field, frozen

from ..backends.records import Json, Run
from ..backends.states import FAILURES, OPEN
from .masks import unseen

SLOWER = 2.0  # times as long as in the last success, from which on a step is worth a word,
SLOWER_BY = 1.0  # and by so many seconds,
SLOWER_SHARE = 0.25  # and by this share of what the whole run took
MORE_MEMORY = 1.5  # times as much
_SHOWN = 60  # characters of a value


@frozen
class Side:
    """One run and what is known of it: `header` of its process, `about` of its root run (packages, names of variables),
    `steps` inside it (the newest some hundred), `lines` (texts, a bounded part of them)."""

    run: Run
    header: Json = field(factory=dict)
    about: Json = field(factory=dict)
    steps: tuple[Run, ...] = ()
    lines: tuple[str, ...] = ()


@frozen
class Change:
    """`topic` is one of package, python, code, parameter, host, user, folder, command, zone, variable, step, memory and
    line; `name` says which of them; `text` is the whole sentence."""

    topic: str
    name: str
    text: str


def changes(now: Side, then: Side) -> list[Change]:
    """In the order of the topics. `then` is the last success."""
    found: list[Change] = []
    for look in (_packages, _process, _code, _parameters, _variables, _steps, _memory, _lines):
        found += look(now, then)
    return found


def _packages(now: Side, then: Side) -> Iterator[Change]:
    new, old = now.about.get("packages") or {}, then.about.get("packages") or {}
    for name in sorted({*new, *old}):
        if name in new and name in old and new[name] != old[name]:
            text = f"package {name} is {new[name]}, and was {old[name]} in the last success"
            yield Change("package", name, text)


def _process(now: Side, then: Side) -> Iterator[Change]:
    for key, topic, words in (
        ("python", "python", "Python"),
        ("host", "host", "the host"),
        ("user", "user", "the user"),
    ):
        new, old = now.header.get(key), then.header.get(key)
        if new and old and new != old:
            yield Change(topic, str(new), f"{words} is {new}, and was {old} in the last success")
    if now.run.cwd and then.run.cwd and now.run.cwd != then.run.cwd:
        text = f"it ran in {now.run.cwd}, the last success in {then.run.cwd}"
        yield Change("folder", now.run.cwd, text)
    if now.run.argv and then.run.argv and now.run.argv != then.run.argv:
        new, old = (_short(" ".join(word for word in a if word not in b)) for a, b in _both(now, then))
        yield Change("command", new, f"the command line has `{new}`, where the last success had `{old}`")
    yield from _zone(now.header, then.header)


def _both(now: Side, then: Side) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    return (now.run.argv, then.run.argv), (then.run.argv, now.run.argv)


def _zone(new: Json, old: Json) -> Iterator[Change]:
    here, there = new.get("utc_offset"), old.get("utc_offset")
    if here is None or there is None or here == there:
        return
    named, before = (f"{each.get('zone')} (UTC{_hours(each['utc_offset'])})" for each in (new, old))
    yield Change("zone", named, f"the time zone is {named}, and was {before} in the last success")


def _hours(offset: float) -> str:
    return f"{'+' if offset >= 0 else '-'}{abs(offset) // 3600:02.0f}:{abs(offset) % 3600 // 60:02.0f}"


def _code(now: Side, then: Side) -> Iterator[Change]:
    new, old = now.run.code or {}, then.run.code or {}
    commit, before = new.get("git_commit"), old.get("git_commit")
    if commit and before and commit != before:
        text = f"the code is of commit {commit[:12]}, and was of {before[:12]} in the last success"
        yield Change("code", commit[:12], text)
    if new.get("file") and old.get("file") and new["file"] != old["file"]:
        yield Change("code", new["file"], f"the script is {new['file']}, and was {old['file']}")
    elif new.get("crc") and old.get("crc") and new["crc"] != old["crc"]:
        yield Change("code", new["file"], f"the script {new['file']} was changed since the last success")


def _parameters(now: Side, then: Side) -> Iterator[Change]:
    new, old = now.run.parameters, then.run.parameters
    for name in dict.fromkeys((*new, *old)):
        if name not in old:
            yield Change("parameter", name, f"parameter {name} is new: {_short(new[name])}")
        elif name not in new:
            yield Change("parameter", name, f"parameter {name} is gone; it was {_short(old[name])}")
        elif new[name] != old[name]:
            text = f"parameter {name} is {_short(new[name])}, and was {_short(old[name])} in the last success"
            yield Change("parameter", name, text)


def _variables(now: Side, then: Side) -> Iterator[Change]:
    if not now.about or not then.about:
        return
    new, old = set(now.about.get("environ") or ()), set(then.about.get("environ") or ())
    for name in sorted(old - new):
        yield Change("variable", name, f"environment variable {name} is not set; it was in the last success")
    for name in sorted(new - old):
        yield Change("variable", name, f"environment variable {name} is set; it was not in the last success")


@frozen
class Kind:
    """The steps of one name: `seconds` they took together (those that go on have none), how many `runs`, how many
    `failed`."""

    seconds: float
    runs: int
    failed: int


def kinds(steps: Iterable[Run]) -> dict[str, Kind]:
    """By name, in the order in which the first of each began."""
    groups: dict[str, list[Run]] = defaultdict(list)
    for step in sorted(steps, key=lambda each: each.created_at):
        groups[step.name].append(step)
    return {
        name: Kind(
            sum(each.duration_seconds or 0.0 for each in runs),
            len(runs),
            sum(each.state in FAILURES for each in runs),
        )
        for name, runs in groups.items()
    }


def _steps(now: Side, then: Side) -> Iterator[Change]:
    new, old = kinds(now.steps), kinds(then.steps)
    total = then.run.duration_seconds or 0.0
    slow = []
    for name, kind in new.items():
        if name not in old:
            yield Change("step", name, f"step {name} is new")
        elif is_slower(kind.seconds, old[name].seconds, total):
            slow.append((old[name].seconds - kind.seconds, name))
    for _, name in sorted(slow):
        text = f"step {name} took {_seconds(new[name].seconds)}, and {_seconds(old[name].seconds)} in the last success"
        yield Change("slower", name, text)
    for name in old:
        if name not in new and now.run.state not in OPEN:
            yield Change("step", name, f"step {name} never began; it did in the last success")


def is_slower(now: float, then: float, total: float) -> bool:
    """Whether so many seconds are worth a word where it were `then`, of `total` for the whole run."""
    return now > SLOWER * then and now - then > max(SLOWER_BY, SLOWER_SHARE * total)


def _memory(now: Side, then: Side) -> Iterator[Change]:
    new, old = ((each.run.usage or {}).get("max_rss_bytes") for each in (now, then))
    if new and old and new > MORE_MEMORY * old and new - old > 100e6:
        text = f"it used {new / 1e6:,.0f} MB of memory at most, and {old / 1e6:,.0f} MB in the last success"
        yield Change("memory", "memory", text)


def _lines(now: Side, then: Side) -> Iterator[Change]:
    for text, count in unseen(now.lines, then.lines):
        times = f" ({count} times)" if count > 1 else ""
        yield Change("line", text, f"new line{times}: {text[:200]}")


def _short(value: Any) -> str:
    shown = value if isinstance(value, str) else dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def diverged(now: Side, then: Side | None) -> str | None:
    """Where the run first went another way than the last success: the first step that failed, or took far longer."""
    total = (then.run.duration_seconds or 0.0) if then else 0.0
    old: Mapping[str, Kind] = kinds(then.steps) if then else {}
    for step in sorted(now.steps, key=lambda each: (each.ended_at or float("inf"), each.created_at)):
        if step.state in FAILURES:
            return f"step {step.name} ({step.id}) {step.state.lower().replace('_', ' ')}{_in_order(step, now.steps)}"
        usual = old.get(step.name)
        one = usual.seconds / usual.runs if usual else None
        if one is not None and step.duration_seconds and is_slower(step.duration_seconds, one, total):
            return f"step {step.name} ({step.id}) took {_seconds(step.duration_seconds)}, and {_seconds(one)} usually"
    return None


def _in_order(step: Run, steps: Sequence[Run]) -> str:
    done = sum(each.state == "COMPLETED" for each in steps if (each.ended_at or 0) <= (step.ended_at or 0))
    return f" after {done} that completed" if done else ""
