"""What is mutated, and by which tests each module has to be told from its mutants.

The tests that speak about a module, not all that pass through it: whoever changes it should learn of a mistake from
these.
"""

from __future__ import annotations

from typing import NamedTuple


class Target(NamedTuple):
    """A module (below the root), and its tests (below tests/)."""

    module: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.module.rpartition("/")[2].removesuffix(".py")


_FOLD = ("unit/backends/test_digest.py", "unit/backends/test_fold.py", "contract/test_order.py")
TARGETS = (
    Target("backends/fold.py", _FOLD),
    Target("backends/digest.py", _FOLD),
    Target("backends/soundness.py", _FOLD),
    Target("backends/verdicts.py", ("unit/backends/test_problems.py", "unit/backends/test_verdicts.py")),
    Target("backends/ledger.py", ("unit/backends/test_ledger.py",)),
    Target("agent/ledgers.py", ("unit/agent/test_ledgers.py",)),
    Target("agent/slots.py", ("unit/agent/test_slot_queue.py",)),
    Target("agent/slot_files.py", ("unit/agent/test_slot_files.py",)),
    Target("agent/watchdog/outbox.py", ("unit/watchdog/test_outbox.py",)),
)
