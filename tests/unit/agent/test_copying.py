"""`copy`: any store into any other, as often as one likes, with nothing doubled and nothing lost."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holter.agent import copying
from holter.agent.copying import copy
from holter.agent.settings import load
from holter.agent.watchdog import notify, outbox
from holter.backends.base import Backend
from holter.backends.errors import StorageError
from holter.backends.queries import LogQuery, Retention
from holter.backends.records import Process
from holter.testing.places import NOON, SITES, HandClock, Place
from holter.testing.tapes import Tape, answers
from holter.testing.world import World, happen

PAIRS = [("memory", "sqlite"), ("sqlite", "file"), ("file", "memory"), *((each, each) for each in SITES)]


def quiet(done: int, of: int) -> None: ...


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Callable[[str], Place]]:
    with ExitStack() as stack:

        def place(name: str) -> Place:
            (folder := tmp_path / str(len(list(tmp_path.iterdir())))).mkdir()
            return stack.enter_context(SITES[name].set_up(str(folder)))

        yield place


def history(store: Backend) -> Tape:
    """A run with parts, retries, lines, artifacts and a verdict; one that failed; one that lives."""
    tape = Tape("j1", NOON).start("r1", tags=["a"]).start("r1.a", "fetch", "task").log("r1", "one")
    tape.log("r1.a", "two").say("retry", run="r1.a", attempt=1, delay=1.5, reason="again")
    tape.send(store)
    tape.say("attempt", run="r1.a", attempt=2).log("r1", "three").say("progress", run="r1", done=2, total=3)
    tape.say("artifact", run="r1", key="k", type="text", data="x").end("r1.a", result=1).end("r1", "FAILED")
    tape.say("beat", seq=7).say("close").send(store)
    live = Tape("j2", NOON + 50, host="db-1").start("r2").log("r2", "lives")
    live.send(store)
    Tape("w1", NOON + 60).judge("r2", condition="stalled", on=True, reason="quiet").send(store)
    return live


def seen(store: Backend) -> dict[str, Any]:
    """All that readers see, but when the store itself heard of it, and what the copy wrote of itself."""
    said = answers(store)
    for key in ("processes", "open"):
        said[key] = [without_clock(each) for each in said[key] if "copy_of" not in each.header]
    return said


def without_clock(each: Process) -> tuple[object, ...]:
    return each.journal, each.offset, each.header, each.beat_at, each.beats, each.closed_at, each.damaged


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=str)
def test_everything_arrives_once_however_often_it_is_copied(
    at: Callable[[str], Place], one: str, other: str
) -> None:
    source, target = at(one).open(), at(other).open()
    history(source)
    for runs in (3, 0, 0):
        done = copy(source, target, quiet)
        assert (done.runs, done.ok, done.source) == (runs, True, done.target)
        assert seen(target) == seen(source)


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=str)
def test_parts_of_a_run_whose_own_start_never_arrived_go_over_too(
    at: Callable[[str], Place], one: str, other: str
) -> None:
    source, target = at(one).open(), at(other).open()
    history(source)
    lost = Tape("j8").start("r8.a", "fetch", "task").log("r8.a", "one").end("r8.a", "FAILED")
    lost.start("r8.a.b", "part", "task").log("r8.a.b", "two").end("r8.a.b").say("close").send(source)
    for runs in (5, 0):
        done = copy(source, target, quiet)
        assert (done.runs, done.ok, done.source) == (runs, True, done.target)
        assert done.source.runs == 5
        assert seen(target) == seen(source)
        assert [line.text for line in target.logs(LogQuery("r8.a"))] == ["one", "two"]


@pytest.mark.parametrize("other", ["memory", "sqlite", "file"])
@settings(max_examples=15, deadline=None, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_any_history_arrives_whole_from_wherever_it_was_interrupted(other: str, data: st.DataObject) -> None:
    """Sent in any order, pruned or not; the target has a random part of it when the copy begins."""
    world = World()
    for _ in range(data.draw(st.integers(1, 60))):
        happen(world, data)
    with ExitStack() as stack:
        folders = [stack.enter_context(tempfile.TemporaryDirectory()) for _ in range(2)]
        places = [stack.enter_context(SITES[name].set_up(f)) for name, f in zip(("memory", other), folders)]
        source, target = (place.open() for place in places)
        for tape in data.draw(st.permutations(world.tapes)):
            tape.send(source)
        if data.draw(st.booleans()):
            source.prune(Retention(NOON, NOON, NOON + data.draw(st.integers(0, 9000))))
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(copying, "BATCH", 300)
        whole = Stopping(target, data.draw(st.integers(0, 12)))
        try:
            copy(source, whole, quiet, Hurried())  # type: ignore[arg-type]
        except StorageError:
            assert whole.left < 0
        assert copy(source, target, quiet).ok
        assert seen(target) == seen(source)


class Stopping:
    """A target of which the power is pulled after some appends."""

    def __init__(self, store: Backend, left: int) -> None:
        self.store, self.left = store, left

    def append(self, journal: str, offset: int, data: bytes) -> int:
        self.left -= 1
        if self.left < 0:
            raise StorageError("no power")
        return self.store.append(journal, offset, data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


class Hurried(HandClock):
    def sleep(self, seconds: float) -> None: ...


def test_a_live_run_is_completed_by_copying_again(at: Callable[[str], Place]) -> None:
    source, target = at("sqlite").open(), at("file").open()
    live = history(source)
    assert copy(source, target, quiet).live == 1
    live.log("r2", "on").start("r2.a").end("r2.a").end("r2").say("close").send(source)
    assert copy(source, target, quiet).runs == 2
    assert seen(target) == seen(source)


def test_what_a_process_still_ships_goes_on_in_the_new_store_where_the_old_one_stood(
    at: Callable[[str], Place],
) -> None:
    source, target = at("sqlite").open(), at("file").open()
    live = history(source)
    copy(source, target, quiet)
    live.log("r2", "on").end("r2").say("close").send(target)  # from the offset that the old store had
    run = target.run("r2")
    assert run is not None
    assert (run.state, run.log_lines) == ("COMPLETED", 2)
    assert [line.text for line in target.logs(LogQuery("r2"))] == ["lives", "on"]
    copy(source, target, quiet)
    assert target.run("r2") == run
    assert [line.text for line in target.logs(LogQuery("r2"))] == ["lives", "on"]


# --- alerts --------------------------------------------------------------------------------------------------

CHANNEL = "channels:\n  hook: {command: 'cat >> alerts'}\n"


def alerted(store: Backend, home: Path, now: float) -> list[tuple[str, str]]:
    """What a watchdog that looks now has put into the outbox, as (event, state)."""
    (home / "holter.yaml").write_text(CHANNEL)
    held = load(str(home), {})
    while notify.collect(store, HandClock(now), held):
        pass
    return sorted((each["event"], each["state"]) for each in outbox.list_alerts(store))


def test_history_is_no_news_where_it_arrives(at: Callable[[str], Place], tmp_path: Path) -> None:
    first, second = at("sqlite"), at("file")
    source, target = first.open(), second.open()
    first.clock.now = NOON + 90
    history(source)
    copy(source, target, quiet, HandClock(NOON + 100))
    assert alerted(target, tmp_path, NOON + 101) == []
    second.clock.now = NOON + 200
    Tape("j9", NOON + 200).ran("r9", "FAILED").send(target)
    assert alerted(target, tmp_path, NOON + 201) == [("failed", "pending")]


def test_what_was_told_is_told_and_what_was_not_is_told_from_the_new_store(
    at: Callable[[str], Place], tmp_path: Path
) -> None:
    first, second = at("sqlite"), at("file")
    source, target = first.open(), second.open()
    for number in range(4):  # that the seqs are others in the target
        Tape(f"j{number}", NOON - 9000).ran(f"r{number}").send(source)
    source.prune(Retention(NOON, NOON, NOON))
    Tape("j7", NOON).ran("r7", "FAILED").send(source)
    assert alerted(source, tmp_path, NOON + 10) == [("failed", "pending")]
    first.clock.now = NOON + 20
    Tape("j8", NOON + 20).ran("r8", "CRASHED", name="other").send(source)
    assert copy(source, target, quiet, HandClock(NOON + 30)).ok
    assert alerted(target, tmp_path, NOON + 31) == [("crashed", "pending"), ("failed", "pending")]
    second.clock.now = NOON + 40
    Tape("j9", NOON + 40).ran("r9").send(target)
    assert [alert["open"] for alert in outbox.list_alerts(source) if alert["event"] == "failed"] == [True]
    alerted(target, tmp_path, NOON + 41)
    assert [alert["open"] for alert in outbox.list_alerts(target) if alert["event"] == "failed"] == [False]


def test_a_store_that_is_watched_does_not_tell_the_history_that_comes_in(
    at: Callable[[str], Place], tmp_path: Path
) -> None:
    source, target = at("sqlite").open(), at("file").open()
    assert alerted(target, tmp_path, NOON - 100) == []
    target.put("pulse", "here", {"at": NOON, "host": "here"}, 0)
    history(source)
    copy(source, target, quiet, HandClock(NOON + 100))
    assert alerted(target, tmp_path, NOON + 101) == []
