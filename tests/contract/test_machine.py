"""Every store, driven through random histories, answers as memory does; so does one whose index is made anew."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from kit import EVERYTHING, NOON, Place, Tape
from world import NAMES, WORDS, World, happen

from holter.backends.base import Backend
from holter.backends.errors import OffsetMismatch
from holter.backends.records import LogQuery, Retention, RunQuery

KEYS = st.sampled_from(["a", "B", "b", "ü/..", ""])
TIMES = st.one_of(st.none(), st.floats(0, 8000).map(lambda seconds: NOON + seconds))
QUERIES = st.builds(
    RunQuery,
    project=st.sampled_from([None, "shop", "default"]),
    job=st.one_of(st.none(), NAMES, st.sampled_from(["*t*", "[a-e]*", "?eport"])),
    kinds=st.sampled_from([(), ("flow",), ("task", "command")]),
    states=st.sampled_from([(), ("RUNNING",), ("failed", "CRASHED"), ("stale",), ("overdue", "COMPLETED")]),
    tags=st.sampled_from([(), ("a",), ("b", "a")]),
    host=st.sampled_from([None, "web-1", "*"]),
    since=TIMES,
    until=TIMES,
    roots=st.booleans(),
    prefix=st.sampled_from([None, "r", "r1", ""]),
    limit=st.sampled_from([None, 0, 1, 3]),
    offset=st.integers(0, 2),
)


class Stores(RuleBasedStateMachine):
    """The same batches, in the same order, into three stores."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.places = [Place(scheme, self.folder) for scheme in ("memory", "sqlite", "file")]
        self.stores = [place.open() for place in self.places]
        self.world = World()
        self.asked: list[Any] = []

    def teardown(self) -> None:
        for place in self.places:
            place.close()
        assert self.places[0].open_files() == []
        shutil.rmtree(self.folder)

    def same(self, question: Any) -> Any:
        """The answer, or the error, that all stores agree on."""
        first, *others = [outcome(question, store) for store in self.stores]
        for other in others:
            assert other == first
        return first

    # --- writing ---

    @rule(data=st.data(), count=st.integers(1, 8))
    def time_passes(self, data: st.DataObject, count: int) -> None:
        for _ in range(count):
            happen(self.world, data)

    @rule(data=st.data(), much=st.booleans(), damaged=st.integers(0, 12))
    def send(self, data: st.DataObject, much: bool, damaged: int) -> None:
        tape = data.draw(st.sampled_from(self.world.tapes))
        if damaged == 0:
            tape.lines.append(
                data.draw(st.sampled_from([b"{\n", b"\n", b'{"event":"end","c":"00000000"}\n']))
            )
        waiting = unsent(tape)
        count = len(waiting) if much else data.draw(st.integers(0, len(waiting)))
        batch = b"".join(waiting[:count])
        for place in self.places:
            place.clock.now = self.world.at
        tape.sent = self.same(lambda store: store.append(tape.journal, tape.sent, batch))

    @rule(data=st.data(), back=st.integers(-3, 3))
    def send_what_they_have_already(self, data: st.DataObject, back: int) -> None:
        tape = data.draw(st.sampled_from(self.world.tapes))
        starts = [0]
        for line in tape.lines:
            starts.append(starts[-1] + len(line))
        place = min(max(0, starts.index(tape.sent) + back), len(starts) - 1)
        if starts[place] != tape.sent:
            given = starts[place]
            error = self.same(lambda store: store.append(tape.journal, given, tape.data[given:]))
            assert error == ("OffsetMismatch", tape.sent)

    @rule(ages=st.tuples(*[st.floats(-10, 8000)] * 3))
    def prune(self, ages: tuple[float, float, float]) -> None:
        self.same(lambda store: store.prune(Retention(*[self.world.at - age for age in ages])))

    # --- opening again ---

    @rule(which=st.integers(0, 2))
    def reopen(self, which: int) -> None:
        self.places[which].close()
        self.stores[which] = self.places[which].open()

    @rule(which=st.integers(0, 2))
    def another_handle(self, which: int) -> None:
        self.stores[which] = self.places[which].open()

    @rule(ending=st.sampled_from(["", "-wal", "*"]), garbage=st.booleans())
    def lose_the_index(self, ending: str, garbage: bool) -> None:
        self.places[2].close() if ending == "-wal" or garbage else None
        folder = Path(self.folder, "store")
        for path in folder.glob(f"index.db{ending}"):
            path.unlink()
        if garbage:
            (folder / "index.db").write_bytes(b"no database" * 1000)
            self.stores[2] = self.places[2].open()
        elif ending == "-wal":
            self.stores[2] = self.places[2].open()

    @rule()
    def move_to_a_copy(self) -> None:
        folder, copied = Path(self.folder, "store"), Path(self.folder, "copied")
        shutil.copytree(folder, copied)
        self.places[2].close()
        shutil.rmtree(folder)
        copied.rename(folder)
        self.stores[2] = self.places[2].open()

    # --- the registry ---

    @rule(key=KEYS, version=st.integers(0, 3), value=st.dictionaries(WORDS, st.integers(), max_size=2))
    def put(self, key: str, version: int, value: dict[str, int]) -> None:
        self.same(lambda store: store.put("kind", key, value, version))

    @rule(key=KEYS, version=st.integers(0, 3))
    def delete(self, key: str, version: int) -> None:
        self.same(lambda store: store.delete("kind", key, version))

    # --- reading ---

    @rule(query=QUERIES)
    def ask_for_runs(self, query: RunQuery) -> None:
        self.same(lambda store: store.runs(query))
        self.same(lambda store: store.summarize(query))

    @precondition(lambda self: self.world.run_ids)
    @rule(
        data=st.data(),
        tree=st.booleans(),
        after=st.integers(0, 20),
        limit=st.sampled_from([None, 1, 3]),
        last=st.booleans(),
        text=st.one_of(st.none(), WORDS),
    )
    def ask_for_lines(self, data: st.DataObject, **query: Any) -> None:
        run_id = data.draw(st.sampled_from(self.world.run_ids))
        self.same(lambda store: store.logs(LogQuery(run_id, **query)))

    @invariant()
    def all_answers_are_the_same(self) -> None:
        runs = self.same(lambda store: store.runs(EVERYTHING))
        self.same(lambda store: store.summarize(EVERYTHING))
        self.same(lambda store: store.transitions(0))
        self.same(lambda store: store.processes(open_only=False))
        self.same(lambda store: store.processes())
        self.same(lambda store: store.list("kind"))
        for run in runs:
            self.same(
                lambda store, run=run: (store.run(run.id), store.events(run.id), store.logs(LogQuery(run.id)))
            )


def outcome(question: Any, store: Backend) -> Any:
    try:
        return question(store)
    except OffsetMismatch as error:
        return "OffsetMismatch", error.expected


def unsent(tape: Tape) -> list[bytes]:
    length = 0
    for number, line in enumerate(tape.lines):
        if length == tape.sent:
            return tape.lines[number:]
        length += len(line)
    return []


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


def test_every_store_answers_as_memory_does() -> None:
    run_state_machine_as_test(
        Stores,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=QUIET,
        ),
    )


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_every_store_answers_as_memory_does_for_long() -> None:
    run_state_machine_as_test(
        Stores,
        settings=settings(
            max_examples=400, stateful_step_count=60, deadline=None, suppress_health_check=QUIET
        ),
    )
