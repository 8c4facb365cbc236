"""A process of figures.py: collects a module's tests once, and tries each mutant in a fork of itself.

Reads from stdin what to do, and writes a line of JSON for each mutant to stdout.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from mutmut.configuration import config
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state

MEMORY = 4 * 2**30  # bytes of addresses: a loop without end must not take the machine along
PATIENCE = 5.0, 8.0  # seconds for any mutant, and how many times as long as its tests take without it
PYTEST = ("-q", "-s", "-n0", "-p", "no:cacheprovider", "--tb=no", "--no-header")


@dataclass(eq=False)
class Trial:
    """A pytest plugin that runs, in place of all the tests, for each mutant those that can see it."""

    mutants: Sequence[str]
    tell: Callable[[Any], None]
    items: Sequence[pytest.Item] = ()
    seconds: dict[str, float] = field(default_factory=dict)  # by test
    seen: dict[str, list[str]] = field(default_factory=dict)  # functions that a test called, by test
    _failed: bool = False

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        for plugin in session.config.pluginmanager.get_plugins():
            if type(plugin).__name__ == "Standstills":  # a failure is what is expected here
                session.config.pluginmanager.unregister(plugin)
        from hypothesis import Phase, settings  # which is a plugin, too: pytest wants to be the first to import it

        # The first failure says enough: no smaller one is looked for.
        settings.register_profile("mutation", settings(), phases=(Phase.explicit, Phase.generate))
        settings.load_profile("mutation")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = session.items
        config()  # read while we are at the root
        if session.testsfailed or not self.items:
            raise session.Failed("the tests cannot be collected")
        _, said = in_fork(self._watch, 600.0)
        if not said:
            raise session.Failed("the tests do not pass without a mutant, or take longer than ten minutes")
        self.seconds, self.seen = json.loads(said)
        for mutant in self.mutants:
            began = time.monotonic()
            tests = self._who_sees(mutant)
            patience = PATIENCE[0] + PATIENCE[1] * sum(self.seconds[item.nodeid] for item in tests)
            ended, killer = in_fork(lambda mutant=mutant, tests=tests: self._try(mutant, tests), patience)
            if ended not in (0, 1, None):
                killer = f"exit code {ended}"
            verdict = "timeout" if ended is None else "survived" if ended == 0 else "killed"
            took = round(time.monotonic() - began, 2)
            self.tell({"mutant": mutant, "verdict": verdict, "by": killer, "seconds": took})
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._failed = self._failed or report.failed

    def _who_sees(self, mutant: str) -> list[pytest.Item]:
        """The tests that call its function, the quickest first; all, where none does in its own process."""
        function = mutant.partition("__mutmut")[0]
        those = [item for item in self.items if function in self.seen[item.nodeid]]
        return sorted(those or self.items, key=lambda item: self.seconds[item.nodeid])

    def _watch(self) -> str:
        set_mutant_under_test("stats")
        for item, after in zip(self.items, [*self.items[1:], None], strict=True):
            began = time.monotonic()
            state()._stats.clear()
            item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
            if self._failed:
                sys.__stderr__.write(f"fails without a mutant: {item.nodeid}\n")
                return ""
            self.seconds[item.nodeid] = time.monotonic() - began
            self.seen[item.nodeid] = sorted(state()._stats)
        return json.dumps([self.seconds, self.seen])

    def _try(self, mutant: str, tests: Sequence[pytest.Item]) -> str:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        set_mutant_under_test(mutant)
        for item, after in zip(tests, [*tests[1:], None], strict=True):
            item.ihook.pytest_runtest_protocol(item=item, nextitem=after)
            if self._failed:
                return item.nodeid
        return ""


def in_fork(work: Callable[[], str], patience: float) -> tuple[int | None, str]:
    """Do it in a fork; its exit code (1 where it said something, None where it took too long), and what it said."""
    with tempfile.TemporaryFile("w+") as paper:
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
        code = _ended(child, time.monotonic() + patience)
        paper.seek(0)
        return code, paper.read()


def _ended(child: int, until: float) -> int | None:
    done = 0
    while not done and time.monotonic() < until:
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

    return int(pytest.main([*PYTEST, *task["pytest"], *task["tests"]], plugins=[Trial(task["mutants"], tell)]))


if __name__ == "__main__":
    sys.exit(main())
