"""The index of a file store: a SQLite store filled from the files, with nothing in it that they do not hold.

Documents are folded again; seqs come from the commit lines, so readers that remember one may go on.
"""

from __future__ import annotations

import os
import sqlite3

from .clock import root_of
from .digest import digest
from .file_format import (
    chunks,
    journal_file,
    read,
    read_json,
    replace,
    run_file,
    size_of,
    unsealed,
)
from .lines import decode
from .soundness import sound
from .sqlite import SqliteBackend
from .sqlite_rows import forget_roots, put_journal, put_rows, put_runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from .file_folder import Folder
    from .file_format import Json, Lines

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def damaged(error: BaseException) -> bool:
    """Whether a store failed because its database is not one any more."""
    cause = error.__cause__
    undecoded = isinstance(cause, UnicodeDecodeError) or "not decode to UTF-8" in str(cause)
    return undecoded or getattr(cause, "sqlite_errorcode", 0) & 0xFF in _DAMAGED


def whole_pages(path: str) -> bool:
    """Whether there is a database that ends with a page: SQLite would take what is missing of its last one for zeros.
    The page size is in the header (https://www.sqlite.org/fileformat.html#page_size)."""
    data = read(path, 18)
    page = int.from_bytes(data[16:], "big")
    return len(data) == 18 and size_of(path) % (65536 if page == 1 else page or 512) == 0


def fill(folder: str, index: SqliteBackend, origin: int) -> None:
    """Bring everything in `folder` into an empty index, and mark it as belonging there: all or nothing."""
    with index._write() as db:
        db.execute(
            "CREATE TABLE chunks (root_id TEXT, journal TEXT, upto INTEGER, PRIMARY KEY (root_id, journal))"
            " WITHOUT ROWID"
        )
        for path in files(f"{folder}/journals", ".json"):
            _put_journal(db, read_json(path))
        _put_files(db, folder, files(f"{folder}/runs", ".jsonl"))
        for table, seq in (read_json(f"{folder}/pruned.json") or {}).items():
            _raise_seq(db, table, seq)
        db.execute(f"PRAGMA application_id={origin}")


def refill(folder: str, index: SqliteBackend, roots: list[str], journal: str) -> None:
    """Bring some root runs and one journal in again, whatever the index held of them."""
    with index._write() as db:
        for root in roots:
            forget_roots(db, [root])
            db.execute("DELETE FROM chunks WHERE root_id=?", (root,))
        _put_journal(db, read_json(f"{folder}/{journal_file(journal)}"))
        _put_files(db, folder, (f"{folder}/{run_file(root)}" for root in roots))


def _put_journal(db: sqlite3.Connection, known: Json | None) -> None:
    if known is not None:
        put_journal(db, known["journal"], known["offset"], known["record"])


def _put_files(db: sqlite3.Connection, folder: str, paths: Iterable[str]) -> None:
    orphans: dict[str, Json] = {}
    for path in paths:
        _put_file(db, read(path), orphans)
    for journal, record in orphans.items():
        _adopt(db, folder, journal, record)


def _put_file(db: sqlite3.Connection, data: bytes, orphans: dict[str, Json]) -> None:
    """All committed chunks of one run file. `orphans` gathers the journals that have no file of their own."""
    docs: dict[str, Json] = {}
    for _, _, commit, lines in chunks(data):
        journal, at = commit["journal"], commit["at"]
        out = digest(journal, _numbered(lines, commit["from"]), {}, lambda ids: _of(docs, ids), at)
        docs.update(out.docs)
        out.transitions = commit["transitions"]
        put_rows(db, journal, out, commit["logs"])
        if "header" in out.process and not _known(db, journal):
            orphans[journal] = {**out.process, "closed_at": at}
            put_journal(db, journal, 0, orphans[journal])
        for root in {root_of(run_id) for run_id in out.docs}:
            db.execute("INSERT OR REPLACE INTO chunks VALUES (?,?,?)", (root, journal, commit["to"]))
    put_runs(db, docs.values())


def _of(docs: dict[str, Json], ids: list[str]) -> dict[str, Json]:
    return {run_id: docs[run_id] for run_id in ids if run_id in docs}


def _numbered(lines: Lines, start: int) -> Iterator[tuple[int, Json | None]]:
    """Lines with positions in the order that they had in their journal, which is all that positions are for."""
    return ((start + number, event) for number, (_, event) in enumerate(lines) if event is not None)


def _adopt(db: sqlite3.Connection, folder: str, journal: str, record: Json) -> None:
    """A journal whose own file was lost: closed, and at offset 0, so that a sender who still has it starts again;
    what the run files hold of it is not applied twice."""
    if db.execute("SELECT 1 FROM runs WHERE journal=? LIMIT 1", (journal,)).fetchone():
        put_journal(db, journal, 0, record)
        replace(f"{folder}/{journal_file(journal)}", {"journal": journal, "offset": 0, "record": record})
    else:
        db.execute("DELETE FROM journals WHERE journal=?", (journal,))


def _known(db: sqlite3.Connection, journal: str) -> bool:
    return db.execute("SELECT 1 FROM journals WHERE journal=?", (journal,)).fetchone() is not None


def _raise_seq(db: sqlite3.Connection, table: str, seq: int) -> None:
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name=?", (table,)).fetchone()
    db.execute("DELETE FROM sqlite_sequence WHERE name=?", (table,))
    db.execute("INSERT INTO sqlite_sequence(name, seq) VALUES (?,?)", (table, max(seq, row[0] if row else 0)))


def files(folder: str, ending: str) -> Iterator[str]:
    """Paths of the files below `folder` whose names have this ending."""
    for path, _, names in os.walk(folder):
        yield from (f"{path}/{name}" for name in names if name.endswith(ending))


def survey(folder: Folder) -> dict[str, Any]:
    """Every line of every run file and every JSON file looked at: counts, and whether the index says the same."""
    count = size = bad = cut = 0
    held: dict[tuple[str, str], int] = {}
    for path in files(folder.file("runs"), ".jsonl"):
        data = read(path)
        found = list(chunks(data))
        # A copy may have been taken between a file's first byte and its first commit: it holds no run yet.
        count, size = count + bool(found), size + len(data)
        bad += sum(event is None for _, event in decode(data))
        cut += data != b"" and (not found or found[-1][1] < len(data))
        held.update(_upto(found))
    lost = _lost(folder)
    indexed = folder.ask(SqliteBackend._rows, "SELECT root_id, journal, upto FROM chunks")
    missing = sum(held.get((root, journal), -1) < upto for root, journal, upto in indexed)
    stood = dict(folder.ask(SqliteBackend._rows, "SELECT journal, offset FROM journals"))
    known = [read_json(path) or {} for path in files(folder.file("journals"), ".json")]
    said = folder.ask(SqliteBackend.check)
    agrees = (
        len(held) == len(indexed)
        and not missing
        and stood == {each["journal"]: each["offset"] for each in known if each}
    )
    told = f"{folder.path}, {count} files, {size / 2**20:.1f} MiB, {bad} damaged lines"
    told += f", {lost} damaged documents" if lost else ""
    told += f", {cut} files end in a part of a batch (cut off, or copied meanwhile)" if cut else ""
    return {
        "ok": not bad and not lost and agrees and said["ok"],
        "agrees": agrees,
        "detail": f"{told}; the index {_advice(agrees, missing)} ({said['detail']})",
    }


def _upto(found: Iterable[tuple[int, int, Json, Lines]]) -> Iterator[tuple[tuple[str, str], int]]:
    """How much of each journal each root run's file holds, as the index has it in `chunks`."""
    for _, _, commit, lines in found:
        events = (event for _, event in lines if event is not None and sound(event))
        for root in {root_of(event["run"]) for event in events}:
            yield (root, commit["journal"]), commit["to"]


def _lost(folder: Folder) -> int:
    """How many JSON files are damaged."""
    places = (*files(folder.file("journals"), ".json"), *files(folder.file("registry"), ".json"))
    rest = (folder.file("format.json"), folder.file("pruned.json"))
    return sum(bool(data) and unsealed(data) is None for data in map(read, (*places, *rest)))


def _advice(agrees: bool, missing: int) -> str:
    if missing:
        return (
            f"has {missing} parts that the files have lost: put the files back from a copy, or delete index.db "
            "to go on with what is left"
        )
    return "agrees" if agrees else "does not agree with the files: delete index.db, it is made anew"
