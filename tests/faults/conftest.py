"""The shim is compiled once; each test breaks processes in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from .breaking import Breaker, build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def breaker(library: Path, tmp_path: Path) -> Breaker:
    return Breaker(library, tmp_path)
