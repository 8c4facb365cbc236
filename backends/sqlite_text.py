"""JSON of the SQLite store, read back: a disk may have changed it, and SQLite has no checksums of content."""

from __future__ import annotations

import sqlite3
from json import loads

from .errors import RecordDamaged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


# Where SQLite's message quotes what is damaged, Python's sqlite3 fails to decode the message.
ERRORS = (sqlite3.Error, UnicodeDecodeError)


class Damaged(sqlite3.DatabaseError):
    """Stands as the cause where SQLite saw nothing, and counts as if it had."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


def loaded(text: Any) -> Any:
    """The JSON value. Raises RecordDamaged for what is none."""
    try:
        return loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise unreadable(error) from Damaged(str(error))


def unreadable(error: Exception) -> RecordDamaged:
    return RecordDamaged(
        f"a record in the database is damaged: {type(error).__name__}: {error}",
        hint="restore the store from a backup; journals keep what is new",
    )
