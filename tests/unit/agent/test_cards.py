"""What a notebook shows of a run: a card of HTML in which nothing that a script said is markup."""

from __future__ import annotations

import re
from typing import Any

import pytest

import holter
from holter.backends.records import Run


def test_a_live_run_and_a_finished_one_are_shown_escaped(made: object) -> None:
    shown: list[Any] = []

    @holter.flow(name="<b>job", tags=["<i>&"])
    def job() -> None:
        run = holter.current_run()
        assert run is not None
        shown.extend([run, run._repr_html_()])
        raise ValueError("<script>")

    with pytest.raises(ValueError, match="script"):
        job()
    live, ended = shown[1], shown[0]._repr_html_()
    assert "&lt;b&gt;job" in live and "RUNNING" in live and "&lt;i&gt;&amp;" in live
    assert "FAILED" in ended and "ValueError: &lt;script&gt;" in ended and re.search(r" in [\d.e-]+ s", ended)
    assert not re.search("<script|<b>job|<i>", live + ended)
    assert "holter show" in ended and shown[0].id in ended


def test_a_record_is_shown_as_a_live_run_is() -> None:
    run = Run(
        id="1",
        kind="command",
        name="x",
        state="CRASHED",
        root_id="1",
        attempt=3,
        duration_seconds=2.5,
        run_name="<y>",
    )
    assert "command &lt;y&gt;" in run._repr_html_() and "in 2.5 s, attempt 3" in run._repr_html_()
