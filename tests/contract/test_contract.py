"""Every store of ours, held to the contract."""

from __future__ import annotations

import pytest

from holter.testing import *  # noqa: F403
from holter.testing import SITES, Site  # noqa: F401
from holter.testing.machine import compare


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_it_answers_as_memory_does_for_long(site: Site) -> None:
    compare(site, max_examples=400, stateful_step_count=60)
