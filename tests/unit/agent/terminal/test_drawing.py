"""What is drawn: waterfalls, sparklines, the picture of `holter top`; every line fits, at any width."""

from __future__ import annotations

from io import StringIO
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from holter.agent.occupancy import Occupancy
from holter.agent.slot_files import Place
from holter.agent.terminal import top_view, waterfall
from holter.agent.terminal.grid import Grid
from holter.agent.terminal.sparkline import sparkline, ticks
from holter.agent.terminal.tables import ReportTable
from holter.agent.terminal.top_picture import Flow, Picture, Trouble
from holter.agent.terminal.top_view import picture_lines
from holter.agent.waterfall import Span
from holter.agent.waterfall import waterfall as model
from holter.backends.records import Run

EVIL = "na\x1b[31mme\u202e\nof\tit 名前"
NOW = 1_000_000.0


def a_run(run_id: str = "1m8.1", state: str = "COMPLETED", at: float = NOW - 100, **more: Any) -> Run:
    ended = None if state == "RUNNING" else at + 50
    tries = ({"attempt": 1, "started_at": at, "ended_at": ended},)
    given = {"name": "load", "parent_id": "1m8" if "." in run_id else None, "attempts": tries, **more}
    return Run(
        id=run_id,
        kind="task",
        state=state,
        root_id="1m8",
        created_at=at,
        started_at=at,
        ended_at=ended,
        **given,
    )


def drawn(run: Run, family: list[Run], width: int, **more: Any) -> list[str]:
    return [each.plain for each in waterfall.lines(model(run, family, NOW), width, **more)]


# --- the waterfall ------------------------------------------------------------------------------------------


def test_bars_stand_where_their_time_was() -> None:
    spans = (Span("waits", 0, 25), Span("fails", 25, 50), Span("delays", 50, 75), Span("runs", 75, 100))
    assert waterfall.bar_of(spans, 100, 8).plain == "░░▓▓··██"
    assert waterfall.bar_of(spans, 100, 8, waterfall.ASCII).plain == "..xx--=="
    assert waterfall.bar_of(spans[3:], 100, 8).plain == "      ██"


def test_a_failure_is_seen_however_short_it_was() -> None:
    spans = (Span("fails", 50, 50.001), Span("delays", 50.001, 60), Span("runs", 50, 100))
    assert waterfall.bar_of(spans, 100, 10).plain == "     ▓████"
    assert waterfall.bar_of((Span("runs", 100, 100),), 100, 10).plain == "         █"


def test_the_picture_has_an_axis_a_line_for_each_part_and_a_legend() -> None:
    family = [a_run("1m8.1", name="load"), a_run("1m8.2", "FAILED", NOW - 50, name="store")]
    rows = drawn(a_run("1m8", name="etl"), family, 80, notes={"1m8.2": "ValueError: no"})
    assert rows[0].split() == ["0s", "50.0s", "1m", "40s"]
    assert rows[1] == f"  load   {'█' * 25:<50}  ✔         50.0s  .1"
    assert "▓  ✘ FAILED  50.0s  .2" in rows[2] and rows[3] == "  █ ran  ▓ failed"
    wide = drawn(a_run("1m8", name="etl"), family, 200, notes={"1m8.2": "ValueError: no"})
    assert wide[2].endswith("✘ FAILED     50.0s  1m8.2  ValueError: no")
    assert all(
        row.isascii() or "✘" in row or "✔" in row for row in drawn(a_run("1m8"), family, 80, unicode=False)
    )


def test_thousands_of_parts_are_a_few_lines() -> None:
    family = [
        a_run(f"1m8.{n}", "FAILED" if n % 1000 == 5 else "COMPLETED", name="page") for n in range(10_000)
    ]
    rows = drawn(a_run("1m8"), family, 80)
    assert "page x10,000" in rows[1] and "10 failed" in rows[1]
    assert len(rows) == 1 + 1 + 5 + 1


@given(
    st.integers(20, 220),
    st.lists(st.tuples(st.floats(0, 1e5), st.sampled_from(["FAILED", "RUNNING"])), max_size=5),
)
def test_no_line_of_a_waterfall_is_wider_than_the_window(width: int, parts: list[tuple[float, str]]) -> None:
    family = [a_run(f"1m8.{n}", state, NOW - at, name=EVIL * 3) for n, (at, state) in enumerate(parts)]
    rows = drawn(a_run("1m8", name=EVIL), family, width, notes={"1m8.0": "why " * 50}) if family else []
    assert all(cell_len(row) <= width and "\x1b" not in row and "\u202e" not in row for row in rows)


# --- sparklines ---------------------------------------------------------------------------------------------


def test_a_sparkline_is_as_high_as_there_were_runs_and_red_where_some_failed() -> None:
    line = sparkline([0, 1, 4, 8], [0, 0, 1, 0])
    assert line.plain == " ▁▄█" and [str(span.style) for span in line.spans] == ["green", "red", "green"]
    assert (
        sparkline([0, 1, 1000], [0, 0, 0]).plain == " ▁█"
        and sparkline([0, 1, 8], [0] * 3, unicode=False).plain == " .@"
    )
    assert sparkline([], []).plain == ""


def test_ticks_tell_failures_without_colours_too() -> None:
    states = ["COMPLETED", "FAILED", "SKIPPED", "CRASHED", "RUNNING"]
    assert (ticks(states).plain, ticks(states, unicode=False).plain) == ("▪✘»✘▶", ".XsX>")


# --- holter top ---------------------------------------------------------------------------------------------


def a_picture(**more: Any) -> Picture:
    holder = Place("database", 0, held=True, run_id="1m1", run_name="etl", since=NOW - 5)
    waiter = Place("database", 0, held=True, run_id="1m2", run_name="copy", since=NOW - 5)
    live = [
        Flow(a_run("1m1", "RUNNING", name="etl"), {"done": 30, "total": 40, "text": EVIL}, 200.0),
        Flow(a_run("1m2", "RUNNING", name=EVIL), None, 50.0, waits="database"),
        Flow(a_run("1m3", "RUNNING", name="stuck", conditions=("stalled",))),
    ]
    return Picture(
        **{
            "live": tuple(live),
            "recent": tuple(
                Flow(a_run(f"1n{n}", "FAILED", name="old", reason="exit code 3")) for n in range(50)
            ),
            "limits": (Occupancy("database", 1, "host", (holder,), (waiter,)),),
            "troubles": tuple(Trouble("late", f"job-{n}", EVIL, NOW - n) for n in range(9)),
            **more,
        },
        now=NOW,
        host="box",
        store="sqlite:///holter.db",
    )


def plain(*args: Any, **more: Any) -> list[str]:
    return [each.plain for each in picture_lines(*args, **more)]


def test_the_picture_tells_how_far_runs_are_and_guesses_where_nobody_says() -> None:
    rows = plain(a_picture(), 120, 30)
    etl, copy, stuck = rows[3:6]
    assert "█████████░░░  75%" in etl and "1m 40s" in etl and "~3m 20s" in etl and "30/40 75%" in etl
    assert "▒▒▒▒▒▒▒▒▒▒▒▒~200%" in copy and copy.startswith("  ! waits") and "for a slot of database" in copy
    assert stuck.startswith("  ! stalled") and "▒" not in stuck


def test_the_header_says_who_watches_and_since_when_nothing_was_read() -> None:
    assert plain(a_picture(watcher="box"), 80, 24)[1] == "✔ watchdog alive on box"
    assert plain(a_picture(unwatched="nobody watches"), 80, 24)[1] == "! nobody watches"
    assert plain(a_picture(stale="disk I/O error"), 80, 24)[1].endswith(": disk I/O error")


def test_trouble_and_slots_have_their_part_of_a_small_window_and_say_what_is_cut() -> None:
    rows = plain(a_picture(), 80, 24)
    assert len(rows) == 24
    assert any(row.startswith("ALERTS 9 open  5 more below") for row in rows)
    assert rows[-1] == "  database 1 of 1  held by etl  waiting: copy"


def test_the_chosen_run_is_always_in_sight() -> None:
    for chosen in range(53):
        assert sum(row.startswith("▸") for row in plain(a_picture(), 80, 15, chosen=chosen)) == 1


def test_a_plain_picture_has_ten_ended_runs_and_no_mark() -> None:
    rows = plain(a_picture(), 160, None)
    assert sum("old" in row for row in rows) == 10 and not any("▸" in row for row in rows)


@given(st.integers(16, 220), st.integers(3, 60), st.integers(-1, 60))
def test_the_picture_fits_every_window(width: int, height: int, chosen: int) -> None:
    for signs in (None, top_view.ASCII):
        rows = plain(a_picture(), width, height, chosen=chosen, signs=signs)
        assert len(rows) <= height
        assert all(cell_len(row) <= width and "\x1b" not in row and "\u202e" not in row for row in rows)


def test_a_report_drops_columns_as_the_window_gets_narrow() -> None:
    from rich.console import Console

    from holter.agent.reports import JobReport, Report
    from holter.agent.terminal.trends import Trend
    from holter.backends.records import JobSummary

    last = {"id": "1m8", "state": "FAILED", "conditions": [], "created_at": NOW, "duration_seconds": 1.0}
    figures = JobSummary("default", "nightly-etl", "flow", 7, {"FAILED": 7}, 60.0, 90.0, last)
    table = ReportTable(
        Report(0, NOW, (JobReport(figures, 0.0, 0.5, 3.0),)),
        NOW,
        {("default", "nightly-etl", "flow"): Trend((0, 8), (0, 1), ("FAILED",) * 12)},
    )

    def shown(width: int) -> list[str]:
        console = Console(width=width, color_system=None)
        with console.capture() as caught:
            console.print(table)
        return caught.get().splitlines()

    assert shown(200)[0].split() == "JOB RUNS ENDINGS OK KEPT P50 P95 LATE OVER TIME NEWEST LAST".split()
    assert shown(80)[0].split() == "JOB RUNS OK KEPT P50 OVER TIME NEWEST LAST".split()
    assert shown(50)[0].split() == "JOB RUNS OK NEWEST LAST".split()
    assert " █         ✘✘✘✘" in shown(80)[1] and all(len(row) <= 80 for row in shown(80))


def test_the_name_of_a_job_is_whole_before_any_figure_and_one_project_is_not_said_on_every_line() -> None:
    from rich.console import Console

    from holter.agent.reports import JobReport, Report
    from holter.agent.terminal.trends import Trend
    from holter.backends.records import JobSummary

    last = {
        "id": "1m8",
        "state": "FAILED",
        "conditions": [],
        "created_at": NOW - 90_000,
        "duration_seconds": 1,
    }

    def shown(*jobs: tuple[str, str]) -> str:
        found = [JobSummary(*job, "flow", 167, {"FAILED": 167}, 1188.0, 90.0, last) for job in jobs]
        trends = {(*job, "flow"): Trend((0, 8) * 6, (0, 1) * 6, ("FAILED",) * 12) for job in jobs}
        table = ReportTable(
            Report(0, NOW, tuple(JobReport(each, 0.91, 1.0, 3.0) for each in found)), NOW, trends
        )
        console = Console(width=80, color_system=None)
        with console.capture() as caught:
            console.print(table)
        return caught.get()

    alone = shown(("billing", "nightly-backup"), ("billing", "invoices"))
    assert "nightly-backup " in alone and "billing" not in alone and "P50" in alone
    assert "nightly-backup-of-ev" in shown(("billing", "nightly-backup-of-everything"))
    both = shown(("billing", "invoices"), ("shop", "invoices"))
    assert "billing/invoices " in both and "shop/invoices " in both


@given(st.lists(st.integers(1, 80).map("x".__mul__), max_size=5), st.integers(40, 90))
def test_what_goes_on_in_the_next_line_of_a_table_loses_no_letter(words: list[str], width: int) -> None:
    from rich.console import Console
    from rich.text import Text

    from holter.agent.terminal.grid import Grid

    table = Grid("JOB", "WHY", elastic={"JOB": 16, "WHY": 16}, wrap=("WHY",), header=False)
    table.add(Text("J" * 30), Text(" ".join(words)))
    console = Console(width=width, color_system=None)
    with console.capture() as caught:
        console.print(table)
    assert "".join(caught.get().replace("J", "").replace("…", "").split()) == "".join(words)
    assert all(cell_len(row) <= width for row in caught.get().splitlines())


# --- tables -------------------------------------------------------------------------------------------------


@given(st.integers(20, 160), st.lists(st.sampled_from(["etl", "nightly " * 5, ""]), min_size=1, max_size=3))
def test_no_id_of_a_table_is_cut_however_narrow_the_window(width: int, jobs: list[str]) -> None:
    table = Grid("ID", "JOB", "NOTE", "WHEN", elastic={"JOB": 14, "NOTE": 12}, optional=("NOTE",))
    for job in jobs:
        table.add(Text("0t8c5k2m9qv4x7bd"), Text(job), Text("ValueError: no rows"), Text("2026-11-24 02:09"))
    window = Console(width=width, file=StringIO(), color_system=None)
    window.print(table, crop=False)
    rows = window.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(rows) == 1 + len(jobs)
    assert all("0t8c5k2m9qv4x7bd" in row and "2026-11-24 02:09" in row for row in rows[1:])
    assert ("NOTE" in rows[0]) == (width >= 16 + 2 + min(14, max(map(len, ["JOB", *jobs]))) + 2 + 12 + 2 + 16)
