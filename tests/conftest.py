"""`--long` runs the longer proofs too, `--prove short|full` those that break things on purpose (see prove.py).

With HOLTER_CI set, a test that is skipped for want of a tool is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from .prove import Proof
from .standstill import Standstills, repeated

SLOW = [HealthCheck.too_slow]  # how fast examples are made is up to the machine, and what else it does
settings.register_profile(
    "quick", max_examples=40, deadline=None, derandomize=True, suppress_health_check=SLOW
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the longer proofs too (an hour)")
    parser.addoption("--examples", type=int, default=1000, help="of hypothesis in each of the longer proofs")
    sizes = ("short", "full")
    parser.addoption("--prove", choices=sizes, help="run what breaks things on purpose too, of this size")


def pytest_configure(config: pytest.Config) -> None:
    settings.register_profile(
        "long", max_examples=config.getoption("--examples"), deadline=None, suppress_health_check=SLOW
    )
    settings.load_profile("long" if config.getoption("--long") else "quick")
    if hasattr(config, "workerinput") or not config.getoption("numprocesses"):  # where tests run
        standstills = Standstills()
        config.pluginmanager.register(standstills)
        config.add_cleanup(standstills.close)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for line in repeated([report for kind in terminalreporter.stats.values() for report in kind]):
        terminalreporter.write_line(line)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # The unit tests of the agent record in this very process, which has a second thread from then on; what forks
    # comes before, since a child of several threads may find a lock held by one that it does not have.
    items.sort(key=lambda item: "unit/agent" in item.path.as_posix())
    wanted = {"long": config.getoption("--long"), "proof": config.getoption("--prove")}
    left = [mark for mark, asked in wanted.items() if not asked]
    out = [item for item in items if any(item.get_closest_marker(mark) for mark in left)]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


@pytest.fixture
def proof(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> Proof:
    """How large this proof is to be, and where it counts its cases."""
    return Proof(request.config.getoption("--prove") or "short", record_property)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    return _strict((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    return _strict((yield))


def _strict(report: Any) -> Any:
    """A reason that says what to install names a tool that .ci/run should have brought."""
    if "HOLTER_CI" in os.environ and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2])
        if "install" in reason:
            report.outcome, report.longrepr = "failed", f"not on this machine, but .ci/run needs it: {reason}"
    return report
