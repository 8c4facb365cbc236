"""Small documents in PostgreSQL, changed by compare-and-set."""

from __future__ import annotations

from json import dumps, loads
from typing import TYPE_CHECKING

from .records import Document

if TYPE_CHECKING:
    from typing import Any

    from .records import Json, Listing


class PostgresRegistry:
    """The Registry half of `PostgresBackend`, which brings the connection. Each call is one statement."""

    if TYPE_CHECKING:

        def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]: ...
        def _do(self, sql: str, *values: Any) -> int: ...

    def get(self, kind: str, key: str) -> Document | None:
        rows = self._rows("SELECT value, version FROM registry WHERE kind = %s AND key = %s", kind, key)
        return Document(loads(rows[0][0]), rows[0][1]) if rows else None

    def put(self, kind: str, key: str, value: Json, expect_version: int) -> int | None:
        if expect_version == 0:
            sql = "INSERT INTO registry (version, value, kind, key) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
            done = self._do(sql, 1, dumps(value), kind, key)
        else:
            sql = "UPDATE registry SET version = %s, value = %s WHERE kind = %s AND key = %s AND version = %s"
            done = self._do(sql, expect_version + 1, dumps(value), kind, key, expect_version)
        return expect_version + 1 if done else None

    def list(self, kind: str) -> Listing:
        rows = self._rows("SELECT key, value, version FROM registry WHERE kind = %s ORDER BY key", kind)
        return [(key, Document(loads(value), version)) for key, value, version in rows]

    def delete(self, kind: str, key: str, expect_version: int) -> bool:
        sql = "DELETE FROM registry WHERE kind = %s AND key = %s AND version = %s"
        return self._do(sql, kind, key, expect_version) == 1
