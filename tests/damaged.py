"""Records that a disk has damaged: what is left is JSON, and no run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def damage(database: Path, run: str) -> None:
    """The record of this run can be read by nobody any more."""
    with closing(sqlite3.connect(database)) as db:
        db.execute("""UPDATE runs SET doc = replace(doc, '"state"', '"stAte"') WHERE id = ?""", (run,))
        db.commit()
