"""Every store, driven through random histories, answers as memory does, whatever may happen to it meanwhile."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from ..backends.base import Backend
from ..backends.errors import OffsetMismatch
from ..backends.queries import LogQuery, Retention, RunQuery
from .places import NOON, SITES, Place, Site
from .tapes import EVERYTHING, Tape
from .world import NAMES, WORDS, World, happen

MEMORY = SITES["memory"]
NAMES_OF_DOCUMENTS = st.sampled_from(["a", "B", "b", "ü/..", ""])
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
    """The same batches, in the same order, into memory and into stores of the sites."""

    sites: tuple[Site, ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp()
        self.closing = ExitStack()
        self.closing.callback(shutil.rmtree, self.folder)
        self.places = [self._place(number, site) for number, site in enumerate((MEMORY, *self.sites))]
        self.stores = [place.open() for place in self.places]
        self.world = World()

    def _place(self, number: int, site: Site) -> Place:
        os.mkdir(folder := f"{self.folder}/{number}")
        return self.closing.enter_context(site.set_up(folder))

    def teardown(self) -> None:
        self.closing.close()

    def same(self, question: Any) -> Any:
        """The answer, or the error, that all stores agree on."""
        first, *others = [outcome(question, store) for store in self.stores]
        for other in others:
            assert other == first
        return first

    # --- writing ---

    @initialize(data=st.data(), count=st.integers(10, 40))
    def history(self, data: st.DataObject, count: int) -> None:
        """Something to ask about from the first step on."""
        for _ in range(count):
            happen(self.world, data)
        for tape in self.world.tapes:
            self._send(tape, b"".join(unsent(tape)))

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
        self._send(tape, b"".join(waiting[:count]))

    def _send(self, tape: Tape, batch: bytes) -> None:
        for place in self.places:
            place.clock.now = self.world.at
        stood = self.same(lambda store: store.append(tape.journal, tape.sent, batch))
        if isinstance(stood, int):  # else the journal was closed, and pruned
            tape.sent = stood

    @rule(data=st.data(), back=st.integers(-3, 3))
    def send_what_they_have_already(self, data: st.DataObject, back: int) -> None:
        tape = data.draw(st.sampled_from(self.world.tapes))
        starts = [0]
        for line in tape.lines:
            starts.append(starts[-1] + len(line))
        place = min(max(0, starts.index(tape.sent) + back), len(starts) - 1)
        if starts[place] not in (tape.sent, 0):
            given = starts[place]
            error = self.same(lambda store: store.append(tape.journal, given, tape.data[given:]))
            assert error in (("OffsetMismatch", tape.sent), ("OffsetMismatch", 0))

    @rule(ages=st.tuples(*[st.floats(-10, 8000)] * 3))
    def prune(self, ages: tuple[float, float, float]) -> None:
        self.same(lambda store: store.prune(Retention(*[self.world.at - age for age in ages])))

    # --- opening again ---

    @rule(data=st.data())
    def reopen(self, data: st.DataObject) -> None:
        which = self._any(data)
        self.places[which].close()
        self.stores[which] = self.places[which].open()

    @rule(data=st.data())
    def another_handle(self, data: st.DataObject) -> None:
        which = self._any(data)
        self.stores[which] = self.places[which].open()

    @precondition(lambda self: any(place.site.upsets for place in self.places))
    @rule(data=st.data())
    def upset(self, data: st.DataObject) -> None:
        which = data.draw(st.sampled_from([n for n, place in enumerate(self.places) if place.site.upsets]))
        place = self.places[which]
        place.site.upsets[data.draw(st.sampled_from(sorted(place.site.upsets)))](place)
        if not place.handles:
            self.stores[which] = place.open()

    def _any(self, data: st.DataObject) -> int:
        return data.draw(st.integers(0, len(self.places) - 1), label="which")

    # --- the registry ---

    @rule(
        key=NAMES_OF_DOCUMENTS,
        version=st.integers(0, 3),
        value=st.dictionaries(WORDS, st.integers(), max_size=2),
    )
    def put(self, key: str, version: int, value: dict[str, int]) -> None:
        self.same(lambda store: store.put("kind", key, value, version))

    @rule(key=NAMES_OF_DOCUMENTS, version=st.integers(0, 3))
    def delete(self, key: str, version: int) -> None:
        self.same(lambda store: store.delete("kind", key, version))

    # --- reading ---

    @rule(query=QUERIES)
    def ask_for_runs(self, query: RunQuery) -> None:
        self.same(lambda store: store.runs(query))
        self.same(lambda store: store.summarize(query))
        self.same(lambda store: store.newest(query, 2))
        self.same(lambda store: store.timeline(query, 60.0))

    @precondition(lambda self: self.world.run_ids)
    @rule(
        data=st.data(),
        tree=st.booleans(),
        after=st.sampled_from([0, 0, 1, 2, 3, 20]),
        limit=st.sampled_from([None, 1, 3]),
        last=st.booleans(),
        before=st.sampled_from([None, None, 0, 2, 3, 20]),
        levels=st.sampled_from([(), (), ("INFO",), ("ERROR", "WARNING")]),
        text=st.sampled_from([None, None, None, "two", "eins"]),
    )
    def ask_for_lines(self, data: st.DataObject, **query: Any) -> None:
        runs = [run.id for run in self.stores[0].runs(EVERYTHING) if run.log_lines]
        run_id = data.draw(st.sampled_from(runs or self.world.run_ids))
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


def compare(*sites: Site, **options: Any) -> None:
    """Drive stores of these sites and memory through random histories; the first difference is an AssertionError.

    `options` are those of `hypothesis.settings`: `max_examples` histories of `stateful_step_count` steps each.
    """
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    machine = type("Stores", (Stores,), {"sites": sites})
    run_state_machine_as_test(
        machine,
        settings=settings(deadline=None, suppress_health_check=quiet, report_multiple_bugs=False, **options),
    )


def test_it_answers_as_memory_does(site: Site) -> None:
    compare(site, max_examples=6, stateful_step_count=30, derandomize=True)
