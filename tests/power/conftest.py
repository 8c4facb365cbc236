"""The shim of tests/faults, which writes down what a process did to its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..faults.breaking import Breaker, build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def breaker(library: Path, tmp_path: Path) -> Breaker:
    return Breaker(library, tmp_path)
