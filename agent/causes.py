"""Why a run failed, by what is known: the likely causes, the likeliest first. Pure and deterministic.

Evidence in the order of its weight:

    95  the kernel or the disk said so
    90  the error names a file that is missing, or by its name something that differs from the last success
    85  the network refused
    80  a step that was far slower, where time ran out
    70  to 50: other differences: packages, code, zone, parameters, host, variables, memory, steps
    30  the same failure before
    20  what differs from run to run anyway, where there is nothing else

On a run that completed as usual nothing is named. Not guaranteed: that what is named first is the cause; two things may
have changed at once, and only what was recorded is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attrs import frozen

from ..backends.clock import rfc3339
from ..backends.records import Json, Run
from ..backends.states import FAILURES
from .changes import Change, Side, changes, diverged, is_slower
from .trouble import trouble

FIRST = 3  # causes that are shown where there is little room
_DISK = re.compile(
    r"no space left|\[errno (28|122)\]|disk quota|enospc|disk (is )?full|file too large", re.IGNORECASE
)
# "killed, out of memory, or ..." is what Holter says of a death that it cannot explain.
_MEMORY = re.compile(
    r"out of memory(?!, or)|memoryerror\b|cannot allocate memory|\boom\b|\boom[ -]?kill|std::bad_alloc",
    re.IGNORECASE,
)
_MISSING = re.compile(r"no such file or directory(?:: *['\"]?([^'\"\n]*))?", re.IGNORECASE)
_NETWORK = re.compile(
    r"connection (refused|reset|aborted|timed out)|ConnectionError|ConnectionRefused|ConnectionReset"
    r"|network is unreachable|name or service not known|temporary failure in name resolution"
    r"|TimeoutError|timed out|broken pipe|URLError",
    re.IGNORECASE,
)
_WEIGHT = {
    "package": 70,
    "python": 69,
    "code": 68,
    "zone": 67,
    "parameter": 65,
    "command": 64,
    "host": 62,
    "variable": 58,
    "folder": 57,
    "user": 56,
    "memory": 55,
    "slower": 54,
    "step": 50,
}  # of a difference that nothing else points to; of the topics that are none of these, none
NAMED, HOST_SAID, GONE, OFFLINE, TIME_RAN_OUT, AGAIN, VARIES = 90, 95, 90, 85, 80, 30, 20


@frozen
class Case:
    """`now` is the run, `then` the last success before it (None: there is none). `before` are earlier runs that failed
    in the same way, the newest first; `usual` is the median duration of the last successes in seconds; `notes` are what
    the host said of itself at that time. `varies` are parameters that differed among the successes too, `command` if
    the command line did, `host` if some ran there: that these differ says little."""

    now: Side
    then: Side | None = None
    before: tuple[Run, ...] = ()
    usual: float | None = None
    notes: tuple[str, ...] = ()
    varies: frozenset[str] = frozenset()


@frozen
class Digest:
    """`causes` are sentences, the likeliest first; `changes` all differences, `diverged` where in the waterfall it went
    another way, `before` what is known of the same failure, `lines` those that are new. `success` is the id of the run
    that it was held against."""

    run_id: str
    causes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    diverged: str | None = None
    before: str | None = None
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    success: str | None = None

    def to_json(self) -> Json:
        names = ("causes", "changes", "diverged", "before", "lines", "notes", "success")
        return {name: _plain(getattr(self, name)) for name in names}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def digest(case: Case) -> Digest:
    """All that can be said."""
    run, then = case.now.run, case.then
    found = changes(case.now, then) if then else []
    facts = [each for each in found if each.topic != "line"]
    weighed = sorted(_weighed(case, facts), key=lambda each: -each[0])
    if weighed and weighed[0][0] > VARIES:
        weighed = [each for each in weighed if each[0] > VARIES]
    return Digest(
        run.id,
        causes=tuple(dict.fromkeys(text for _, text in weighed)),
        changes=tuple(each.text for each in facts),
        diverged=diverged(case.now, then) if run.state in FAILURES or _slow(case) else None,
        before=_before(case),
        lines=tuple(each.text for each in found if each.topic == "line")[:10]
        if run.state in FAILURES
        else (),
        notes=case.notes,
        success=then.run.id if then else None,
    )


def _slow(case: Case) -> bool:
    """Whether it took far longer than its job usually does."""
    took = case.now.run.duration_seconds
    return took is not None and case.usual is not None and is_slower(took, case.usual, case.usual)


def _weighed(case: Case, found: Sequence[Change]) -> Iterator[tuple[float, str]]:
    """Causes with their weights. Nothing for a run that is well."""
    run = case.now.run
    if run.state not in FAILURES:
        if _slow(case) or "overdue" in run.conditions:
            yield from ((TIME_RAN_OUT, _cap(each.text)) for each in found if each.topic == "slower")
            yield from (
                (_WEIGHT[each.topic], _cap(each.text))
                for each in found
                if each.topic in ("parameter", "host")
            )
        return
    said = _said(run, case.now.lines)
    yield from _proofs(case, said)
    for change in found:
        weight: float = _WEIGHT[change.topic]
        if _names(run, said, change):
            weight = NAMED + weight / 100
        elif change.topic == "slower" and (run.state == "TIMED_OUT" or _slow(case)):
            weight = TIME_RAN_OUT + 1
        elif change.topic == "step" and "never began" in change.text:
            continue  # the consequence of a failure before it
        elif change.name in case.varies or change.topic in case.varies:
            weight = VARIES
        yield weight, _cap(change.text)
    if case.before:
        yield AGAIN, _cap(_before(case) or "")


def _said(run: Run, lines: Sequence[str]) -> str:
    """What the run itself and its last lines said of the failure."""
    error = run.error or {}
    parts = [error.get("type"), error.get("message"), run.reason, (error.get("traceback") or "")[-4000:]]
    return "\n".join([*(str(part) for part in parts if part), *lines[-5:]])


def _proofs(case: Case, said: str) -> Iterator[tuple[float, str]]:
    """What the kernel, the disk or the network said, in the run's words or the host's."""
    run = case.now.run
    first = said.partition("\n")[0]
    if _MEMORY.search(said) or (run.signal == "SIGKILL" and any("memory" in note for note in case.notes)):
        yield HOST_SAID, f"The memory ran out: {_one(run, first)}{_peak(case)}"
    if _DISK.search(said):
        notes = "".join(f"; {note}" for note in case.notes if "disk" in note or "%" in note)
        yield HOST_SAID, f"The disk is full, or a quota or size limit is reached: {_one(run, first)}{notes}"
    if missing := _MISSING.search(said):
        path = (missing.group(1) or "").strip()
        yield GONE, f"An input is missing: {path or _one(run, first)}"
    elif _NETWORK.search(_head(run)) and run.state != "TIMED_OUT":
        yield OFFLINE, f"The network or a service did not answer: {_one(run, first)}{_flaky(case)}"


def _head(run: Run) -> str:
    error = run.error or {}
    return f"{error.get('type')}: {error.get('message')} {run.reason or ''}"


def _one(run: Run, otherwise: str) -> str:
    text = trouble(run.error, run.reason) or otherwise
    return " ".join(text.split())[:200]


def _peak(case: Case) -> str:
    peak, then = (
        (side.run.usage or {}).get("max_rss_bytes") if side else None for side in (case.now, case.then)
    )
    now = f"; it used {peak / 1e6:,.0f} MB at most" if peak else ""
    return now + (f"; the last success used {then / 1e6:,.0f} MB" if then else "")


def _flaky(case: Case) -> str:
    if not case.before or not case.then:
        return ""
    return " (as before, with successes in between)"


def _names(run: Run, said: str, change: Change) -> bool:
    """Whether what was said of the failure names what is different. A traceback quotes the code, which names its
    parameters anyway: of these only what the error itself says counts."""
    where = said if change.topic == "package" else _head(run)
    if change.topic not in ("package", "variable", "parameter", "step", "slower"):
        return False
    return re.search(rf"(?<!\w){re.escape(change.name)}(?!\w)", where) is not None


def _before(case: Case) -> str | None:
    """When the same failure happened first and last, and how often."""
    if not case.before:
        return None
    first, last = case.before[-1], case.before[0]
    times = f"{len(case.before)} times" if len(case.before) > 1 else "once"
    since = f", first {_day(first)}" if len(case.before) > 1 else ""
    return f"the same failure happened {times} before{since}, last {_day(last)} ({last.id})"


def _day(run: Run) -> str:
    return str(rfc3339(run.created_at))[:16].replace("T", " ") + " UTC"


def _cap(text: str) -> str:
    return text[:1].upper() + text[1:]
