from __future__ import annotations

from pathlib import Path

import pytest

from holter.backends.file import FileBackend
from tests.fuzz.fields import specimen, tape

NOON = 1_795_000_000.0
TAPE = tape(specimen("r1", "first", NOON)) + tape(specimen("r2", "second", NOON + 60)[1:])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file store with two runs of two batches each, a journal that goes on, and documents."""
    store = FileBackend(f"file:///{tmp_path / 'store'}", home="")
    lines = TAPE.splitlines(keepends=True)
    stood = store.append("j1", 0, b"".join(lines[:20]))
    store.append("j1", stood, b"".join(lines[20:]))
    for key in ("a", "b"):
        store.put("check", key, {"job": key, "numbers": [1, 2.5, None], "text": "x" * 20}, 0)
    store.close()
    return tmp_path / "store"
