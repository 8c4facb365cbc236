"""A process of figures.py: collects a module's tests once, and tries each mutant in a fork of itself.

Reads from stdin what to do, and writes a line of JSON for each mutant to stdout.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from ctypes import c_double
from dataclasses import dataclass, field
from typing import Any

import pytest
from mutmut.configuration import config
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state

MEMORY = 4 * 2**30  # bytes of addresses: a loop without end must not take the machine along
PATIENCE = 5.0, 10.0  # seconds for any test, and how many times as long as it takes without a mutant
PYTEST = ("-q", "-s", "-n0", "-p", "no:cacheprovider", "--tb=no", "--no-header")


@dataclass(eq=False)
class Trial:
    """A pytest plugin that runs, in place of all the tests, for each mutant those that can see it."""

    mutants: Sequence[str]
    tell: Callable[[Any], None]
    items: Sequence[pytest.Item] = ()
    seconds: dict[str, float] = field(default_factory=dict)  # by test
    seen: dict[str, list[str]] = field(default_factory=dict)  # functions that a test called, by test
    # Of the fork's present test. One store, one load: `struct` would write zeros first, and we might read them.
    _deadline: c_double = field(default_factory=lambda: c_double.from_buffer(mmap.mmap(-1, 8)))
    _failed: bool = False

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        for plugin in session.config.pluginmanager.get_plugins():
            if type(plugin).__name__ == "Standstills":  # a failure is what is expected here
                session.config.pluginmanager.unregister(plugin)
        # Which is a plugin, too: pytest wants to be the first to import it.
        from hypothesis import (
            Phase,
            settings,
        )

        # The first failure says enough: no smaller one is looked for.
        settings.register_profile("mutation", settings(), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutation")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = session.items
        config()  # read while we are at the root
        if session.testsfailed or not self.items:
            raise session.Failed("the tests cannot be collected")
        _, said = self._in_fork(self._watch)
        if not said:
            raise session.Failed("the tests do not pass without a mutant")
        self.seconds, self.seen = json.loads(said)
        for mutant in self.mutants:
            self.tell(self._outcome(mutant))
        if self._outcome("")["verdict"] != "survived":
            raise session.Failed("the tests fail now and then without a mutant")
        return True

    def _outcome(self, mutant: str) -> dict[str, Any]:
        began = time.monotonic()
        tests = self._who_sees(mutant)
        code, killer = self._in_fork(lambda: self._try(mutant, tests))
        if code not in (0, 1, None):
            killer = f"exit code {code}"
        verdict = "timeout" if code is None else "killed" if code else "survived"
        took = round(time.monotonic() - began, 2)
        return {"mutant": mutant, "verdict": verdict, "by": killer, "seconds": took}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed = self._failed or report.failed

    def _who_sees(self, mutant: str) -> list[pytest.Item]:
        """The tests that call its function, the quickest first; what a test does in other processes is not known."""
        function = mutant.partition("__mutmut")[0]
        seen = ((item, self.seen[item.nodeid]) for item in self.items)
        those = [item for item, calls in seen if function in calls or not (calls and function)]
        return sorted(those, key=lambda item: self.seconds[item.nodeid])

    def _watch(self) -> str:
        set_mutant_under_test("stats")
        for item, after in zip(self.items, [*self.items[1:], None], strict=True):
            began = self._now_or_within(600.0)
            state()._stats.clear()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
            if self._failed:
                print(f"fails without a mutant: {item.nodeid}", file=sys.__stderr__)
                return ""
            self.seconds[item.nodeid] = time.monotonic() - began
            self.seen[item.nodeid] = sorted(state()._stats)
        return json.dumps([self.seconds, self.seen])

    def _try(self, mutant: str, tests: Sequence[pytest.Item]) -> str:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        set_mutant_under_test(mutant)
        for item, after in zip(tests, [*tests[1:], None], strict=True):
            self._now_or_within(PATIENCE[0] + PATIENCE[1] * self.seconds[item.nodeid])
            item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
            if self._failed:
                return item.nodeid
        return ""

    def _now_or_within(self, seconds: float) -> float:
        """The monotonic clock; and from now on, so long has the fork until it is ended."""
        now = time.monotonic()
        self._deadline.value = now + seconds
        return now

    def _in_fork(self, work: Callable[[], str]) -> tuple[int | None, str]:
        """Do it in a fork; its exit code (1 where it said something, None where it took too long), and what it said."""
        with tempfile.TemporaryFile("w+") as paper:
            self._now_or_within(60.0)
            if (child := os.fork()) == 0:
                code = 2
                try:
                    os.setsid()
                    said = work()
                    paper.write(said)
                    paper.flush()
                    code = 1 if said else 0
                except BaseException:
                    traceback.print_exc(file=sys.__stderr__)
                finally:
                    os._exit(code)
            ended = self._ended(child)
            paper.seek(0)
            return ended, paper.read()

    def _ended(self, child: int) -> int | None:
        done = 0
        while not done and time.monotonic() < self._deadline.value:
            time.sleep(0.003)
            done, status = os.waitpid(child, os.WNOHANG)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # it, or what it left behind
        if done:
            return os.waitstatus_to_exitcode(status)
        os.waitpid(child, 0)
        return None


def main() -> int:
    task = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # where the tests print to

    def tell(what: Any) -> None:
        print(json.dumps(what), file=out, flush=True)

    return int(
        pytest.main([*PYTEST, *task["pytest"], *task["tests"]], plugins=[Trial(task["mutants"], tell)])
    )


if __name__ == "__main__":
    sys.exit(main())
