"""What a disk may hold after the loss of power: all that was synced, and of the rest what the kernel had got to.

Names (created, renamed, removed) reach the disk in the order in which they were made, as on a file system with a
journal: what is past the last sync of a folder is kept up to some point. Data has no order: of what is past a file's
last sync any of the writes may be there, the last one in part; where a later one is there and an earlier is not, the
file has zeros.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..faults.breaking import Call

NAMING = ("mkdir", "rename", "unlink")


class Disk(NamedTuple):
    """`names`: what was done to names, in order; `data`: what was done to each inode; both with how much is synced."""

    names: list[Call]
    names_synced: int
    data: dict[int, list[Call]]
    data_synced: dict[int, int]


def disk_after(calls: Iterable[Call]) -> Disk:
    names: list[Call] = []
    synced = 0
    data: dict[int, list[Call]] = {}
    data_synced: dict[int, int] = {}
    folders: set[str] = set()
    for call in calls:
        if call.result < 0:
            continue
        if call.name in NAMING or call.other == "created":
            names.append(call)
            if call.other == "created":  # perhaps the number of a file that is gone
                data[call.inode], data_synced[call.inode] = [], 0
            if call.name == "mkdir":
                folders.add(call.path)
        elif call.name == "open" and call.flags & os.O_TRUNC:
            data.setdefault(call.inode, []).append(call._replace(name="truncate", offset=0))
        elif call.name in ("write", "truncate"):
            data.setdefault(call.inode, []).append(call)
        elif call.name == "sync all":
            synced = len(names)
            data_synced = {inode: len(done) for inode, done in data.items()}
        elif call.name == "sync" and call.path in folders:
            synced = len(names)
        elif call.name == "sync":
            data_synced[call.inode] = len(data.get(call.inode, ()))
    return Disk(names, synced, data, data_synced)


def lose_power(disk: Disk, home: Path, into: Path, chance: random.Random) -> None:
    """Make the folder `into` as `home` may be found."""
    kept = chance.randint(disk.names_synced, len(disk.names))
    if chance.random() < 0.5:
        kept = chance.choice((disk.names_synced, len(disk.names)))
    files = _named(disk.names[:kept], into, home)
    into.mkdir(mode=0o700, exist_ok=True)
    for path, inode in files.items():
        if not path.endswith("-shm"):  # SQLite makes it anew
            content = _content(disk.data.get(inode, []), disk.data_synced.get(inode, 0), chance)
            Path(path).write_bytes(content)


def _named(names: Iterable[Call], into: Path, home: Path) -> dict[str, int]:
    files: dict[str, int] = {}

    def moved(path: str) -> str:
        return str(into) + path.removeprefix(str(home))

    for call in names:
        if call.name == "mkdir":
            os.makedirs(moved(call.path), mode=0o700, exist_ok=True)
        elif call.name == "rename":
            files[moved(call.other)] = files.pop(moved(call.path))
        elif call.name == "unlink":
            files.pop(moved(call.path), None)
        else:
            files[moved(call.path)] = call.inode
    return files


def _content(done: list[Call], synced: int, chance: random.Random) -> bytes:
    rest = done[synced:]
    way = chance.choice(("none", "all", "first", "some"))
    if way == "none":
        rest = []
    elif way == "first":
        rest = rest[: chance.randint(0, len(rest))]
    elif way == "some":
        rest = [call for call in rest if chance.random() < 0.5]
    if rest and way != "all" and rest[-1].data:
        rest[-1] = rest[-1]._replace(data=rest[-1].data[: chance.randint(0, len(rest[-1].data))])
    content = bytearray()
    for call in done[:synced] + rest:
        if call.name == "truncate":
            content[call.offset :] = b"\0" * max(0, call.offset - len(content))
            continue
        content.extend(b"\0" * max(0, call.offset - len(content)))
        content[call.offset : call.offset + len(call.data)] = call.data
    return bytes(content)
