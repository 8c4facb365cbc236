"""Who is believed: the process itself, then an operator's mark, then a proof from outside. And what ends with a run."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from ..backends.base import Backend
from ..backends.queries import RunQuery
from .places import NOON, Place
from .tapes import Tape, ids, outbox

WITNESSES: dict[str, tuple[float, dict[str, Any]]] = {
    "proof": (10, {"event": "judge", "state": "CRASHED", "reason": "its lock is free", "by": "proof"}),
    "mark": (20, {"event": "judge", "state": "CANCELLED", "reason": "I stopped it", "by": "mark"}),
    "timeout": (10, {"event": "judge", "state": "TIMED_OUT", "reason": "over 5 s", "by": "proof"}),
    "completed": (30, {"event": "end", "state": "COMPLETED", "reason": "own"}),
    "failed": (30, {"event": "end", "state": "FAILED", "reason": "own"}),
    "failed before": (5, {"event": "end", "state": "FAILED", "reason": "own"}),
}


def told(store: Backend) -> list[tuple[str | None, str, str | None]]:
    return [(each.from_state, each.to_state, each.condition) for each in outbox(store)]


@pytest.mark.parametrize(
    ("witnesses", "state", "reason"),
    [
        (["proof"], "CRASHED", "its lock is free"),
        (["proof", "mark"], "CANCELLED", "I stopped it"),
        (["proof", "mark", "completed"], "COMPLETED", "own"),
        (["mark", "failed"], "FAILED", "own"),
        (["proof", "failed"], "FAILED", "own"),
        (["proof", "timeout"], "TIMED_OUT", "over 5 s"),
        (["timeout", "failed"], "TIMED_OUT", "over 5 s"),
        (["timeout", "completed"], "COMPLETED", "own"),
        (["timeout", "failed before"], "FAILED", "own"),
        (["timeout", "mark"], "CANCELLED", "I stopped it"),
    ],
    ids=str,
)
def test_own_testimony_beats_a_mark_and_a_mark_beats_a_proof_in_any_order(
    store: Backend, witnesses: list[str], state: str, reason: str
) -> None:
    for number, order in enumerate(permutations(witnesses)):
        run = f"r{number}"
        Tape(f"s{number}").start(run).send(store)
        for name in order:
            after, words = WITNESSES[name]
            Tape(f"{name} {number}", NOON + after - 1).say(run=run, **words).send(store)
        found = store.run(run)
        assert found is not None
        assert (found.state, found.reason) == (state, reason), order


@pytest.mark.parametrize("ending", ["own", "verdict"])
def test_conditions_vanish_with_the_ending_without_being_told_one_by_one(store: Backend, ending: str) -> None:
    tape = Tape().start("r1")
    tape.judge("r1", condition="stalled", on=True, reason="quiet").judge("r1", condition="overdue", on=True)
    tape.send(store)
    assert ids(store, states=("stale",)) == ids(store, states=("overdue",)) == ["r1"]
    if ending == "own":
        tape.end("r1", "FAILED").send(store)
    else:
        tape.judge("r1", state="CRASHED", reason="gone").send(store)
    state = "FAILED" if ending == "own" else "CRASHED"
    tape.judge("r1", condition="lost", on=True).send(store)
    run = store.run("r1")
    assert run is not None
    assert (run.state, run.conditions) == (state, ())
    assert ids(store, states=("stale", "overdue")) == []
    assert told(store) == [
        (None, "RUNNING", None),
        (None, "RUNNING", "+overdue"),
        (None, "RUNNING", "+stalled"),
        ("RUNNING", state, None),
    ]


def test_of_two_judges_the_later_word_on_a_condition_holds_whichever_comes_first(place: Place) -> None:
    on = Tape("w1", NOON + 10).judge("r1", condition="stalled", on=True, reason="quiet")
    off = Tape("w2", NOON + 20).judge("r1", condition="stalled", on=False)
    store = place.open()
    for tape in (Tape("j1").start("r1"), off, on):
        tape.send(store)
    run = store.run("r1")
    assert run is not None
    assert run.conditions == ()
    assert told(store) == [(None, "RUNNING", None)]


def test_what_starts_and_ends_in_one_batch_is_one_transition(store: Backend) -> None:
    tape = (
        Tape().start("r1", pending=True).say("attempt", run="r1", attempt=1).say("retry", run="r1", attempt=1)
    )
    tape.judge("r1", condition="stalled", on=True).judge("r1", condition="stalled", on=False)
    tape.say("attempt", run="r1", attempt=2).end("r1").send(store)
    assert told(store) == [(None, "COMPLETED", None)]


def test_a_proof_that_was_wrong_is_taken_back_by_a_second_transition(store: Backend) -> None:
    tape = Tape().start("r1")
    tape.send(store)
    Tape("w1").judge("r1", state="CRASHED", by="proof").send(store)
    tape.end("r1").send(store)
    assert told(store) == [
        (None, "RUNNING", None),
        ("RUNNING", "CRASHED", None),
        ("CRASHED", "COMPLETED", None),
    ]


def test_a_ghost_is_nobody_until_its_start_comes(store: Backend, rival: Backend) -> None:
    early = Tape("j2").log("r1.a", "x").judge("r1.a", condition="stalled", on=True)
    early.say("progress", run="r1.a", done=1).end("r1.a", "FAILED")
    early.send(store)
    for handle in (store, rival):
        assert handle.run("r1.a") is None
        assert handle.runs(RunQuery(states=("FAILED", "stalled"))) == []
        assert handle.summarize(RunQuery()) == []
        assert handle.transitions(0) == []
    Tape("j1").start("r1").start("r1.a", "fetch", "task").send(rival)
    run = store.run("r1.a")
    assert run is not None
    assert (run.state, run.name, run.parent_id, run.log_lines) == ("FAILED", "fetch", "r1", 1)
    assert [each.to_state for each in outbox(store) if each.run_id == "r1.a"] == ["FAILED"]
