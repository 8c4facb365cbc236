"""What the writers say that they recorded, and what the store says, held against each other. Pure: facts in, sentences
out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from attrs import define, field

from holter.backends.records import Run


@define
class Told:
    """A run as its writer told it: how many steps were `acknowledged`, how it `will` end and did (`end`)."""

    pid: int
    acknowledged: int = 0
    will: str | None = None
    end: str | None = None


@define
class Truth:
    """All that writers told: `runs` by id, `latency` as (when, microseconds) of each line that they logged."""

    runs: dict[str, Told] = field(factory=dict)
    latency: list[tuple[float, float]] = field(factory=list)


class Step(NamedTuple):
    """A task as the store has it: its state, and how often its line."""

    state: str
    lines: int


class Seen(NamedTuple):
    """A run that has ended, as the store has it: its tasks in order, and what is `odd` about it besides."""

    job: str
    pid: int | None
    state: str
    steps: tuple[Step, ...]
    odd: tuple[str, ...] = ()


def read_truth(folder: Path) -> Truth:
    """Of all lives whose files are in `folder`."""
    truth = Truth()
    for path in sorted(folder.glob("*.truth")):
        *lines, _torn = path.read_text().split("\n")
        pid = 0
        for line in lines:
            word, *rest = line.split()
            if word == "life":
                pid = int(rest[0])
            elif word == "begin":
                truth.runs[rest[0]] = Told(pid)
            elif word == "did":
                truth.runs[rest[0]].acknowledged = int(rest[1])
                truth.latency.append((float(rest[3]), float(rest[2])))
            else:
                setattr(truth.runs[rest[0]], word, rest[1])
    truth.latency.sort()
    return truth


# --- runs ----------------------------------------------------------------------------------------------------


def faults(truth: Truth, seen: Mapping[str, Seen], killed: Collection[int]) -> list[str]:
    """Where the store is not as the writers told. `killed`: the processes (pids) that were. Of a run that nobody told,
    only the moment before it could be told may be there, once for each of the killed."""
    found = [f"{run}: is not in the store" for run in truth.runs if run not in seen]
    unsaid: set[int | None] = set()
    for run, one in seen.items():
        found += [f"{run}: {odd}" for odd in one.odd]
        told = truth.runs.get(run)
        if told is not None:
            found += [f"{run}: {why}" for why in _differences(told, one, killed)]
            continue
        if one.pid not in killed or one.pid in unsaid or one.state != "CRASHED" or one.steps:
            found.append(f"{run}: nobody recorded it, and the store has {one}")
        unsaid.add(one.pid)
    return found


def _differences(told: Told, seen: Seen, killed: Collection[int]) -> Iterator[str]:
    if seen.state not in _states_of(told):
        yield f"is {seen.state}, but its writer told {told}"
    if told.end is None and told.pid not in killed:
        yield f"was left by its process {told.pid}, which nobody killed"
    done, more = seen.steps[: told.acknowledged], seen.steps[told.acknowledged :]
    if len(done) < told.acknowledged:
        yield f"{told.acknowledged} steps were recorded, {len(done)} are stored"
    for number, step in enumerate(done, 1):
        if step != ("COMPLETED", 1):
            yield f"step {number} was recorded, and is stored as {step}"
    if len(more) > (told.will is None):  # one that was recorded, and killed before it could say so
        yield f"{told.acknowledged} steps were recorded, {len(seen.steps)} are stored"
    for step in more:
        if step.state not in ("COMPLETED", "CRASHED") or step.lines > 1:
            yield f"the step at which it was killed is stored as {step}"


def _states_of(told: Told) -> tuple[str, ...]:
    """How the run may have ended: it was killed, or as it said; in between, nobody knows."""
    if told.end is not None:
        return (told.end,)
    return ("CRASHED",) if told.will is None else ("CRASHED", told.will)


# --- alerts --------------------------------------------------------------------------------------------------


def alert_faults(seen: Mapping[str, Seen], alerts: Iterable[Mapping[str, Any]]) -> list[str]:
    """Each bad ending is told by one alert, at most twice and then with the same key; and nothing else is."""
    keys: dict[str, list[str]] = {}
    found = []
    for alert in alerts:
        run = str(alert["run_id"])
        if run not in seen or alert["event"] != seen[run].state.lower():
            found.append(f"{run}: told as {alert['event']}, but the store has {seen.get(run)}")
        keys.setdefault(run, []).append(str(alert["dedupe_key"]))
    bad = [run for run, one in seen.items() if one.state in ("FAILED", "CRASHED")]
    found += [f"{run}: {seen[run].state}, and nobody was told" for run in bad if run not in keys]
    for run, said in keys.items():
        if len(said) > 2 or len(set(said)) > 1:
            found.append(f"{run}: told {len(said)} times, as {sorted(set(said))}")
    return found


# --- retention -----------------------------------------------------------------------------------------------


def retention_faults(
    seen: Mapping[str, Seen], kept: Iterable[Run], created: Mapping[str, float], cut: tuple[float, float]
) -> list[str]:
    """`kept` are the root runs that are stored after pruning, `created` says when those that were seen began, and `cut`
    is the earliest and the latest moment from which "old" may have been counted. Of each job the last failed one stays.
    """
    there = {run.id: run for run in kept}
    failed: dict[str, str] = {}
    for run, one in seen.items():
        if one.state in ("FAILED", "CRASHED"):
            failed[one.job] = max(run, failed.get(one.job, ""), key=lambda each: created.get(each, 0.0))
    stays = set(failed.values())
    found = [
        f"{run}: is not old, and gone" for run, at in created.items() if at > cut[1] and run not in there
    ]
    found += [
        f"{run.id}: is old, and still there ({run.state})"
        for run in there.values()
        if run.created_at < cut[0] and run.id not in stays
    ]
    return found
