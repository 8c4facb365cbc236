"""The store that forgets: plain Python, for tests and for `HOLTER_BACKEND=memory:`.

It is also the model that the contract suite compares the other stores with, so it is written to be obviously
right, not to be fast. `memory:name` names a space; all handles of one process on one name share it.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Collection
from typing import Any

from attrs import evolve

from .answers import has_words, log_of, process_of, words_of
from .clock import SYSTEM, Clock, root_of
from .digest import digest
from .errors import OffsetMismatch
from .lines import batch
from .memory_registry import Documents, MemoryRegistry
from .queries import LogQuery, Retention, RunQuery, matches
from .records import (
    Bucket,
    JobRuns,
    JobSummary,
    Json,
    Log,
    Process,
    Pruned,
    Run,
    Transition,
)
from .states import FAILURES, OPEN
from .urls import redacted


class _Space(Documents):
    """What one name holds."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets: dict[str, int] = {}
        self.processes: dict[str, Json] = {}
        self.docs: dict[str, Json] = {}
        self.events: dict[str, list[tuple[str, int, Json]]] = defaultdict(list)
        self.logs: list[Log] = []
        self.log_seq = 0
        self.transition_seq = 0
        self.transitions: list[Transition] = []


_SPACES: dict[str, _Space] = defaultdict(_Space)


class MemoryBackend(MemoryRegistry):
    """See `holter.backends.base` for the contract."""

    _space: _Space

    def __init__(
        self, url: str = "memory:", *, home: str = "", clock: Clock = SYSTEM, timeout: float | None = None
    ) -> None:
        self.url = redacted(url)
        self._clock = clock
        self._space = _SPACES[url]

    def close(self) -> None:
        pass

    def check(self) -> dict[str, Any]:
        return {"ok": True, "detail": "in memory of this process; gone when it ends"}

    # --- ledger ---

    def append(self, journal: str, offset: int, data: bytes) -> int:
        lines = batch(data, offset)
        space = self._space
        with space.lock:
            stood = space.offsets.get(journal, 0)
            if stood != offset:
                raise OffsetMismatch(journal, expected=stood, given=offset)
            out = digest(
                journal,
                lines,
                dict(space.processes.get(journal, {})),
                lambda ids: {i: copy.deepcopy(space.docs[i]) for i in ids if i in space.docs},
                self._clock.wall(),
            )
            space.processes[journal] = out.process
            space.docs |= out.docs
            for run_id, position, event in out.events:
                space.events[run_id].append((journal, position, event))
            for run_id, event in out.logs:
                space.log_seq += 1
                space.logs.append(log_of(space.log_seq, run_id, event))
            for row in out.transitions:
                space.transition_seq += 1
                space.transitions.append(
                    Transition(
                        space.transition_seq,
                        row["run_id"],
                        row["at"],
                        row["from"],
                        row["to"],
                        row["condition"],
                        row["reason"],
                    )
                )
            space.offsets[journal] = offset + len(data)
            return offset + len(data)

    def size(self) -> int:
        """Bytes of the same as text, about."""
        space = self._space
        with space.lock:
            held = (space.docs, space.events, space.logs, space.transitions, space.processes)
            return sum(len(repr(each)) for each in held)

    def runs(self, query: RunQuery) -> list[Run]:
        found = sorted(self._matching(query), key=lambda run: (run.created_at, run.id), reverse=True)
        stop = None if query.limit is None else query.offset + query.limit
        return found[query.offset : stop]

    def run(self, run_id: str) -> Run | None:
        with self._space.lock:
            doc = self._space.docs.get(run_id)
            return self._run(doc) if doc and "kind" in doc else None

    def events(self, run_id: str) -> list[Json]:
        with self._space.lock:
            rows = sorted(self._space.events[run_id], key=lambda row: (row[2]["at"], row[0], row[1]))
        return [{key: value for key, value in event.items() if key != "c"} for _, _, event in rows]

    def logs(self, query: LogQuery) -> list[Log]:
        with self._space.lock:
            ids = self._family(query.run_id) if query.tree else {query.run_id}
            words = words_of(query.text or "")
            before = float("inf") if query.before is None else query.before
            found = [
                log
                for log in self._space.logs
                if log.run_id in ids
                and query.after < log.seq < before
                and (not query.levels or log.level in query.levels)
                and has_words(words, log.text)
            ]
        if query.limit is None:
            return found
        return found[max(0, len(found) - query.limit) :] if query.last else found[: query.limit]

    def summarize(self, query: RunQuery) -> list[JobSummary]:
        groups: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
        for run in self._matching(query):
            groups[run.project, run.name, run.kind].append(run)
        return [self._summary(key, groups[key]) for key in sorted(groups)]

    def newest(self, query: RunQuery, each: int) -> list[JobRuns]:
        groups: dict[tuple[str, str, str], list[Json]] = defaultdict(list)
        for run in self.runs(evolve(query, limit=None, offset=0)):
            group = groups[run.project, run.name, run.kind]
            if len(group) < each:
                group.append(_brief(run))
        return [JobRuns(*key, tuple(groups[key])) for key in sorted(groups) if groups[key]]

    def timeline(self, query: RunQuery, every: float) -> list[Bucket]:
        spans: dict[int, dict[str, int]] = defaultdict(dict)
        for run in self._matching(query):
            counts = spans[int(run.created_at / every)]
            counts[run.state] = counts.get(run.state, 0) + 1
        return [Bucket(span * every, counts) for span, counts in sorted(spans.items())]

    def transitions(self, after: int, limit: int = 500) -> list[Transition]:
        with self._space.lock:
            return [row for row in self._space.transitions if row.seq > after][:limit]

    def processes(self, *, open_only: bool = True, journals: Collection[str] | None = None) -> list[Process]:
        with self._space.lock:
            return [
                process_of(journal, self._space.offsets[journal], record)
                for journal, record in sorted(self._space.processes.items(), reverse=True)
                if not (open_only and "closed_at" in record) and (journals is None or journal in journals)
            ]

    def prune(self, retention: Retention) -> Pruned:
        space = self._space
        with space.lock:
            live = {doc["root_id"] for doc in space.docs.values() if "kind" in doc and doc["state"] in OPEN}
            roots = [run for run in self._matching(RunQuery(roots=True)) if run.ended]
            failed = sorted(
                (run for run in roots if run.state in FAILURES), key=lambda run: (run.created_at, run.id)
            )
            last = {(run.project, run.name): run.id for run in failed}
            ended = [run for run in roots if run.id not in live]
            doomed = {run.id for run in ended if _old(run, retention)} - set(last.values())
            quiet = {run.id for run in ended if run.created_at < retention.logs_before}
            gone = {run_id for run_id, doc in space.docs.items() if doc["root_id"] in doomed}
            logs = [
                log
                for log in space.logs
                if (root := root_of(log.run_id)) not in doomed
                and not (root in quiet and log.at < retention.logs_before)
            ]
            lines, space.logs = len(space.logs) - len(logs), logs
            space.docs = {run_id: doc for run_id, doc in space.docs.items() if run_id not in gone}
            space.transitions = [row for row in space.transitions if row.run_id not in gone]
            for run_id in gone:
                space.events.pop(run_id, None)
            self._prune_journals(retention.runs_before)
            return Pruned(runs=len(gone), logs=lines)

    def _prune_journals(self, before: float) -> None:
        space = self._space
        used = {doc.get("journal") for doc in space.docs.values()}
        for journal, record in tuple(space.processes.items()):
            if "closed_at" in record and record["received_at"] < before and journal not in used:
                del space.processes[journal], space.offsets[journal]

    # --- parts ---

    def _run(self, doc: Json) -> Run:
        header = self._space.processes.get(doc.get("journal", ""), {}).get("header", {})
        return Run.from_doc(doc, header)

    def _matching(self, query: RunQuery) -> list[Run]:
        with self._space.lock:
            runs = [self._run(doc) for doc in self._space.docs.values() if "kind" in doc]
        return [run for run in runs if matches(query, run)]

    def _family(self, run_id: str) -> set[str]:
        """The run and its descendants: those of a root have its id in theirs, others are found by their parents."""
        known = {log.run_id for log in self._space.logs} | set(self._space.docs)
        root = {each for each in known if root_of(each) == root_of(run_id)}
        if run_id == root_of(run_id):
            return root
        found, front = {run_id}, {run_id}
        while front:
            front = {
                each for each in root if self._space.docs.get(each, {}).get("parent_id") in front
            } - found
            found |= front
        return found

    @staticmethod
    def _summary(key: tuple[str, str, str], runs: list[Run]) -> JobSummary:
        durations = sorted(
            run.duration_seconds
            for run in runs
            if run.state == "COMPLETED" and run.duration_seconds is not None
        )
        by_state: dict[str, int] = defaultdict(int)
        for run in runs:
            by_state[run.state] += 1
        newest = max(runs, key=lambda run: (run.created_at, run.id))
        project, name, kind = key
        return JobSummary(
            project=project,
            name=name,
            kind=kind,
            runs=len(runs),
            by_state=dict(sorted(by_state.items())),
            duration_p50_seconds=_nearest_rank(durations, 50),
            duration_p95_seconds=_nearest_rank(durations, 95),
            last=_brief(newest),
        )


def _old(run: Run, retention: Retention) -> bool:
    return run.created_at < (retention.failures_before if run.state in FAILURES else retention.runs_before)


def _brief(run: Run) -> Json:
    return {
        "id": run.id,
        "state": run.state,
        "conditions": list(run.conditions),
        "created_at": run.created_at,
        "duration_seconds": run.duration_seconds,
    }


def _nearest_rank(ordered: list[float], percent: int) -> float | None:
    """The smallest value with at least `percent` % of the values at or below it (nearest-rank percentile)."""
    return ordered[(len(ordered) * percent + 99) // 100 - 1] if ordered else None
