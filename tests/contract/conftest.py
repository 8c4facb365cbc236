"""One suite for all stores: `store` is a fresh one, `rival` a second handle on the same place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from kit import Place

from holter.backends.base import Backend


def placed(scheme: str, folder: Path) -> Iterator[Place]:
    found = Place(scheme, str(folder))
    try:
        yield found
    finally:
        found.close()
        assert found.open_files() == []


@pytest.fixture(params=["memory", "sqlite", "file"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from placed(request.param, tmp_path)


@pytest.fixture(params=["sqlite", "file"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A place that other processes see too."""
    yield from placed(request.param, tmp_path)


@pytest.fixture
def store(place: Place) -> Backend:
    return place.open()


@pytest.fixture
def rival(place: Place, store: Backend) -> Backend:
    return place.open()
