"""Leases in a simulated world: nodes whose clocks run at different rates, links that are cut, lose answers or deliver
late, and deaths, against a real (memory) Registry."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from holter.agent import identity
from holter.agent.lease_keeper import Keeper
from holter.agent.leases import (
    GONE,
    HELD,
    KIND,
    LOST,
    REFUSED,
    SAFE,
    WAITING,
    Lease,
    Sight,
    empty,
    sweep,
    turn,
)
from holter.backends.clock import Clock, token
from holter.backends.errors import StorageError
from holter.backends.memory import MemoryBackend
from holter.backends.records import Document, Json

SLOTS = 2
LEASE = 10.0


class World:
    """True time, which no node knows."""

    def __init__(self) -> None:
        self.now = 0.0


class NodeClock(Clock):
    """Runs at its own rate, and its wall clock shows anything."""

    def __init__(self, world: World, rate: float, offset: float) -> None:
        self._world, self._rate, self._offset = world, rate, offset

    def monotonic(self) -> float:
        return self._offset + self._world.now * self._rate

    def wall(self) -> float:
        return self._offset * 1e6

    def sleep(self, seconds: float) -> None:
        self._world.now += seconds / self._rate


class Link(MemoryBackend):
    """The way to the store. `cut`: nothing gets through; `deaf`: what is put arrives, the answer does not; `meanwhile`
    happens between a read and the put that follows it, or (`late`) between that and its answer."""

    cut = deaf = late = False
    meanwhile: Callable[[], None] | None = None

    def get(self, kind: str, key: str) -> Document | None:
        if self.cut:
            raise StorageError("cut")
        return super().get(kind, key)

    def put(self, kind: str, key: str, value: Json, expect_version: int) -> int | None:
        act, self.meanwhile = self.meanwhile, None
        if act is not None and not self.late:
            act()
        if self.cut:
            raise StorageError("cut")
        done = super().put(kind, key, value, expect_version)
        if act is not None and self.late:
            act()
        if self.deaf:
            raise StorageError("the answer is lost")
        return done


class Node:
    def __init__(self, world: World, url: str, rate: float, offset: float, boot: str) -> None:
        self.clock = NodeClock(world, rate, offset)
        self.link = Link(url)
        self.keeper = Keeper(lambda timeout: self.link, self.clock)
        self.keeper._sights["gpu"] = Sight(boot)
        self.leases: list[Lease] = []

    def ask(self, occupy: int, patient: bool) -> Lease:
        lease = Lease(token(16), "gpu", SLOTS, occupy, LEASE, {"host": "elsewhere"}, patient=patient)
        self.leases.append(lease)
        self.keeper._leases[lease.id] = lease
        return lease

    def visit(self) -> None:
        self.keeper._visit("gpu")

    def counted(self) -> int:
        """Slots that this node believes to have."""
        now = self.clock.monotonic()
        return sum(
            each.occupy
            for each in self.leases
            if each.state == HELD and not each.leaving and now < each.until
        )


class Leases(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        url = f"memory:{token(16)}"
        rates = (0.92, 1.0, 1.0, 1.1)
        self.nodes = [
            Node(self.world, url, rate, 1000.0 * (number % 3), "" if number == 3 else f"boot{number}")
            for number, rate in enumerate(rates)
        ]
        self.store = MemoryBackend(url)
        self.greatest = 0
        self.tokens: set[int] = set()

    nodes_ = st.integers(0, 3)

    @rule(node=nodes_, occupy=st.integers(1, SLOTS), patient=st.booleans())
    def ask(self, node: int, occupy: int, patient: bool) -> None:
        if len(self.nodes[node].leases) < 4:
            self.nodes[node].ask(occupy, patient)
            self.nodes[node].visit()

    @rule(node=nodes_)
    def visit(self, node: int) -> None:
        self.nodes[node].visit()

    @rule()
    def all_visit(self) -> None:
        for node in self.nodes:
            node.visit()

    @rule(node=nodes_, other=nodes_, seconds=st.sampled_from([0.0, 1.0, 9.0, 30.0]), late=st.booleans())
    def visit_while_another_does(self, node: int, other: int, seconds: float, late: bool) -> None:
        def meanwhile() -> None:
            self.world.now += seconds
            self.nodes[other].visit()

        self.nodes[node].link.meanwhile, self.nodes[node].link.late = meanwhile, late
        self.nodes[node].visit()
        self.nodes[node].link.meanwhile = None

    @rule(seconds=st.sampled_from([0.5, 2.0, 3.0, 4.0, 7.5, 8.5, 10.0, 11.0]))
    def time_goes_by(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(node=nodes_, cut=st.booleans(), deaf=st.booleans())
    def the_link_changes(self, node: int, cut: bool, deaf: bool) -> None:
        self.nodes[node].link.cut, self.nodes[node].link.deaf = cut, deaf

    @rule(node=nodes_)
    def a_node_leaves(self, node: int) -> None:
        for lease in self.nodes[node].leases:
            lease.leaving = True
        self.nodes[node].visit()

    @rule(node=nodes_)
    def a_node_dies(self, node: int) -> None:
        self.nodes[node].keeper._leases.clear()
        self.nodes[node].leases.clear()

    @precondition(lambda self: any(node.leases for node in self.nodes))
    @rule()
    def those_that_are_through_are_forgotten(self) -> None:
        for node in self.nodes:
            node.leases = [each for each in node.leases if each.state in (HELD, WAITING) and not each.leaving]

    @invariant()
    def never_more_than_the_limit_count_on_their_leases(self) -> None:
        assert sum(node.counted() for node in self.nodes) <= SLOTS

    @invariant()
    def tokens_only_grow(self) -> None:
        found = self.store.get(KIND, "gpu")
        if found is None:
            return
        assert found.value["token"] >= self.greatest
        self.greatest = found.value["token"]
        held = [entry["token"] for entry in found.value["holders"]]
        assert held == sorted(set(held))
        assert all(each <= self.greatest for each in held)
        numbers = [number for entry in found.value["holders"] for number in entry["numbers"]]
        assert len(numbers) == len(set(numbers))
        assert set(numbers) <= set(range(SLOTS))

    def teardown(self) -> None:
        """However it was left: who asks next gets in, a lease and a look later at most."""
        for node in self.nodes:
            node.keeper._leases.clear()
        last = self.nodes[1]
        last.link.cut = last.link.deaf = False
        last.leases.clear()
        lease = last.ask(SLOTS, True)
        began = self.world.now
        while lease.state != HELD and self.world.now < began + 2 * LEASE:
            last.visit()
            self.world.now += 0.5
        assert lease.state == HELD
        assert self.world.now - began <= LEASE + 1.5


Leases.TestCase.settings = settings(stateful_step_count=60)
TestLeases = Leases.TestCase


# --- the parts -----------------------------------------------------------------------------------------------


def lease(occupy: int = 1, **options: Any) -> Lease:
    return Lease(token(16), "gpu", SLOTS, occupy, LEASE, {"host": "elsewhere"}, **options)


def step(doc: Json, *leases: Lease, now: float = 0.0, sight: Sight | None = None) -> list[str | None]:
    sight = sight or Sight("")
    sight.look(doc, now)
    _, news = turn(doc, list(leases), sight, now, 0.0)
    for each, state, holder in news:
        each.told(state, holder, now)
    return [state for _, state, _ in news]


def test_all_or_nothing_is_had_and_who_wants_many_is_not_passed_by_who_wants_few() -> None:
    doc, first, many, few = empty(), lease(), lease(2), lease()
    assert step(doc, first) == [HELD]
    assert step(doc, many) == [WAITING]
    assert step(doc, few) == [WAITING]  # there is one slot, but it would be at the cost of `many`
    first.leaving = True
    assert step(doc, first) == [GONE]
    assert step(doc, few) == [None]
    assert step(doc, many) == [HELD]
    assert [entry["occupy"] for entry in doc["holders"]] == [2]


def test_who_fits_beside_all_that_came_before_does_not_wait_for_them() -> None:
    doc, slow, quick = empty(), lease(), lease()
    holder = lease(2)
    step(doc, holder)
    step(doc, slow)
    holder.leaving = True
    step(doc, holder)
    assert step(doc, quick) == [HELD]  # there is room for `slow` too, which has not looked yet
    assert step(doc, slow) == [HELD]


def test_who_does_not_wait_leaves_no_ticket() -> None:
    doc = empty()
    step(doc, lease(2))
    assert step(doc, lease(patient=False)) == [REFUSED]
    assert doc["queue"] == []


def test_askers_that_never_wait_find_out_together_that_a_holder_died() -> None:
    """Each looks once, in a process of its own, and the lease is longer than any of them lives."""
    doc = empty()
    step(doc, lease(2))
    for now in (0.0, 4.0, 9.9):
        assert step(doc, lease(patient=False), now=now, sight=Sight("boot")) == [REFUSED]
    assert step(doc, lease(patient=False), now=10.0, sight=Sight("another boot")) == [REFUSED]
    assert step(doc, lease(patient=False), now=10.0, sight=Sight("boot")) == [HELD]


def test_a_renewal_makes_what_was_noted_void() -> None:
    doc, holder = empty(), lease(2)
    step(doc, holder)
    step(doc, lease(patient=False), sight=Sight("boot"))
    step(doc, holder, now=5.0)
    assert step(doc, lease(patient=False), now=11.0, sight=Sight("boot")) == [REFUSED]


def test_a_holder_that_was_taken_out_is_told_and_does_not_come_back_by_itself() -> None:
    doc, holder, sight = empty(), lease(2), Sight("")
    step(doc, holder)
    sight.look(doc, 0.0)
    assert sweep(doc, sight, LEASE)
    assert step(doc, holder, now=3.0) == [LOST]
    assert step(doc, holder, now=6.0) == [LOST]
    assert doc["holders"] == []


def test_an_owner_counts_on_less_than_others_grant() -> None:
    doc, holder = empty(), lease()
    step(doc, holder, now=100.0)
    assert holder.until == 100.0 + SAFE * LEASE < 100.0 + LEASE


def test_the_dead_of_this_boot_are_out_at_once_and_nobody_elses() -> None:
    me = {key: value for key, value in identity.me().items() if key in ("host", "boot", "namespace", "pid")}
    ticks = identity.start_ticks(os.getpid())
    dead = {**me, "start_ticks": ticks + 1}  # the pid is in use again
    for owner, gone in [
        ({**me, "start_ticks": ticks}, False),
        (dead, True),
        ({**dead, "host": "twin"}, False),
        ({**dead, "boot": "before"}, False),
        ({**dead, "namespace": 1}, False),
    ]:
        doc, sight = empty(), Sight("")
        held = Lease(token(16), "gpu", SLOTS, 1, LEASE, owner)
        step(doc, held)
        sight.look(doc, 0.0)
        assert sweep(doc, sight, 0.0) is gone, owner


@pytest.mark.parametrize("note", ["soon", None, float("nan"), [1]])
def test_a_note_that_is_no_time_is_no_note(note: Any) -> None:
    doc, sight = empty(), Sight("boot")
    step(doc, lease())
    doc["holders"][0]["seen"] = {"boot": note}
    sight.look(doc, 5.0)
    assert not sweep(doc, sight, 6.0)
