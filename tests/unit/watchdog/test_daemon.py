"""The loop: steps with back-off, a pass, one watchdog per home."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from holter.agent.settings import Settings, load
from holter.agent.watchdog import pulse
from holter.agent.watchdog.daemon import AlreadyWatching, Step, Watchdog, watch
from holter.agent.watchdog.steps import NOT_NOW, Half
from holter.agent.watchdog.tidy import retention_of
from holter.backends.errors import Refused, StorageError, StoreTooNew
from holter.backends.gate import Gate
from holter.backends.urls import open_backend
from holter.testing.tapes import Tape

from .conftest import HandSetClock


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(str(tmp_path / "home"), environ={})


class Act:
    """Fails as long as it is told to; counts."""

    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None

    def __call__(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


# --- steps ---------------------------------------------------------------------------------------------------


def test_a_step_is_done_each_pass_or_every_so_many_seconds() -> None:
    always, sometimes = Act(), Act()
    steps = [Step("always", always), Step("sometimes", sometimes, every=10.0)]
    for now in range(100, 131):
        for step in steps:
            step.run(float(now))
    assert (always.calls, sometimes.calls) == (31, 4)


@pytest.mark.parametrize(
    "error", [StorageError("away"), OSError("disk"), ValueError("bug"), RecursionError()]
)
def test_a_step_that_fails_is_tried_again_later_and_later_and_is_itself_again_after_a_success(
    error: Exception,
) -> None:
    act = Act()
    act.error = error
    step = Step("act", act)
    tried = []
    for now in range(300):
        before = act.calls
        step.run(float(now))
        if act.calls > before:
            tried.append(now)
    gaps = [later - earlier for earlier, later in zip(tried, tried[1:], strict=False)]
    assert gaps[:6] == [1, 2, 4, 8, 16, 32]
    assert max(gaps) <= 60
    act.error = None
    step.run(1000.0)
    calls = act.calls
    step.run(1001.0)
    step.run(1002.0)
    assert act.calls == calls + 2


def test_a_step_that_fails_does_not_stop_the_others(settings: Settings, caplog: Any) -> None:
    os.makedirs(f"{settings.home}/holter.db")
    dog = Watchdog(settings)
    dog.step()
    failed = {step.name for step in dog.steps if step.failures}
    assert failed >= {"adopting dead journals", "freeing leases that ran out", "writing the pulse"}
    os.rmdir(f"{settings.home}/holter.db")
    for step in dog.steps:
        step._due = 0.0
    dog.step()
    assert not any(step.failures for step in dog.steps)
    dog.close()


# --- a pass --------------------------------------------------------------------------------------------------


def test_no_step_is_begun_when_the_time_is_over(settings: Settings) -> None:
    half, done = Half(settings), list[str]()
    half.steps = [Step(name, lambda name=name: done.append(name)) for name in ("first", "second")]
    half.step(until=half.clock.monotonic() - 1.0)
    assert done == []
    half.step(until=half.clock.monotonic() + 60.0)
    assert done == ["first", "second"]


def test_of_a_run_that_begins_between_two_sweeps_over_all_journals_the_limit_is_known_at_once(
    settings: Settings,
) -> None:
    """On a busy machine such sweeps are half a minute apart, and a run that may take two seconds is over by then."""
    dog = Watchdog(settings)
    dog.step()
    dog._sweeps._due = float("inf")
    store = open_backend(settings.backend, settings.home)
    tape = Tape("j1", dog.clock.wall() - 0.5).start("r1", check={"max_duration": 1.0})
    tape.send(store)
    deadline = time.monotonic() + 10
    while (run := store.run("r1")) is None or run.conditions != ("overdue",):
        assert time.monotonic() < deadline
        dog.step()
        time.sleep(0.05)
    assert time.monotonic() < deadline - 5
    dog.close()
    store.close()


def test_a_watchdog_says_in_the_store_that_it_watches_and_that_it_stopped(settings: Settings) -> None:
    dog = Watchdog(settings)
    dog.step()
    store = open_backend(settings.backend, settings.home)
    now = dog.clock.wall()
    assert pulse.warning(store, now) is None
    assert pulse.warning(store, now + 29) is None
    assert "holter watch" in str(pulse.warning(store, now + 31))
    dog.close()
    assert "holter watch" in str(pulse.warning(store, now))
    store.close()
    assert list(Path(f"{settings.home}/journals").iterdir()) == []


def test_one_pass_counts_as_watching_for_a_quarter_of_an_hour(settings: Settings) -> None:
    assert watch(settings, once=True) == 0
    store = open_backend(settings.backend, settings.home)
    latest = pulse.latest(store)
    assert latest is not None
    assert pulse.warning(store, latest["at"] + 890) is None
    assert pulse.warning(store, latest["at"] + 910) is not None
    store.close()


def test_a_pass_that_failed_says_so_with_its_exit_code(settings: Settings) -> None:
    os.makedirs(f"{settings.home}/holter.db")
    assert watch(settings, once=True) == 1


def test_a_home_that_is_watched_is_not_watched_twice(settings: Settings) -> None:
    os.makedirs(settings.home)
    with Gate(f"{settings.home}/watchdog.lock").held():
        with pytest.raises(AlreadyWatching, match="running already"):
            watch(settings)
        assert watch(settings, once=True) == 0
    assert watch(settings, once=True) == 0


def test_failures_are_kept_at_least_as_long_as_the_rest(settings: Settings) -> None:
    kept = retention_of(
        evolve(settings, retention=evolve(settings.retention, days=30.0, keep_failures=86400.0)), 1e9
    )
    assert kept.failures_before == kept.runs_before == 1e9 - 30 * 86400


def test_the_watchdog_loads_nothing_that_only_a_terminal_needs() -> None:
    unwanted = {"rich", "click", "apprise", "sqlite_utils"}
    code = f"import sys, holter.agent.watchdog.daemon; print(sorted({unwanted} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_pass_waits_once_for_a_store_that_does_not_answer(settings: Settings, tmp_path: Path) -> None:
    class Patient(Half):
        def ask(self) -> None:
            self._store()
            asked.append(self.clock.monotonic())
            self.clock.sleep(10.0)
            raise StorageError("no answer within 10 s")

    asked: list[float] = []
    half = Patient(settings, clock=HandSetClock())
    half.steps = [Step(name, half.ask) for name in ("one", "two", "three")]
    half.step()
    assert len(asked) == 1
    assert [step.last_error for step in half.steps] == ["no answer within 10 s"] * 3
    for step in half.steps:
        step.hurry()
    half.clock.sleep(60.0)
    half.step()
    assert len(asked) == 2


def test_a_step_whose_turn_it_is_not_says_nothing_of_whether_it_works() -> None:
    answers: list[object] = [StorageError("full"), NOT_NOW, NOT_NOW, None]

    def act() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    step, failures = Step("reconciling", act), []
    for now in (0.0, 100.0, 200.0, 300.0):
        step.run(now)
        failures.append(step.failures)
    assert failures == [1, 1, 1, 0]


@pytest.mark.parametrize("error", [Refused("not this one"), StoreTooNew("upgrade")])
def test_a_store_that_answers_with_a_refusal_is_asked_on(error: StorageError, settings: Settings) -> None:
    def refused() -> None:
        half.clock.sleep(5.0)
        raise error

    half = Half(settings, clock=HandSetClock())
    asked = Act()
    half.steps = [Step("one", refused), Step("two", lambda: (half._store(), asked()))]
    half.step()
    assert asked.calls == 1
    half.close()
