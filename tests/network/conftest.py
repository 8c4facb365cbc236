"""Where the script's records go: into a collector by HTTP, and into PostgreSQL; each time by way of a relay."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from holter.testing.database import server_url
from tests.acceptance.collecting import Collector

from .ground import Ground
from .relay import Faulty


@pytest.fixture(scope="session")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    pytest.importorskip("uvicorn", reason="pip install 'holter[web]'")
    with closing(Collector(tmp_path_factory.mktemp("far"))) as made:
        yield made.start()


@pytest.fixture
def over_http(collector: Collector, tmp_path: Path) -> Ground:
    dial = lambda: socket.create_connection(("127.0.0.1", collector.port), 5)  # noqa: E731
    return Ground(tmp_path, lambda fault: Faulty(dial, fault), lambda port, _: f"http://127.0.0.1:{port}")


def over_postgres(folder: Path) -> Ground:
    """Each script has a schema of its own, which it makes: the server is ours and goes with the tests."""
    given = urlsplit(server_url())
    unix = parse_qs(given.query).get("host", [""])[0]

    def dial() -> socket.socket:
        if not unix:
            return socket.create_connection((given.hostname or "127.0.0.1", given.port or 5432), 5)
        there = socket.socket(socket.AF_UNIX)
        there.connect(f"{unix}/.s.PGSQL.{given.port or 5432}")
        return there

    login = given.netloc.rpartition("@")[0]

    def url(port: int, name: str) -> str:
        return f"postgresql://{login}@127.0.0.1:{port}{given.path}?schema=holter_network_{name}"

    found = Ground(folder, lambda fault: Faulty(dial, fault), url)
    found.stride = 47  # of a hundred
    return found


@pytest.fixture(params=["http", "postgresql"])
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Ground:
    if request.param == "http":
        found: Ground = request.getfixturevalue("over_http")
        return found
    pytest.importorskip("psycopg", reason="pip install 'holter[postgres]'")
    return over_postgres(tmp_path)
