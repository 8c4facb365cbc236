"""`holter crontab`: `holter run` in front of a crontab's jobs and their times into the store, and both away again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ...backends.errors import HolterError
from . import screen
from .options import DURATION

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..crontab import Change, Line, Runner
    from ..crontab_files import Crontab
    from .desk import Desk

CARRIED = ("HOLTER_HOME", "HOLTER_CONFIG", "HOLTER_PROJECT")  # of our environment, which cron's lacks

_file = click.option("--file", "path", metavar="FILE", help="This crontab, not your own.")
_system = click.option(
    "--system", is_flag=True, help="FILE has a column for the user [yes for /etc/crontab and /etc/cron.d]."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Only show what would change.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
def crontab() -> None:
    """Let cron's jobs be recorded, and expected at their times."""


@crontab.command()
@_file
@_system
@click.option("--grace", type=DURATION, metavar="15m", help="How late each may start [5m].")
@click.option("--timezone", metavar="ZONE", help="The zone that cron goes by, if not the system's.")
@_dry_run
@_yes
def wrap(
    path: str | None, system: bool, grace: float | None, timezone: str | None, dry_run: bool, yes: bool
) -> int:
    """Put `holter run` in front of every job, and make its times a check.

    The difference is shown and asked for first; a backup is kept. `unwrap` gives the same bytes back.
    """
    from ..crontab import parse
    from ..crontab import wrap as changes_of
    from ..identity import host

    place = _place(path, system)
    _may_ask(dry_run, yes)
    old = place.read()
    lines = list(parse(old, place.system))
    if not any(line.kind == "job" for line in lines):
        screen.hint(f"There is no job in {place.title}.")
        return 0
    with _opened() as desk:
        changes = list(changes_of(lines, _runner(desk), _taken(desk), host()))
        checks = _checks(desk, place, changes, timezone, grace)
        new = b"".join(change.text for change in changes)
        _show(place, old, new, "wrapped")
        _tell(changes, checks)
        news = _news(desk, checks)
        if new == old and not news:
            screen.hint("Nothing is left to do.")
        elif not dry_run and (yes or click.confirm("Write it?")):
            _say_kept(_written(desk, place, old, new, news))
    return 0


@crontab.command()
@_file
@_system
@_dry_run
@_yes
def unwrap(path: str | None, system: bool, dry_run: bool, yes: bool) -> int:
    """Take `holter run` away from the jobs that `wrap` put it in front of, and their checks too."""
    from ..crontab import parse
    from ..crontab import unwrap as undone

    place = _place(path, system)
    _may_ask(dry_run, yes)
    old = place.read()
    new = undone(old, place.system)
    if new == old:
        screen.hint(f"Nothing is wrapped in {place.title}.")
        return 0
    _show(place, old, new, "as it was")
    if dry_run or not (yes or click.confirm("Write it?")):
        return 0
    with _opened() as desk:
        gone: dict[tuple[str, str], Any] = {
            (_project(desk, line), line.name): {} for line in parse(old, place.system) if line.name
        }
        _say_kept(_written(desk, place, old, new, gone))
    click.echo(f"Nothing is expected of {', '.join(name for _, name in gone)} any more.")
    return 0


def _opened() -> Any:
    from .desk import opened

    return opened()


def _place(path: str | None, system: bool) -> Crontab:
    import os

    from ..crontab_files import Crontab

    if path is None and system:
        raise click.UsageError(
            "--system is about a file: `holter crontab wrap --system --file /etc/cron.d/NAME`"
        )
    real = os.path.realpath(path) if path is not None else ""
    return Crontab(path, system or real == "/etc/crontab" or real.startswith("/etc/cron.d/"))


def _may_ask(dry_run: bool, yes: bool) -> None:
    if not (dry_run or yes or sys.stdin.isatty()):
        raise click.UsageError("this asks first, and nobody is there to answer: give --yes or --dry-run")


def _runner(desk: Desk) -> Callable[[Line], Runner | str]:
    """How a line starts `holter run`. Raises HolterError where cron would record elsewhere than we look."""
    import os
    import pwd

    from ..crontab import Runner
    from ..installed import program
    from ..shared_home import is_shared

    if os.environ.get("HOLTER_BACKEND"):
        raise HolterError(
            "HOLTER_BACKEND is set here, and cron's jobs would not see it",
            hint=f"write `backend:` into {desk.settings.home}/holter.yaml, and unset it",
        )
    holter, me = program(), pwd.getpwuid(os.geteuid()).pw_name
    carried = {name: os.environ[name] for name in CARRIED if os.environ.get(name)}
    if "HOLTER_HOME" in carried:
        carried["HOLTER_HOME"] = desk.settings.home
    shared = is_shared(desk.settings.home)

    def runner(line: Line) -> Runner | str:
        if line.user not in ("", me) and not (shared and "HOLTER_HOME" in carried):
            return (
                f"runs as {line.user}, who cannot record into {desk.settings.home} (see docs/system-wide.md)"
            )
        for name in CARRIED:
            if line.variables.get(name, carried.get(name)) != carried.get(name):
                return f"its {name} is {line.variables[name]}, not the one of this command: say it here too"
        return Runner(holter, {name: value for name, value in carried.items() if name not in line.variables})

    return runner


def _project(desk: Desk, line: Line) -> str:
    """The project that the runs of a line will be in."""
    from ..shared_home import project_in

    return project_in(desk.settings.home, desk.settings.project, line.user or None)


def _taken(desk: Desk) -> Callable[[Line, str], bool]:
    from ..jobs import key_of, registered

    said = {key for key, each in registered(desk.backend).items() if each.check}
    return lambda line, name: key_of(_project(desk, line), name) in said


def _checks(
    desk: Desk, place: Crontab, changes: list[Change], timezone: str | None, grace: float | None
) -> dict[tuple[str, str], tuple[dict[str, Any], str]]:
    """By project and job: what can be expected, and why nothing can."""
    from ..crontab_checks import check_of, system_zone

    zones = {change.line.zone for change in changes if change.name} - {""}
    heeded = bool(zones) and timezone is None and place.says_cronie()
    if zones and timezone is None and not heeded:
        screen.hint(
            f"CRON_TZ={', '.join(sorted(zones))} is for cronie; the cron here keeps the system's zone, "
            "and so do the checks. Another one: --timezone ZONE."
        )
    zone = timezone or system_zone()
    return {
        (_project(desk, change.line), change.name): check_of(
            change.line, change.line.zone if heeded and change.line.zone else zone, grace
        )
        for change in changes
        if change.name
    }


def _news(
    desk: Desk, checks: dict[tuple[str, str], tuple[dict[str, Any], str]]
) -> dict[tuple[str, str], Any]:
    """The checks that the store does not hold so already."""
    from ..jobs import key_of, registered

    held = registered(desk.backend)
    said = {key: each.check for key, each in held.items()}
    return {
        (project, job): {**said.get(key_of(project, job), {}), **check}
        for (project, job), (check, _) in checks.items()
        if check and not check.items() <= said.get(key_of(project, job), {}).items()
    }


def _written(desk: Desk, place: Crontab, old: bytes, new: bytes, checks: dict[tuple[str, str], Any]) -> str:
    """Keep a backup, register the checks, write the crontab; return the backup's path. All as before where it fails."""
    from ..crontab_files import CrontabError, keep

    if place.read() != old:  # somebody else edited it while the question stood there
        raise CrontabError(f"{place.title} was changed meanwhile", hint="look again, and type it again")
    kept = keep(desk.settings.home, old, place.path or "crontab") if new != old else ""
    before = _register(desk, checks)
    try:
        if new != old:
            place.write(new)
    except BaseException:
        _register(desk, before)
        raise
    return kept


def _register(desk: Desk, checks: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    """Write these checks (empty: none any more) as `holter checks` does; return those that they replace."""
    from attrs import evolve

    from ..jobs import Registered, key_of, register, registered

    held, before = registered(desk.backend), {}
    for (project, job), check in checks.items():
        one = held.get(key_of(project, job)) or Registered(job, project)
        before[project, job] = one.check
        said = (
            {"since": one.since or desk.now}
            if check
            else {"since": 0.0, "pauses": (), "forgotten_at": desk.now}
        )
        register(desk.backend, evolve(one, check=check, **said))
    return before


def _show(place: Crontab, old: bytes, new: bytes, what: str) -> None:
    """The difference as a unified diff, control characters made visible."""
    from difflib import unified_diff

    before, after = (each.decode(errors="replace").split("\n") for each in (old, new))
    for row in unified_diff(before, after, place.title, f"{place.title}, {what}", n=1, lineterm=""):
        shown = "".join(char if char.isprintable() or char == "\t" else ascii(char)[1:-1] for char in row)
        colour = {"+": "green", "-": "red"}.get(row[:1])
        click.echo(screen.paint(shown, colour) if colour and screen.colours() else shown)


def _tell(changes: list[Change], checks: dict[tuple[str, str], tuple[dict[str, Any], str]]) -> None:
    from ..crontab_checks import in_words

    said = {name: each for (_, name), each in checks.items()}
    click.echo()
    for change in changes:
        if change.line.kind != "job":
            continue
        if not change.name:
            click.echo(f"line {change.line.number}: left as it is: {change.why}")
            continue
        check, why = said[change.name]
        expected = f"expected at {in_words(check)}" if check else f"no time is expected: {why}"
        already = " (wrapped already)" if change.why else ""
        click.echo(f"line {change.line.number}: {change.name}{already}, {expected}")


def _say_kept(kept: str) -> None:
    click.echo(f"Written. The crontab as it was: {kept}" if kept else "Written.")
