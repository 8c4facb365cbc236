"""What the tests of the contract ask for: `place` is a fresh one of each of the module's `SITES`, `store` a handle on
it and `rival` a second one. `shared` and `local` are places that other processes see, or whose files are in the folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from ..backends.base import Backend
from .places import Place, Site


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test of the module once for each of its sites that the test can be asked of."""
    asked = set(metafunc.fixturenames)
    if "site" not in asked:
        return
    sites: Mapping[str, Site] | None = getattr(metafunc.module, "SITES", None)
    if sites is None:
        raise pytest.UsageError(
            f'{metafunc.module.__name__} names no stores: SITES = {{"mine": Site("mine:///store")}}'
        )
    fit = {
        name: site
        for name, site in sites.items()
        if (site.shared or "shared" not in asked) and (site.local or "local" not in asked)
    }
    metafunc.parametrize("site", fit.values(), ids=fit.keys())


@pytest.fixture
def place(site: Site, tmp_path: Path) -> Iterator[Place]:
    with site.set_up(str(tmp_path)) as found:
        yield found


@pytest.fixture
def shared(place: Place) -> Place:
    """A place that other processes see too."""
    return place


@pytest.fixture
def local(place: Place) -> Place:
    """A place whose files are all in its folder."""
    return place


@pytest.fixture
def store(place: Place) -> Backend:
    return place.open()


@pytest.fixture
def rival(place: Place, store: Backend) -> Backend:
    return place.open()
