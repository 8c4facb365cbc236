"""Retention: what goes, what stays, and that forgetting twice forgets no more."""

from __future__ import annotations

from ..backends.base import Backend
from ..backends.queries import LogQuery, Retention
from ..backends.records import Pruned
from .places import NOON
from .tapes import Tape, answers, ids, outbox

NEVER = 0.0
ALWAYS = NOON * 2


def runs_before(at: float) -> Retention:
    return Retention(runs_before=at, failures_before=at, logs_before=NEVER)


def test_ended_runs_go_with_their_descendants_events_lines_and_transitions(store: Backend) -> None:
    old = Tape("j1", NOON).start("r1").start("r1.a").log("r1.a", "x").log("r1", "y").end("r1.a").end("r1")
    new = Tape("j2", NOON + 1000).ran("r2").log("r2", "z")
    old.send(store)
    new.send(store)
    assert store.prune(runs_before(NOON + 500)) == Pruned(runs=2, logs=2)
    assert ids(store) == ["r2"]
    assert store.run("r1.a") is None
    assert store.events("r1") == store.events("r1.a") == []
    assert store.logs(LogQuery("r1")) == []
    assert [each.run_id for each in outbox(store)] == ["r2"]
    assert store.prune(runs_before(NOON + 500)) == Pruned(0, 0)


def test_a_run_of_which_any_part_is_live_stays_whole(store: Backend) -> None:
    Tape("j1").start("r1").start("r1.a").end("r1").send(store)
    Tape("j2").start("r2").send(store)
    before = answers(store)
    assert store.prune(Retention(ALWAYS, ALWAYS, ALWAYS)) == Pruned(0, 0)
    assert answers(store) == before


def test_a_late_part_without_a_start_keeps_nothing_alive(store: Backend) -> None:
    Tape("j1").ran("r1").send(store)
    Tape("j2").say("attempt", run="r1.a", attempt=1).log("r1.a", "x").send(store)
    assert store.prune(Retention(ALWAYS, ALWAYS, ALWAYS)) == Pruned(runs=2, logs=1)


def test_failures_have_their_own_age(store: Backend) -> None:
    tape = Tape()
    for number, state in enumerate(
        ["FAILED", "TIMED_OUT", "CRASHED", "COMPLETED", "CANCELLED", "SKIPPED", "FAILED"]
    ):
        tape.ran(f"r{number}", state)
    tape.send(store)
    assert store.prune(Retention(runs_before=ALWAYS, failures_before=NEVER, logs_before=NEVER)).runs == 3
    assert ids(store) == ["r6", "r2", "r1", "r0"]


def test_the_last_failure_of_each_job_stays(store: Backend) -> None:
    tape = Tape()
    for run, name, project in [("a1", "a", "x"), ("a2", "a", "x"), ("b1", "b", "x"), ("a3", "a", "y")]:
        tape.ran(run, "FAILED", name=name, project=project)
    tape.ran("a4", name="a", project="x")
    tape.send(store)
    assert store.prune(runs_before(ALWAYS)).runs == 2
    assert ids(store) == ["a3", "b1", "a2"]


def test_a_failed_part_is_no_failure_of_its_job(store: Backend) -> None:
    tape = Tape().start("r1").start("r1.a", "etl").end("r1.a", "FAILED").end("r1")
    tape.send(store)
    assert store.prune(runs_before(ALWAYS)).runs == 2


def test_lines_go_before_their_runs(store: Backend) -> None:
    tape = Tape("j1", NOON).start("r1").log("r1", "one").log("r1", "two").log("r1", "three").end("r1")
    live = Tape("j2", NOON).start("r2").log("r2", "lives")
    young = Tape("j3", NOON + 100).ran("r3").log("r3", "young")
    for each in (tape, live, young):
        each.send(store)
    first, _, third = store.logs(LogQuery("r1"))
    assert store.prune(Retention(NEVER, NEVER, logs_before=NOON + 4)) == Pruned(runs=0, logs=2)
    assert store.logs(LogQuery("r1")) == [third]
    assert store.logs(LogQuery("r1", text="one")) == []
    assert store.logs(LogQuery("r1", after=first.seq)) == [third]
    assert [len(store.logs(LogQuery(run))) for run in ("r2", "r3")] == [1, 1]
    run = store.run("r1")
    assert run is not None
    assert (run.log_lines, run.state) == (3, "COMPLETED")
    assert store.prune(Retention(NEVER, NEVER, logs_before=NOON + 4)) == Pruned(0, 0)


def test_seqs_go_on_where_they_were_after_everything_was_pruned(store: Backend, rival: Backend) -> None:
    Tape("j1").start("r1").log("r1", "x").end("r1").send(store)
    line, moved = store.logs(LogQuery("r1"))[-1].seq, outbox(store)[-1].seq
    store.prune(runs_before(ALWAYS))
    Tape("j2").start("r2").log("r2", "y").send(rival)
    assert rival.logs(LogQuery("r2"))[0].seq > line
    assert [each.run_id for each in store.transitions(moved)] == ["r2"]


def test_closed_journals_without_runs_go_and_others_stay(store: Backend) -> None:
    Tape("j1").ran("r1").say("close").send(store)
    Tape("j2").ran("r2").send(store)
    Tape("j3").start("r3").say("close").send(store)
    Tape("j4").say("close").send(store)
    store.prune(runs_before(NOON))
    assert [each.journal for each in store.processes(open_only=False)] == ["j4", "j3", "j2", "j1"]
    store.prune(runs_before(ALWAYS))
    assert [each.journal for each in store.processes(open_only=False)] == ["j3", "j2"]


def test_hundreds_of_runs_go_in_one_call(store: Backend) -> None:
    tape = Tape()
    for number in range(450):
        tape.ran(f"r{number}").log(f"r{number}", "x")
    tape.send(store)
    assert store.prune(runs_before(NOON + 10_000)) == Pruned(runs=450, logs=450)
    assert ids(store) == []


def test_a_run_that_was_forgotten_can_still_get_a_late_event(store: Backend) -> None:
    tape = Tape().ran("r1")
    tape.send(store)
    store.prune(runs_before(ALWAYS))
    tape.log("r1", "late").send(store)
    assert store.run("r1") is None
    assert ids(store) == []
