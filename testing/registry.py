"""The Registry: small documents, changed by compare-and-set only."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ..backends.base import Backend
from ..backends.records import Document
from .places import Place
from .processes import child, ended

KEYS = [
    "plain",
    "with space",
    "a/b/../../c",
    "..",
    ".",
    ".hidden",
    "",
    "Upper",
    "upper",
    "UPPER",
    "übung 🚂",
    "%2e",
    "%",
    "nul-free\nline",
    "lock",
    "x" * 250,
    "x" * 251,
    "ü" * 300,
    "run:r1:FAILED:1",
]


def test_what_was_never_put_is_not_there(store: Backend) -> None:
    assert store.get("check", "etl") is None
    assert store.list("check") == []
    assert not store.delete("check", "etl", 1)
    assert not store.delete("check", "etl", 0)


def test_a_document_is_made_with_version_zero_and_changed_with_the_one_it_has(
    store: Backend, rival: Backend
) -> None:
    assert store.put("check", "etl", {"n": 1}, 0) == 1
    assert rival.put("check", "etl", {"n": 9}, 0) is None
    assert rival.get("check", "etl") == Document({"n": 1}, 1)
    assert rival.put("check", "etl", {"n": 2}, 1) == 2
    for version in (0, 1, 3):
        assert store.put("check", "etl", {"n": 9}, version) is None
    assert store.get("check", "etl") == Document({"n": 2}, 2)
    assert store.put("check", "new", {}, 1) is None
    assert store.get("check", "new") is None


def test_a_document_is_deleted_with_the_version_that_it_has(store: Backend, rival: Backend) -> None:
    store.put("check", "etl", {"n": 1}, 0)
    store.put("check", "etl", {"n": 2}, 1)
    assert not rival.delete("check", "etl", 1)
    assert rival.delete("check", "etl", 2)
    assert not rival.delete("check", "etl", 2)
    assert store.get("check", "etl") is None
    assert store.put("check", "etl", {"n": 3}, 2) is None
    assert store.put("check", "etl", {"n": 3}, 0) is not None


def test_documents_are_listed_by_kind_in_order_of_their_keys(store: Backend) -> None:
    for number, key in enumerate(["b", "a", "c-1", "c"]):
        store.put("one", key, {"n": number}, 0)
    store.put("two", "a", {}, 0)
    assert [(key, held.value["n"], held.version) for key, held in store.list("one")] == [
        ("a", 1, 1),
        ("b", 0, 1),
        ("c", 3, 1),
        ("c-1", 2, 1),
    ]
    assert [key for key, _ in store.list("two")] == ["a"]
    assert store.list("on") == []


def test_any_text_is_a_key_and_a_kind(store: Backend, place: Place) -> None:
    for number, key in enumerate(KEYS):
        assert store.put("odd", key, {"n": number}, 0) == 1
        assert store.put(key, "odd", {"n": number}, 0) == 1
    reader = place.open()
    for number, key in enumerate(KEYS):
        assert reader.get("odd", key) == Document({"n": number}, 1)
        assert reader.list(key)[-1] == ("odd", Document({"n": number}, 1))
    assert [key for key, _ in reader.list("odd")] == sorted(KEYS)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": None, "b": [1, 2.5, True, "x"], "c": {"d": {}}},
        {"text": "köln 🚂 \u2028 \x7f \t"},
        {"big": 2**60},
    ],
)
def test_a_value_comes_back_as_it_was_put(store: Backend, rival: Backend, value: dict[str, Any]) -> None:
    store.put("check", "etl", value, 0)
    assert rival.get("check", "etl") == Document(value, 1)


def test_what_a_reader_does_to_a_value_does_not_change_the_document(store: Backend) -> None:
    mine = {"list": [1]}
    store.put("check", "etl", mine, 0)
    mine["list"].append(2)
    for held in (store.get("check", "etl"), store.list("check")[0][1]):
        assert held is not None
        held.value["list"].append(3)
    assert store.get("check", "etl") == Document({"list": [1]}, 1)


def count_up(store: Backend, times: int) -> None:
    for _ in range(times):
        while True:
            held = store.get("count", "n") or Document({"n": 0}, 0)
            if store.put("count", "n", {"n": held.value["n"] + 1}, held.version) is not None:
                break


def test_handles_that_race_lose_no_update(place: Place) -> None:
    racers = [threading.Thread(target=lambda: count_up(place.open(), 25)) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert place.open().get("count", "n") == Document({"n": 100}, 100)


def test_processes_that_race_lose_no_update(shared: Place) -> None:
    pids = [child(lambda: count_up(shared.open(), 25)) for _ in range(4)]
    assert [ended(pid) for pid in pids] == [0] * 4
    assert shared.open().get("count", "n") == Document({"n": 100}, 100)


def test_of_many_who_claim_one_document_one_gets_it(place: Place) -> None:
    won: list[int] = []
    start = threading.Barrier(8)

    def claim(number: int) -> None:
        store = place.open()
        start.wait()
        if store.put("claim", "gpu", {"by": number}, 0):
            won.append(number)

    racers = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(won) == 1
    assert place.open().get("claim", "gpu") == Document({"by": won[0]}, 1)
