"""Unit files as text: what is in them, and that no path of the user's can add a line or a specifier."""

from __future__ import annotations

import pytest

from holter.agent.units import Service, UnitError, quoted, text_of

HOME = {"HOLTER_HOME": "/srv/holter"}


def unit(**changed: object) -> list[str]:
    given = {
        "name": "holter-watch",
        "what": "watchdog",
        "program": "/opt/bin/holter",
        "verb": "watch",
        "environment": HOME,
        "writable": ("/srv/holter", "/var/log/alerts"),
        "user": "root",
        "root": True,
    }
    return text_of(Service(**{**given, **changed})).splitlines()  # type: ignore[arg-type]


def test_the_watchdog_of_root_keeps_what_it_needs_to_see_and_end_the_jobs_of_its_users() -> None:
    rows = unit()
    assert "CapabilityBoundingSet=CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL" in rows
    assert "ReadWritePaths=/srv/holter /var/log/alerts" in rows
    assert {
        "Type=notify",
        "WatchdogSec=60",
        "Restart=always",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
    } <= {*rows}
    hiding = ("ProtectProc", "PrivatePIDs", "PrivateUsers", "ProcSubset")
    assert not any(row.startswith(hiding) for row in rows)


def test_no_other_service_has_any_capability() -> None:
    assert "CapabilityBoundingSet=" in unit(user="holter", root=False)
    assert "CapabilityBoundingSet=" in unit(verb="serve")


def test_units_of_ones_own_manager_have_no_wall_that_needs_root_to_build() -> None:
    rows = unit(user="", root=False)
    assert "NoNewPrivileges=yes" in rows and "WantedBy=default.target" in rows
    assert not any(
        row.startswith(("ProtectSystem", "User=", "OOMScoreAdjust", "CapabilityBoundingSet")) for row in rows
    )


def test_a_home_below_tmp_is_not_hidden_by_a_tmp_of_its_own() -> None:
    assert "PrivateTmp=yes" in unit()
    assert "PrivateTmp=yes" not in unit(writable=("/tmp/holter",))  # noqa: S108 - as said


def test_a_watchdog_with_automations_is_not_locked_in_with_the_jobs_that_it_starts() -> None:
    rows = unit(sandbox=False)
    assert "KillMode=process" in rows and not any(
        row.startswith(("Protect", "NoNew", "SystemCall")) for row in rows
    )


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/srv/holter", "/srv/holter"),
        ("/srv/my home", '"/srv/my home"'),
        ("/srv/100%n", "/srv/100%%n"),
        ('/srv/"q"\\', '"/srv/\\"q\\"\\\\"'),
        ("/srv/it's;", '"/srv/it\'s;"'),
        ("/srv/$HOME", "/srv/$HOME"),
    ],
)
def test_a_path_is_one_word_and_nothing_in_it_is_expanded(path: str, written: str) -> None:
    assert quoted(path) == written


def test_a_dollar_of_a_command_is_doubled_and_a_line_break_is_refused() -> None:
    assert quoted("/opt/$x/holter", command=True) == "/opt/$$x/holter"
    with pytest.raises(UnitError, match="line breaks"):
        unit(environment={"HOLTER_HOME": "/srv/a\nExecStartPre=/bin/evil"})
