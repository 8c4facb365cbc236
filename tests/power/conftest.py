"""The shim of tests/faults, which writes down what a process did to its files."""

from __future__ import annotations

from ..faults.conftest import breaker, library

__all__ = ["breaker", "library"]
