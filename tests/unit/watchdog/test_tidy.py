"""Forgetting by age and by size: what goes, what stays whatever it takes, and that nobody waits for it."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holter.agent.setting_types import Bytes, RetentionPolicy, Seconds, Settings
from holter.agent.settings import load
from holter.agent.watchdog import tidy
from holter.agent.watchdog.tidy import forget, size_of
from holter.backends.base import Backend
from holter.backends.errors import SettingsError
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.records import Pruned, Run
from holter.testing.places import NOON, SITES, HandClock
from holter.testing.tapes import EVERYTHING, Tape
from holter.testing.world import World, happen

FOREVER = RetentionPolicy(days=36500.0, keep_failures=Seconds(3e9), logs_days=36500.0)


def capped(most: int) -> Settings:
    return Settings(retention=evolve(FOREVER, max_bytes=Bytes(most)))


def fill(store: Backend, runs: int, state: str = "COMPLETED") -> None:
    tape = Tape("j1")
    for number in range(runs):
        tape.start(f"r{number:04}", parameters={"much": "x" * 500}).log(f"r{number:04}", "y" * 500)
        tape.end(f"r{number:04}", state)
    tape.send(store)


@pytest.mark.parametrize("name", SITES)
def test_the_oldest_ended_runs_go_until_the_store_takes_no_more_than_it_may(
    name: str, tmp_path: Path
) -> None:
    with SITES[name].set_up(str(tmp_path)) as place:
        store = place.open()
        fill(store, 600)
        Tape("j0", NOON - 100).start("live").send(store)
        size = size_of(store)
        assert size is not None
        gone = forget(store, capped(size // 2), HandClock(NOON + 9000))
        assert 200 < gone.runs < 500
        assert (size_of(store) or size) <= size // 2
        left = [run.id for run in store.runs(EVERYTHING)]
        assert left == [*(f"r{number:04}" for number in range(599, gone.runs - 1, -1)), "live"]
        assert forget(store, capped(size // 2), HandClock(NOON + 9000)) == Pruned()


@pytest.mark.parametrize("name", SITES)
def test_live_runs_and_last_failures_stay_whatever_they_take(name: str, tmp_path: Path) -> None:
    with SITES[name].set_up(str(tmp_path)) as place:
        store = place.open()
        fill(store, 30, "FAILED")
        Tape("j0", NOON - 100).start("live").start("live.a").end("live.a").send(store)
        forget(store, capped(1), HandClock(NOON + 9000))
        assert [run.id for run in store.runs(RunQuery())] == ["r0029", "live.a", "live"]


@pytest.mark.parametrize("name", SITES)
@settings(max_examples=12, deadline=None, suppress_health_check=[*HealthCheck])
@given(data=st.data())
def test_whatever_is_forgotten_the_rest_is_whole(name: str, data: st.DataObject) -> None:
    """Live root runs stay, and each job's last failure; the oldest went first; what is left is as it was."""
    world = World()
    for _ in range(data.draw(st.integers(5, 60))):
        happen(world, data)
    days = st.sampled_from([0.0, 0.02, 0.2, 100.0])
    kept = RetentionPolicy(data.draw(days), Seconds(data.draw(days) * 86400), data.draw(days))
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        stack.enter_context(pytest.MonkeyPatch.context()).setattr(tidy, "STEP", data.draw(st.integers(1, 5)))
        place = stack.enter_context(SITES[name].set_up(folder))
        store = place.open()
        for tape in world.tapes:
            tape.send(store)
        before = {run.id: run for run in store.runs(EVERYTHING)}
        most = data.draw(st.none() | st.integers(0, size_of(store) or 0))
        forget(store, Settings(retention=evolve(kept, max_bytes=most)), HandClock(world.at))
        after = {run.id: run for run in store.runs(EVERYTHING)}
        assert must_stay(before) <= after.keys()
        assert all(before[run_id] == run for run_id, run in after.items())
        for run_id in before.keys() - after.keys():
            assert store.events(run_id) == store.logs(LogQuery(run_id)) == []
        if most is not None and (size_of(store) or 0) > most:
            movable = {run.id for run in after.values() if run.parent_id is None} - must_stay(before)
            assert movable == set()


def must_stay(runs: dict[str, Run]) -> set[str]:
    live = {run.root_id for run in runs.values() if not run.ended}
    roots = sorted(
        (run for run in runs.values() if run.parent_id is None), key=lambda run: (run.created_at, run.id)
    )
    last = {
        (run.project, run.name): run.id for run in roots if run.state in ("FAILED", "TIMED_OUT", "CRASHED")
    }
    return {run.id for run in runs.values() if run.root_id in live | set(last.values())}


def test_a_store_that_cannot_tell_its_size_is_forgotten_by_age_only(tmp_path: Path) -> None:
    class Silent:
        def __init__(self, store: Backend) -> None:
            self.prune = store.prune

    with SITES["memory"].set_up(str(tmp_path)) as place:
        store = place.open()
        fill(store, 3)
        silent: Any = Silent(store)
        assert forget(silent, capped(1), HandClock(NOON + 9000)) == Pruned()


def test_who_asks_it_to_stop_waits_for_one_step(tmp_path: Path) -> None:
    with SITES["sqlite"].set_up(str(tmp_path)) as place:
        store = place.open()
        fill(store, 20)
        assert forget(store, capped(1), HandClock(NOON + 9000), lambda: True) == Pruned()


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("500MiB", 500 * 2**20), ("1.5k", 1500), ("12", 12), ("1 TB", 10**12)],
)
def test_sizes_are_written_as_people_write_them(tmp_path: Path, text: str, size: int) -> None:
    (tmp_path / "holter.yaml").write_text(f"retention: {{max_bytes: {text}}}")
    assert load(str(tmp_path), {}).retention.max_bytes == size


@pytest.mark.parametrize("text", ["much", "-1", "true", "GB", "[1]"])
def test_a_size_that_is_none_is_refused_with_an_example(tmp_path: Path, text: str) -> None:
    (tmp_path / "holter.yaml").write_text(f"retention: {{max_bytes: {text}}}")
    with pytest.raises(SettingsError, match=r"retention.max_bytes.*2GB"):
        load(str(tmp_path), {})
