"""Why a run is what it is, in plain sentences: who said so, what was expected, who was told and who was not, and why.

Pure: `Evidence` in, sentences out; `gather` is what reads it from a store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attrs import asdict, field, frozen

from ..backends.clock import rfc3339
from ..backends.globs import quoted
from ..backends.records import Json, Run, Transition
from ..backends.schedule import format_duration
from ..backends.states import CONDITIONS, ENDINGS
from .setting_types import Rule
from .trouble import trouble
from .watchdog import outbox, pulse
from .watchdog.incidents import Incident, open_incidents
from .watchdog.notify import history
from .watchdog.rules import TROUBLE, concerns, due, rules_of, wants

if TYPE_CHECKING:
    from ..backends.base import Backend
    from .setting_types import Settings

_TOLD = {
    "sent": "was delivered",
    "pending": "waits for its channel",
    "waiting": "is about to go out",
    "gathering": "is being put together",
    "held": "is kept until the quiet hours of its rule end",
    "snoozed": "was not sent: the job or its host was snoozed",
    "digest": "went out together with others, in a digest",
    "undelivered": "could not be delivered, and nobody else took it",
}
_PLAIN = ("timezone", "schedule", "needs", "on_unmet")  # of a check: what is no duration


@frozen
class Evidence:
    """What is known of a run at `now` (Unix seconds): its own events, the alerts and automations about it (as JSON),
    the job's last runs, the rules that hold, the check, the open incidents of its job, and where nobody watches the
    words that say so (`unwatched`)."""

    run: Run
    now: float
    events: Sequence[Json] = ()
    alerts: Sequence[Json] = ()
    automations: Sequence[Json] = ()
    history: Sequence[Run] = ()
    rules: Sequence[Rule] = ()
    check: Mapping[str, Any] = field(factory=dict)
    incidents: Sequence[Incident] = ()
    unwatched: str | None = None


@frozen
class Explanation:
    """Sentences by topic; `witness` is who said the state: `process`, `operator`, `proof` or None (it goes on)."""

    run_id: str
    state: str
    conditions: tuple[str, ...]
    witness: str | None
    what: list[str]
    expected: list[str]
    alerts: list[str]
    why_none: list[str]
    automations: list[str]
    next: list[str]

    def to_json(self) -> Json:
        return {**asdict(self), "conditions": list(self.conditions)}


def gather(backend: Backend, settings: Settings, run: Run, now: float) -> Evidence:
    """Read the evidence. Raises StorageError."""
    rules = rules_of(tuple(settings.alerts), tuple(settings.channels))
    check = {key: value for key, value in (run.check or {}).items() if value is not None}
    configured = settings.checks.get(run.name)
    if configured is not None:
        check |= {key: value for key, value in asdict(configured).items() if value is not None}
    acted = [held.value for _, held in backend.list("automation") if held.value["run_id"] == run.id]
    return Evidence(
        run,
        now,
        backend.events(run.id),
        [each for each in outbox.list_alerts(backend) if each["run_id"] == run.id][::-1],
        sorted(acted, key=lambda doc: float(doc["at"])),
        history(backend, rules, run),
        rules,
        check,
        [each for each in open_incidents(backend) if (each.project, each.job) == (run.project, run.name)],
        pulse.warning(backend, now),
    )


def explain(evidence: Evidence) -> Explanation:
    """The account of one run."""
    run = evidence.run
    witness, said = _witness(evidence)
    told = any(each["state"] in ("sent", "digest") for each in evidence.alerts)
    return Explanation(
        *(run.id, run.state, run.conditions, witness),
        what=[*_story(evidence), said, *_conditions(evidence)],
        expected=list(_expected(evidence)),
        alerts=[_alert(each) for each in evidence.alerts],
        why_none=[] if told else list(_silence(evidence)),
        automations=[_automation(each) for each in evidence.automations],
        next=list(_next(run)),
    )


def _story(evidence: Evidence) -> Iterator[str]:
    run = evidence.run
    where = f"{run.host or 'an unknown host'}, pid {run.pid or '?'}, user {run.user or '?'}"
    yield f"{run.kind} {run.name} of project {run.project} was created {rfc3339(run.created_at)} on {where}."
    if run.cause:
        by = run.cause.get("by")
        what = f"to run {run.cause['rerun_of']} again" if run.cause.get("rerun_of") else "as an automation"
        alert = f", because of alert {run.cause['alert']}" if run.cause.get("alert") else ""
        yield f"It was started by {by} {what}{alert}."
    if run.started_at is None:
        yield "It never began to work."
    elif run.started_at - run.created_at > 0.5:
        waited = format_duration(round(run.started_at - run.created_at, 1))
        yield f"It waited {waited} before it began, for a slot or for what it needs."
    for each in run.attempts[:-1]:
        why = trouble(each.get("error"), each.get("reason")) or "no reason given"
        yield f"Attempt {each['attempt']} ended {rfc3339(each['ended_at'])}: {why}."
    if len(run.attempts) > 1:
        yield f"Attempt {run.attempt} was the last."


def _witness(evidence: Evidence) -> tuple[str | None, str]:
    """Who said the state, and the sentence that says so."""
    run = evidence.run
    why = trouble(run.error, run.reason)
    because = f": {why}" if why else ""
    if not run.ended:
        return None, f"It is {run.state}; nobody has said that it ended."
    said = f"{run.state} at {rfc3339(run.ended_at)}{because}."
    own = [each for each in evidence.events if each["event"] == "end"]
    if own and own[0]["state"] == run.state:
        return "process", f"Its own process said that it is {said}"
    by = [each for each in evidence.events if each["event"] == "judge" and each.get("state") == run.state]
    if any(each.get("by") == "mark" for each in by):
        return "operator", f"It said nothing of its end; an operator marked it as {said}"
    if any(each.get("by") == "cancel" for each in by):
        return "operator", f"An operator had its process ended; it is {said}"
    if run.state == "TIMED_OUT":
        return "proof", f"The watchdog ended its process from outside and recorded it as {said}"
    return "proof", (
        f"Its process said nothing of its end. Its lock is free or its identity is gone, by word of the kernel, so it "
        f"is {said}"
    )


def _conditions(evidence: Evidence) -> Iterator[str]:
    for each in evidence.events:
        if each["event"] == "judge" and each.get("condition"):
            name, at, reason = each["condition"], rfc3339(each["at"]), each.get("reason") or ""
            how = "by silence, which is no proof" if name == "lost" else "from outside"
            if each.get("on"):
                yield f"It was judged {name} {how} at {at}" + (f": {reason}." if reason else ".")
            else:
                yield f"It was {name} no more at {at}."


def _expected(evidence: Evidence) -> Iterator[str]:
    run, check = evidence.run, evidence.check
    lasted = run.duration_seconds
    if lasted is None and run.started_at is not None:
        lasted = evidence.now - run.started_at
    for name, value in check.items():
        if name in _PLAIN or not isinstance(value, int | float):
            shown = ", ".join(value) if isinstance(value, list | tuple) else str(value)
            yield f"{name}: {shown}."
            continue
        limit = format_duration(float(value))
        kept = ""
        if lasted is not None and name in ("max_duration", "timeout_seconds", "min_duration"):
            short = name == "min_duration"
            broken = (run.ended and lasted < value) if short else lasted > value
            took = format_duration(round(lasted, 3))
            kept = (
                f", and it took {took}: too {'short' if short else 'long'}"
                if broken
                else f", and it took {took}"
            )
        yield f"{name}: {limit}{kept}."
    for each in evidence.incidents:
        yield f"Its job is {each.event.replace('_', ' ')} since {rfc3339(each.since)}: {each.reason}."


def _alert(alert: Json) -> str:
    what = f"{alert['event']} to {alert['channel']} ({alert['created_at']})"
    how = _TOLD.get(alert["state"], alert["state"])
    via = f" through {alert['via']}" if alert.get("via") and alert["via"] != alert["channel"] else ""
    error = f"; its channel said: {alert['last_error']}" if alert.get("last_error") else ""
    acked = f"; acknowledged {alert['acked_at']}" if alert.get("acked_at") else ""
    return f"{what} {how}{via}{error}{acked}."


def _silence(evidence: Evidence) -> Iterator[str]:
    """Why nobody was told, rule by rule."""
    run = evidence.run
    event = run.state.lower() if run.ended else next(iter(run.conditions), None)
    if event is None or (event not in TROUBLE and not any(wants(rule, event) for rule in evidence.rules)):
        yield f"{run.state} is nothing that a rule asks for."
        return
    if evidence.unwatched:
        yield f"{evidence.unwatched[0].upper()}{evidence.unwatched[1:]}."
    if not evidence.rules:
        yield "No channel is set, so nobody can be told: add channels to holter.yaml."
    condition = f"+{event}" if event in CONDITIONS else None
    row = Transition(0, run.id, evidence.now, None, run.state, condition)
    for number, rule in enumerate(evidence.rules, 1):
        name = f"Rule {number} ({', '.join(rule.on[:4])}{', ...' if len(rule.on) > 4 else ''})"
        if not wants(rule, event):
            yield f"{name} does not name {event}."
        elif not concerns(rule, run):
            yield f"{name} is not about this run: {_about(rule)}."
        elif event.upper() in ENDINGS and not due(row, run, evidence.history, [rule]):
            after = rule.after_crashed if event == "crashed" else rule.after
            yield f"{name} waits for {after.count} bad endings among the last {after.of}."
        elif not evidence.alerts:
            yield f"{name} asks for it, but it has not been collected: it happened before that rule, or just now."


def _about(rule: Rule) -> str:
    named = {"jobs": rule.jobs, "tags": rule.tags, "projects": rule.projects}
    said = [f"{name} {', '.join(patterns)}" for name, patterns in named.items() if patterns is not None]
    return "; ".join(said) or "it is about runs that no other run started"


def _automation(doc: Json) -> str:
    what = "A rerun" if doc["run"] is None else f"The command `{doc['run']}`"
    how = {
        "waiting": "waits for the pause after the one before it",
        "started": f"was started {rfc3339(doc.get('started_at'))}",
        "refused": "was refused: the bound of its rule is reached",
        "overtaken": "was left out: the job ran again meanwhile",
        "expired": "was left out: it had waited for an hour",
        "failed": f"could not be started: {doc.get('reason')}",
    }
    return f"{what} for {doc['alert']['event']} {how[doc['state']]}."


def _next(run: Run) -> Iterator[str]:
    if not run.ended:
        yield f"holter logs -f {run.id}"
        if "lost" in run.conditions:
            yield f"holter mark {run.id} crashed --reason '...'"
    else:
        yield f"holter logs {run.id}"
        if run.parent_id is None and not run.well:
            yield f"holter rerun {run.id}"
    yield f"holter runs --job {quoted(run.name)}"
