"""A finish, beats and verdicts from outside, in any order: an ending that the process wrote is never another one again.

Each history is one run. Its process writes to its own journal, a watchdog and a person to theirs; the batches reach
the store in any order, some twice, some late, through a handle for each of them, and their clocks do not agree.

Left out: what is said before a process is ended from outside (TIMED_OUT by proof, a cancel), which is no judgement but
a deed; what the process says of its end afterwards is its echo. See the tests of the fold.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from holter.backends.base import Backend
from holter.backends.clock import new_id
from holter.backends.errors import OffsetMismatch
from holter.backends.lines import encode
from holter.backends.states import ENDINGS
from holter.testing import SITES
from holter.testing.tapes import push

STORES = (
    "memory",
    "sqlite",
    "file",
    *(pytest.param(name, marks=pytest.mark.long) for name in ("postgres", "http+sqlite", "http+postgres")),
)
OWN = ("COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT")
VERDICTS = (("CRASHED", "proof"), ("CRASHED", "mark"), ("SKIPPED", "mark"))  # none that a process says itself
CONDITIONS = ("unresponsive", "stalled", "overdue", "lost")


class Writer:
    """One process with its journal and its handle on the store; what it has said is sent in parts, now and again."""

    def __init__(self, store: Backend, dice: random.Random) -> None:
        self.store, self.dice, self.journal = store, dice, new_id()
        self.lines: list[bytes] = []
        self.say("process", journal=self.journal, host="web-1", pid=42, project="default", heartbeat=5.0)

    def say(self, event: str, **fields: Any) -> None:
        at = 1_800_000_000.0 + self.dice.uniform(0, 20)  # clocks that do not agree
        self.lines.append(encode({"event": event, "at": at, **fields}))

    def send(self) -> None:
        """All that was said so far, in batches of any size; some of it once more."""
        push(self.store, self.journal, self.lines, self.dice.randint(1, 3))
        if self.dice.random() < 0.2:
            with pytest.raises(OffsetMismatch):
                self.store.append(self.journal, 0, self.lines[0])


def history(script: Backend, watchdog: Backend, dice: random.Random) -> tuple[str, str | None]:
    """One run's life; its id, and how its process said that it ended."""
    process, judge = Writer(script, dice), Writer(watchdog, dice)
    run = new_id()
    process.say("start", run=run, kind="flow", name="etl")
    acts: list[Any] = [lambda: process.say("beat", seq=dice.randint(1, 9)) for _ in range(dice.randint(0, 2))]
    own = dice.choice((None, *OWN))
    if own is not None:
        acts.append(lambda: process.say("end", run=run, state=own))
    for _ in range(dice.randint(0, 2)):
        state, by = dice.choice(VERDICTS)
        acts.append(
            lambda state=state, by=by: judge.say("judge", run=run, state=state, by=by, reason="swept")
        )
    for _ in range(dice.randint(0, 2)):
        name, on = dice.choice(CONDITIONS), dice.random() < 0.7
        acts.append(lambda name=name, on=on: judge.say("judge", run=run, condition=name, on=on))
    acts += [process.send, judge.send] * dice.randint(0, 2)
    dice.shuffle(acts)
    for act in (*acts, process.send, judge.send):
        act()
    return run, own


def flips(store: Backend, lives: dict[str, str | None]) -> Iterator[str]:
    """Runs whose own ending did not stand, or was not the last."""
    after, endings = 0, dict[str, list[str]]()
    while rows := store.transitions(after, 1000):
        after = rows[-1].seq
        for row in rows:
            if row.condition is None and row.to_state in ENDINGS:
                endings.setdefault(row.run_id, []).append(row.to_state)
    for run_id, own in lives.items():
        run, told = store.run(run_id), endings.get(run_id, [])
        assert run is not None
        if own is None:
            if run.state != (told[-1] if told else "RUNNING"):
                yield f"{run_id} is {run.state}, told {told}"
        elif run.state != own or run.conditions or (own in told and told[told.index(own) :] != [own]):
            yield f"{run_id} said {own}, is {run.state} {run.conditions}, told {told}"


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize(
    "histories", [100, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_what_a_process_said_of_its_end_stands_whoever_judges_it_meanwhile(
    name: str, histories: int, tmp_path: Any, figures: Any
) -> None:
    with SITES[name].set_up(str(tmp_path)) as place:
        script, watchdog = place.open(), place.open()
        dice = random.Random(histories)
        lives = dict(history(script, watchdog, dice) for _ in range(histories))
        assert list(flips(script, lives)) == []
        figures(histories=histories, ended=sum(own is not None for own in lives.values()), flips=0)
