"""Runs of other hosts: lost after silence that this watchdog has itself observed, and back when they are heard."""

from __future__ import annotations

from typing import Any

from holter.agent.watchdog.afar import Ears
from holter.backends.records import Process, Run


def process(offset: int, journal: str = "j1", pid: int = 7) -> Process:
    header = {"host": "far", "boot": "b", "namespace": 1, "pid": pid, "start_ticks": 5, "heartbeat": 5.0}
    return Process(journal, offset, header, None, 0, 1000.0, None, 0)


def run(*conditions: str, journal: str = "j1") -> Run:
    return Run("r1", "flow", "etl", "RUNNING", "r1", journal=journal, conditions=conditions)


def pass_over(
    ears: Ears, clock: Any, *processes: Process, seconds: float = 1.0, each: Run | None = None
) -> str | None:
    clock.now += seconds
    return ears.listen(processes, [], clock).lost(each or run())


def silent(ears: Ears, clock: Any, seconds: int, *processes: Process) -> str | None:
    said = None
    for _ in range(seconds):
        said = pass_over(ears, clock, *processes)
    return said


def test_a_fresh_watchdog_gives_a_full_grace_and_then_says_since_when(clock: Any) -> None:
    ears = Ears(60.0)
    assert silent(ears, clock, 61, process(100)) is None
    said = silent(ears, clock, 1, process(100))
    assert said == "nothing was heard of far since 1970-01-01T00:16:40Z, for more than 1m"


def test_a_beat_is_enough(clock: Any) -> None:
    ears = Ears(60.0)
    for beat in range(30):
        assert silent(ears, clock, 10, process(100 + beat)) is None


def test_after_a_sleep_of_its_own_everybody_has_a_grace_anew(clock: Any) -> None:
    ears = Ears(60.0)
    silent(ears, clock, 50, process(100))
    assert pass_over(ears, clock, process(100), seconds=3600.0) is None
    assert silent(ears, clock, 60, process(100)) is None
    assert silent(ears, clock, 1, process(100))


def test_a_process_that_went_on_in_a_new_journal_is_heard_there(clock: Any) -> None:
    ears = Ears(60.0)
    for beat in range(120):
        assert pass_over(ears, clock, process(100), process(beat, "j2")) is None
    assert silent(ears, clock, 62, process(100), process(1, "j2", pid=8))  # another process is another


def test_only_what_is_heard_after_we_saw_that_it_is_lost_takes_it_back(clock: Any) -> None:
    """Another watchdog said it, which hears earlier than this one."""
    ears = Ears(60.0)
    silent(ears, clock, 5, process(100))
    assert pass_over(ears, clock, process(101), each=run("lost")) is None
    assert pass_over(ears, clock, process(101), each=run("lost")) is None
    assert pass_over(ears, clock, process(102), each=run("lost")) == ""


def test_a_run_whose_process_the_store_does_not_know_is_left_alone(clock: Any) -> None:
    assert silent(Ears(60.0), clock, 100) is None
