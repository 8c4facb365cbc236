"""Figures for other programs: no cell becomes a formula, none ends its column."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent.terminal import formats

ROWS = [
    {
        "name": "=1+1|x",
        "runs": -3,
        "tags": ["a", "b"],
        "why": None,
        "well": False,
        "text": "-2.5",
        "more": "-rm",
    }
]
COLUMNS = ["name", "runs", "tags", "why", "well", "text", "more"]


def test_csv_guards_what_a_spreadsheet_would_compute(capsys: pytest.CaptureFixture[str]) -> None:
    formats.put("csv", COLUMNS, ROWS)
    head, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert head == COLUMNS
    assert row == ["'=1+1|x", "-3", "a, b", "", "false", "-2.5", "'-rm"]


def test_markdown_keeps_pipes_inside_their_cells(capsys: pytest.CaptureFixture[str]) -> None:
    formats.put("markdown", ["name", "why"], [{"name": "a|b\\", "why": "<script>\x1b[31m\nx"}])
    assert capsys.readouterr().out.splitlines() == [
        "| name | why |",
        "| --- | --- |",
        "| a\\|b\\\\ | &lt;script> x |",
    ]


@given(st.text())
def test_no_text_becomes_a_formula(text: str) -> None:
    cell = formats.guarded(formats._plain(text))
    if cell[:1] in ("=", "+", "-", "@"):
        float(cell)


def test_every_column_of_a_row_is_there() -> None:
    last: dict[str, Any] = {"id": "1m8", "state": "FAILED", "created_at": "then"}
    job = {
        "name": "etl",
        "by_state": {"FAILED": 2},
        "last": last,
        "problems": [{"event": "late", "reason": "no"}],
    }
    row = formats.job_row(job)
    assert (row["FAILED"], row["last_state"], row["last_at"], row["last_id"]) == (
        2,
        "FAILED",
        "then",
        "1m8",
    )
    assert formats.status_row(job)["problems"] == "late: no"
    assert formats.run_row({"error": {"type": "ValueError", "message": "no"}})["error"] == "ValueError: no"
