"""`append`: atomic, idempotent by offset, indifferent to order between journals, strict about lines."""

from __future__ import annotations

import json
import threading
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ..backends.base import Backend
from ..backends.errors import OffsetMismatch, StorageError
from ..backends.lines import encode
from ..backends.queries import LogQuery, RunQuery
from .places import NOON, Place
from .processes import child, ended
from .tapes import Tape, answers, ids, outbox, push, send_all


def test_an_append_answers_with_the_offset_after_the_batch(store: Backend) -> None:
    tape = Tape().start("r1")
    assert tape.send(store) == len(tape.data)
    tape.end("r1")
    assert tape.send(store) == len(tape.data)
    assert store.processes()[0].offset == len(tape.data)


def test_a_journal_that_nobody_knows_stands_at_zero(store: Backend) -> None:
    with pytest.raises(OffsetMismatch) as caught:
        store.append("j9", 10, Tape().data)
    assert caught.value.expected == 0


def test_a_batch_that_starts_elsewhere_is_refused_with_the_right_place(store: Backend) -> None:
    tape = Tape().start("r1").log("r1", "one")
    tape.send(store)
    before = answers(store)
    for wrong in (0, 1, tape.sent - 1, tape.sent + 1):
        with pytest.raises(OffsetMismatch) as caught:
            store.append("j1", wrong, Tape().ran("r2").data)
        assert caught.value.expected == tape.sent
        assert isinstance(caught.value, StorageError)
    assert answers(store) == before


def test_sending_twice_applies_once(store: Backend, rival: Backend) -> None:
    tape = Tape().start("r1").log("r1", "one").end("r1")
    tape.send(store)
    before = answers(store)
    with pytest.raises(OffsetMismatch) as caught:
        rival.append("j1", 0, tape.data)
    assert caught.value.expected == len(tape.data)
    assert answers(rival) == before


def test_bytes_that_do_not_end_in_a_newline_are_refused_whole(store: Backend) -> None:
    tape = Tape().ran("r1")
    before = answers(store)
    with pytest.raises(ValueError, match="newline"):
        store.append("j1", 0, tape.data[:-1])
    assert answers(store) == before
    assert tape.send(store) == len(tape.data)


def test_an_empty_batch_changes_no_offset(store: Backend) -> None:
    tape = Tape().ran("r1")
    tape.send(store)
    assert store.append("j1", tape.sent, b"") == tape.sent
    assert store.processes()[0].offset == tape.sent


def test_damaged_lines_are_counted_and_cost_no_other_line(store: Backend) -> None:
    tape = Tape().start("r1")
    tape.lines += [
        b"not json\n",
        tape.lines[1].replace(b"etl", b"elt"),
        b'{"event":"end","run":"r1"}\n',
        b"\n",
    ]
    tape.end("r1")
    tape.send(store)
    assert store.processes()[0].damaged == 3
    assert [event["event"] for event in store.events("r1")] == ["start", "end"]
    tape.lines.append(b"\xff\xfe\n")
    tape.send(store)
    assert store.processes()[0].damaged == 4


@pytest.mark.parametrize(
    "odd",
    [
        {"event": "start", "run": "../../etc", "at": NOON, "kind": "flow", "name": "x"},
        {"event": "start", "run": ".hidden", "at": NOON, "kind": "flow", "name": "x"},
        {"event": "start", "run": "r" * 81, "at": NOON, "kind": "flow", "name": "x"},
        {"event": "start", "run": "r9", "at": NOON, "kind": "flow"},
        {"event": "start", "run": "r9", "at": NOON, "kind": "song", "name": "x"},
        {"event": "start", "run": "r9", "at": NOON, "kind": "flow", "name": "x", "tags": [["a"]]},
        {"event": "start", "run": "r9", "at": "noon", "kind": "flow", "name": "x"},
        {"event": "start", "run": "r9", "at": 1e300, "kind": "flow", "name": "x"},
        {"event": "attempt", "run": "r1", "at": NOON, "attempt": True},
        {"event": "end", "run": "r1", "at": NOON, "state": "FINE"},
        {"event": "end", "run": "r1", "at": NOON, "state": "COMPLETED", "seconds": "long"},
        {"event": "judge", "run": "r1", "at": NOON, "condition": "sad", "on": True},
        {"event": "drop", "run": "r1", "at": NOON, "lines": "many"},
        {"event": "commit", "run": "r1", "at": NOON, "journal": "j1", "bytes": 10},
        {"event": "intent", "run": "r1", "at": NOON},
        {"event": "beat", "at": None, "seq": []},
    ],
)
def test_events_of_an_odd_shape_are_kept_out_and_hurt_nobody(store: Backend, odd: dict[str, object]) -> None:
    Tape().start("r1").log("r1", "before").send(store)
    before = store.runs(RunQuery())
    tape = Tape("j2")
    tape.lines.append(encode(odd))
    tape.send(store)
    assert store.runs(RunQuery()) == before
    assert tape.end("r1").send(store)
    assert ids(store) == ["r1"]


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
FIELDS = (
    "kind name run_name project parent tags parameters code check cause argv cwd attempt delay reason error seconds "
    "result exit_code signal usage state by condition on text done total key type description data limit occupy "
    "waited held lines bytes level stream seq host pid user"
).split()
KINDS = "process beat close carry start attempt retry end judge progress artifact slot log drop forgot commit".split()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_a_journal_says_no_store_is_hurt(place: Place, data: st.DataObject) -> None:
    """A sound history into which somebody wrote anything at all; every field is right or arbitrary."""
    number = len(place.handles)
    tape = Tape(f"j{number}").start(f"r{number}")
    for _ in range(data.draw(st.integers(1, 4))):
        fields = data.draw(st.dictionaries(st.sampled_from(FIELDS), ANYTHING, max_size=5))
        plain = {
            "kind": "task",
            "name": "x",
            "attempt": 2,
            "state": "FAILED",
            "condition": "lost",
            "lines": 3,
        }
        kept = {key: value for key, value in plain.items() if data.draw(st.booleans())}
        at = data.draw(st.just(NOON) | ANYTHING)
        run = data.draw(st.sampled_from([f"r{number}", f"r{number}.a"]) | ANYTHING)
        event = {"event": data.draw(st.sampled_from(KINDS)), "run": run, "at": at}
        tape.lines.append(encode({**kept, **fields, **event}))
    store = place.open()
    tape.log(f"r{number}", "still here").send(store)
    seen = json.loads(
        json.dumps([run.to_json() for run in store.runs(RunQuery(limit=None))], allow_nan=False)
    )
    assert f"r{number}" in [run["id"] for run in seen]
    assert "still here" in [log.text for log in store.logs(LogQuery(f"r{number}"))]
    assert answers(store)["runs"]
    store.close()


def test_a_batch_is_seen_whole_or_not_at_all(store: Backend, place: Place) -> None:
    tape = Tape()
    for number in range(60):
        tape.ran(f"r{number}").log(f"r{number}", "text")
    seen: set[tuple[int, int]] = set()
    over = threading.Event()

    def look() -> None:
        rival = place.open()
        while True:
            last = over.is_set()
            runs = rival.runs(RunQuery(limit=None))
            seen.add((len(runs), sum(run.ended for run in runs)))
            if last:
                return

    watcher = threading.Thread(target=look)
    watcher.start()
    tape.send(store)
    over.set()
    watcher.join()
    assert seen <= {(0, 0), (60, 60)}
    assert (60, 60) in seen


def test_journals_may_arrive_in_any_order(place: Place) -> None:
    parent = Tape("j1").start("r1").log("r1", "calls").end("r1")
    part = Tape("j2", host="web-2").start("r1.a").log("r1.a", "works").end("r1.a", "FAILED")
    judge = Tape("j3", host="watch").judge("r1.a", state="CRASHED", reason="gone", by="proof")
    store = place.open()
    for tape in (judge, part, parent):
        tape.send(store)
    assert (run := store.run("r1.a")) is not None
    assert (run.state, run.host, run.parent_id, run.root_id) == ("FAILED", "web-2", "r1", "r1")
    assert ids(store, host="web-2") == ["r1.a"]
    assert ids(store, host="watch") == []


def test_senders_who_race_apply_everything_exactly_once(place: Place) -> None:
    tape = Tape()
    for number in range(30):
        tape.start(f"r{number}").log(f"r{number}", f"line {number}").end(f"r{number}")
    place.open()
    senders = [
        threading.Thread(target=lambda size=size: push(place.open(), "j1", tape.lines, size))
        for size in (1, 2, 3, 5)
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    store = place.open()
    assert store.processes()[0].offset == len(tape.data)
    assert len(store.runs(RunQuery(limit=None))) == 30
    assert [len(store.logs(LogQuery(f"r{number}"))) for number in range(30)] == [1] * 30
    assert all(run.log_lines == 1 and run.state == "COMPLETED" for run in store.runs(RunQuery(limit=None)))


def test_processes_who_race_apply_everything_exactly_once(shared: Place) -> None:
    tape = Tape()
    for number in range(40):
        tape.start(f"r{number}").log(f"r{number}", f"line {number}").end(f"r{number}")
    pids = [child(partial(send_all, shared, tape, size)) for size in (1, 2, 3, 5, 8)]
    assert [ended(pid) for pid in pids] == [0] * 5
    store = shared.open()
    assert [run.log_lines for run in store.runs(RunQuery(limit=None))] == [1] * 40
    assert len(outbox(store)) == len({(each.run_id, each.to_state) for each in outbox(store)})
    assert store.check()["ok"]


def test_a_closed_store_says_so_and_closing_again_is_harmless(shared: Place) -> None:
    store = shared.open()
    store.close()
    store.close()
    with pytest.raises(StorageError, match="closed"):
        store.runs(RunQuery())
    with pytest.raises(StorageError, match="closed"):
        store.append("j1", 0, Tape().data)


def test_a_forked_child_cannot_use_its_parents_store_and_does_not_hurt_it(shared: Place) -> None:
    store = shared.open()
    tape = Tape().start("r1")
    tape.send(store)

    def try_it() -> None:
        for attempt in (lambda: store.runs(RunQuery()), lambda: store.append("j2", 0, Tape("j2").data)):
            with pytest.raises(StorageError, match="closed"):
                attempt()
        store.close()
        Tape("j3").ran("r3").send(shared.open())

    assert ended(child(try_it)) == 0
    tape.end("r1").send(store)
    assert ids(store) == ["r1", "r3"] or ids(store) == ["r3", "r1"]
