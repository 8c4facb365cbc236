"""The shim of tests/faults stops processes; hosts and alert receivers are those of the acceptance tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.acceptance.conftest import Hook, Host
from tests.faults.breaking import Breaker, build


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def breaker(library: Path, tmp_path: Path) -> Breaker:
    return Breaker(library, tmp_path)


@pytest.fixture
def new_host(tmp_path: Path) -> Iterator[Callable[..., Host]]:
    with ExitStack() as stack:
        made: list[Host] = []

        def make(backend: str = "sqlite:///holter.db") -> Host:
            folder = tmp_path / f"host{len(made)}"
            folder.mkdir()
            made.append(stack.enter_context(closing(Host(folder, backend))))
            return made[-1]

        yield make


@pytest.fixture
def hook() -> Iterator[Hook]:
    with closing(Hook()) as made:
        yield made
