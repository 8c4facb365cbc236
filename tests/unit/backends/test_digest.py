"""What one batch of a journal means to a store: which events are sound, and what they leave."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.backends.digest import Digest, digest
from holter.backends.fold import SAMPLES, apply, settle, transitions
from holter.backends.soundness import sound
from holter.backends.states import CONDITIONS, ENDINGS, STATES

AT = 1_800_000_000.0
NOW = AT + 100


def event(name: str, at: float = AT, run: str = "r1", **fields: Any) -> dict[str, Any]:
    return {"event": name, "run": run, "at": at, **fields}


def start(at: float = AT, run: str = "r1", **fields: Any) -> dict[str, Any]:
    return {**event("start", at, run), "kind": "flow", "name": "etl", **fields}


def taken(*events: Any, process: Any = None, known: Any = None, journal: str = "j1") -> Digest:
    """The digest of a batch, each event at its number as position; asking for runs that are not touched fails."""
    held = known or {}

    def load(ids: list[str]) -> dict[str, Any]:
        assert ids, "nothing was asked for"
        return {each: held[each] for each in ids if each in held}

    return digest(journal, list(enumerate(events)), {} if process is None else process, load, NOW)


def doc(*events: dict[str, Any], run: str = "r1") -> dict[str, Any]:
    return taken(*events).docs[run]


def in_any_order(*events: dict[str, Any]) -> dict[str, Any]:
    """The document of a run that is the same whichever comes first."""
    documents = [doc(*each) for each in permutations(events)]
    assert all(each == documents[0] for each in documents)
    return documents[0]


# --- the batch ---


def test_a_batch_leaves_documents_events_lines_and_transitions() -> None:
    batch = [
        start(journal="j0"),
        event("log", text="hello"),
        event("end", AT + 5, state="FAILED", reason="because"),
    ]
    out = taken(*batch)
    assert set(out.docs) == {"r1"}
    assert out.events == [
        ("r1", 0, start()),
        ("r1", 2, batch[2]),
    ]  # which journal it was first in is said of the run
    assert out.logs == [("r1", batch[1])]
    changed = {
        "run_id": "r1",
        "at": NOW,
        "from": None,
        "to": "FAILED",
        "condition": None,
        "reason": "because",
    }
    assert out.transitions == [changed]
    assert out.process == {"received_at": NOW}
    assert out.docs["r1"]["journal"] == "j1"


@pytest.mark.parametrize("kind", ["attempt", "retry", "artifact", "slot", "drop", "judge"])
def test_what_is_told_of_a_run_is_kept(kind: str) -> None:
    said = event(kind, attempt=1, limit="gpu", condition="lost", on=True)
    assert taken(said).events == [("r1", 0, said)]


@pytest.mark.parametrize("kind", ["progress", "log", "forgot", "transition"])
def test_what_is_only_counted_or_replaced_is_not_kept_one_by_one(kind: str) -> None:
    assert taken(event(kind, lines=1, to="RUNNING")).events == []


def test_damage_and_what_is_not_sound_are_left_out_and_damage_is_counted() -> None:
    out = taken(None, event("end", state="BROKEN"), event("unheard"), None)
    assert (out.docs, out.events, out.transitions) == ({}, [], [])
    assert out.process == {"damaged": 2, "received_at": NOW}
    assert taken(None, process={"damaged": 2}).process["damaged"] == 3


def test_what_is_known_of_a_run_goes_on() -> None:
    first = taken(start()).docs
    out = taken(event("judge", AT + 1, condition="lost", on=True, reason="silent"), known=first)
    row = {
        "run_id": "r1",
        "at": NOW,
        "from": "RUNNING",
        "to": "RUNNING",
        "condition": "+lost",
        "reason": "silent",
    }
    assert out.transitions == [row]
    assert out.docs["r1"]["name"] == "etl"


def test_each_run_of_a_batch_has_its_transitions() -> None:
    out = taken(start(), start(run="r2"), event("end", AT + 1, "r2", state="COMPLETED"))
    assert [(row["run_id"], row["to"]) for row in out.transitions] == [("r1", "RUNNING"), ("r2", "COMPLETED")]


def test_a_run_of_which_only_others_spoke_has_begun_when_its_start_comes() -> None:
    before = taken(event("judge", condition="lost", on=True)).docs
    assert before["r1"]["state"] == "PENDING"
    out = taken(start(AT + 1), known=before)
    assert [(row["from"], row["to"], row["condition"]) for row in out.transitions] == [
        (None, "RUNNING", None),
        (None, "RUNNING", "+lost"),
    ]


def test_a_new_run_is_below_the_root_that_its_id_names() -> None:
    assert doc(start(run="r1.2.3"), run="r1.2.3")["root_id"] == "r1"
    assert doc(start(run="r1.2.3"), run="r1.2.3")["parent_id"] == "r1"
    assert doc(start(run="r1.2.3", parent="r1.2"), run="r1.2.3")["parent_id"] == "r1.2"
    assert doc(start())["parent_id"] is None


def test_a_copied_journal_brings_its_transitions_and_none_are_made_of_it() -> None:
    row = event("transition", AT + 9, to="RUNNING", condition="+lost", reason="silent", seq=4)
    process = event("process", copy_of="j0", copied=True)
    out = taken(process, start(), row)
    said = {
        "from": None,
        "to": "RUNNING",
        "condition": "+lost",
        "reason": "silent",
        "run_id": "r1",
        "at": AT + 9,
    }
    assert out.transitions == [said]
    own = taken(event("process"), start(), row)
    assert [each["to"] for each in own.transitions] == ["RUNNING"]
    assert own.transitions[0]["at"] == NOW


# --- transitions ---


def test_a_condition_that_comes_or_goes_is_a_row_of_its_own() -> None:
    run = taken(start()).docs["r1"]
    run |= {"conditions": ["lost", "stalled"], "reason": "why"}
    rows = transitions(("RUNNING", ["overdue", "stalled"]), run, NOW)
    assert [row["condition"] for row in rows] == ["+lost", "-overdue"]
    about = {"run_id": "r1", "at": NOW, "reason": "why", "from": "RUNNING", "to": "RUNNING"}
    assert all({**row, "condition": None} == {**about, "condition": None} for row in rows)


def test_an_ending_ends_the_conditions_without_a_word() -> None:
    run = taken(start(), event("end", state="COMPLETED")).docs["r1"]
    (row,) = transitions(("RUNNING", ["lost"]), run, NOW)
    assert (row["from"], row["to"], row["condition"]) == ("RUNNING", "COMPLETED", None)
    assert transitions(("COMPLETED", []), run, NOW) == []


# --- what is sound ---

WELL: list[dict[str, Any]] = [
    start(),
    start(
        kind="task", run_name="x", project="p", parent="r0", cwd="/", tags=["a"], argv=["b"], parameters={}
    ),
    start(kind="command", code={}, check={}, cause={}, journal="j0"),
    event("attempt", attempt=1, journal="j0"),
    event("retry", attempt=0, delay=1.5, reason="r", error={}),
    *(event("end", state=state) for state in ENDINGS),
    event("end", state="FAILED", reason="r", signal="TERM", error={}, usage={}, seconds=1, exit_code=-9),
    *(event("judge", condition=condition) for condition in CONDITIONS),
    *(event("judge", state=state, by="proof", reason="r") for state in ENDINGS),
    *(event("end", state="FAILED", seconds=number) for number in (1e15 - 1, 1 - 1e15)),
    event("progress", text="half", done="anything"),
    event("artifact", key="k", type="t", description="d"),
    event("slot", limit="gpu", waited=1.0, held=2),
    event("drop", lines=0, bytes=2**53 - 1),
    event("forgot", lines=3),
    event("log", text=5),
    *(event("transition", to=state) for state in STATES),
    event("transition", **{"to": "FAILED", "from": "RUNNING", "condition": "+lost", "reason": "r"}),
    {**start(), "name": "etl", "parent": None, "tags": None},
]
ODD: list[dict[str, Any]] = [
    event("unheard"),
    start(kind="cron"),
    {**start(), "name": None},
    *({**start(), key: 5} for key in ("name", "run_name", "project", "parent", "cwd", "journal")),
    *({**start(), key: "x"} for key in ("parameters", "code", "check", "cause", "tags", "argv")),
    {**start(), "tags": ["a", 5]},
    event("attempt"),
    *(event("attempt", attempt=number) for number in (-1, 1.0, True, "1", 2**53)),
    event("retry"),
    event("retry", attempt=1, delay="soon"),
    event("retry", attempt=1, reason=5),
    event("retry", attempt=1, error="broken"),
    event("end"),
    *(event("end", state=state) for state in ("RUNNING", "BROKEN", 5)),
    *(event("end", state="FAILED", **{key: 5}) for key in ("reason", "signal", "error", "usage", "journal")),
    *(event("end", state="FAILED", **{key: "5"}) for key in ("seconds", "exit_code")),
    *(event("end", state="FAILED", seconds=number) for number in (float("nan"), 1e15, -1e15)),
    event("end", state="FAILED", seconds=True),
    event("judge"),
    event("judge", condition="tired"),
    event("judge", state="RUNNING"),
    *(event("judge", state="CRASHED", **{key: 5}) for key in ("by", "reason")),
    event("progress", text=5),
    *(event("artifact", **{key: 5}) for key in ("key", "type", "description")),
    event("slot", limit=5),
    *(event("slot", **{key: "5"}) for key in ("waited", "held")),
    *(event("drop", **{key: -1}) for key in ("lines", "bytes")),
    event("forgot"),
    event("forgot", lines=-1),
    event("transition", to="BROKEN"),
    event("transition", **{"to": "FAILED", "from": "BROKEN"}),
    *(event("transition", to="FAILED", **{key: 5}) for key in ("condition", "reason")),
]


@pytest.mark.parametrize("said", WELL, ids=str)
def test_what_a_process_says_is_sound(said: dict[str, Any]) -> None:
    assert sound(said)


@pytest.mark.parametrize("said", ODD, ids=str)
def test_what_no_process_says_is_not(said: dict[str, Any]) -> None:
    assert not sound(said)


@pytest.mark.parametrize(
    ("at", "is_so"),
    [
        (0, True),
        (AT, True),
        (1e11 - 1, True),
        (1e11, False),
        (-0.1, False),
        (None, False),
        ("1", False),
        (True, False),
    ],
)
def test_a_time_is_a_number_of_seconds_in_this_age(at: Any, is_so: bool) -> None:
    assert sound(event("log", at)) is is_so


@pytest.mark.parametrize(
    ("run", "is_so"),
    [
        ("r", True),
        ("r" * 80, True),
        ("r" * 81, False),
        ("", False),
        (".r", False),
        ("-.-", False),
        ("r.1-b", True),
        ("r/1", False),
        ("é", False),
        (5, False),
        (None, False),
    ],
)
def test_a_run_has_an_id_that_can_be_a_name_anywhere(run: Any, is_so: bool) -> None:
    assert sound({**event("log"), "run": run}) is is_so


def test_an_id_that_was_looked_at_before_is_not_looked_at_again() -> None:
    assert sound(event("log", run="any/thing"), {"any/thing"})
    assert not sound(event("log", run="another/thing"), {"any/thing"})


# --- one event after the other ---


def test_a_start_tells_who_runs_and_what() -> None:
    told = {
        **dict.fromkeys(("run_name", "project", "cwd"), "x"),
        "tags": ["a"],
        "argv": ["b"],
        "parameters": {"n": 1},
        "code": {"c": 1},
        "check": {"d": 1},
        "cause": {},
    }
    found = doc(start(AT, **told))
    assert {key: found[key] for key in told} == told
    assert (found["kind"], found["name"], found["created_at"], found["started_at"]) == ("flow", "etl", AT, AT)
    assert "tags" not in doc(start())


def test_a_run_that_waits_has_not_started() -> None:
    waiting = doc(start(pending=True))
    assert (waiting["state"], waiting.get("started_at"), waiting["created_at"]) == ("PENDING", None, AT)
    begun = doc(start(pending=True), event("attempt", AT + 5, attempt=1))
    assert (begun["state"], begun["started_at"], begun["created_at"]) == ("RUNNING", AT + 5, AT)
    again = doc(start(), event("attempt", AT + 5, attempt=1), event("attempt", AT + 9, attempt=2))
    assert again["started_at"] == AT + 5


def test_the_furthest_phase_wins_in_any_order() -> None:
    begun = [start(), event("attempt", AT + 1, attempt=1), event("retry", AT + 2, attempt=1)]
    assert in_any_order(*begun)["state"] == "RETRYING"
    assert in_any_order(*begun, event("attempt", AT + 3, attempt=2))["state"] == "RUNNING"
    assert in_any_order(event("attempt", attempt=2), event("retry", AT + 1, attempt=2))["state"] == "RETRYING"
    assert doc(start(pending=True), start(AT + 1))["state"] == "RUNNING"


def test_an_attempt_has_when_it_began_and_how_it_ended() -> None:
    failed = event("retry", AT + 2, attempt=1, error={"type": "E"}, delay=3.0, reason="busy")
    found = in_any_order(event("attempt", AT + 1, attempt=1), failed, event("attempt", AT + 5, attempt=2))
    first = {
        "started_at": AT + 1,
        "ended_at": AT + 2,
        "error": {"type": "E"},
        "delay_seconds": 3.0,
        "reason": "busy",
    }
    assert found["tries"] == {"1": first, "2": {"started_at": AT + 5}}
    assert doc(event("retry", attempt=1))["tries"]["1"] == {
        "ended_at": AT,
        "error": None,
        "delay_seconds": None,
    }


def test_the_first_ending_stands() -> None:
    told = {
        "reason": "r",
        "result": 5,
        "error": {},
        "exit_code": 1,
        "signal": "TERM",
        "usage": {},
        "about": "x",
    }
    first = event("end", AT + 5, state="FAILED", seconds=4.0, **told)
    found = in_any_order(start(), first, event("end", AT + 6, state="COMPLETED"))
    assert found["end"] == {"state": "FAILED", "at": AT + 5, "seconds": 4.0, **told}
    assert (found["state"], found["ended_at"], found["reason"], found["duration_seconds"]) == (
        "FAILED",
        AT + 5,
        "r",
        4.0,
    )
    both = in_any_order(event("end", state="FAILED"), event("end", state="COMPLETED"))
    assert both["state"] == "COMPLETED"  # at the same moment: one of them, but always the same one


def test_a_run_without_seconds_took_what_the_clock_says_and_never_less_than_nothing() -> None:
    assert doc(start(), event("end", AT + 5, state="FAILED"))["duration_seconds"] == 5.0
    assert doc(start(), event("end", AT - 5, state="FAILED"))["duration_seconds"] == 0.0
    assert doc(event("end", AT, state="FAILED"))["duration_seconds"] is None


@pytest.mark.parametrize(
    ("own", "after", "state"),
    [
        ("FAILED", 0, "TIMED_OUT"),
        ("FAILED", 1, "TIMED_OUT"),
        ("FAILED", -1, "FAILED"),
        ("COMPLETED", 1, "COMPLETED"),
        ("TIMED_OUT", 1, "TIMED_OUT"),
    ],
)
def test_what_a_process_says_after_it_was_ended_is_the_echo(own: str, after: float, state: str) -> None:
    sentence = event("judge", AT + 5, state="TIMED_OUT", by="proof", reason="too long")
    found = in_any_order(start(), sentence, event("end", AT + 5 + after, state=own, reason="own"))
    assert (found["state"], found["reason"]) == (
        state,
        "too long" if (own, after) in (("FAILED", 0), ("FAILED", 1)) else "own",
    )


def test_a_verdict_that_only_notices_never_beats_what_the_process_said() -> None:
    for state, by in (("CRASHED", "proof"), ("TIMED_OUT", "mark"), ("FAILED", "mark")):
        found = in_any_order(
            start(), event("judge", AT + 1, state=state, by=by), event("end", AT + 2, state="SKIPPED")
        )
        assert found["state"] == "SKIPPED"


def test_a_mark_beats_a_proof_a_sentence_beats_a_death_and_the_earlier_of_its_kind_stands() -> None:
    dead = event("judge", AT + 1, state="CRASHED", reason="killed")
    ended = event("judge", AT + 3, state="TIMED_OUT", by="proof", reason="too long")
    assert in_any_order(dead, ended)["verdict"] == {
        "state": "TIMED_OUT",
        "at": AT + 3,
        "reason": "too long",
        "by": "proof",
    }
    cancelled = event("judge", AT + 4, state="CANCELLED", by="cancel")
    assert in_any_order(dead, cancelled)["state"] == "CANCELLED"
    assert in_any_order(ended, cancelled)["state"] == "TIMED_OUT"
    marked = event("judge", AT + 9, state="FAILED", by="mark")
    assert in_any_order(dead, cancelled, marked)["state"] == "FAILED"
    assert in_any_order(dead, event("judge", AT, state="CRASHED", by="somebody"))["verdict"]["at"] == AT + 1
    assert in_any_order(dead, event("judge", AT + 2, state="CRASHED"))["verdict"]["at"] == AT + 1
    same = event("judge", AT + 1, state="CRASHED", reason="killed again")
    # One of them, but always the same one.
    assert in_any_order(dead, same)["verdict"]["reason"] == "killed again"
    bare = event("judge", AT + 1, state="CRASHED")
    assert in_any_order({**bare, "reason": "Killed"}, bare)["verdict"]["reason"] == "Killed"
    assert doc(dead)["verdict"]["by"] == "proof"


def test_a_condition_is_what_was_said_of_it_last() -> None:
    lost = event("judge", AT + 1, condition="lost", on=True, reason="silent")
    back = event("judge", AT + 2, condition="lost", on=False)
    stalled = event("judge", AT + 1, condition="stalled", on=True, reason="no progress")
    assert (doc(start(), lost)["conditions"], doc(start(), lost)["reason"]) == (["lost"], "silent")
    both = in_any_order(start(), stalled, lost)
    assert (both["conditions"], both["reason"]) == (["lost", "stalled"], "silent; no progress")
    over = in_any_order(start(), lost, back)
    assert (over["conditions"], over["reason"]) == ([], None)
    assert doc(start(), event("judge", AT, condition="lost", on=True))["reason"] is None
    assert doc(start(), event("judge", AT, condition="lost"))["conditions"] == []
    assert doc(lost)["flags"] == {"lost": [AT + 1, True, "silent"]}


def test_progress_is_the_latest_and_at_one_moment_the_furthest() -> None:
    early = event("progress", AT + 1, done=9, total=10, text="almost")
    late = event("progress", AT + 2, done=3, total=10)
    assert in_any_order(early, late)["progress"] == {"at": AT + 2, "done": 3, "total": 10, "text": None}
    assert in_any_order(late, event("progress", AT + 2, done=4))["progress"]["done"] == 4
    assert in_any_order(late, event("progress", AT + 2, done="x"))["progress"]["done"] == 3
    assert in_any_order(*(event("progress", done=done) for done in (9, 10)))["progress"]["done"] == 10
    assert in_any_order(*(event("progress", done=done) for done in (0.5, "x")))["progress"]["done"] == 0.5
    assert in_any_order(*(event("progress", done=1, text=text) for text in "ab"))["progress"]["text"] == "b"
    assert doc(early)["progress"] == {"at": AT + 1, "done": 9, "total": 10, "text": "almost"}


def test_an_artifact_is_the_latest_under_its_key() -> None:
    first = event("artifact", AT + 1, key="k", type="text", description="d", data={"x": 1})
    second = event("artifact", AT + 2, key="k", type="text", data={"x": 2})
    other = event("artifact", AT, key="l", type="link")
    bare = event("artifact", AT, type="link")
    found = in_any_order(first, second, other, bare)["artifacts"]
    assert set(found) == {"k", "l", "None"}
    assert found["k"] == {"key": "k", "type": "text", "at": AT + 2, "description": None, "data": {"x": 2}}
    assert doc(first)["artifacts"]["k"] == {
        key: first[key] for key in ("key", "type", "at", "description", "data")
    }
    assert in_any_order(first, {**first, "data": {"x": 9}})["artifacts"]["k"]["data"] == {"x": 9}


def test_slots_are_told_in_the_order_in_which_they_were_held() -> None:
    first = event("slot", AT + 1, limit="gpu", occupy=2, waited=0.5, held=3.0)
    second = event("slot", AT + 2, limit="db")
    found = in_any_order(first, second, event("slot", AT + 1, limit="aux"))["slots"]
    assert [slot["limit"] for slot in found] == ["aux", "gpu", "db"]
    assert found[1] == {"limit": "gpu", "occupy": 2, "at": AT + 1, "waited": 0.5, "held": 3.0}


def test_lines_are_counted_also_those_that_were_pruned_or_dropped() -> None:
    lines = [event("log"), event("log"), event("forgot", lines=40)]
    assert in_any_order(*lines)["log_lines"] == 42
    dropped = [event("drop", lines=3, bytes=100), event("drop", lines=4), event("drop", bytes=7)]
    assert in_any_order(*dropped)["dropped"] == {"lines": 7, "bytes": 107}


def test_a_run_is_active_at_the_latest_thing_that_its_process_said() -> None:
    said = in_any_order(start(), event("log", AT + 5), event("judge", AT + 9, condition="lost", on=True))
    assert said["active_at"] == AT + 5
    assert doc(event("log", 0.0))["active_at"] == 0.0
    told: dict[str, Any] = {"id": "r1"}
    apply(told, event("transition", AT + 9, to="RUNNING"), "j1")
    assert "active_at" not in told
    apply(told, event("unheard"), "j1")
    assert told == {"id": "r1"}


def test_a_run_belongs_to_the_latest_journal_in_which_its_process_spoke() -> None:
    told: dict[str, Any] = {"id": "r1"}
    for journal, said in (("02", start()), ("01", event("end", state="FAILED")), ("03", event("log"))):
        apply(told, said, journal)
    assert told["journal"] == "02"
    apply(told, event("attempt", attempt=1, journal="04"), "01")
    assert told["journal"] == "04"


def test_of_a_run_of_which_nothing_is_known_it_is_said_that_it_waits() -> None:
    told: dict[str, Any] = {}
    settle(told)
    assert told == {"state": "PENDING", "conditions": [], "reason": None}
    assert transitions(None, told, NOW) == []


# --- the journal itself ---


def test_a_header_is_kept_without_its_name_and_checksum() -> None:
    header = event(
        "process", host="web-1", pid=4, heartbeat=5.0, utc_offset=-86400, argv=["x"], code={}, c="0", more=1
    )
    kept = {key: value for key, value in header.items() if key not in ("event", "c")}
    assert taken(header).process == {"header": kept, "received_at": NOW}


@pytest.mark.parametrize(
    "odd",
    [
        *(
            {key: 5}
            for key in ("host", "user", "project", "cwd", "boot", "python", "store", "zone", "argv", "code")
        ),
        *({key: "5"} for key in ("heartbeat", "utc_offset", "pid")),
        *({"utc_offset": seconds} for seconds in (86401, -86401)),
        {"pid": -1},
    ],
    ids=str,
)
def test_a_header_that_no_process_writes_is_left_out(odd: dict[str, Any]) -> None:
    assert "header" not in taken(event("process", **odd)).process


def test_beats_say_how_many_there_were_and_when_the_last_one_was() -> None:
    assert taken(event("beat", AT + 1, seq=3), event("beat", AT + 2, seq=4)).process == {
        "beat_at": AT + 2,
        "beats": 4,
        "received_at": NOW,
    }
    assert taken(event("beat", AT, seq=-1), {"event": "beat", "seq": 1}).process == {"received_at": NOW}


def test_a_journal_is_closed_at_a_time_whatever_is_said_of_it() -> None:
    assert taken(event("close", AT + 9)).process["closed_at"] == AT + 9
    assert taken({"event": "close"}).process["closed_at"] == 0.0
    assert taken({"event": "close", "at": "x"}).process["closed_at"] == 0.0


def test_a_journal_that_was_replaced_names_what_took_its_place() -> None:
    assert taken(event("moved", AT + 9, to="j2")).process["moved_to"] == "j2"
    assert "moved_to" not in taken(event("moved", AT + 9, to=5), {"event": "moved"}).process


def beat(number: int, **used: Any) -> dict[str, Any]:
    return event("beat", AT + number, seq=number, **used)


def test_what_a_process_used_is_kept_where_a_beat_says_it() -> None:
    said = [
        beat(0, rss=5, cpu=0.5),
        beat(1),
        beat(2, rss=6),
        beat(3, cpu=1.5),
        beat(4, rss="x", cpu=1),
        beat(5, cpu=True),
    ]
    assert taken(*said).process["samples"] == [[AT, 5, 0.5], [AT + 2, 6, None], [AT + 3, None, 1.5]]
    assert "samples" not in taken(beat(1)).process


def test_samples_stay_few_even_in_time_and_the_first_is_never_lost() -> None:
    process: dict[str, Any] = {}
    for number in range(SAMPLES):
        taken(beat(number, rss=number), process=process)
    assert (len(process["samples"]), process.get("sample_every")) == (SAMPLES, None)
    taken(beat(SAMPLES, rss=60), process=process)
    assert [row[1] for row in process["samples"]] == list(range(0, SAMPLES + 1, 2))
    assert process["sample_every"] == 2.0
    taken(beat(SAMPLES + 1, rss=61), process=process)
    assert process["samples"][-1][1] == SAMPLES
    taken(beat(SAMPLES + 2, rss=62), process=process)
    assert process["samples"][-1][1] == SAMPLES + 2


@given(st.lists(st.floats(0.1, 50.0), max_size=400))
def test_however_long_it_lasts_samples_are_few_the_first_stays_and_the_last_is_not_old(
    steps: list[float],
) -> None:
    process: dict[str, Any] = {}
    at, before = AT, 0.0
    for number, step in enumerate(steps):
        at += step
        taken(event("beat", at, seq=number, rss=number), process=process)
        rows, every = process["samples"], process.get("sample_every", 0.0)
        assert rows == sorted(rows)
        assert len(rows) <= SAMPLES
        assert rows[0][1] == 0
        assert at - rows[-1][0] < every or rows[-1][0] == at
        assert every >= before * 2 * (1 - 1e-9) or every == before
        before = every
