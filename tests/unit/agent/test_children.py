"""A command as a child process: what it said is heard to the last byte."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holter.agent import children
from holter.agent.children import Child


def test_what_it_said_before_its_end_is_heard_however_late_we_come(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever was stopped meanwhile (Ctrl-Z) finds all patience used up, and the last bytes still in the pipe."""
    monkeypatch.setattr(children, "SILENCE", -1.0)
    monkeypatch.setattr(children, "LAST_WORDS", -1.0)
    go = tmp_path / "go"
    script = f"printf first; until [ -e {go} ]; do sleep 0.01; done; printf last; printf 'last of all' >&2"
    child = Child(["sh", "-c", script], dict(os.environ))
    said = {"stdout": b"", "stderr": b""}

    def heard(stream: str, data: bytes) -> None:
        said[stream] += data
        if data == b"first":
            go.touch()
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    wake, written = os.pipe()
    child.listen(heard, wake)
    child.reap(kill=False)
    os.close(wake)
    os.close(written)
    assert said == {"stdout": b"firstlast", "stderr": b"last of all"}
