"""The shim of tests/faults stops processes; hosts and alert receivers are those of the acceptance tests."""

from __future__ import annotations

from tests.acceptance.conftest import hook, new_host
from tests.faults.conftest import breaker, library

__all__ = ["breaker", "hook", "library", "new_host"]
