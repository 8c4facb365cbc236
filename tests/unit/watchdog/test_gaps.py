"""The gap ledger, and the one summary after a gap."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent import identity
from holter.agent.ledgers import HEAD, PAGE
from holter.agent.settings import Settings, load
from holter.agent.watchdog import gaps, pulse
from holter.agent.watchdog.account import EVERY, Account, grace
from holter.agent.watchdog.daemon import Herald
from holter.agent.watchdog.incidents import handled, news, open_incidents
from holter.agent.watchdog.watchdog import Watchdog
from holter.backends.base import Backend
from holter.backends.ledger import Entry, day_of, pack
from holter.backends.memory import MemoryBackend

HOUR = 3600.0
_places = count()


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Be another host."""
    monkeypatch.setenv("HOLTER_TEST_HOST", "a")
    return lambda name: monkeypatch.setenv("HOLTER_TEST_HOST", name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(str(tmp_path), environ={})


def beat(store: Backend, now: float, **more: Any) -> None:
    gaps.note(store, now)
    pulse.beat(store, now, started_at=0.0, **more)


# --- the ledger ----------------------------------------------------------------------------------------------


def test_before_the_first_watchdog_there_is_no_gap(store: Backend, on: Any) -> None:
    beat(store, 1000.0)
    assert gaps.unwatched(store, 1010.0) == [] and gaps.of_host(store, "a") == []


@pytest.mark.parametrize(
    ("silence", "stopped", "gap"), [(29, False, False), (31, False, True), (31, True, True)]
)
def test_a_gap_is_what_three_pulses_do_not_cover_stopped_on_purpose_or_not(
    store: Backend, on: Any, silence: float, stopped: bool, gap: bool
) -> None:
    beat(store, 1000.0, stopped=stopped)
    beat(store, 1000.0 + silence)
    assert gaps.unwatched(store, 1040.0) == ([(1000.0, 1000.0 + silence)] if gap else [])


def test_a_pass_of_cron_covers_a_quarter_of_an_hour_and_a_slow_watchdog_three_of_its_passes(
    store: Backend, on: Any
) -> None:
    beat(store, 1000.0, once=True)
    beat(store, 1890.0, interval=100.0)
    beat(store, 2180.0)
    assert gaps.unwatched(store, 2190.0) == []


def test_while_nobody_watches_the_gap_goes_on(store: Backend, on: Any) -> None:
    beat(store, 1000.0)
    assert gaps.unwatched(store, 5000.0) == [(1000.0, 5000.0)]


def test_a_host_s_gap_is_none_of_the_store_while_another_host_watches_it(store: Backend, on: Any) -> None:
    beat(store, 1000.0)
    for now in range(1000, 2001, 10):
        on("b")
        beat(store, float(now))
    on("a")
    beat(store, 2000.0)
    (gap,) = gaps.of_host(store, "a")
    assert (gap.start, gap.end, gap.unwatched_from) == (1000.0, 2000.0, None)
    assert gaps.unwatched(store, 2005.0) == []


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 120)), min_size=1, max_size=40).map(
        lambda steps: [(host, delay) for host, delay in steps]
    )
)
def test_the_ledger_is_what_the_pulses_of_all_hosts_leave_open(steps: list[tuple[str, int]]) -> None:
    """Whoever beats when: the unwatched time is the time more than 30 s after the last pulse of anybody."""
    store = MemoryBackend(f"memory:{next(_places)}")
    now, last, expected = 1000.0, None, []
    with pytest.MonkeyPatch.context() as patch:
        for host, delay in steps:
            patch.setenv("HOLTER_TEST_HOST", host)
            now += delay
            if last is not None and now - last > 30:
                expected.append((last, now))
            beat(store, now)
            last = now
        merged: list[tuple[float, float]] = []
        for start, end in expected:
            if merged and merged[-1][1] == start:
                start = merged.pop()[0]
            merged.append((start, end))
        assert gaps.unwatched(store, now) == merged


def test_two_watchdogs_that_start_at_once_write_the_gap_once(
    open_store: Callable[[], Backend], on: Any
) -> None:
    one, two = open_store(), open_store()
    beat(one, 1000.0)
    gaps.note(one, 5000.0)
    gaps.note(two, 5000.5)
    assert len(one.list(gaps.KIND)) == 1
    assert gaps.unwatched(two, 5001.0) == [(1000.0, 5001.0)]


def test_of_a_host_the_last_hundred_gaps_are_kept(store: Backend, on: Any) -> None:
    for number in range(110):
        beat(store, 1000.0 + 100 * number)
    found = gaps.of_host(store, "a")
    assert len(found) == 100 and found[-1].end == 1000.0 + 100 * 109


# --- the summary ---------------------------------------------------------------------------------------------


@pytest.fixture
def account(store: Backend, clock: Any, settings: Settings, on: Any) -> Callable[[float], list[str]]:
    """A watchdog that was there, and one that starts an hour later: looks after so many seconds, what is open then."""
    beat(store, clock.now)
    clock.now += HOUR
    later = Account(clock)

    def look(after: float) -> list[str]:
        clock.now += after
        later.look(store, settings)
        pulse.beat(store, clock.now, started_at=0.0)
        return [each.reason for each in open_incidents(store) if each.event == "watch_gap"]

    return look


def test_one_summary_when_the_grace_is_over_says_what_is_unresolved(
    store: Backend, account: Callable[[float], list[str]], scribe: Any, settings: Settings
) -> None:
    scribe.ran("old", "COMPLETED")
    assert account(0.0) == [] and account(grace(settings) - 1) == []
    for run in ("r1", "r2"):
        scribe.start(run)
        scribe.crash(run)
    scribe.start("r3")
    scribe.condition("r3", "stalled")
    (said,) = account(1.0)
    assert said.startswith("nobody watched from 2027-01-15T08:00:00Z to 2027-01-15T09:00:00Z (1h); ")
    assert said.endswith("; 2 runs crashed since, 1 live run in trouble")
    assert account(20.0) == [said]  # what it says is what was so then


def test_expected_starts_that_nobody_can_judge_are_counted(
    store: Backend, clock: Any, settings: Settings, on: Any
) -> None:
    start = clock.now
    beat(store, start)
    turns = [Entry(start + 60 * number, "unknown" if number % 2 else "on_time") for number in range(70)]
    store.put(HEAD, "default~etl", {}, 0)
    store.put(PAGE, "default~etl~2027-01-15", pack(turns, day_of(start)), 0)
    clock.now += HOUR
    Account(clock, once=True).look(store, settings)
    (said,) = [each.reason for each in open_incidents(store)]
    assert said.endswith("; 30 expected starts unknown")


def test_it_is_told_once_and_never_again(
    store: Backend, account: Callable[[float], list[str]], clock: Any
) -> None:
    account(0.0)
    (said,) = account(20.0)
    assert said.endswith("; nothing is unresolved")
    assert handled(store, news(store)[0])
    assert account(2.0) == []
    assert handled(store, news(store)[0])
    assert account(2.0) == account(60.0) == [] and news(store) == []
    assert gaps.of_host(store, identity.host())[0].told


def test_of_several_gaps_only_the_last_is_summarised(
    store: Backend, account: Callable[[float], list[str]], clock: Any
) -> None:
    account(0.0)
    clock.now += 100.0
    account(0.0)
    clock.now += 200.0
    account(0.0)
    assert [said.partition("(")[2].partition(")")[0] for said in account(20.0)] == ["3m 20s"]


def test_a_summary_that_nobody_wanted_for_a_day_is_forgotten(account: Callable[[float], list[str]]) -> None:
    account(0.0)
    for _ in range(86400 // 25):
        said = account(25.0)
    assert len(said) == 1
    assert account(25.0) == []


def test_the_first_watchdog_of_a_host_has_no_downtime_to_tell_of(
    store: Backend, clock: Any, settings: Settings, on: Any
) -> None:
    beat(store, clock.now)
    on("b")
    clock.now += HOUR
    account = Account(clock, once=True)
    account.look(store, settings)
    account.look(store, settings)
    assert open_incidents(store) == []
    assert gaps.unwatched(store, clock.now) == [(clock.now - HOUR, clock.now)]


def test_a_host_that_wakes_up_when_only_the_pulse_is_due_hides_no_gap(
    settings: Settings, clock: Any, on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = awake = clock.now  # the monotonic clock stands still while the host sleeps
    monkeypatch.setattr(clock, "monotonic", lambda: awake)
    with closing(Watchdog(settings, clock=clock, once=True)) as dog:
        dog.step()
        awake = clock.now = began + pulse.EVERY - EVERY / 2
        dog.step()
        awake, clock.now = began + pulse.EVERY, began + HOUR
        dog.step()
        assert [(each.start, each.end) for each in gaps.of_host(dog._store(), "a")] == [(began, began + HOUR)]


def test_after_a_gap_alerting_waits_for_one_grace_and_without_one_for_nothing(
    store: Backend, clock: Any, on: Any, tmp_path: Path
) -> None:
    (tmp_path / "holter.yaml").write_text("channels: {pager: {command: 'true'}}")
    settings = load(str(tmp_path), environ={})
    first = Herald(settings, clock=clock, patient=True)
    first._backend = store
    assert not first._waits()
    beat(store, clock.now)
    clock.now += HOUR
    later = Herald(settings, clock=clock, patient=True)
    later._backend = store
    later._collect()
    assert later._waits() and store.list("cursor") == []  # nothing was collected
    beat(store, clock.now)
    clock.now += grace(settings)
    later._collect()
    assert later._waits() and store.list("cursor") == []
    clock.now += 2 * EVERY
    later._collect()
    assert not later._waits() and store.list("cursor")
