"""Small documents in the SQLite store, changed by compare-and-set."""

from __future__ import annotations

from json import dumps

from .sqlite_link import SqliteLink
from .sqlite_text import loaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .records import Document, Json, Listing


class SqliteRegistry(SqliteLink):
    """The Registry half of `SqliteBackend`."""

    def get(self, kind: str, key: str) -> Document | None:
        from .records import Document

        rows = self._rows("SELECT value, version FROM registry WHERE kind=? AND key=?", kind, key)
        return Document(loaded(rows[0][0]), rows[0][1]) if rows else None

    def put(self, kind: str, key: str, value: Json, expect_version: int) -> int | None:
        with self._write() as db:
            if expect_version == 0:
                sql = "INSERT OR IGNORE INTO registry(version, value, kind, key) VALUES (?,?,?,?)"
                done = db.execute(sql, (1, dumps(value), kind, key))
            else:
                sql = "UPDATE registry SET version=?, value=? WHERE kind=? AND key=? AND version=?"
                done = db.execute(sql, (expect_version + 1, dumps(value), kind, key, expect_version))
            return expect_version + 1 if done.rowcount else None

    def list(self, kind: str) -> Listing:
        from .records import Document

        rows = self._rows("SELECT key, value, version FROM registry WHERE kind=? ORDER BY key", kind)
        return [(key, Document(loaded(value), version)) for key, value, version in rows]

    def delete(self, kind: str, key: str, expect_version: int) -> bool:
        with self._write() as db:
            sql = "DELETE FROM registry WHERE kind=? AND key=? AND version=?"
            return db.execute(sql, (kind, key, expect_version)).rowcount == 1
