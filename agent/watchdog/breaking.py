"""`holter slots break`: frees a slot whose holder cannot be using it any more, and nobody else's.

The proof differs with the scope. A slot of a host is a kernel lock, which goes with its holder; what can be left is a
process that inherited the lock, of a holder that is gone. That process is ended, by identity (see `takedown`): so the
kernel frees the slot, and nobody else has to believe anything. Of a shared limit the holder's entry is taken out, by
compare-and-set, where its process is gone: by this host's word, or because its run has ended and its journal is closed,
which only its own process or an adopter with the proof in hand does. The fencing token goes on growing.

Not guaranteed: that a process which inherited a lock is found where it belongs to another user or container.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import frozen

from ...backends.clock import SYSTEM, Clock
from .. import identity
from ..leases import KIND, dead
from ..shared_home import is_shared
from ..slot_files import Place, folder_of, holders, slot_path
from .takedown import take_down

if TYPE_CHECKING:
    from ...backends.base import Backend
    from ...backends.records import Json

TICK = 0.05  # seconds between looks at a process that was asked to end


@frozen
class Broken:
    """What became of a holder: whether its slot was `freed`, and why, or why not (`said`, with what to type)."""

    limit: str
    slot: int
    freed: bool
    said: str


def break_local(home: str, limit: str, slot: int | None = None, clock: Clock = SYSTEM) -> list[Broken]:
    """Free the slots of a limit of this host, or one of them, where its holder is gone. Takes up to two graces."""
    held = [place for place in holders(home, limit) if place.held and slot in (None, place.number)]
    return [_break_place(home, place, clock) for place in held]


def _break_place(home: str, place: Place, clock: Clock) -> Broken:
    def told(freed: bool, said: str) -> Broken:
        return Broken(place.limit, place.number, freed, said)

    if is_shared(home):
        return told(
            False, "in a system-wide home any user may have written who holds it: that proves nothing"
        )
    if place.alive is not False:
        return told(False, _lives(place.pid, place.run_id) if place.alive else _unproven(place.pid))
    keepers = list(_keepers(slot_path(folder_of(home, place.limit), place.number)))
    if not keepers:
        return told(
            False, f"pid {place.pid} is gone, and who inherited its lock is another user's or container's"
        )
    ends = [taken for pid in keepers if (taken := take_down(_header(pid), clock)) is not None]
    if len(ends) < len(keepers):
        return told(
            False, f"pid {place.pid} is gone, and this user may not end who inherited its lock: {keepers}"
        )
    for each in ends:
        each.begin()
    while ends:
        ends = [each for each in ends if not each.look()]
        clock.sleep(TICK if ends else 0.0)
    names = ", ".join(map(str, keepers))
    return told(True, f"pid {place.pid} is gone; ended who had inherited its lock: pid {names}")


def _keepers(path: str) -> Iterator[int]:
    """The processes that have the file open, as far as this user may see."""
    wanted = os.stat(path)
    for name in os.listdir(identity.PROC):
        if name.isdigit() and int(name) != os.getpid() and _has_open(name, wanted):
            yield int(name)


def _has_open(pid: str, wanted: os.stat_result) -> bool:
    folder = f"{identity.PROC}/{pid}/fd"
    try:
        return any(os.path.samestat(os.stat(f"{folder}/{fd}"), wanted) for fd in os.listdir(folder))
    except OSError:  # gone, or not ours to look at
        return False


def _header(pid: int) -> Json:
    return {**identity.me(), "pid": pid, "start_ticks": identity.start_ticks(pid)}


def break_shared(store: Backend, limit: str, slot: int | None = None) -> list[Broken]:
    """Take the holders of a shared limit out, or the one of a slot, where their process is gone."""
    while (held := store.get(KIND, limit)) is not None:
        everybody = held.value["holders"]
        chosen = [entry for entry in everybody if slot is None or slot in entry["numbers"]]
        proofs = {entry["id"]: proof for entry in chosen if (proof := _proof(store, entry))}
        kept = [entry for entry in everybody if entry["id"] not in proofs]
        if proofs and store.put(KIND, limit, {**held.value, "holders": kept}, held.version) is None:
            continue  # somebody renewed, came or left meanwhile: who holds now is another question
        return [_told(limit, entry, proofs.get(entry["id"])) for entry in chosen]
    return []


def _told(limit: str, entry: Json, proof: str | None) -> Broken:
    return Broken(limit, (entry["numbers"] or [0])[0], proof is not None, proof or _why_not(entry))


def _proof(store: Backend, entry: Json) -> str:
    """How it is known that the process of a holder is gone; "" where it is not."""
    if dead(entry):
        return f"pid {entry.get('pid')} of this host is gone"
    run = store.run(entry["run_id"]) if entry.get("run_id") else None
    if run is None or not run.ended:
        return ""
    closed = [
        each
        for each in store.processes(open_only=False)
        if each.journal == run.journal and each.closed_at is not None and each.moved_to is None
    ]
    return f"its run {run.id} is {run.state}, and its process has gone" if closed else ""


def _why_not(entry: Json) -> str:
    if entry.get("host") == identity.host() and identity.alive(entry):
        return _lives(entry.get("pid"), entry.get("run_id"))
    who = f"pid {entry.get('pid')} on {entry.get('host')}"
    return f"nothing proves that {who} is gone; if it is, its lease runs out within {entry['lease']:g} s"


def _lives(pid: int | None, run_id: str | None) -> str:
    return f"pid {pid} lives: " + (f"`holter cancel {run_id}` ends it" if run_id else f"`kill {pid}` ends it")


def _unproven(pid: int | None) -> str:
    if pid is None:
        return "who holds it has written nothing yet: look again"
    return f"nothing proves that pid {pid} is gone: it is of another container or host"
