"""systemd units for the watchdog and the collector, as text. Pure.

What the watchdog must be able to do decides how far it is locked in: it sees all processes and signals those of its
users, writes its home and its store, connects to channels, and runs `command` channels. Automations (`run:`, `rerun:`)
start jobs as its children, which a sandbox would break: with them, none is built.
"""

from __future__ import annotations

from attrs import frozen

from ..backends.errors import HolterError

# Of both managers: what is forbidden to a process by itself, without another view of the file system.
_ALWAYS = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""
# Of the system's manager only: a user's would need a user namespace for it.
_SYSTEM = """\
ProtectSystem=strict
ProtectHome=read-only
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
"""
# With automations.
_OPEN = """\
# Automations start jobs from here: they need all that the jobs need, and outlive a restart.
KillMode=process
"""
# What root's watchdog needs of root: others' journals, and to end their jobs. The collector needs nothing.
_OF_ROOT = "CAP_DAC_OVERRIDE CAP_FOWNER CAP_KILL"


@frozen
class Service:
    """One service. `verb` is what `holter` is called with, `user` whom it runs as ("" in a user's own manager),
    `root` whether that is root, `environment` and `writable` (folders) what it gets; `sandbox` False: no walls."""

    name: str
    what: str
    program: str
    verb: str
    environment: dict[str, str]
    writable: tuple[str, ...]
    user: str = ""
    root: bool = False
    sandbox: bool = True


def text_of(service: Service) -> str:
    """The unit file. Raises UnitError for a path that no unit can name."""
    system = bool(service.user)
    rows = [
        "[Unit]",
        f"Description=Holter {service.what}",
        *(["Wants=network-online.target", "After=network-online.target"] if system else []),
        "",
        "[Service]",
        "Type=notify",
        "NotifyAccess=all" if service.verb == "serve" else "NotifyAccess=main",
        f"ExecStart={quoted(service.program, command=True)} {service.verb}",
        *(["ExecReload=/bin/kill -HUP $MAINPID"] if service.verb == "watch" else []),
        *(f"Environment={quoted(f'{key}={value}')}" for key, value in service.environment.items()),
        *([f"User={service.user}"] if system else []),
        "WatchdogSec=60",
        "TimeoutStartSec=300",
        "Restart=always",
        "RestartSec=2",
        "UMask=0077",
        "LimitNOFILE=65536",
        *(["OOMScoreAdjust=-500"] if system else []),
        *_walls(service, system),
        "",
        "[Install]",
        f"WantedBy={'multi-user' if system else 'default'}.target",
    ]
    return "\n".join(rows) + "\n"


def _walls(service: Service, system: bool) -> list[str]:
    if not service.sandbox:
        return [*_OPEN.splitlines()]
    rows = _ALWAYS.splitlines()
    if system:
        rows += _SYSTEM.splitlines()
        rows += [f"ReadWritePaths={' '.join(quoted(path) for path in service.writable)}"]
        if not any(path.startswith(("/tmp/", "/var/tmp/")) for path in service.writable):  # noqa: S108 - it would be another
            rows += ["PrivateTmp=yes"]
        needs_root = service.root and service.verb == "watch"
        rows += [f"CapabilityBoundingSet={_OF_ROOT if needs_root else ''}"]
    return rows


def quoted(text: str, command: bool = False) -> str:
    """As one word of a unit file, nothing in it expanded."""
    if any(char in text for char in "\n\r\0"):
        raise UnitError(f"no unit can name {text!r}", hint="choose a path without line breaks")
    plain = text.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    if command:
        plain = plain.replace("$", "$$")
    return f'"{plain}"' if any(char in text for char in " \t'\"\\;") else plain


class UnitError(HolterError, ValueError):
    """A unit cannot be written for this."""
