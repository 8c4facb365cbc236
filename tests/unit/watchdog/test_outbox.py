"""The outbox, document by document: what it holds, what changes it, who wins a race, and what is shown of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent.watchdog import outbox
from holter.agent.watchdog.outbox import ALARMED, ALERT, CHANNEL, IN_ORDER, KEEP, SNOOZE, TOLD, Order
from holter.backends.clock import SYSTEM, token
from holter.backends.memory import MemoryBackend
from holter.backends.records import Document

NOW = 1_800_000_000.0
STAMP = "2027-01-15T08:00:00.000Z"
ORDER = Order("ops", seq=7, kind="flow", since=NOW - 60)


class Raced(MemoryBackend):
    """A store in which a `rival` does something just before our next write, or a `teller` before our next look at what
    is to be done."""

    def __init__(self) -> None:
        super().__init__(f"memory:{token(12)}")
        self.rival: Callable[[], object] | None = None
        self.teller: Callable[[], object] | None = None

    def get(self, kind: str, key: str) -> Document | None:
        if kind == ALERT and self.teller is not None:
            teller, self.teller = self.teller, None
            teller()
        return super().get(kind, key)

    def put(self, kind: str, key: str, value: dict[str, Any], expect_version: int) -> int | None:
        rival, self.rival = self.rival, None
        if rival is not None:
            rival()
        return super().put(kind, key, value, expect_version)


@pytest.fixture
def box() -> Raced:
    return Raced()


def alert(key: str = "r1:failed", job: str | None = "etl", **fields: Any) -> dict[str, Any]:
    return {"event": "failed", "dedupe_key": key, "job": job, "project": "default", "at": STAMP, **fields}


def made(state: str = "pending", key: str = "r1:failed", at: float = NOW, **fields: Any) -> dict[str, Any]:
    return {**outbox.draft(alert(key), ORDER, at, state), **fields}


def put(box: Raced, state: str = "pending", key: str = "r1:failed", **fields: Any) -> str:
    name, _ = outbox.post(box, made(state, key, **fields))
    return name


def where(box: Raced, key: str) -> list[str]:
    """The kinds under which a key is there."""
    return [kind for kind in (ALERT, TOLD) if box.get(kind, key) is not None]


def value(box: Raced, key: str, kind: str = ALERT) -> dict[str, Any]:
    held = box.get(kind, key)
    assert held is not None
    return held.value


# --- a document ---


def test_a_key_is_readable_and_safe_in_any_address() -> None:
    assert outbox.key_of("r1:failed", "ops") == "r1~failed~ops"
    assert outbox.key_of("host:web/1:disk", "on call") == "host~web%2F1~disk~on%20call"


def test_a_draft_says_all_that_delivery_and_lists_ask_for() -> None:
    order = Order(
        "ops", 7, "task", NOW - 60, "mail", open=True, recovered=True, remind=60.0, quiet={"from": "22:00"}
    )
    assert outbox.draft(alert(), order, NOW, facts={"subject": "x"}) == {
        "alert": alert(),
        "facts": {"subject": "x"},
        "state": "waiting",
        "told": True,
        "channel": "ops",
        "fallback": "mail",
        "route": "ops",
        "kind": "task",
        "seq": 7,
        "since": NOW - 60,
        "open": True,
        "recovered": True,
        "remind": 60.0,
        "quiet": {"from": "22:00"},
        "created_at": NOW,
        "queued_at": NOW,
        "next_at": NOW,
        "attempts": 0,
        "history": [],
    }


def test_who_says_nothing_of_it_wants_no_fallback_no_reminder_and_no_recovery() -> None:
    plain = outbox.draft(alert(), ORDER, NOW, "snoozed")
    assert (plain["told"], plain["facts"], plain["fallback"]) == (False, None, None)
    assert (plain["open"], plain["recovered"], plain["remind"], plain["quiet"]) == (False, False, None, None)


# --- put into it ---


def test_the_same_alert_is_put_once_and_whoever_puts_it_again_gets_the_first(box: Raced) -> None:
    first = outbox.post(box, made(attempts=1))
    assert first == ("r1~failed~ops", made(attempts=1))
    assert outbox.post(box, made(attempts=2)) == first
    assert value(box, first[0])["attempts"] == 1
    assert outbox.post(box, made(channel="mail"))[0] == "r1~failed~mail"


def test_what_was_told_already_is_not_put_again(box: Raced) -> None:
    key = put(box, "sent", attempts=1)
    outbox.file_away(box, key)
    assert outbox.post(box, made(attempts=2)) == (key, made("sent", attempts=1))
    assert where(box, key) == [TOLD]


def test_what_was_told_and_moved_away_just_before_our_put_is_not_told_twice(box: Raced) -> None:
    key = outbox.key_of("r1:failed", "ops")
    box.rival = lambda: box.put(TOLD, key, made("sent"), 0)
    assert outbox.post(box, made()) == (key, made("sent"))
    assert where(box, key) == [TOLD]


def test_of_two_who_put_it_at_once_the_second_gets_what_the_first_put(box: Raced) -> None:
    box.rival = lambda: outbox.post(box, made(attempts=1))
    assert outbox.post(box, made())[1] == made(attempts=1)


def test_what_was_put_and_moved_away_while_we_put_it_is_found_there(box: Raced) -> None:
    key = outbox.key_of("r1:failed", "ops")

    def put_and_tell() -> None:
        box.put(ALERT, key, made("sent"), 0)
        box.teller = lambda: outbox.file_away(box, key)

    box.rival = put_and_tell
    assert outbox.post(box, made()) == (key, made("sent"))


# --- changed ---


def test_a_change_sees_what_is_there_and_an_empty_one_makes_it(box: Raced) -> None:
    assert outbox.update(box, "thing", "a", lambda doc: {**doc, "n": doc.get("n", 0) + 1})
    assert outbox.update(box, "thing", "a", lambda doc: {**doc, "n": doc.get("n", 0) + 1})
    assert value(box, "a", "thing") == {"n": 2}


def test_a_change_that_is_none_changes_nothing(box: Raced) -> None:
    box.put("thing", "a", {"n": 1}, 0)
    assert outbox.update(box, "thing", "a", lambda _: None) is False
    assert outbox.update(box, "thing", "b", lambda _: None) is False
    held = box.get("thing", "a")
    assert held is not None and (held.value, held.version, box.get("thing", "b")) == ({"n": 1}, 1, None)


@pytest.mark.parametrize("first", [0, 1], ids=["a new one", "an old one"])
def test_who_loses_a_race_decides_again_by_what_the_winner_left(box: Raced, first: int) -> None:
    if first:
        box.put("thing", "a", {"n": 0}, 0)
    box.rival = lambda: box.put("thing", "a", {"n": 10}, first)
    seen: list[Any] = []

    def one_more(doc: dict[str, Any]) -> dict[str, Any]:
        seen.append(doc)
        return {"n": doc.get("n", 0) + 1}

    assert outbox.update(box, "thing", "a", one_more)
    assert seen == [{"n": 0} if first else {}, {"n": 10}]
    assert value(box, "a", "thing") == {"n": 11}


# --- moved away ---


@pytest.mark.parametrize("state", ["waiting", "held", "gathering", "pending", "undelivered"])
def test_what_there_is_something_to_do_about_stays(box: Raced, state: str) -> None:
    key = put(box, state)
    outbox.file_away(box, key)
    assert where(box, key) == [ALERT]


@pytest.mark.parametrize("state", ["sent", "snoozed", "digest"])
def test_what_needs_nothing_more_is_moved_unless_its_trouble_lasts(box: Raced, state: str) -> None:
    done, lasting = put(box, state, attempts=3), put(box, state, "r2:failed", open=True)
    for key in (done, lasting, "nothing there"):
        outbox.file_away(box, key)
    assert (where(box, done), where(box, lasting)) == ([TOLD], [ALERT])
    assert value(box, done, TOLD) == made(state, attempts=3)


def test_open_trouble_is_found_by_its_key(box: Raced) -> None:
    put(box)
    key = put(box, "sent", "r2:failed", open=True)
    assert outbox.still_open(box) == {key: made("sent", "r2:failed", open=True)}


@given(st.lists(st.tuples(st.sampled_from([NOW, NOW + 1, NOW + 2]), st.integers(0, 3)), max_size=6))
def test_what_is_pending_comes_in_the_order_of_its_time_and_of_its_cause(
    made_at: list[tuple[float, int]],
) -> None:
    box = Raced()
    for number, (at, seq) in enumerate(made_at):
        put(box, "pending", f"r{number}:failed", created_at=at, seq=seq)
    put(box, "waiting", "later:failed")
    found = [(held.value["created_at"], held.value["seq"]) for _, held in outbox.pending(box)]
    assert found == sorted(made_at)
    assert all(box.get(ALERT, key) == held for key, held in outbox.pending(box))


def test_later_ones_wait_for_one_that_is_on_its_way_until_it_has_failed_for_six_hours() -> None:
    assert outbox.stands_in_front(made(), NOW)
    assert outbox.stands_in_front(made(failing_since=NOW - 6 * 3600 + 1), NOW)
    assert not outbox.stands_in_front(made(failing_since=NOW - IN_ORDER), NOW)


# --- over ---


def test_trouble_that_is_over_is_closed_once_and_moved_away(box: Raced) -> None:
    key = put(box, "sent", open=True, told=True)
    assert outbox.resolve(box, key, NOW + 9, over=True) is True
    assert value(box, key, TOLD) == {**made("sent", told=True), "resolved_at": NOW + 9, "over_at": NOW + 9}
    assert where(box, key) == [TOLD]
    assert outbox.resolve(box, key, NOW + 10, over=True) is False


def test_trouble_of_which_a_later_alert_tells_is_closed_and_not_over(box: Raced) -> None:
    key = put(box, open=True)
    assert outbox.resolve(box, key, NOW + 9, over=False)
    assert value(box, key) == {**made(), "resolved_at": NOW + 9, "over_at": None}


def test_what_is_closed_already_or_not_there_is_left_as_it_is(box: Raced) -> None:
    key = put(box, "sent")
    assert outbox.resolve(box, key, NOW, over=True) is False
    assert outbox.resolve(box, "nothing there", NOW, over=True) is False
    assert (where(box, key), where(box, "nothing there")) == ([ALERT], [])


def test_trouble_that_was_told_is_not_closed_as_untold(box: Raced) -> None:
    told = put(box, "sent", open=True, told=True)
    untold = put(box, "snoozed", "r2:failed", open=True, told=False)
    assert outbox.resolve(box, told, NOW, over=True, untold=True) is False
    assert outbox.resolve(box, untold, NOW, over=True, untold=True) is True
    assert (value(box, told)["open"], where(box, untold)) == (True, [TOLD])


# --- snoozed, known of ---


def test_a_snooze_says_whom_it_is_about_until_when_and_by_whom(box: Raced) -> None:
    outbox.snooze(box, "et*", NOW + 1, by="ada")
    outbox.snooze(box, None, NOW + 2, host="web-1")
    outbox.snooze(box, "etl", NOW + 3, "bob", "web-1")
    outbox.snooze(box, "over", NOW)
    assert sorted(outbox.snoozes(box, NOW), key=lambda each: each["until"]) == [
        {"job": "et*", "until": NOW + 1, "by": "ada"},
        {"host": "web-1", "until": NOW + 2, "by": None},
        {"job": "etl", "host": "web-1", "until": NOW + 3, "by": "bob"},
    ]
    assert len(outbox.snoozes(box, NOW - 1)) == 4


patterns = st.one_of(st.none(), st.text("ab~%host/*", max_size=9))


@given(st.lists(st.tuples(patterns.filter(lambda job: job != ""), patterns), min_size=1, max_size=5))
def test_a_later_snooze_replaces_the_one_of_the_same_patterns_and_no_other(pairs: list[Any]) -> None:
    box = Raced()
    for number, (job, host) in enumerate(pairs):
        outbox.snooze(box, job, NOW + number, host=host)
    found = {(each.get("job"), each.get("host")): each["until"] for each in outbox.snoozes(box, 0.0)}
    assert found == {pair: NOW + number for number, pair in enumerate(pairs)}


def test_the_key_of_a_snooze_is_safe_in_any_address(box: Raced) -> None:
    outbox.snooze(box, "a/b ~", NOW)
    outbox.snooze(box, None, NOW, host="web/1")
    outbox.snooze(box, None, NOW)  # all of them
    assert sorted(key for key, _ in box.list(SNOOZE)) == ["", "a%2Fb%20%7E", "~host~web%2F1"]


@pytest.mark.parametrize(
    ("snoozed", "job", "host", "is_so"),
    [
        ({"job": "et*"}, "etl", None, True),
        ({"job": "et*"}, "ETL", None, False),
        ({"job": "et*"}, "load", "etl", False),
        ({"job": "et*"}, None, "web-1", False),
        ({"host": "web-*"}, "etl", "web-1", True),
        ({"host": "web-*"}, None, "web-1", True),
        ({"host": "web-*"}, "web-1", None, False),
        ({"job": "etl", "host": "web-1"}, "etl", "web-1", True),
        ({"job": "etl", "host": "web-1"}, "etl", "web-2", False),
        ({"job": "etl", "host": "web-1"}, "load", "web-1", False),
    ],
)
def test_a_snooze_is_about_what_matches_all_of_its_patterns(
    snoozed: dict[str, str], job: str | None, host: str | None, is_so: bool
) -> None:
    assert outbox.is_snoozed([{"job": "another"}, snoozed], job, host) is is_so
    assert not outbox.is_snoozed([], job, host)


def test_who_knows_of_open_trouble_is_written_down_and_counted(box: Raced, clock: Any) -> None:
    keys = [
        put(box, "sent", f"r{n}:failed", open=True, alert=alert(f"r{n}:failed", host=f"web-{n}"))
        for n in (1, 2)
    ]
    closed = put(box, "sent", "r3:failed", alert=alert("r3:failed", host="web-1"))
    assert outbox.ack(box, "etl", "ada", clock, host="web-1") == 1
    assert (value(box, keys[0])["acked_at"], value(box, keys[0])["acked_by"]) == (NOW, "ada")
    assert not any("acked_at" in value(box, key) for key in (keys[1], closed))
    assert outbox.ack(box, None, clock=clock) == 2
    assert value(box, keys[1])["acked_by"] is None
    assert outbox.ack(box, "load", clock=clock) == 0


def test_trouble_that_ended_meanwhile_is_not_counted_as_known(box: Raced) -> None:
    key = put(box, "sent", open=True)
    box.rival = lambda: outbox.resolve(box, key, NOW, over=True)
    assert outbox.ack(box, "etl") == 0


def test_without_a_clock_it_is_known_of_now(box: Raced) -> None:
    key = put(box, "sent", open=True)
    before = SYSTEM.wall()
    assert outbox.ack(box, "etl") == 1
    assert before <= value(box, key)["acked_at"] <= SYSTEM.wall()


# --- forgotten ---


def test_what_a_death_left_in_both_places_is_tidied_into_one(box: Raced, clock: Any) -> None:
    key = put(box, "sent")
    box.put(TOLD, key, made("sent"), 0)
    lasting = put(box, "sent", "r2:failed", open=True)
    assert outbox.tidy(box, clock) == 0
    assert (where(box, key), where(box, lasting)) == ([TOLD], [ALERT])


def test_an_undelivered_alert_is_moved_an_hour_later_unless_its_trouble_lasts(box: Raced, clock: Any) -> None:
    just = put(box, "undelivered", "r1:failed", undelivered_at=NOW - ALARMED)
    longer = put(box, "undelivered", "r2:failed", undelivered_at=NOW - ALARMED - 1)
    lasting = put(box, "undelivered", "r3:failed", undelivered_at=NOW - 2 * ALARMED, open=True)
    assert outbox.tidy(box, clock) == 0
    assert [where(box, key) for key in (just, longer, lasting)] == [[ALERT], [TOLD], [ALERT]]


def test_alerts_are_forgotten_after_thirty_days_and_what_is_still_to_be_told_is_not(
    box: Raced, clock: Any
) -> None:
    old, just = NOW - KEEP - 1, NOW - KEEP
    gone = [
        put(box, "sent", "r1:failed", created_at=old),
        put(box, "sent", "r2:failed", created_at=old, open=True),
    ]
    kept = [put(box, "pending", "r3:failed", created_at=old), put(box, "sent", "r4:failed", created_at=just)]
    assert outbox.tidy(box, clock) == len(gone)
    assert [where(box, key) for key in gone] == [[], []]
    assert [where(box, key) for key in kept] == [[ALERT], [TOLD]]


def test_a_snooze_is_forgotten_at_its_end(box: Raced, clock: Any) -> None:
    outbox.snooze(box, "over", NOW)
    outbox.snooze(box, "holds", NOW + 1)
    assert outbox.tidy(box, clock) == 1
    assert [each["job"] for each in outbox.snoozes(box, 0.0)] == ["holds"]


def test_without_a_clock_it_is_tidied_now(box: Raced) -> None:
    put(box, "sent", "r1:failed", created_at=SYSTEM.wall() - KEEP - 60)
    put(box, "sent", "r2:failed", created_at=SYSTEM.wall() - KEEP + 60)
    assert outbox.tidy(box) == 1


# --- shown ---


def shown(box: Raced, **fields: Any) -> dict[str, Any]:
    put(box, **fields)
    (found,) = outbox.list_alerts(box)
    return found


def test_an_alert_that_was_sent_is_shown_with_all_that_happened_to_it(box: Raced) -> None:
    about = alert(
        host="web-1", run_id="r1", title="etl failed", error={"type": "ValueError", "message": "no rows"}
    )
    more = {
        "sent_at": NOW + 1,
        "resolved_at": NOW + 2,
        "acked_at": NOW + 3,
        "digest": "d",
        "last_error": "500",
    }
    assert shown(box, state="sent", alert=about, route="mail", fallback="mail", attempts=2, **more) == {
        "event": "failed",
        "dedupe_key": "r1:failed",
        "job": "etl",
        "project": "default",
        "host": "web-1",
        "run_id": "r1",
        "title": "etl failed",
        "at": STAMP,
        "state": "sent",
        "channel": "ops",
        "fallback": "mail",
        "open": False,
        "attempts": 2,
        "last_error": "500",
        "digest": "d",
        "about": "etl",
        "reason": "ValueError: no rows",
        "via": "mail",
        "created_at": STAMP,
        "sent_at": "2027-01-15T08:00:01.000Z",
        "resolved_at": "2027-01-15T08:00:02.000Z",
        "acked_at": "2027-01-15T08:00:03.000Z",
        "next_at": None,
    }


def test_an_alert_that_waits_is_shown_with_when_it_is_tried_next_and_went_through_nothing(box: Raced) -> None:
    found = shown(box, state="pending", next_at=NOW + 60)
    assert (found["next_at"], found["via"], found["sent_at"]) == ("2027-01-15T08:01:00.000Z", None, None)


@pytest.mark.parametrize(
    ("about", "facts", "who"),
    [
        (alert(), None, "etl"),
        (alert(job=None, count=12, host="web-1"), {"subject": "x"}, "12 alerts"),
        (alert(job=None, host="web-1"), {"subject": "channel ops"}, "channel ops"),
        (alert(job=None, host="web-1"), {}, "web-1"),
        (alert(job=None, host="web-1"), None, "web-1"),
        (alert(job=None), None, None),
    ],
)
def test_every_alert_is_about_somebody(box: Raced, about: Any, facts: Any, who: str | None) -> None:
    assert shown(box, alert=about, facts=facts)["about"] == who


def test_the_reason_is_what_the_alert_says_where_there_is_no_error(box: Raced) -> None:
    assert shown(box, alert=alert(reason="killed by signal 9"))["reason"] == "killed by signal 9"


def test_alerts_are_listed_the_newest_first_and_each_once_as_it_is_now(box: Raced) -> None:
    put(box, key="r1:failed", created_at=NOW)
    put(box, key="r3:failed", created_at=NOW + 2)
    outbox.file_away(box, put(box, "sent", key="r2:failed", created_at=NOW + 1))
    box.put(TOLD, outbox.key_of("r1:failed", "ops"), made("sent"), 0)
    found = [(each["dedupe_key"], each["state"]) for each in outbox.list_alerts(box)]
    assert found == [("r3:failed", "pending"), ("r2:failed", "sent"), ("r1:failed", "pending")]


def test_channels_whose_last_delivery_failed_are_named_with_its_error(box: Raced) -> None:
    box.put(
        CHANNEL,
        "ops",
        {"channel": "ops", "failing_since": NOW, "failures": 3, "last_error": "500", "x": 1},
        0,
    )
    box.put(CHANNEL, "mail", {"channel": "mail", "failing_since": None, "failures": 0}, 0)
    box.put(CHANNEL, "new", {"channel": "new"}, 0)
    assert outbox.broken_channels(box) == [
        {"channel": "ops", "failing_since": STAMP, "failures": 3, "last_error": "500"}
    ]
