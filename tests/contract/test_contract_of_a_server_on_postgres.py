"""HTTP before PostgreSQL, held to the contract: a longer proof, since each half has its own in the short suite."""

from __future__ import annotations

import pytest

from holter.testing import *  # noqa: F403
from holter.testing import SITES as ALL
from holter.testing import Site
from holter.testing.machine import compare

SITES = {"http+postgres": ALL["http+postgres"]}
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]  # a thousand examples over two wires


@pytest.mark.timeout(1800)
def test_it_answers_as_memory_does_for_long(site: Site) -> None:
    compare(site, max_examples=100, stateful_step_count=60)
