"""Lines of a journal: what was written whole is read, what was not is counted, and nothing is ever misread."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holter.backends.lines import batch, decode, encode, printable, seal, whole

EVENTS: list[dict[str, Any]] = [
    {"event": "process", "host": "web-1", "argv": ["x", "ü"]},
    {"event": "start", "run": "r1", "at": 1795413582.12, "name": 'a "quoted" \\ name', "c": "not the seal"},
    {"event": "log", "run": "r1", "at": 1.0, "text": "line\nbreak \u2028 \U0001f682 \x00 \x7f"},
    {"event": "log", "run": "r1", "at": 2.0, "text": ""},
    {"event": "end", "run": "r1", "at": 3.0, "state": "FAILED", "error": {"deep": [[[{}]]], "n": None}},
]
TAPE = b"".join(encode(event) for event in EVENTS)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(st.text(min_size=1).filter(lambda key: key not in ("event", "c")), JSON, max_size=4)


def read(data: bytes) -> list[dict[str, Any] | None]:
    return [event for _, event in decode(data)]


def unsealed(event: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if event is None else {key: value for key, value in event.items() if key != "c"}


def test_a_sealed_line_is_a_json_object_in_ascii_on_one_line() -> None:
    for event in EVENTS:
        line = encode(event)
        assert line.isascii()
        assert line.count(b"\n") == 1
        assert list(json.loads(line))[-1] == "c"


def test_positions_are_those_of_the_journal() -> None:
    lengths = [len(encode(event)) for event in EVENTS]
    assert [position for position, _ in decode(TAPE, 1000)] == [
        1000 + sum(lengths[:n]) for n in range(len(lengths))
    ]


@given(BODIES)
def test_whatever_json_holds_comes_back(body: dict[str, Any]) -> None:
    event = {"event": "x", **body}
    assert unsealed(read(encode(event))[0]) == printable(event)


def test_a_tape_cut_at_any_byte_gives_the_lines_that_are_whole() -> None:
    ends = [n + 1 for n, byte in enumerate(TAPE) if byte == 10]
    everything = read(TAPE)
    for length in range(len(TAPE) + 1):
        cut = TAPE[:length]
        assert read(cut) == everything[: sum(end <= length for end in ends)]
        assert whole(cut) == max((end for end in ends if end <= length), default=0)


def test_after_a_torn_line_a_newline_saves_the_next_one() -> None:
    last = encode({"event": "end", "run": "r1"})
    everything = read(TAPE)
    for length in range(len(TAPE) + 1):
        found = read(TAPE[:length] + b"\n" + last)
        assert found[-1] == read(last)[0]
        complete = [event for event in found[:-1] if event is not None]
        assert complete == everything[: len(complete)]
        assert found.count(None) <= 1


def test_no_flipped_bit_is_ever_read_as_something_else() -> None:
    everything = read(TAPE)
    for position in range(len(TAPE)):
        for bit in range(8):
            damaged = bytearray(TAPE)
            damaged[position] ^= 1 << bit
            found = [event for event in read(bytes(damaged)) if event is not None]
            assert all(event in everything for event in found)
            assert len(everything) - len(found) <= 2  # two, where the newline between them is gone


@settings(max_examples=300)
@given(st.data())
def test_no_arbitrary_damage_is_ever_read_as_something_else(data: st.DataObject) -> None:
    damaged = bytearray(TAPE)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(damaged)))
        stop = data.draw(st.integers(start, min(len(damaged), start + 60)))
        damaged[start:stop] = data.draw(
            st.one_of(st.just(b""), st.binary(max_size=60), st.just(bytes(stop - start)))
        )
    everything = read(TAPE)
    assert all(event in everything for event in read(bytes(damaged)) if event is not None)


@pytest.mark.parametrize(
    "line",
    [
        b"{}\n",
        b"null\n",
        b"\xff\xfe\n",
        b" \n",
        encode({"event": "x"})[:-2] + b"\n",
        encode({"event": "x"}).replace(b"\n", b" \n"),
        encode({"event": "x"}).replace(b'"}\n', b'"]\n'),
        encode({"event": "x"}).replace(b'"}\n', b"#}\n"),
        encode({"event": "x"}).replace(b'"c"', b'"C"'),
        seal(b'{"run":"r1"'),
        seal(b'{"event":5'),
        seal(b'["event"'),
        seal(b'{"event":"x"},{"event":"y"'),
        seal(b'{"event":' + b"[" * 100_000),
        seal(b""),
        seal(b'{"event":"x","n":NaN'),
        seal(b'{"event":"x","n":[-Infinity]'),
        seal('{"event":"ü"'.encode()),
    ],
)
def test_what_is_no_event_is_damage(line: bytes) -> None:
    assert read(line + encode(EVENTS[0])) == [None, read(TAPE)[0]]


def test_empty_lines_are_nothing_at_all() -> None:
    assert read(b"\n\n" + TAPE + b"\n") == read(TAPE)


def test_a_batch_is_whole_lines_or_refused() -> None:
    assert batch(TAPE, 7) == list(decode(TAPE, 7))
    assert batch(b"", 0) == []
    for data in (TAPE[:-1], TAPE + b"x", b"x"):
        with pytest.raises(ValueError, match="newline"):
            batch(data, 0)


def test_what_a_database_cannot_hold_is_replaced_on_every_store_alike() -> None:
    odd = {"event": "log", "text": "a\0b\ud800c", "k\0": ["\udfff", {"x": "ok \U0001f682"}]}
    fine = {"event": "log", "text": "a\ufffdb\ufffdc", "k\ufffd": ["\ufffd", {"x": "ok \U0001f682"}]}
    assert unsealed(read(encode(odd))[0]) == fine


def test_what_json_cannot_hold_is_refused_or_shown_as_text() -> None:
    with pytest.raises(ValueError):
        encode({"event": "x", "n": float("nan")})
    assert unsealed(read(encode({"event": "x", "o": {1}.__class__}))[0]) == {
        "event": "x",
        "o": "<class 'set'>",
    }
