"""Many processes, one fresh SQLite file."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

SCRIPT = """
    import sys, time
    from holter import flow
    start, number, runs = float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])

    @flow(name="one")
    def one(n):
        if n % 10 == 7:
            raise ValueError(n)
        return n

    time.sleep(max(0.0, start - time.time()))
    for n in range(runs):
        try:
            one(n)
        except ValueError:
            pass
"""


@pytest.mark.parametrize(("processes", "runs"), [(16, 50), pytest.param(64, 200, marks=pytest.mark.long)])
@pytest.mark.parametrize("backend", ["sqlite:///holter.db", "file:///history"])
def test_processes_that_start_together_on_a_fresh_store_make_no_error(
    new_host: Any, figures: Any, processes: int, runs: int, backend: str
) -> None:
    host = new_host(backend)
    script = host.script(SCRIPT)
    begin = time.time() + 0.05 * processes
    began = time.perf_counter()
    crowd = [host.start(script, str(begin), str(number), str(runs)) for number in range(processes)]
    for process in crowd:
        out, err = process.communicate(timeout=200)
        assert (process.returncode, out, err) == (0, "", "")
    seconds = time.perf_counter() - began
    waiting = len(host.journals())
    found = host.runs()
    assert host.journals() == []
    endings = Counter(run.state for run in found)
    assert endings == {"COMPLETED": processes * runs * 9 // 10, "FAILED": processes * runs // 10}
    assert Counter(run.result for run in found if run.state == "COMPLETED") == {
        n: processes for n in range(runs) if n % 10 != 7
    }
    assert host.store.check()["ok"]
    figures(
        processes=processes,
        runs=len(found),
        errors=0,
        seconds=round(seconds, 1),
        journals_left_at_exit=waiting,
    )
