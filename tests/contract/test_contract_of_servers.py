"""Every store of ours behind a server, held to the contract; a file of its own, so that both run side by side.

That of HTTP before PostgreSQL has a file to itself, among the longer proofs.
"""

from __future__ import annotations

import pytest

from holter.testing import *  # noqa: F403
from holter.testing import SITES as ALL
from holter.testing import Site
from holter.testing.machine import compare

SITES = {name: site for name, site in ALL.items() if site.beside is not None and name != "http+postgres"}


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_it_answers_as_memory_does_for_long(site: Site) -> None:
    compare(site, max_examples=100, stateful_step_count=60)
