"""The keeper of a command's output: everything within its bounds, and an exact account of what is beyond them."""

from __future__ import annotations

import os
import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from holter.agent.output import OURS, PIECE, Keeper, Mirror, error_lines

Line = tuple[str, str]


def kept(pieces: list[tuple[str, bytes]], **bounds: int) -> tuple[Keeper, list[Line]]:
    """The keeper, and the lines that it wrote, its own among them, after these pieces of output."""
    lines: list[Line] = []
    keeper = Keeper(lambda stream, text, at: lines.append((stream, text)), **bounds)
    for stream, data in pieces:
        keeper.feed(stream, data)
    keeper.finish()
    return keeper, lines


def texts(lines: list[Line], stream: str = "stdout") -> list[str]:
    return [text for each, text in lines if each == stream]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges) if end > start]


@given(
    st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"), max_size=30)),
    st.lists(st.integers(0)),
)
def test_within_the_bounds_every_line_is_kept_however_the_bytes_are_cut(
    said: list[str], places: list[int]
) -> None:
    data = "".join(f"{line}\n" for line in said).encode()
    keeper, lines = kept([("stdout", piece) for piece in cut(data, places)])
    assert texts(lines) == said
    assert keeper.lines_left_out == keeper.bytes_left_out == 0


@given(
    st.lists(st.sampled_from(["plain", "an error", "", "x" * 300]), max_size=300), st.lists(st.integers(0))
)
def test_beyond_the_bounds_every_line_is_either_written_in_order_or_counted(
    said: list[str], places: list[int]
) -> None:
    numbered = [f"{number} {line}" for number, line in enumerate(said)]
    data = "".join(f"{line}\n" for line in numbered).encode()
    keeper, lines = kept([("stdout", piece) for piece in cut(data, places)], head=2000, tail=1500, errors=600)
    written = texts(lines)
    numbers = [int(line.split()[0]) for line in written]
    assert numbers == sorted(set(numbers))
    assert set(written) <= set(numbered)
    assert len(written) + keeper.lines_left_out == len(said)
    assert sum(len(line) + 1 for line in written) + keeper.bytes_left_out == len(data)


def test_a_long_output_keeps_its_head_its_tail_and_the_error_lines_between() -> None:
    said = [f"line {number}" for number in range(10_000)]
    said[5_000] = "5000: Connection FAILED"
    pieces = [("stdout", f"{line}\n".encode()) for line in said]
    keeper, lines = kept(pieces, head=10_000, tail=10_000)
    written = texts(lines)
    assert written[:80] == said[:80]
    assert written[-80:] == said[-80:]
    assert said[5_000] in written
    (summary,) = [text for text in texts(lines, OURS) if "left out" in text]
    left_out = [int(number) for number in re.findall("[0-9]+", summary)]
    assert left_out == [keeper.bytes_left_out, keeper.lines_left_out]
    assert len(written) + keeper.lines_left_out == len(said)


def test_error_lines_do_not_fill_the_record_without_bound() -> None:
    keeper, lines = kept([("stderr", b"error: no\n" * 100)] * 100, head=5_000, tail=5_000, errors=5_000)
    assert len(texts(lines, "stderr")) < 500
    assert len(texts(lines, "stderr")) + keeper.lines_left_out == 10_000


def test_a_flood_of_empty_lines_is_bounded_like_any_other() -> None:
    keeper, lines = kept([("stdout", b"\n" * 1000)] * 1000, head=50_000, tail=50_000)
    assert len(texts(lines)) < 3_000
    assert len(texts(lines)) + keeper.lines_left_out == 1_000_000


def test_what_is_held_in_memory_stays_within_twice_the_tail() -> None:
    keeper = Keeper(lambda stream, text, at: None, head=1000, tail=100_000)
    for _ in range(2_000):
        keeper.feed("stdout", b"some line\n" * 100)
        assert sum(len(block.data) for block in keeper._held) < 200_000


def test_the_last_line_counts_without_a_newline() -> None:
    assert texts(kept([("stdout", b"one\ntwo")])[1]) == ["one", "two"]


def test_streams_do_not_mix_inside_a_line() -> None:
    _, lines = kept([("stdout", b"he"), ("stderr", b"oh"), ("stdout", b"llo\n"), ("stderr", b" no\n")])
    assert sorted(lines) == [("stderr", "oh no"), ("stdout", "hello")]


def test_bytes_that_are_no_text_are_shown_by_number() -> None:
    assert texts(kept([("stdout", b"\xff\xfe caf\xc3\xa9\n")])[1]) == ["\\xff\\xfe café"]


def test_a_line_without_end_is_kept_in_pieces_that_do_not_cut_characters() -> None:
    text = "é€𝄞" * 40_000
    data = text.encode()
    lines = texts(kept([("stdout", data[at : at + 7001]) for at in range(0, len(data), 7001)])[1])
    assert "".join(lines) == text
    assert max(len(line.encode()) for line in lines) <= PIECE + 7001


def test_the_complaint_is_the_last_line_that_looks_like_an_error_else_the_last_of_stderr() -> None:
    assert kept([("stderr", b"warning\nbye\n\n")])[0].complaint == "bye"
    assert kept([("stderr", b"ValueError: no\nbye\n")])[0].complaint == "ValueError: no"
    assert kept([("stdout", b"fine\n")])[0].complaint == ""


def test_error_lines_are_found_in_any_case() -> None:
    assert error_lines(b"ok\nFATAL: x\nTraceback (most\nPanic!\nfine\n") == [
        b"FATAL: x",
        b"Traceback (most",
        b"Panic!",
    ]


def test_a_mirror_without_a_reader_goes_on_in_silence() -> None:
    read, write = os.pipe()
    mirror = Mirror({"stdout": write})
    mirror.write("stdout", b"heard\n")
    assert os.read(read, 100) == b"heard\n"
    os.close(read)
    mirror.write("stdout", b"nobody\n")
    os.close(write)
    mirror.write("stdout", b"not even tried: the descriptor may be another file by now\n")


def test_a_mirror_waits_where_its_reader_is_slow_and_somebody_made_it_non_blocking() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    heard = []
    pid = os.fork()
    if pid == 0:
        Mirror({"stdout": write}).write("stdout", b"x" * 1_000_000)
        os._exit(0)
    os.close(write)
    while data := os.read(read, 65536):
        heard.append(len(data))
    os.close(read)
    assert os.waitpid(pid, 0)[1] == 0
    assert sum(heard) == 1_000_000
