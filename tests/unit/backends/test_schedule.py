"""Durations and schedules: what people write, what it means, and what is refused with a hint."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.backends.errors import ScheduleError
from holter.backends.schedule import Schedule, check_syntax, format_duration, parse_duration


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15m", 900),
        ("1h30m", 5400),
        ("2h", 7200),
        ("365d", 365 * 86400),
        ("1w", 604800),
        ("500ms", 0.5),
        ("90", 90),
        (" 1 h 5 s ", 3605),
        (90, 90),
        (0.25, 0.25),
        (0, 0),
        ("1.5h", 5400),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "15x", "-5m", -1, "1h-5m", float("nan"), float("inf"), True, None, [], "1..5s", "ten"]
)
def test_what_is_no_duration_is_refused_with_a_hint(text: object) -> None:
    with pytest.raises(ScheduleError, match="is no duration") as caught:
        parse_duration(text)
    assert "15m" in caught.value.hint


@given(st.integers(0, 10**8))
def test_a_formatted_duration_reads_back_to_within_its_last_unit(seconds: int) -> None:
    again = parse_duration(format_duration(seconds))
    assert abs(again - seconds) <= (3600 if seconds >= 86400 else 60 if seconds >= 3600 else 1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0ms"), (0.004, "4ms"), (0.0001, "<1ms"), (3.21, "3.2s"), (59.96, "1m"), (250, "4m 10s"), (7500, "2h 5m"), (86400 * 90, "90d")],
)
def test_a_duration_is_short_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_daily_time_is_expected_once_on_each_day_in_its_own_zone() -> None:
    nightly = Schedule.parse("0 2 * * *", "Europe/Berlin")
    found = nightly.expected_between(moment("2026-11-20T00:00:00+00:00"), moment("2026-11-23T00:00:00+00:00"))
    assert [datetime.fromtimestamp(at, UTC).isoformat() for at in found] == [
        "2026-11-20T01:00:00+00:00",
        "2026-11-21T01:00:00+00:00",
        "2026-11-22T01:00:00+00:00",
    ]


@pytest.mark.parametrize("year", [2025, 2026, 2027])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"])
def test_a_time_in_the_gap_or_the_overlap_of_a_clock_change_comes_once_a_day(year: int, zone: str) -> None:
    schedule = Schedule.parse("30 2 * * *", zone)
    found = schedule.expected_between(moment(f"{year}-01-01T00:00:00+00:00"), moment(f"{year + 1}-01-01T00:00:00+00:00"))
    gaps = [later - earlier for earlier, later in zip(found, found[1:], strict=False)]
    assert len(found) == 365
    assert all(22.4 * 3600 <= gap <= 25.6 * 3600 for gap in gaps)


def test_an_interval_counts_from_the_epoch() -> None:
    quarter = Schedule.parse("every 15m")
    assert quarter.expected_between(0, 3600) == [900, 1800, 2700, 3600]
    assert quarter.last_before(1000) == 900
    assert quarter.next_after(900) == 1800


@pytest.mark.parametrize("alias", ["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly"])
def test_the_aliases_of_crontabs_are_known(alias: str) -> None:
    schedule = Schedule.parse(alias)
    now = moment("2026-11-23T06:00:00+00:00")
    last, after = schedule.last_before(now), schedule.next_after(now)
    assert last is not None
    assert after is not None
    assert last <= now < after


def test_the_rarest_day_of_cron_is_found_on_both_sides() -> None:
    leap = Schedule.parse("0 0 29 2 *")
    now = moment("2026-11-23T06:00:00+00:00")
    assert leap.last_before(now) == moment("2024-02-29T00:00:00+00:00")
    assert leap.next_after(now) == moment("2028-02-29T00:00:00+00:00")


@given(st.floats(0, 4e9))
def test_before_and_after_stand_on_both_sides_of_any_moment(at: float) -> None:
    schedule = Schedule.parse("*/20 * * * *")
    last, after = schedule.last_before(at), schedule.next_after(at)
    assert last is not None
    assert after is not None
    assert last <= at < after
    assert after - last == 1200


@pytest.mark.parametrize("text", ["", "x y", "0 2 * *", "@often", "every", "every 0s", "every day", "61 * * * *", "0 2 * * MOO"])
def test_a_schedule_that_does_not_parse_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse(text)
    assert caught.value.hint


def test_an_unknown_zone_names_the_nearest() -> None:
    with pytest.raises(ScheduleError, match="did you mean Europe/Berlin"):
        Schedule.parse("0 2 * * *", "Europe/Berln")


def test_the_syntax_check_of_a_decorator_lets_every_schedule_pass_that_parses() -> None:
    for text in ("0 2 * * *", "@daily", "every 15m", "*/5 8-18 * * 1-5"):
        check_syntax(text)
        Schedule.parse(text)
