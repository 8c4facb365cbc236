"""Where the machine itself stood still, a test that failed meanwhile is repeated once, and the summary says so.

Virtual machines are paused and moved; no process inside can know, and every bound in a test is passed at once. A
process of its own, which does nothing but sleep, writes down when it was not woken for STANDSTILL seconds. A test that
fails at any other time fails as ever.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

STANDSTILL = 3.0  # seconds; on a machine that is merely busy a sleeper is woken within a tenth of one
SENTINEL = f"""
import select, sys, time
last = time.monotonic()
while not select.select([sys.stdin], [], [], 0.1)[0]:
    now = time.monotonic()
    if now - last > {STANDSTILL}:
        print(last, now, flush=True)
    last = now
"""
REPEATED = "repeated, the machine stood still for"


class Standstills:
    """A pytest plugin; `close` it in the end."""

    def __init__(self) -> None:
        self._seen = tempfile.TemporaryFile("w+")  # noqa: SIM115 - for as long as the tests run
        self._sentinel = subprocess.Popen(
            [sys.executable, "-S", "-c", SENTINEL], stdin=subprocess.PIPE, stdout=self._seen
        )

    def since(self, began: float) -> float:
        """The seconds (on the monotonic clock) for which the machine has stood still since then, all in all."""
        time.sleep(0.5)  # the sentinel may be the last to be woken
        self._seen.seek(0)
        spans = [tuple(map(float, line.split())) for line in self._seen]
        return sum(end - start for start, end in spans if end > began)

    def close(self) -> None:
        self._sentinel.kill()  # what a test has forked may hold its pipe, too
        self._sentinel.communicate()
        self._seen.close()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: Any, nextitem: pytest.Item | None) -> bool:
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        began = time.monotonic()
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if any(report.failed for report in reports) and (seconds := self.since(began)):
            item._initrequest()
            reports = runtestprotocol(item, log=False, nextitem=nextitem)
            reports[-1].user_properties.append((REPEATED, seconds))
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


def repeated(reports: Sequence[Any]) -> list[str]:
    """A line for each test that was repeated."""
    return [
        f"{report.nodeid} {REPEATED} {seconds:.0f} s"
        for report in reports
        for name, seconds in getattr(report, "user_properties", ())
        if name == REPEATED
    ]
