"""A crontab's lines: `holter run` in front, and the same bytes when it is taken away again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from holter.agent.crontab import Change, Line, Runner, parse, unwrap, wrap
from holter.agent.crontab_checks import check_of, system_zone
from holter.agent.crontab_names import base_name

from ...awkward_crontab import LINES, TEXT

RUNNER = Runner("/opt/my tools/100%/holter", {"HOLTER_HOME": "/srv/it's/home 5%"})
PIECES = st.sampled_from(
    [
        *LINES,
        *(
            b"* * * * * ",
            b"@daily ",
            b"root ",
            b"'",
            b'"',
            b"\\",
            b"%",
            b"\\%",
            b"'\\''",
            b"\n",
            b"\r\n",
            b"\t",
        ),
        *(
            b" ",
            b"#",
            b"=",
            b"SHELL=/bin/sh\n",
            b"SHELL=/usr/bin/fish\n",
            b"echo",
            b"\0",
            b"holter",
            b"~",
            b"a" * 990,
        ),
        b"1 2 3 4 5 /x/holter run --tag crontab --name n -- /bin/sh -c '",
        b"1 2 3 4 5 /x/holter run --tag crontab --name n -- /bin/sh -c 'it'\\''s'%in\n",
    ]
)
TEXTS = st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=12).map(b"".join))


def changes(text: bytes, system: bool = False) -> list[Change]:
    return list(wrap(parse(text, system), lambda line: RUNNER))


def wrapped(text: bytes, system: bool = False) -> bytes:
    return b"".join(change.text for change in changes(text, system))


def names(text: bytes) -> list[str]:
    return [change.name for change in changes(text) if change.name]


@given(TEXTS, st.booleans())
@example(TEXT, False)
@example(TEXT, True)
def test_unwrapping_gives_the_bytes_that_were_there_before_whatever_they_are(
    text: bytes, system: bool
) -> None:
    plain = unwrap(text, system)  # what is wrapped already stays so
    assert unwrap(wrapped(text, system), system) == plain
    if plain == text:
        assert unwrap(wrapped(text, system), system) == text


@given(TEXTS, st.booleans())
def test_a_second_wrapping_changes_nothing(text: bytes, system: bool) -> None:
    once = wrapped(text, system)
    assert wrapped(once, system) == once


def test_of_thirty_awkward_lines_every_job_is_wrapped_that_can_be_and_the_rest_says_why() -> None:
    assert len(LINES) == 30
    jobs = [change for change in changes(TEXT) if change.line.kind == "job"]
    left = {change.line.number: change.why for change in jobs if not change.name}
    assert set(left) == {25, 26, 27}
    assert "longer than" in left[25] and "longer than" in left[26] and left[27] == "runs holter itself"
    assert len([change for change in jobs if change.name]) == 18
    assert wrapped(TEXT).count(b"run --tag crontab") == 18
    assert unwrap(wrapped(TEXT)) == TEXT


def test_comments_variables_and_what_cron_would_not_take_stay_as_they_are() -> None:
    kinds = {line.number: line.kind for line in parse(TEXT)}
    assert [number for number, kind in kinds.items() if kind == "variable"] == [4, 5, 6, 7]
    assert kinds[1] == kinds[2] == kinds[3] == kinds[24] == kinds[28] == "other"
    new = wrapped(TEXT).split(b"\n")
    assert [new[number - 1] + b"\n" for number in (1, 2, 3, 4, 5, 6, 7, 24, 28)] == [
        LINES[number - 1] for number in (1, 2, 3, 4, 5, 6, 7, 24, 28)
    ]


def as_cron_runs(line: bytes, shell: str = "/bin/sh") -> subprocess.CompletedProcess[bytes]:
    """The command of a line the way that Debian's cron starts it (do_command.c): up to the first plain percent."""
    (job,) = (each for each in parse(line) if each.kind == "job")
    command, given_in, escaped, rest = bytearray(), b"", False, iter(job.command)
    for char in rest:
        if escaped:
            if char == ord("%"):
                command[-1:] = b""
            escaped = False
        elif char == ord("\\"):
            escaped = True
        elif char == ord("%"):
            given_in = bytes(rest).replace(b"\\%", b"\0").replace(b"%", b"\n").replace(b"\0", b"%") + b"\n"
            break
        command.append(char)
    return subprocess.run(
        [shell, "-c", bytes(command)], input=given_in, capture_output=True, timeout=20, check=False
    )


@pytest.mark.parametrize(
    "command",
    [
        b"echo 'it''s' \"a 'b' c\"",
        b"date -u -d @0 +\\%Y-\\%m-\\%d",
        b"cat%first line%second \\% line%%fourth",
        b"echo 100\\% of 'it'; cat; exit 3%body's first%second",
        b"echo back\\\\slash \\'quoted\\' \\\\; cat%stdin",
        b"VAR='x y' sh -c 'echo \"$VAR\"' | tr a-z A-Z; false || exit 7",
        b"echo a   b # c",
        b"echo \xff caf\xc3\xa9\r",
        b"echo end \\",
        b"",
    ],
)
def test_a_wrapped_command_does_what_it_did_before(tmp_path: Path, command: bytes) -> None:
    """What stands for `holter run` here is what it is to cron and the shell: it starts what comes after the --."""
    stand_in = tmp_path / "100%" / "it's holter"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')
    stand_in.chmod(0o755)
    line = b"* * * * * " + command + b"\n"
    if not command:
        assert wrapped(line) == line
        return
    (change,) = wrap(parse(line), lambda line: Runner(str(stand_in), {"HOLTER_HOME": "/srv/it's 5%"}))
    before, after = as_cron_runs(line), as_cron_runs(change.text)
    assert change.name
    assert (after.stdout, after.returncode) == (before.stdout, before.returncode)
    assert after.stderr.replace(b"sh: 1:", b"") == before.stderr.replace(b"sh: 1:", b"")


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/usr/local/bin/backup.sh --full > /dev/null 2>&1", "backup"),
        ("nice -n 10 /srv/app/manage.py clearsessions", "manage-clearsessions"),
        ("cd /srv/app && ./bin/rotate", "rotate"),
        ("VAR='x y' flock -n /tmp/lock python3 -m pkg.job --day 3", "pkg.job"),
        ("/usr/bin/python3 -u /srv/etl/nightly.py", "nightly"),
        ("[ -x /usr/sbin/anacron ] || ( cd / && run-parts --report /etc/cron.daily )", "run-parts"),
        ("bash -lc 'cd /srv && exec ./sync.sh fast'", "sync-fast"),
        ("timeout 1h sudo -u www-data php artisan schedule:run", "artisan-schedule-run"),
        ("certbot -q renew", "certbot"),
        ("mysql -psecret --execute 'call x'", "mysql"),
        ("curl https://user:hunter2@example.org/", "curl"),
        ("python3 -c 'print(1)'", "python3"),
        ("'unclosed", "job"),
        ("flock /tmp/l -c 'rsync -a a b'", "rsync"),
        ("$HOME/bin/thing", "thing"),
        ("*", "job"),
        ("sh -c 'sh -c \"sh -c x\"'", "x"),
    ],
)
def test_a_job_is_named_as_a_person_would_name_it_and_nothing_secret_gets_into_the_name(
    command: str, name: str
) -> None:
    assert base_name(command) == name


def test_names_are_unique_among_lines_and_against_what_is_expected_already() -> None:
    text = b"1 * * * * /a/backup.sh\n2 * * * * /b/backup.sh\n3 * * * * poll\n"
    assert names(text) == ["backup", "backup-2", "poll"]
    known = {"poll", "poll@box", "backup-2"}
    out = wrap(parse(text), lambda line: RUNNER, lambda line, name: name in known, "box")
    assert [change.name for change in out] == ["backup", "backup-3", "poll@box-2"]
    assert names(wrapped(text) + b"4 * * * * backup\n") == ["backup", "backup-2", "poll", "backup-3"]


def test_a_shell_with_other_quotes_is_left_alone_until_the_next_shell() -> None:
    text = b"SHELL=/usr/bin/fish\n* * * * * a\nSHELL=/bin/zsh\n* * * * * b\n"
    assert [change.why or change.name for change in changes(text) if change.line.kind == "job"] == [
        "its SHELL is /usr/bin/fish, whose quotes may be others than those of sh",
        "b",
    ]
    assert b"-- /bin/zsh -c 'b'" in wrapped(text)


def test_a_column_for_the_user_is_kept_before_the_command() -> None:
    text = b"17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly\n"
    (line,) = parse(text, system=True)
    assert (line.user, line.command) == ("root", b"cd / && run-parts --report /etc/cron.hourly")
    assert wrapped(text, system=True).startswith(b"17 *\t* * *\troot\tHOLTER_HOME=")
    assert unwrap(wrapped(text, system=True), system=True) == text


def a_line(times: str) -> Line:
    return Line(1, b"", "job", times)


@pytest.mark.parametrize(
    ("times", "grace", "expected"),
    [
        ("0 2 * * mon-fri", None, {"schedule": "0 2 * * mon-fri", "timezone": "UTC"}),
        ("@daily", 60.0, {"schedule": "@daily", "timezone": "UTC", "grace": 60.0}),
        ("0~30 3 * * *", None, {"schedule": "0 3 * * *", "timezone": "UTC", "grace": 2100.0}),
        ("~ 3~4 * * *", 10.0, {"schedule": "0 3 * * *", "timezone": "UTC", "grace": 59 * 60 + 3600 + 10.0}),
        ("0 3 ~ * *", None, {}),
        ("@reboot", None, {}),
        ("61 2 * * *", None, {}),
        ("@fortnightly", None, {}),
    ],
)
def test_a_lines_times_become_a_check_where_they_can(
    times: str, grace: float | None, expected: dict[str, object]
) -> None:
    check, why = check_of(a_line(times), "UTC", grace)
    assert check == expected
    assert bool(why) == (not expected)


def test_the_zone_is_the_machines(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    assert system_zone(str(tmp_path)) == "UTC"
    (etc / "timezone").write_text("Asia/Tokyo\n")
    assert system_zone(str(tmp_path)) == "Asia/Tokyo"
    (etc / "localtime").symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    assert system_zone(str(tmp_path)) == "Europe/Berlin"
