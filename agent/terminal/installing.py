"""`holter install systemd`: units for the watchdog and the collector, and what to type next."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from ...backends.errors import HolterError
from . import screen

if TYPE_CHECKING:
    import pwd

    from ..setting_types import Settings
    from ..units import Service

SYSTEM_FOLDER = "/etc/systemd/system"
CARRIED = ("HOLTER_CONFIG", "HOLTER_PROJECT")  # of our environment, which a service's lacks


@click.group()
def install() -> None:
    """Let systemd run the watchdog, and the collector."""


@install.command()
@click.option("--user", "scope", flag_value="user", help="Units of your own manager [unless you are root].")
@click.option("--system", "scope", flag_value="system", help="Units of the system's manager.")
@click.option("--as", "account", metavar="USER", help="With --system: run as USER [root].")
@click.option("--collector", is_flag=True, help="One for `holter serve` too.")
@click.option("--dry-run", is_flag=True, help="Only print them.")
@click.option("--yes", is_flag=True, help="Replace units that are there without asking.")
def systemd(scope: str | None, account: str | None, collector: bool, dry_run: bool, yes: bool) -> int:
    """Write units that systemd restarts, watches over and locks in, and print what to type next."""
    system = (scope or ("system" if os.geteuid() == 0 else "user")) == "system"
    if account and not system:
        raise click.UsageError("--as is about the system's manager: give --system")
    services, settings = _services(system, account, collector)
    folder = SYSTEM_FOLDER if system else _user_folder()
    units = {f"{folder}/{service.name}.service": service for service in services}
    if dry_run:
        _print(units)
        return 0
    _make_home(settings, system, account)
    if not _write(units, yes):
        return 1
    _next(list(services), system, settings)
    return 0


def _services(system: bool, account: str | None, collector: bool) -> tuple[list[Service], Settings]:
    import pwd

    from ..installed import program
    from ..settings import load
    from ..units import Service
    from ..watchdog.automate import rules_of

    try:
        owner = pwd.getpwnam(account) if account else pwd.getpwuid(os.geteuid())
    except KeyError:
        raise HolterError(f"there is no user {account}", hint=f"useradd --system {account}") from None
    settings = load(_home(owner))
    environment = {"HOLTER_HOME": settings.home}
    environment |= {name: os.environ[name] for name in CARRIED if os.environ.get(name)}
    common = (program(),)
    watch = Service(
        *("holter-watch", "watchdog", *common, "watch", environment, _writable(settings)),
        user=owner.pw_name if system else "",
        root=owner.pw_uid == 0,
        sandbox=not rules_of(settings),
    )
    serve = Service(
        *("holter-collector", "collector", *common, "serve", environment, _writable(settings)),
        user=owner.pw_name if system else "",
        root=owner.pw_uid == 0,
    )
    return [watch, serve] if collector else [watch], settings


def _home(owner: pwd.struct_passwd) -> str:
    return os.environ.get("HOLTER_HOME") or f"{owner.pw_dir}/.holter"


def _writable(settings: Settings) -> tuple[str, ...]:
    """Folders that the services write into: the home, a store outside of it, and where `log` channels write."""
    from ...backends.urls import path_of

    paths = [settings.home]
    scheme = settings.backend.partition(":")[0]
    if scheme in ("sqlite", "file"):
        path = path_of(settings.backend.partition("?")[0], settings.home)
        paths.append(os.path.dirname(path) if scheme == "sqlite" else path)
    paths += [os.path.dirname(each.target) for each in settings.channels.values() if each.kind == "log"]
    inside = f"{settings.home}/"
    return tuple(dict.fromkeys(p for p in paths if p == settings.home or not f"{p}/".startswith(inside)))


def _user_folder() -> str:
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return f"{config}/systemd/user"


def _make_home(settings: Settings, system: bool, account: str | None) -> None:
    """It has to be there before a service can be allowed to write into it."""
    if os.path.isdir(settings.home):
        return
    if account and account != "root":
        raise HolterError(
            f"{settings.home} is missing, and {account} must own it", hint=f"sudo -u {account} holter init"
        )
    os.makedirs(settings.home, mode=0o700)


def _print(units: dict[str, Service]) -> None:
    from ..units import text_of

    for path, service in units.items():
        click.echo(f"# {path}\n{text_of(service)}")


def _write(units: dict[str, Service], yes: bool) -> bool:
    """Write those that are not there as they are to be; False where it was asked and the answer was no."""
    from ..units import text_of

    for path, service in units.items():
        new, old = text_of(service), _read(path)
        if old is not None and old != new and not yes and not _agreed(path, old, new):
            return False
        if old == new:
            click.echo(f"{path} is as it is to be.")
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(new)
        os.chmod(f"{path}.new", 0o644)
        os.replace(f"{path}.new", path)
        click.echo(f"Wrote {path}")
    return True


def _agreed(path: str, old: str, new: str) -> bool:
    from difflib import unified_diff

    if not sys.stdin.isatty():
        raise click.UsageError(f"{path} is there and differs, and nobody can be asked: give --yes")
    for row in unified_diff(old.splitlines(), new.splitlines(), path, f"{path}, new", lineterm=""):
        click.echo(row)
    return click.confirm("Replace it?")


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _next(services: list[Service], system: bool, settings: Settings) -> None:
    manager = "systemctl" if system else "systemctl --user"
    names = " ".join(f"{each.name}.service" for each in services)
    rows = [f"{manager} daemon-reload", f"{manager} enable --now {names}"]
    if not system:
        rows.append("loginctl enable-linger    # so that it runs while you are logged out")
    rows += [f"{manager} status {names}", "holter doctor"]
    click.echo("Next:\n" + "".join(f"    {row}\n" for row in rows), nl=False)
    for name, channel in settings.channels.items():
        if channel.kind == "command" and services[0].sandbox:
            screen.hint(
                f"Channel {name} runs a command inside the service, which may write only where the unit says, and "
                "where programs like sudo gain no rights: see docs/systemd.md."
            )
