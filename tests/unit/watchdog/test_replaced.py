"""Journals that their process replaced: closed once nothing open speaks of them, on every store."""

from __future__ import annotations

from pathlib import Path

import pytest

from holter.agent.watchdog.replaced import SETTLED, close_replaced
from holter.backends.queries import RunQuery
from holter.backends.states import OPEN
from holter.testing.places import NOON, SITES
from holter.testing.tapes import Tape


@pytest.mark.parametrize("name", SITES)
def test_a_replaced_journal_is_closed_when_no_open_run_speaks_of_it(name: str, tmp_path: Path) -> None:
    with SITES[name].set_up(str(tmp_path)) as place:
        store = place.open()
        place.clock.now = NOON
        Tape("j1").start("r1").say("moved", to="j2").send(store)
        later = Tape("j2", NOON + 10).say("carry", runs=["r1"], after="j1").log("r1", "on")
        later.send(store)

        def open_after(seconds: float) -> list[str]:
            held = {run.journal for run in store.runs(RunQuery(states=OPEN))}
            replaced = [each for each in store.processes() if each.moved_to is not None]
            close_replaced(store, replaced, held, NOON + seconds)
            return sorted(each.journal for each in store.processes())

        assert open_after(SETTLED + 1) == ["j1", "j2"]  # the run is known by the journal that it began in
        later.end("r1").start("r2").send(store)
        assert open_after(SETTLED - 1) == ["j1", "j2"]  # somebody may be reading its file
        assert open_after(SETTLED + 1) == ["j2"]
        assert open_after(SETTLED + 2) == ["j2"]


def test_of_two_watchdogs_one_closes_it(tmp_path: Path) -> None:
    with SITES["sqlite"].set_up(str(tmp_path)) as place:
        store = place.open()
        place.clock.now = NOON
        Tape("j1").say("moved", to="j2").send(store)
        seen = store.processes()
        for _ in range(2):
            close_replaced(store, seen, (), NOON + SETTLED + 1)
        (found,) = store.processes(open_only=False)
        assert found.closed_at == NOON and found.damaged == 0
