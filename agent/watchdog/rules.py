"""When to speak: which alerts a transition calls for. Pure: records and rules in, answers out.

A transition speaks only while it still holds. If the watchdog comes late and the run has gone on since, the alert
about what is over is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from ...backends.states import CONDITIONS, ENDINGS, FAILURES, STALE
from ..settings import Rule

if TYPE_CHECKING:
    from ...backends.records import Json, Run, Transition
    from .incidents import Incident

WATCH_BROKEN = "watch_broken"  # told on every channel, unless a rule names it
INCIDENTS = (  # what is told of besides runs, see `incidents`
    *("late", "missed", "unfinished", "short", "frequent", "not_fresh", "zone_mismatch", "unjudged"),
    *("slot_wait", "slot_hold", "disk", "memory", "load", "host_restarted", "watch_gap"),
    *("channel_broken", "automation", "settings_refused"),
    WATCH_BROKEN,
)
TROUBLE = (*(state.lower() for state in FAILURES), *CONDITIONS, *INCIDENTS)  # stays open until it is over
FACTS = ("host_restarted", "watch_gap")  # happened: nothing recovers from them
RECOVERED = "recovered"
INCIDENT = "incident"  # the `kind` of a document that tells of no run's own transition


@frozen
class Due:
    """One alert to send: `event`, `dedupe_key` (the same however often it is computed) and the `rule` that asks."""

    event: str
    dedupe_key: str
    rule: Rule


def rules_of(rules: Sequence[Rule], channels: Sequence[str]) -> tuple[Rule, ...]:
    """The rules that hold. Without channels there are none; without rules, all trouble of root runs is told; a rule
    that names no channel speaks on all of them."""
    if not channels:
        return ()
    return tuple(evolve(rule, to=rule.to or tuple(channels)) for rule in rules or (Rule(on=TROUBLE),))


def event_of(transition: Transition) -> str | None:
    """The event's name in rules: an ending (`failed`) or a condition that set in (`stalled`); else None."""
    if transition.condition is not None:
        return transition.condition[1:] if transition.condition.startswith("+") else None
    return transition.to_state.lower() if transition.to_state in ENDINGS else None


def cleared(transition: Transition) -> str | None:
    """The condition that this transition took away, if it did."""
    said = transition.condition or ""
    return said[1:] if said.startswith("-") else None


def due(transition: Transition, run: Run, history: Sequence[Run], rules: Sequence[Rule]) -> list[Due]:
    """The alerts that `transition` of `run` calls for, in the order of `rules`.

    `history`: the ended runs of the same job up to and with this one, newest first; at least as many as the
    greatest `after` among the rules, where there are so many (see `depth`).
    """
    event = event_of(transition)
    if event is None or not still_holds(transition, run):
        return []
    key = f"{run.id}:{event}" if transition.condition is None else f"{run.id}:{event}:{transition.seq}"
    return [
        Due(event, key, rule)
        for rule in rules
        if wants(rule, event) and concerns(rule, run) and (event in CONDITIONS or _enough(rule, run, history))
    ]


def depth(rules: Sequence[Rule]) -> int:
    """How many runs of history `due` needs."""
    return max((after.of for rule in rules for after in (rule.after, rule.after_crashed)), default=1)


def still_holds(transition: Transition, run: Run) -> bool:
    """Whether the run still is what the transition made it."""
    if transition.condition is None:
        return run.state == transition.to_state
    return transition.condition[1:] in run.conditions


def wants(rule: Rule, event: str) -> bool:
    """Whether the rule names the event; `stale` stands for its three conditions."""
    return event in rule.on or (event in STALE and "stale" in rule.on)


def wants_recovery(rule: Rule) -> bool:
    return rule.recovered or RECOVERED in rule.on


def concerns(rule: Rule, run: Run) -> bool:
    """Whether the rule is about this run: without `jobs` any root run, else any flow or command of that name."""
    about = (
        run.parent_id is None if rule.jobs is None else run.kind != "task" and _one_of(rule.jobs, run.name)
    )
    return about and _one_of(rule.projects, run.project) and _tagged(rule, run.tags)


def asks(rule: Rule, incident: Incident, tags: Sequence[str], misses: int) -> bool:
    """Whether the rule wants to hear of this incident. `tags`: of its job's last run; `misses`: how many expected runs
    of its job did not come in a row. A rule with `jobs`, `projects` or `tags` is about jobs: not about a host."""
    if not wants(rule, incident.event) or (incident.event == "missed" and misses < rule.after_missed):
        return False
    if incident.job is None:
        return rule.jobs is None and rule.projects is None and rule.tags is None
    about = _one_of(rule.jobs, incident.job) and _one_of(rule.projects, incident.project)
    return about and _tagged(rule, tags)


def misses_of(incident: Incident, lasting: Sequence[Incident]) -> int:
    """How many runs of the incident's job did not come in a row: as detection counted them, or as many as are open."""
    about = (incident.event, incident.project, incident.job)
    same = [each for each in lasting if (each.event, each.project, each.job) == about]
    return max(int(incident.details.get("misses", 1)), len(same))


def _one_of(patterns: Sequence[str] | None, name: str) -> bool:
    return patterns is None or any(fnmatchcase(name, pattern) for pattern in patterns)


def _tagged(rule: Rule, tags: Sequence[str]) -> bool:
    return rule.tags is None or any(_one_of(rule.tags, tag) for tag in tags)


def resolves(transition: Transition, run: Run, doc: Json) -> bool:
    """Whether the trouble of an open alert (its outbox document) is over by this later transition.

    A condition is over when it clears and when its run ends; an ending, when a run of the same job completes, or
    when the run itself turns out to have ended otherwise.
    """
    alert = doc["alert"]
    if doc["kind"] == INCIDENT:  # it says itself when it is over
        return False
    if transition.seq <= doc["seq"]:  # a watchdog that repeats old transitions must not undo newer ones
        return False
    if gone := cleared(transition):
        return bool(alert["run_id"] == run.id and alert["event"] == gone)
    if transition.condition is not None or transition.to_state not in ENDINGS:
        return False
    if alert["run_id"] == run.id:
        return bool(alert["event"] != transition.to_state.lower())
    same_job = (alert["project"], alert["job"], doc["kind"]) == (run.project, run.name, run.kind)
    return same_job and transition.to_state == "COMPLETED" and alert["event"] not in CONDITIONS


def supersedes(new: Json, old: Json) -> bool:
    """Whether the alert `new` takes the place of the open alert `old`: of a job's failures only the last is open."""
    same = all(new[name] == old[name] for name in ("channel", "kind")) and new["kind"] != INCIDENT
    same_job = all(new["alert"][name] == old["alert"][name] for name in ("project", "job"))
    endings = not {new["alert"]["event"], old["alert"]["event"]} & set(CONDITIONS)
    return bool(new["seq"] > old["seq"] and same and same_job and endings)


def good_news(transition: Transition, run: Run) -> bool:
    """Whether what this transition resolves is a recovery worth telling (a run that crashes is not stalled either)."""
    gone = cleared(transition)
    return (gone not in run.conditions) if gone else (run.state == transition.to_state == "COMPLETED")


def _enough(rule: Rule, run: Run, history: Sequence[Run]) -> bool:
    """Whether so many of the last runs ended badly. Endings that are no failure are told at once."""
    if run.state not in FAILURES:
        return True
    after = rule.after_crashed if run.state == "CRASHED" else rule.after
    return after.count <= 1 or sum(each.state in FAILURES for each in history[: after.of]) >= after.count
