"""Index where functions and classes are defined: `python index_symbols.py [FOLDER [DATABASE]]` reads the Python sources
of a folder (without one: of the standard library) into an SQLite table. Ask it with
`sqlite3 symbols.db "SELECT * FROM symbols WHERE name = 'Thread'"`.

Start it for as many folders as you like at once: the limit lets one after the other write.
"""

from __future__ import annotations

import ast
import sqlite3
import sys
import sysconfig
from contextlib import closing
from pathlib import Path

from holter import flow, get_run_logger, progress, task

SKIPPED = {"site-packages", "dist-packages", "test", "tests"}
KINDS = {ast.ClassDef: "class", ast.FunctionDef: "def", ast.AsyncFunctionDef: "async def"}
Symbol = tuple[str, str, str, int]


@task
def find(folder: Path) -> list[Path]:
    files = (file for file in sorted(folder.rglob("*.py")) if file.is_file())
    return [file for file in files if not SKIPPED.intersection(file.relative_to(folder).parts)]


def definitions(file: Path) -> list[Symbol]:
    """Name, kind, file and line of all that one source file defines."""
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes(), file)))
    except SyntaxError as error:
        get_run_logger().warning("left out %s: %s", file, error)
        return []
    return [
        (node.name, KINDS[type(node)], str(file), node.lineno)
        for node in nodes
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]


@task(retries=3, retry_delay_seconds=1)
def write(database: Path, folder: Path, symbols: list[Symbol]) -> None:
    """Replace what is known of a folder; where another program locks the database, try again."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS symbols (name, kind, file, line)")
        connection.execute("DELETE FROM symbols WHERE file GLOB ?", (f"{folder}/*",))
        connection.executemany("INSERT INTO symbols VALUES (?, ?, ?, ?)", symbols)


@flow(name="index-symbols", limit="symbols.db", on_busy="wait", log_prints=True)
def index_symbols(folder: Path, database: Path) -> int:
    symbols = [symbol for file in progress(find(folder)) for symbol in definitions(file)]
    write(database, folder, symbols)
    print(f"{len(symbols):,} definitions below {folder}: {database}")
    return len(symbols)


if __name__ == "__main__":
    given = [Path(argument).absolute() for argument in sys.argv[1:]]
    folder = given[0] if given else Path(sysconfig.get_path("stdlib"))
    index_symbols(folder, given[1] if given[1:] else Path("symbols.db").absolute())
