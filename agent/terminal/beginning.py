"""`holter init`: the first settings file, and with `--system` a home that several users share."""

from __future__ import annotations

import os

import click

from ...backends.errors import HolterError

SYSTEM = "/var/lib/holter"


def begin(system: bool, group: str) -> None:
    """Write holter.yaml where none is, and say what to type next."""
    if system:
        return _begin_for_all(os.path.abspath(os.environ.get("HOLTER_HOME") or SYSTEM), group)
    from ..knobs import home

    path = os.environ.get("HOLTER_CONFIG") or f"{home()}/holter.yaml"
    os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
    try:
        _write(path, 0o600)
    except FileExistsError:
        raise HolterError(f"{path} exists and was left as it is", hint="edit it, or move it away") from None
    click.echo(f"Wrote {path}\nNext: edit it, then `holter doctor`, `holter alerts test` and `holter watch`.")


def _begin_for_all(home: str, group: str) -> None:
    from ..watchdog.system_home import make

    make(home, group)
    path = f"{home}/holter.yaml"
    try:
        _write(path, 0o640)
    except FileExistsError:
        os.chmod(path, 0o640)
    os.chown(path, 0, os.stat(home).st_gid)
    click.echo(
        f"{home} is a home for all users of the group {group}.\n"
        "Next:\n"
        f"    usermod -aG {group} USER        # each whose scripts are to be recorded\n"
        f"    echo HOLTER_HOME={home} >> /etc/environment\n"
        f"    HOLTER_HOME={home} holter install systemd --system"
    )


def _write(path: str, mode: int) -> None:
    from ..settings import TEMPLATE

    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with open(fd, "w", encoding="utf-8") as file:
            file.write(TEMPLATE)
        os.chmod(path, mode)
    except BaseException:  # a full disk: half a file would be in the way of the next try
        os.unlink(path)
        raise
