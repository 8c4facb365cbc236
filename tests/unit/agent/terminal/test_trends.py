"""Counts over time and newest runs of the jobs of a report."""

from __future__ import annotations

from holter.agent.reports import report
from holter.agent.terminal.trends import CELLS, trends
from holter.backends.clock import token
from holter.backends.lines import encode
from holter.backends.queries import RunQuery
from holter.backends.urls import open_backend


def test_every_run_of_the_span_is_in_its_twelfth_and_failures_are_told_apart() -> None:
    store = open_backend(f"memory:{token(16)}", "")
    events: list[dict[str, object]] = [{"event": "journal", "v": 1, "host": "box", "pid": 7}]
    said = {1000.0: "COMPLETED", 1001.0: "CRASHED", 1650.0: "FAILED", 2199.0: "SKIPPED"}
    for n, (at, state) in enumerate(said.items()):
        events += [{"event": "start", "run": f"r{n}", "at": at, "kind": "flow", "name": "e*l"}]
        events += [{"event": "end", "run": f"r{n}", "at": at + 1, "state": state}]
    events += [{"event": "start", "run": "x", "at": 1500.0, "kind": "flow", "name": "el"}]
    store.append("j", 0, b"".join(encode(each) for each in events))
    query = RunQuery(roots=True, since=1000.0, until=2200.0)
    found = trends(store, query, report(store, {}, query))
    mine = found["default", "e*l", "flow"]
    assert len(mine.counts) == CELLS and sum(mine.counts) == 4 and sum(mine.bad) == 2
    assert (mine.counts[0], mine.bad[0], mine.counts[-1]) == (2, 1, 1)
    assert 5 <= mine.counts.index(1) <= 6
    assert mine.newest == ("COMPLETED", "CRASHED", "FAILED", "SKIPPED")
    assert sum(found["default", "el", "flow"].counts) == 1
