"""The shim is compiled once; each test has a host with a clock of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import Host, hook

from .setting import HostClock, build

__all__ = ["clock", "hook", "host", "library"]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("clocks"))


@pytest.fixture
def clock(library: Path, tmp_path: Path) -> HostClock:
    return HostClock(library, tmp_path)


@pytest.fixture
def host(clock: HostClock, tmp_path: Path) -> Iterator[Host]:
    """A host all of whose processes go by `clock`."""
    (tmp_path / "host").mkdir()
    with closing(Host(tmp_path / "host")) as made:
        made.env |= clock.env
        yield made
