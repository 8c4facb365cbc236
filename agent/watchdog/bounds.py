"""What is expected of live runs: how long they may take, and when somebody has to look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import define, field

from ...backends.base import Backend
from ...backends.errors import ScheduleError
from ...backends.expected import Expectation, longest
from ...backends.records import Json, Run
from .. import jobs

GRACE = 5.0  # seconds past a limit before a process is ended from outside: it may still do so itself


@define
class Expected:
    """What is expected of live runs, read once: `bound`, the longest that it may take (seconds, and what
    to say of one that takes longer), `kill_after` (seconds), `stall_after` and `timeout_seconds`."""

    store: Backend
    checks: dict[str, Any]
    _said: dict[str, jobs.Registered] | None = None
    _durations: dict[str, tuple[float, ...]] = field(factory=dict)
    _of: dict[str | tuple[str, str, bool], Json] = field(factory=dict)

    def of(self, run: Run) -> Json:
        """Not to be changed: all runs of a job that declare nothing themselves share it."""
        key = run.id if run.check else (run.project, run.name, run.parent_id is None)
        if key not in self._of:
            self._of[key] = self._look_up(run)
        return self._of[key]

    def _look_up(self, run: Run) -> Json:
        check = dict(run.check or {})
        if (patience := getattr(self.checks.get(run.name), "stall_after", None)) is not None:
            check["stall_after"] = patience
        expected = self._expectation(run)
        check["bound"] = longest(expected, self._past(run, expected))
        check["kill_after"] = expected.kill_after
        return check

    def _expectation(self, run: Run) -> Expectation:
        said = None
        if run.parent_id is None:
            self._said = jobs.registered(self.store) if self._said is None else self._said
            said = self._said.get(jobs.key_of(run.project, run.name))
        try:
            return jobs.expectation(run, self.checks.get(run.name), said)
        except ScheduleError:  # of another limit than these; who judges the job says so
            return Expectation(max_duration=(run.check or {}).get("max_duration"))

    def _past(self, run: Run, expected: Expectation) -> tuple[float, ...]:
        if expected.max_times_median is None:
            return ()
        key = jobs.key_of(run.project, run.name)
        if key not in self._durations:
            self._durations[key] = jobs.durations(self.store, jobs.query_of(run.project, run.name), expected)
        return self._durations[key]


def moments(run: Run, check: Json) -> Iterator[float]:
    """When this live run may pass one of its limits (Unix seconds)."""
    if run.started_at is None:
        return
    if (bound := check.get("bound")) is not None:
        yield run.started_at + bound[0]
    if (patience := check.get("stall_after")) is not None:
        yield run.active_at + patience
    if (limit := check.get("timeout_seconds")) is not None and (began := run.attempt_started_at) is not None:
        yield began + limit + GRACE
    if (limit := check["kill_after"]) is not None:
        yield run.started_at + limit + GRACE
