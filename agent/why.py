"""Reads from a store what `causes` weighs: the run, the last success of its job, earlier failures, the host.

Bounded, however long a run is: its newest STEPS steps, its last LINES lines and twice as many of the last success.
"""

from __future__ import annotations

from glob import escape
from urllib.parse import quote

from ..backends.base import Backend
from ..backends.expected import median
from ..backends.queries import LogQuery, RunQuery
from ..backends.records import Json, Run
from ..backends.states import FAILURES
from .causes import Case, Digest, digest
from .changes import Side

STEPS = 500
LINES = 200
SUCCESSES = 10  # that are looked at for what is usual
FAILED = 200  # earlier failures that are looked through for the same one


def why(backend: Backend, run: Run) -> Digest:
    """Why the run failed and what changed, as far as it was recorded. Raises StorageError."""
    of: Json = {
        "project": run.project,
        "job": escape(run.name),
        "kinds": (run.kind,),
        "until": run.created_at,
    }
    good = backend.runs(RunQuery(**of, states=("COMPLETED",), limit=SUCCESSES))
    failed = backend.runs(RunQuery(**of, states=FAILURES, limit=FAILED)) if run.state in FAILURES else []
    case = Case(
        _side(backend, run, LINES),
        _side(backend, good[0], 2 * LINES) if good else None,
        before=tuple(each for each in failed if _same(each, run)),
        usual=median(sorted(each.duration_seconds for each in good if each.duration_seconds is not None)),
        notes=notes_of(backend, run),
        varies=_varies(run, good),
    )
    return digest(case)


def _side(backend: Backend, run: Run, lines: int) -> Side:
    root = run if run.parent_id is None else backend.run(run.root_id)
    found = backend.processes(open_only=False, journals=[run.journal]) if run.journal else []
    of: Json = {"root_id": run.id} if run.parent_id is None else {"parent_id": run.id}
    steps = backend.runs(RunQuery(**of, limit=STEPS))
    logs = backend.logs(LogQuery(run.id, limit=lines, last=True))
    if len(logs) == lines:  # what it says at its beginning is known, too
        logs = backend.logs(LogQuery(run.id, limit=lines)) + logs
    return Side(
        run,
        header=found[0].header if found else {},
        about=(root.about if root else None) or {},
        steps=tuple(each for each in steps if each.id != run.id),
        lines=tuple(log.text for log in logs),
    )


def _same(each: Run, run: Run) -> bool:
    """Whether they failed in the same way: by the fingerprint of the error, else by the reason."""
    mine, other = run.error or {}, each.error or {}
    if mine or other:
        return bool(mine.get("fingerprint")) and mine.get("fingerprint") == other.get("fingerprint")
    return run.reason == each.reason and run.state == each.state


def _varies(run: Run, good: list[Run]) -> frozenset[str]:
    """See `Case.varies`."""
    found = {name for name in run.parameters if _differs([each.parameters.get(name) for each in good])}
    if _differs([each.argv for each in good]):
        found.add("command")
    if any(each.host == run.host for each in good[1:]):
        found.add("host")
    return frozenset(found)


def _differs(values: list[object]) -> bool:
    """Whether it was another one in most of the successes."""
    return len(values) > 1 and len({repr(each) for each in values}) > len(values) / 2


def notes_of(backend: Backend, run: Run) -> tuple[str, ...]:
    """What the host said of itself while the run was alive: its document holds the newest signals only."""
    held = backend.get("host", quote(run.host or "", safe=""))
    signals = held.value if held else {}
    if float(signals.get("at") or 0.0) < (run.started_at or run.created_at):
        return ()
    return tuple(str(note) for note in signals.get("notes") or ())
