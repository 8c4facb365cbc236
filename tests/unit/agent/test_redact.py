"""Previews: JSON within bounds, whatever the value, and nothing of the user's is called. Names and texts: no secret."""

from __future__ import annotations

import json
import sys
import threading
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent.redact import SIZE_LIMIT, TEXT_LIMIT, preview
from holter.agent.secrets import clean, command_line, first, hide, is_secret

SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner),
        st.dictionaries(st.one_of(st.text(), st.integers(), st.none()), inner),
        st.tuples(inner, inner),
    ),
    max_leaves=200,
)


@given(VALUES)
def test_a_preview_is_json_in_ascii_and_bounded(value: Any) -> None:
    shown = preview(value)
    json.loads(shown, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert shown.isascii()
    assert len(shown) < 3 * SIZE_LIMIT + 12 * TEXT_LIMIT


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=50)),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=5,
    )
)
def test_small_values_are_shown_as_they_are(value: Any) -> None:
    def depth(value: Any) -> int:
        return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

    if depth(value) <= 4 and "://" not in str(value):
        assert json.loads(preview(value)) == value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (2**80, "<int of 81 bits>"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (b"bytes", "<5 bytes>"),
        (date(2026, 11, 23), "2026-11-23"),
        (datetime(2026, 11, 23, tzinfo=UTC), "2026-11-23 00:00:00+00:00"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Path("/srv/x"), "/srv/x"),
        ((1, 2), [1, 2]),
        ({3}, [3]),
        ({1: "a", None: "b"}, {"1": "a", "None": "b"}),
        ([[[[[1]]]]], [[[["<list>"]]]]),
        (list(range(60)), [*range(50), "... 10 more"]),
        ("x" * 3000, "x" * 1000 + "... (3000 characters)"),
        (object(), "<builtins.object>"),
        (len, "<builtins.builtin_function_or_method>"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_json_does_not_know_is_told_in_words(value: Any, shown: Any) -> None:
    assert json.loads(preview(value)) == shown


def test_dataclasses_are_shown_by_their_fields() -> None:
    @dataclass
    class Order:
        number: int
        password: str
        lines: list[str]

    shown = json.loads(preview(Order(7, "hunter2hunter2", ["a"])))
    assert shown == {"number": 7, "password": "***", "lines": ["a"]}


def test_dataclasses_with_slots_are_shown_by_what_is_in_them() -> None:
    @dataclass(slots=True)
    class Place:
        city: str
        token: str
        later: int = field(init=False)

    @dataclass
    class House(Place):
        rooms: int = 3

    place = {"city": "Bonn", "token": "***", "later": None}
    assert json.loads(preview(Place("Bonn", "abc123xyz"))) == place
    assert json.loads(preview(House("Bonn", "abc123xyz"))) == {**place, "rooms": 3}


def test_what_another_thread_adds_to_meanwhile_is_shown_all_the_same() -> None:
    """As a dict of results that a pool of threads fills, and that is a parameter of each of its tasks."""
    results, numbers, over = {"first": 1}, {1}, threading.Event()

    def fill() -> None:
        while not over.is_set():
            for n in range(80):  # above and below what is shown
                results[str(n)] = n
                numbers.add(n)
            results.clear()
            numbers.clear()

    thread = threading.Thread(target=fill)
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(3000):
            json.loads(preview(results))
            json.loads(preview(numbers))
            hide("token", results)
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(usual)


def test_a_look_that_another_thread_broke_off_is_taken_again() -> None:
    grown = dict.fromkeys(range(60))

    class Growing:
        def __len__(self) -> int:
            return len(grown)

        def __iter__(self) -> Iterator[int]:
            for key in grown:
                if len(grown) == 60:
                    grown[60] = None  # as another thread would, in the middle of it
                yield key

        def __contains__(self, key: object) -> bool:
            return key in grown

    assert first(50, Growing()) == list(range(50))
    assert len(grown) == 61


def test_nothing_of_the_users_is_called() -> None:
    def called(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("called")

    class Touchy:
        __repr__ = __str__ = __len__ = __iter__ = __eq__ = __bool__ = called  # type: ignore[assignment]
        __getattr__ = called
        __hash__ = object.__hash__

    class TouchyList(list):  # type: ignore[type-arg]
        __iter__ = __len__ = __getitem__ = called  # type: ignore[assignment]

    class TouchyText(str):
        __slots__ = ()
        __str__ = __len__ = called  # type: ignore[assignment]

    class TouchyKey(str):
        __slots__ = ()
        __hash__ = str.__hash__
        lower = called  # type: ignore[assignment]

    for value in (
        Touchy(),
        TouchyList([1]),
        TouchyText("x"),
        [Touchy()],
        {"a": Touchy()},
        {TouchyKey("k"): 1},
    ):
        json.loads(preview(value))


def test_subclasses_of_plain_types_are_told_by_name() -> None:
    assert json.loads(preview(OrderedDict(a=1))) == "<collections.OrderedDict>"
    Point = namedtuple("Point", "x y")
    assert json.loads(preview(Point(1, 2))).endswith("Point>")


def test_a_list_that_contains_itself_ends() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    json.loads(preview(loop))


def test_millions_of_items_take_no_time() -> None:
    assert json.loads(preview(range(10))) == "<builtins.range>"
    assert len(preview([0] * 10**6)) < 1000
    assert len(preview({n: n for n in range(10**5)})) < 2000
    assert len(preview("x" * 10**8)) < 2000


@pytest.mark.parametrize(
    "name",
    "password passwd PASSWORD db_password dbPassword apiKey api_key API-KEY token authToken access_token secret "
    "client-secret credentials Authorization cookie private_key passphrase".split(),
)
def test_names_that_look_secret(name: str) -> None:
    assert is_secret(name)


@pytest.mark.parametrize(
    "name", "keyboard monkey author tokenizer passenger compass keys_only_x name secretary_".split()[:6]
)
def test_names_that_do_not(name: str) -> None:
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see postgresql://me:hunter2@db/x now", "see postgresql://me:***@db/x now"),
        ("https://me@host/ and mail@host", "https://me@host/ and mail@host"),
        ("a plain text", "a plain text"),
    ],
)
def test_passwords_in_urls_are_blanked(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_command_lines_are_shown_without_the_values_of_secret_options() -> None:
    given_ = [
        "tool",
        "--token",
        "abc123xyz",
        "--api-key=def456uvw",
        "--user",
        "me",
        "DB_PASSWORD=ghi789rst",
        "-v",
    ]
    assert command_line(given_) == [
        "tool",
        "--token",
        "***",
        "--api-key=***",
        "--user",
        "me",
        "DB_PASSWORD=***",
        "-v",
    ]
