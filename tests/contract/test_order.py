"""The fold is blind to how journals were cut into batches and in which order these arrived."""

from __future__ import annotations

from functools import partial
from json import dumps, loads
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holter.backends.digest import digest
from holter.backends.lines import batch
from holter.backends.records import Json
from holter.testing.places import NOON
from holter.testing.tapes import Tape
from holter.testing.world import World, happen


def folded(tapes: list[Tape], plan: list[tuple[int, int]]) -> tuple[dict[str, Json], list[Any]]:
    """Documents and processes after `plan`: of which tape comes a batch, and how many lines it has."""
    docs: dict[str, Json] = {}
    processes: list[Json] = [{} for _ in tapes]
    sent = [0] * len(tapes)
    everything = [(number, len(tape.lines)) for number, tape in enumerate(tapes)]
    for number, count in [*plan, *everything]:
        tape, place = tapes[number], sent[number]
        offset = len(b"".join(tape.lines[:place]))
        lines = batch(b"".join(tape.lines[place : place + count]), offset)
        out = digest(tape.journal, lines, processes[number], partial(copied, docs), NOON)
        docs |= out.docs
        sent[number] = min(place + count, len(tape.lines))
    return docs, processes


def copied(docs: dict[str, Json], ids: list[str]) -> dict[str, Json]:
    """As a store loads them: from JSON."""
    return {run: loads(dumps(docs[run])) for run in ids if run in docs}


def blind_to_order(data: st.DataObject, things: int) -> None:
    world = World()
    for _ in range(things):
        happen(world, data)
    numbers = st.integers(0, len(world.tapes) - 1)
    plan = data.draw(st.lists(st.tuples(numbers, st.integers(0, 5)), max_size=40), label="plan")
    assert folded(world.tapes, plan) == folded(world.tapes, [])


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]
HISTORIES = given(data=st.data(), things=st.integers(1, 40))


def test_any_order_of_journals_and_any_batches_make_the_same_documents() -> None:
    settings(suppress_health_check=QUIET)(HISTORIES(blind_to_order))()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_any_order_of_journals_and_any_batches_make_the_same_documents_for_long() -> None:
    settings(max_examples=3000, suppress_health_check=QUIET)(HISTORIES(blind_to_order))()


@given(
    order=st.permutations(range(6)),
    cuts=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 2)), max_size=12),
)
def test_what_many_journals_say_of_one_run_adds_up_in_any_order(
    order: list[int], cuts: list[tuple[int, int]]
) -> None:
    """Its process, the one after a rotation, two watchdogs that disagree, an operator, and a twin that is late."""
    one = Tape("j1", NOON).start("r1", tags=["a"], pending=True).say("attempt", run="r1", attempt=1)
    one.say("progress", run="r1", done=1, total=9).say("artifact", run="r1", key="k", type="text", data="old")
    one.say("slot", run="r1", limit="db", occupy=1, waited=0.0, held=None).say(
        "drop", run="r1", lines=1, bytes=9
    )
    two = (
        Tape("j2", NOON + 50)
        .say("carry", runs=["r1"], after="j1")
        .say("retry", run="r1", attempt=1, delay=1.0)
    )
    two.say("attempt", run="r1", attempt=2).say("progress", run="r1", done=5, total=9).log("r1", "x")
    two.say("slot", run="r1", limit="db", occupy=1, waited=0.5, held=None).say(
        "drop", run="r1", lines=2, bytes=1
    )
    two.say("artifact", run="r1", key="k", type="text", data="new").end("r1", "FAILED", reason="own")
    watch = (
        Tape("w1", NOON + 20)
        .judge("r1", condition="stalled", on=True, reason="a")
        .judge("r1", state="CRASHED")
    )
    rival = Tape("w2", NOON + 20).judge("r1", condition="stalled", on=False).judge("r1", state="TIMED_OUT")
    operator = Tape("m1", NOON + 90).judge("r1", state="CANCELLED", by="mark", reason="enough")
    twin = Tape("j3", NOON + 70).end("r1", "COMPLETED", reason="too late")
    tapes = [one, two, watch, rival, operator, twin]
    shuffled = [(number, len(tapes[number].lines)) for number in order]
    docs, processes = folded(tapes, [*cuts, *shuffled])
    assert (docs, processes) == folded(tapes, [])
    assert (docs["r1"]["state"], docs["r1"]["progress"]["done"]) == ("FAILED", 5)
    assert (docs["r1"]["artifacts"]["k"]["data"], docs["r1"]["dropped"]) == ("new", {"lines": 3, "bytes": 10})
