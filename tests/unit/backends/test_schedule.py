"""Durations and schedules: what people write, what it means, and what is refused with a hint."""

from __future__ import annotations

import itertools
import subprocess
import sys
from bisect import bisect_right
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from holter.backends.errors import ScheduleError
from holter.backends.schedule import (
    Schedule,
    check_syntax,
    clock_time,
    format_duration,
    parse_deadline,
    parse_duration,
    parse_rate,
)

ZONES = [
    *("UTC", "Europe/Berlin", "Europe/Dublin", "America/New_York", "America/Santiago", "America/Havana"),
    *("Australia/Lord_Howe", "Pacific/Chatham", "Africa/Cairo", "Antarctica/Troll", "Asia/Gaza"),
    "Africa/Casablanca",
]


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
        ("1H30M", 5400),
        ("1m500ms", 60.5),
        (".5s", 0.5),
        (90, 90),
        (0.25, 0.25),
        (0, 0),
        ("1.5h", 5400),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "m",
            "15x",
            "-5m",
            "1h-5m",
            "1..5s",
            "ten",
            "nan",
            "inf",
            "1e3",
            "5 minutes",
            "1h 5",
            "1 5m",
            "\u0663s",
        ),
        *(-1, float("nan"), float("inf"), -float("inf"), 10**400, 10**10),
        *(True, None, [], b"5m"),
    ],
)
def test_what_is_no_duration_is_refused_with_a_hint(text: object) -> None:
    with pytest.raises(ScheduleError, match="is no duration") as caught:
        parse_duration(text)
    assert "15m" in caught.value.hint


@pytest.mark.parametrize("text", ["9" * 10_000, "no\nsuch\nthing" * 100])
def test_what_is_refused_is_shown_in_one_line_of_bounded_length(text: str) -> None:
    for refuse in (parse_duration, check_syntax, Schedule.parse, lambda zone: Schedule.parse("@daily", zone)):
        with pytest.raises(ScheduleError) as caught:
            refuse(text)
        assert len(str(caught.value)) < 300
        assert "\n" not in str(caught.value)


@given(st.one_of(st.text(max_size=30), st.floats(), st.integers(), st.none(), st.booleans()))
def test_whatever_is_given_is_a_finite_number_of_seconds_or_refused(value: object) -> None:
    seconds = 0.0
    with suppress(ScheduleError):
        seconds = parse_duration(value)
    assert 0 <= seconds < 1e10


@given(st.floats(0.0005, 1e9))
def test_a_formatted_fraction_reads_back_to_within_its_last_unit_too(seconds: float) -> None:
    again = parse_duration(format_duration(seconds))
    assert abs(again - seconds) <= max(
        0.05, 3600 if seconds >= 86399 else 60 if seconds >= 3599 else seconds / 59
    )


@given(st.integers(0, 10**8))
def test_a_formatted_duration_reads_back_to_within_its_last_unit(seconds: int) -> None:
    again = parse_duration(format_duration(seconds))
    assert abs(again - seconds) <= (3600 if seconds >= 86400 else 60 if seconds >= 3600 else 1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (-250, "-4m 10s"),
        (3599.6, "1h"),
        (90000, "1d 1h"),
        (0.004, "4ms"),
        (0.0001, "<1ms"),
        (3.21, "3.2s"),
        (59.96, "1m"),
        (250, "4m 10s"),
        (7500, "2h 5m"),
        (86400 * 90, "90d"),
    ],
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
@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago"]
)
def test_a_time_in_the_gap_or_the_overlap_of_a_clock_change_comes_once_a_day(year: int, zone: str) -> None:
    schedule = Schedule.parse("30 2 * * *", zone)
    found = schedule.expected_between(
        moment(f"{year}-01-01T00:00:00+00:00"), moment(f"{year + 1}-01-01T00:00:00+00:00")
    )
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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x y",
        "0 2 * *",
        "@often",
        "every",
        "every 0s",
        "every 0 s x y",
        "every 0.01ms",
        "every day",
        "61 * * * *",
        "0 2 * * MOO",
    ],
)
def test_a_schedule_that_does_not_parse_is_refused_with_a_hint(text: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse(text)
    assert caught.value.hint


def test_an_unknown_zone_names_the_nearest() -> None:
    with pytest.raises(ScheduleError, match="did you mean Europe/Berlin"):
        Schedule.parse("0 2 * * *", "Europe/Berln")


def test_a_machine_without_time_zones_says_what_to_install_and_keeps_utc() -> None:
    """Some containers are so small."""
    code = """
import sys, zoneinfo
zoneinfo.reset_tzpath([])
sys.modules["tzdata"] = None
from holter.backends.schedule import Schedule
print(Schedule.parse("0 2 * * *", "UTC").next_after(0.0))
try:
    Schedule.parse("0 2 * * *", "Europe/Berlin")
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "7200.0", done.stderr
    said = done.stdout.splitlines()[1]
    assert said.startswith("ScheduleError this machine knows no time zones but UTC")
    assert "pip install tzdata" in said


def test_the_syntax_check_of_a_decorator_lets_every_schedule_pass_that_parses() -> None:
    for text in ("0 2 * * *", "@daily", "every 15m", "*/5 8-18 * * 1-5"):
        check_syntax(text)
        Schedule.parse(text)


@pytest.mark.parametrize(
    "text", ["99 * * * *", "0 24 * * *", "0 0 0 * *", "0 0 1 13 *", "0 0 * * 1-8", "0,60 * * * *"]
)
def test_a_number_out_of_its_range_is_seen_by_the_decorator_too(text: str) -> None:
    with pytest.raises(ScheduleError, match=r"is not from \d+ to \d+"):
        check_syntax(text)


def test_five_fields_are_a_schedule_and_six_are_not() -> None:
    with pytest.raises(ScheduleError, match="is no schedule"):
        Schedule.parse("0 0 2 * * *")


@pytest.mark.parametrize("zone", ["/etc/passwd", "../x", "a\0b", "Europe", "\xe9", 5])
def test_what_cannot_be_a_zone_is_refused_like_an_unknown_one(zone: str) -> None:
    with pytest.raises(ScheduleError, match="there is no time zone") as caught:
        Schedule.parse("every 15m", zone)
    assert caught.value.hint


def test_no_zone_is_utc() -> None:
    assert Schedule.parse("0 2 * * *").next_after(0) == 7200


# --- clock changes ---------------------------------------------------------------------------------


@cache
def clock_changes(zone: str) -> list[float]:
    """The moments of 2025 and 2026 at which the zone's offset changes, to the hour."""
    hours = [datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=n) for n in range(2 * 365 * 24)]
    offsets = [hour.astimezone(ZoneInfo(zone)).utcoffset() for hour in hours]
    return [
        hour.timestamp()
        for hour, (old, new) in zip(hours[1:], itertools.pairwise(offsets), strict=True)
        if old != new
    ]


@cache
def daily(zone: str, hour: int, minute: int) -> list[float]:
    """What cron means by a time of day, computed day by day: the first of two, and after a gap where there is none."""
    found = []
    for day in range(2 * 365 + 2):
        local = datetime(2024, 12, 31, hour, minute, tzinfo=ZoneInfo(zone)) + timedelta(days=day)
        while local.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) != local.replace(
            tzinfo=None
        ):
            local += timedelta(minutes=1)
        found.append(local.timestamp())
    return found


@pytest.mark.parametrize("zone", ZONES)
def test_a_time_of_day_comes_once_on_every_day_of_two_years(zone: str) -> None:
    for hour, minute in ((0, 0), (0, 30), (1, 30), (2, 0), (2, 50), (3, 15), (23, 45)):
        schedule = Schedule.parse(f"{minute} {hour} * * *", zone)
        oracle = daily(zone, hour, minute)
        assert schedule.expected_between(oracle[0], oracle[-1]) == oracle[1:]


@settings(deadline=None)  # the first example of each zone computes two years
@given(
    st.data(), st.sampled_from(ZONES), st.sampled_from([(0, 30), (1, 30), (2, 15), (2, 45), (3, 0), (3, 30)])
)
def test_about_a_clock_change_all_three_questions_have_one_answer(
    data: st.DataObject, zone: str, time: tuple[int, int]
) -> None:
    near = data.draw(st.sampled_from([moment("2025-06-01T00:00:00+00:00"), *clock_changes(zone)]))
    at = near + data.draw(st.floats(-5 * 3600, 5 * 3600))
    schedule, oracle = Schedule.parse(f"{time[1]} {time[0]} * * *", zone), daily(zone, *time)
    place = bisect_right(oracle, at)
    assert schedule.last_before(at) == oracle[place - 1]
    assert schedule.next_after(at) == oracle[place]
    assert schedule.expected_between(at, oracle[place + 2]) == oracle[place : place + 3]


@pytest.mark.parametrize("zone", ZONES)
def test_every_so_many_minutes_is_even_in_elapsed_time_through_clock_changes(zone: str) -> None:
    schedule = Schedule.parse("*/15 * * * *", zone)
    for change in clock_changes(zone):
        found = schedule.expected_between(change - 6 * 3600, change + 6 * 3600)
        assert {later - earlier for earlier, later in itertools.pairwise(found)} == {900.0}


# --- moments ---------------------------------------------------------------------------------------


@given(
    st.sampled_from(
        ["*/20 * * * *", "30 2 * * *", "@weekly", "0 9 1 * *", "every 15m", "every 90s", "every 1.1s"]
    ),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
    st.lists(st.floats(1.7e9, 1.7e9 + 7200), min_size=2, max_size=6).map(sorted),
)
def test_windows_that_meet_lose_nothing_and_repeat_nothing(text: str, zone: str, edges: list[float]) -> None:
    schedule = Schedule.parse(text, zone)
    apart = [
        at for since, until in itertools.pairwise(edges) for at in schedule.expected_between(since, until)
    ]
    assert apart == schedule.expected_between(edges[0], edges[-1])


def test_a_moment_less_than_a_microsecond_away_is_not_rounded_away() -> None:
    assert Schedule.parse("* * * * *").expected_between(1764000059.9999998, 1764000060) == [1764000060]


@given(st.sampled_from(["every 1.1s", "every 100ms", "every 7s", "every 1h30m"]), st.integers(1, 10**6))
def test_a_step_of_an_interval_is_its_own_last_and_never_its_own_next(text: str, n: int) -> None:
    schedule, every = Schedule.parse(text), parse_duration(text.split()[1])
    assert schedule.last_before(n * every) == n * every
    assert schedule.next_after(n * every) == (n + 1) * every


def test_a_leap_day_is_found_from_almost_four_years_later_and_over_a_century_without_one() -> None:
    leap = Schedule.parse("0 0 29 2 *")
    assert leap.last_before(moment("2028-02-28T00:00:00+00:00")) == moment("2024-02-29T00:00:00+00:00")
    assert leap.next_after(moment("2096-03-01T00:00:00+00:00")) == moment("2104-02-29T00:00:00+00:00")


def test_the_last_of_very_many_moments_is_the_last() -> None:
    january = Schedule.parse("* * * 1 *")
    assert january.last_before(moment("2026-12-15T00:00:00+00:00")) == moment("2026-01-31T23:59:00+00:00")


def test_an_answer_is_bounded_however_long_the_time_asked_about() -> None:
    found = Schedule.parse("every 1s").expected_between(0, 1e9)
    assert (len(found), found[0], found[-1]) == (100_000, 1, 100_000)
    assert Schedule.parse("every 1s").expected_between(5, 5) == []
    assert Schedule.parse("@daily").expected_between(86400, 0) == []


def test_neither_the_module_nor_a_decorators_check_loads_a_cron_library_into_the_job() -> None:
    code = (
        "import sys; from holter.backends.schedule import check_syntax, parse_duration;"
        "check_syntax('0 2 * * *'); check_syntax('every 15m'); parse_duration('1h30m');"
        "print({'cronsim', 'zoneinfo', 'datetime', 'attrs', 'typing', 'inspect', 'logging'} & {*sys.modules})"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    assert said.stdout == "set()\n"


@pytest.mark.parametrize("text", [":11", "9" * 5000 + ":00", "123:00", "\x1e1:00", "24:00"])
def test_what_is_no_clock_time_is_refused_with_a_hint(text: str) -> None:
    assert clock_time(text) is None
    with pytest.raises(ScheduleError, match="06:00"):
        parse_deadline(text)


@pytest.mark.parametrize("count", ["9" * 5000, "", "0", "10001", "\u00b2"])
def test_what_is_no_rate_is_refused_with_a_hint(count: str) -> None:
    with pytest.raises(ScheduleError, match="3 per 1h"):
        parse_rate(f"{count} per 1h")


def test_whatever_blank_stands_before_a_rate_is_a_blank() -> None:
    assert parse_rate("\x1e 3 per 1h") == (3, 3600.0)
