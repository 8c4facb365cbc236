"""Which run is meant: by its id, the beginning of it, `last` or `last:JOB`; and the family of a run."""

from __future__ import annotations

from collections import defaultdict
from glob import escape

from ..backends.base import Backend
from ..backends.errors import AmbiguousRun, RunNotFound
from ..backends.queries import RunQuery
from ..backends.records import Json, Run
from ..backends.states import OPEN

SHOWN = 3  # candidates that an ambiguous prefix names
STEPS = 500  # live tasks that are looked at for their progress


def find_run(backend: Backend, text: str) -> Run:
    """The run that `text` names.

    A prefix without "." means root runs only, so that a run is never confused with its own tasks.
    Raises RunNotFound or AmbiguousRun, with what to type next.
    """
    word, mark, job = text.partition(":")
    if word == "last" and (mark == "" or job):
        return _newest(backend, job or None)
    prefix = text.strip().lower()
    if run := backend.run(prefix):
        return run
    found = backend.runs(RunQuery(prefix=prefix, roots="." not in prefix, limit=SHOWN + 1)) if prefix else []
    if len(found) == 1:
        return found[0]
    if not found:
        raise RunNotFound(f"no run {text!r}", hint="`holter runs` lists their ids; `last` is the newest one")
    more = ", ..." if len(found) > SHOWN else ""
    names = ", ".join(f"{run.id} {run.name[:30]}" for run in found[:SHOWN])
    raise AmbiguousRun(f"{text!r} is the beginning of several runs", hint=f"say more of it: {names}{more}")


def _newest(backend: Backend, job: str | None) -> Run:
    names = [None] if job is None else [escape(job), job]  # a name as it is, then as a shell pattern
    for name in names:
        if found := backend.runs(RunQuery(job=name, roots=job is None, limit=1)):
            return found[0]
    if job is None:
        raise RunNotFound("no run is recorded yet", hint="`holter run -- echo hello` records one")
    raise RunNotFound(f"no run of {job!r}", hint="`holter runs` lists the jobs")


def steps_now(backend: Backend, runs: list[Run]) -> dict[str, Run]:
    """For each live root run among `runs` the step in it that last told of its progress, by the root's id."""
    if all(run.ended for run in runs):
        return {}
    inside = backend.runs(RunQuery(states=OPEN, kinds=("task",), limit=STEPS))
    told = [step for step in inside if step.progress]
    return {step.root_id: step for step in sorted(told, key=lambda step: step.active_at)}


def descendants(backend: Backend, run: Run) -> list[Run]:
    """Everything that ran inside `run`, oldest first."""
    family = backend.runs(RunQuery(root_id=run.root_id, limit=None))[::-1]
    children = children_of(family)
    found: list[Run] = []
    front = [run.id]
    while front:
        born = children[front.pop()]
        found += born
        front += [each.id for each in born]
    return sorted(found, key=lambda each: (each.created_at, each.id))


def children_of(family: list[Run]) -> defaultdict[str | None, list[Run]]:
    """The runs by the id of their parent, in the order given."""
    out: defaultdict[str | None, list[Run]] = defaultdict(list)
    for run in family:
        out[run.parent_id].append(run)
    return out


def nested(run: Run, family: list[Run]) -> Json:
    """The run as JSON with `children`, each with its own; `family` are its descendants."""
    children = children_of(family)
    out = run.to_json()
    places = [out]
    for place in places:  # grows while it is walked: no recursion, however deep the runs are nested
        place["children"] = [child.to_json() for child in children[place["id"]]]
        places += place["children"]
    return out
