"""`holter run --needs`: refused, waiting and told to end, with real processes."""

from __future__ import annotations

import signal
from collections.abc import Callable

from tests.acceptance.conftest import HOLTER, Host, finished, wait_until

Hosts = Callable[[], Host]


def test_a_command_is_refused_until_what_it_needs_has_completed(new_host: Hosts) -> None:
    host = new_host()
    load = ("run", "--name", "load", "--needs", "extract within 1h", "--", "echo", "loaded")
    host.holter("run", "--name", "extract", "--", "false")
    refused = host.holter(*load)
    assert (refused.code, refused.out) == (125, "")
    assert "it needs extract within 1h, which has never completed" in refused.err
    host.holter("run", "--name", "extract", "--", "true")
    assert host.holter(*load).out == "loaded\n"
    assert [run.state for run in host.runs() if run.name == "load"] == ["SKIPPED", "COMPLETED"]


def test_a_command_that_waits_starts_when_it_may_and_ends_when_it_is_told_to(new_host: Hosts) -> None:
    host = new_host()
    host.settings("checks: {load: {needs: [extract], on_unmet: wait, needs_wait: 1m}}")
    load = [*HOLTER, "run", "--name", "load", "--", "echo", "loaded"]
    waiting, told = host.spawn(load), host.spawn(load)
    wait_until(lambda: len(host.runs(states=("PENDING",))) == 2, "both to wait")
    told.send_signal(signal.SIGTERM)
    assert finished(told, 0.0).code == 128 + signal.SIGTERM
    host.holter("run", "--name", "extract", "--", "true")
    assert finished(waiting, 0.0).out == "loaded\n"
    assert sorted(run.state for run in host.runs() if run.name == "load") == ["COMPLETED", "CRASHED"]
