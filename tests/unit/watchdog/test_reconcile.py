"""Conditions: what a live run should have, from its record, the clock and how long its journal has been silent."""

from __future__ import annotations

import math
from typing import Any

import pytest

from holter.agent import identity, jobs
from holter.agent.settings import Check
from holter.agent.watchdog.adopt import Live
from holter.agent.watchdog.afar import Afar, Voice
from holter.agent.watchdog.bounds import Expected, moments
from holter.agent.watchdog.enforce import limits_of
from holter.agent.watchdog.judgements import Judge
from holter.agent.watchdog.reconcile import conditions_of, reconcile
from holter.agent.watchdog.sightings import Ages, Sightings
from holter.backends.base import Backend
from holter.backends.clock import SYSTEM, Clock
from holter.backends.errors import RecordDamaged, StorageError
from holter.backends.records import Run


def run(**fields: Any) -> Run:
    told = {"id": "r1", "kind": "flow", "name": "etl", "state": "RUNNING", "root_id": "r1", "journal": "j1"}
    return Run(**{**told, "started_at": 1000.0, "active_at": 1000.0, **fields})


def live(size: int = 100, journal: str = "j1", heartbeat: Any = 5.0) -> Live:
    return Live(journal, f"/x/{journal}.jsonl", {"heartbeat": heartbeat}, size, size)


# --- what should be ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "check", "now", "mute", "wanted"),
    [
        ({}, {}, 1e9, {}, set()),
        ({}, {}, 1010.0, {"j1": 20.0}, {"unresponsive"}),
        ({}, {}, 1010.0, {"j2": 20.0}, set()),
        ({"kind": "task", "parent_id": "r0"}, {}, 1010.0, {"j1": 20.0}, set()),
        ({"kind": "task"}, {}, 1010.0, {"j1": 20.0}, {"unresponsive"}),
        ({}, {"bound": (60.0, "too long")}, 1060.0, {}, set()),
        ({}, {"bound": (60.0, "too long")}, 1060.1, {}, {"overdue"}),
        ({"started_at": None}, {"bound": (60.0, "too long")}, 1e9, {}, set()),
        ({}, {"stall_after": 60.0}, 1060.0, {}, set()),
        ({}, {"stall_after": 60.0}, 1060.1, {}, {"stalled"}),
        ({"active_at": 1050.0}, {"stall_after": 60.0}, 1100.0, {}, set()),
        (
            {},
            {"stall_after": 60.0, "bound": (60.0, "too long")},
            1100.0,
            {"j1": 99.0},
            {"stalled", "overdue", "unresponsive"},
        ),
    ],
)
def test_a_run_has_the_conditions_that_record_and_clock_say(
    fields: dict[str, Any], check: dict[str, Any], now: float, mute: dict[str, float], wanted: set[str]
) -> None:
    each = run(**fields)
    assert set(conditions_of(each, check, now, mute, lambda: each.active_at)) == wanted


def test_what_its_descendants_do_keeps_a_run_from_being_stalled() -> None:
    assert conditions_of(run(), {"stall_after": 60.0}, 1100.0, {}, lambda: 1090.0) == {}


def test_the_settings_overrule_the_decorator_and_checks_both_only_where_they_say_something(
    store: Any,
) -> None:
    def limits(run: Run, **checks: Check) -> tuple[float | None, float | None]:
        check = Expected(store, checks).of(run)
        return check["bound"] and check["bound"][0], check.get("stall_after")

    checked = run(check={"max_duration": 60.0, "stall_after": 30.0})
    assert limits(checked) == (60.0, 30.0)
    assert limits(checked, etl=Check(max_duration=90.0)) == (90.0, 30.0)
    assert limits(run(), other=Check(max_duration=90.0)) == (None, None)
    jobs.register(store, jobs.Registered("etl", check={"max_duration": 120.0}))
    assert limits(checked, etl=Check(max_duration=90.0)) == (120.0, 30.0)


def test_a_run_is_overdue_at_so_many_times_the_median_of_its_jobs_runs(
    store: Any, scribe: Any, clock: Any
) -> None:
    for number in range(5):
        scribe.start(f"r{number}")
        clock.now += 10.0 + number
        scribe.end(f"r{number}", "COMPLETED")
    scribe.start("live", check={"max_times_median": 3.0})
    live = store.run("live")
    check = Expected(store, {}).of(live)
    assert list(moments(live, check)) == [live.started_at + 36.0]
    for passed, wanted in ((36.0, {}), (36.1, {"overdue": check["bound"][1]})):
        assert conditions_of(live, check, live.started_at + passed, {}, None) == wanted
    assert "3 times the median of the last 5 runs, 12s" in check["bound"][1]


# --- how long a journal has been silent ----------------------------------------------------------------------


class TwoClocks(Clock):
    """Wall and monotonic clock, each set by hand."""

    def __init__(self) -> None:
        self.now_wall, self.now_monotonic = 1_000_000.0, 50.0

    def wall(self) -> float:
        return self.now_wall

    def monotonic(self) -> float:
        return self.now_monotonic

    def pass_by(self, seconds: float, wall: float | None = None) -> None:
        self.now_monotonic += seconds
        self.now_wall += seconds if wall is None else wall


def test_silence_counts_from_when_this_watchdog_first_looked_and_ends_with_the_first_new_byte() -> None:
    clock, seen = TwoClocks(), Sightings()
    assert seen.look([live(100)], clock) == {"j1": 0.0}
    clock.pass_by(4)
    assert seen.look([live(100)], clock) == {"j1": 4.0}
    clock.pass_by(4)
    assert seen.look([live(101)], clock) == {"j1": 0.0}


@pytest.mark.parametrize(
    ("monotonic", "wall"),
    [(2.0, 3600.0), (2.0, -3600.0), (30.0, 30.0), (6.0, 6.0)],
    ids=[
        "the clock was put forward",
        "the clock was put back",
        "this watchdog was stopped",
        "it stood still",
    ],
)
def test_after_a_jump_everybody_starts_anew(monotonic: float, wall: float) -> None:
    clock, seen = TwoClocks(), Sightings()
    seen.look([live(100)], clock)
    clock.pass_by(4)
    assert seen.look([live(100)], clock) == {"j1": 4.0}
    clock.pass_by(monotonic, wall)
    assert seen.look([live(100)], clock) == {"j1": 0.0}
    clock.pass_by(1)
    assert seen.look([live(100)], clock) == {"j1": 1.0}


def test_a_watchdog_whose_every_pass_is_late_still_counts_silence() -> None:
    clock, seen = TwoClocks(), Sightings()
    seen.look([live(100)], clock)
    told = []
    for _ in range(3):
        clock.pass_by(6)
        told.append(seen.look([live(100)], clock)["j1"])
    assert told == [0.0, 6.0, 12.0]


def test_the_time_that_a_locked_store_takes_after_the_look_is_nobodys_silence() -> None:
    clock, seen = TwoClocks(), Sightings()
    seen.look([live(100)], clock, clock.monotonic())
    clock.pass_by(0.1)
    looked = clock.monotonic()  # the size is read, the next beat is yet to come
    clock.pass_by(4)
    assert seen.look([live(100)], clock, looked)["j1"] == pytest.approx(0.1)


def test_journals_that_are_gone_are_forgotten() -> None:
    clock, seen = TwoClocks(), Sightings()
    seen.look([live(journal="a"), live(journal="b")], clock)
    clock.pass_by(1)
    assert seen.look([live(journal="b")], clock) == {"b": 1.0}
    assert set(seen.grown) == {"b"}


# --- the difference is written -------------------------------------------------------------------------------


@pytest.fixture
def judge(store: Backend, clock: Any, tmp_path: Any) -> Any:
    made = Judge(str(tmp_path), "p", store, clock)
    yield made
    made.close()


def test_conditions_are_written_when_they_come_and_when_they_go_and_not_in_between(
    store: Backend, clock: Any, scribe: Any, judge: Judge
) -> None:
    scribe.start("r1", check={"max_duration": 60.0})
    quiet: dict[str, float] = {}

    def passes(silence: dict[str, float] = quiet) -> int:
        return reconcile(Expected(store, {}), judge, [live()], silence, clock)

    assert passes() == 0
    assert passes({"j1": 15.1}) == 1
    assert passes({"j1": 16.1}) == 0
    assert store.run("r1").conditions == ("unresponsive",)  # type: ignore[union-attr]
    assert passes() == 1
    assert store.run("r1").conditions == ()  # type: ignore[union-attr]
    clock.now += 61
    assert passes() == 1
    assert store.run("r1").conditions == ("overdue",)  # type: ignore[union-attr]
    scribe.end("r1", "COMPLETED")
    assert passes() == 0
    found = store.run("r1")
    assert found is not None and (found.state, found.conditions) == ("COMPLETED", ())
    said = [row.condition for row in store.transitions(0) if row.condition]
    assert said == ["+unresponsive", "-unresponsive", "+overdue"]


@pytest.mark.parametrize(
    ("heartbeat", "mute"), [(5.0, 15.1), (0.2, 0.61), (0.0, math.inf), (None, math.inf), ("x", math.inf)]
)
def test_three_beats_must_be_missed_and_who_does_not_beat_misses_none(
    store: Backend, clock: Any, scribe: Any, judge: Judge, heartbeat: Any, mute: float
) -> None:
    scribe.start("r1")
    each = live(heartbeat=heartbeat)
    if mute == math.inf:
        assert reconcile(Expected(store, {}), judge, [each], {"j1": 1e9}, clock) == 0
    else:
        assert reconcile(Expected(store, {}), judge, [each], {"j1": mute - 0.2}, clock) == 0
        assert reconcile(Expected(store, {}), judge, [each], {"j1": mute}, clock) == 1


def test_after_the_clock_was_put_back_a_condition_still_goes(
    store: Backend, clock: Any, scribe: Any, judge: Judge
) -> None:
    scribe.start("r1")
    reconcile(Expected(store, {}), judge, [live()], {"j1": 20.0}, clock)
    clock.now -= 3600
    assert reconcile(Expected(store, {}), judge, [live()], {}, clock) == 1
    found = store.run("r1")
    assert found is not None and found.conditions == ()
    assert reconcile(Expected(store, {}), judge, [live()], {}, clock) == 0


def test_what_the_store_did_not_take_is_said_once(
    store: Backend, clock: Any, scribe: Any, tmp_path: Any
) -> None:
    class Refusing:
        """Passes everything on, but takes nothing while `away`."""

        def __init__(self) -> None:
            self.away = False

        def __getattr__(self, name: str) -> Any:
            if name == "append" and self.away:
                raise StorageError("away")
            return getattr(store, name)

    scribe.start("r1")
    behind: Any = Refusing()
    judge = Judge(str(tmp_path), "p", behind, clock)
    behind.away = True
    for _ in range(5):
        with pytest.raises(StorageError):
            reconcile(Expected(behind, {}), judge, [live()], {"j1": 20.0}, clock)
    behind.away = False
    reconcile(Expected(behind, {}), judge, [live()], {"j1": 20.0}, clock)
    assert [event["event"] for event in store.events("r1")].count("judge") == 1
    judge.close()


# --- clocks that are set, hosts that sleep -------------------------------------------------------------------


@pytest.mark.parametrize("jump", [7200.0, -7200.0])
def test_a_clock_that_is_set_makes_nobody_overdue_or_stalled(
    store: Backend, clock: Any, scribe: Any, judge: Judge, jump: float
) -> None:
    scribe.start("r1", check={"max_duration": 600.0, "stall_after": 600.0})
    clocks, ages = TwoClocks(), Ages()
    clocks.now_wall = clock.now

    def conditions() -> tuple[str, ...]:
        reconcile(Expected(store, {}), judge, [], {}, clocks, ages=ages)
        found = store.run("r1")
        assert found is not None
        return found.conditions

    assert conditions() == ()
    clocks.pass_by(60.0, wall=jump)
    assert conditions() == ()
    clocks.pass_by(541.0)
    assert "overdue" in conditions()


def test_a_host_that_slept_did_not_work_meanwhile(
    store: Backend, clock: Any, scribe: Any, judge: Judge
) -> None:
    scribe.start("r1", check={"max_duration": 600.0})
    clocks, ages = TwoClocks(), Ages()
    clocks.now_wall = clock.now
    reconcile(Expected(store, {}), judge, [], {}, clocks, ages=ages)
    clocks.pass_by(1.0, wall=8 * 3600.0)
    assert reconcile(Expected(store, {}), judge, [], {}, clocks, ages=ages) == 0


@pytest.mark.parametrize(("watched", "said"), [(frozenset({"web-1"}), 0), (frozenset[str](), 1)])
def test_a_host_with_a_watchdog_of_its_own_is_judged_by_it_alone(
    store: Backend, clock: Any, scribe: Any, judge: Judge, watched: frozenset[str], said: int
) -> None:
    scribe.start("r1", check={"max_duration": 60.0})
    clock.now += 61
    far = Afar({"j1": Voice(0.0, 1, foreign=True, host="web-1")}, watched=watched)
    assert reconcile(Expected(store, {}), judge, [], {}, clock, far) == said


def test_a_run_is_no_older_than_its_process_whatever_the_wall_clock_says_at_first(clock: Any) -> None:
    ages = Ages()
    began = clock.wall() - 8 * 86_400
    assert ages.look({"r": began, "s": began}, clock, {"r": 5.0, "s": math.inf}.__getitem__) == {
        "r": 5.0,
        "s": 8 * 86_400,
    }
    clock.now += 10
    assert ages.look({"r": began}, clock) == {"r": 15.0}
    assert 0.0 < identity.age(identity.me(), SYSTEM.since_boot()) < 86_400  # type: ignore[operator]
    assert identity.age({**identity.me(), "boot": "another"}, 100.0) is None


def test_a_run_without_a_line_on_its_present_attempt_has_no_time_limit_and_holds_up_nobody(
    store: Any, scribe: Any, clock: Any, tmp_path: Any
) -> None:
    """That line was damaged, say."""
    scribe.start("r1", check={"timeout_seconds": 60.0})
    scribe.say("retry", run="r1", attempt=1, delay=1.0)
    scribe.say("retry", run="r1", attempt=2, delay=1.0)
    assert store.run("r1").attempt_started_at is None
    assert list(moments(store.run("r1"), Expected(store, {}).of(store.run("r1")))) == []
    assert list(limits_of(store.run("r1"), Expected(store, {}))) == []


@pytest.mark.parametrize("error", [TypeError("what is this?"), RecordDamaged("the record is not JSON")])
def test_a_run_that_cannot_be_judged_does_not_keep_others_from_it(
    error: Exception, store: Any, scribe: Any, clock: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in ("r1", "r2", "r3"):
        scribe.start(each, check={"max_duration": 60.0})

    def moody(run: Run, check: Any) -> Any:
        if run.id == "r2":
            raise error
        return moments(run, check)

    monkeypatch.setattr("holter.agent.watchdog.reconcile.moments", moody)
    clock.now += 100.0
    reconcile(Expected(store, {}), Judge(str(tmp_path), "default", store), [], {}, clock, dues=[])
    assert {each: store.run(each).conditions for each in ("r1", "r2", "r3")} == {
        "r1": ("overdue",),
        "r2": (),
        "r3": ("overdue",),
    }
