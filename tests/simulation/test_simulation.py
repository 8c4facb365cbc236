"""Nothing that can happen round a watchdog makes it say what is not so, or leave out what is.

What must hold is in `oracle`, what may happen in `histories`. A history that breaks a rule is shortened, and told with
the command that plays it again.
"""

from __future__ import annotations

import fcntl

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.planting import ROOT

from .bugs import BUGS, Bug, hunt
from .histories import History, broken_rule, from_seed, shortened

pytestmark = pytest.mark.skipif(
    not hasattr(fcntl, "F_OFD_SETLK"), reason="simulated watchdogs need locks of open files (Linux)"
)
SEEDS = st.integers(min_value=0, max_value=2**64 - 1)
PARTS, EACH = 20, 500


def play(number: int) -> None:
    plan = from_seed(number)
    rule = broken_rule(plan)
    if rule is None:
        return
    plan = shortened(plan)
    pytest.fail(
        f"{rule}\nseed {number}; the shortest history that breaks it, step by step:\n"
        f"    PYTHONPATH=tests python -m simulation.replay --plan {plan.hex()}",
        pytrace=False,
    )


@settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(number=SEEDS)
def test_whatever_happens_no_watchdog_is_wrong(number: int) -> None:
    play(number)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_ten_thousand_histories(part: int, request: pytest.FixtureRequest) -> None:
    """The same each time, so that a failure is of the change; others with `--hypothesis-seed=N`."""
    chosen = int(request.config.getoption("hypothesis_seed", default=None) or 0)
    first = (chosen * PARTS + part) * EACH
    for number in range(first, first + EACH):
        play(number)


def test_the_same_seed_is_the_same_history() -> None:
    told: list[list[str]] = [[], []]
    for lines in told:
        History(from_seed(7), lines.append).play()
    assert told[0] == told[1] and len(told[0]) > 20


def test_a_planted_bug_is_caught() -> None:
    """The lock of a live process is not respected; the long form plants all of them."""
    assert hunt(BUGS[0], 50)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_bug_has_its_line(bug: Bug) -> None:
    """So that a change of the line is noticed at once, and not by the long form."""
    assert (ROOT / bug.file).read_text().count(bug.right) == 1


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_planted_bug_is_caught(bug: Bug) -> None:
    assert hunt(bug, bug.within), f"{bug.within} histories without a failure"
