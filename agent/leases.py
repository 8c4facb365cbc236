"""What a shared limit is in the Registry: one small document, and every change of it as one pure step.

    {"token": 17, "slots": 2, "holders": [ENTRY + {"token": 17, "numbers": [0]}, ...], "queue": [ENTRY, ...]}

An entry says who it is (host, boot, namespace, pid, start ticks, run), how many slots it wants or has (`occupy`), how
long its lease is (`lease`, seconds), and has a random `beat`, another one after every renewal. Holders and queue are
one document, so that taking all slots that one wants, or none, is one compare-and-set. It is never removed: its token
only grows.

No wall clock decides anything, and no clock is compared with another's. Who wants the place of an entry must have seen
the same beat for a whole lease on its own monotonic clock; the owner counts from before it sent its last renewal, and
only to SAFE of the lease. So clocks may run at rates that differ by a quarter. (Wall clock times are for people.)

Processes of one boot share their monotonic clock: who is turned away leaves a note of what it saw, and the next asker
of that boot goes on counting. So a holder that died is found out also by askers that do not wait.
"""

from __future__ import annotations

from math import isfinite

from ..backends.clock import token
from . import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Entry = dict[str, Any]
    Doc = dict[str, Any]
    News = tuple["Lease", str | None, Entry | None]

KIND = "lease"
SAFE = 0.8  # of a lease: from then on its owner takes it as lost
RENEW = 1 / 3  # of a lease: after that it is renewed
NOTES = 32  # boots that leave notes on an entry
WAITING, HELD, REFUSED, GONE, LOST = "waiting", "held", "refused", "gone", "lost"


class Lease:
    """What one `with concurrency(...)` wants of, or has in, one shared limit.

    `patient`: it takes a place in the queue, instead of being REFUSED. `leaving`: it wants out. `state` is WAITING,
    HELD, REFUSED, GONE (out) or LOST (somebody took it out). `token` is the fencing token (None until it is
    held), `numbers` the slots. On the owner's monotonic clock: `until` it may count on the lease, at `renew_at` the
    entry is renewed.
    """

    __slots__ = (
        *(
            "error",
            "failing_since",
            "id",
            "leaving",
            "limit",
            "listener",
            "look_at",
            "looks",
            "lost",
            "numbers",
        ),
        *("occupy", "owner", "patient", "renew_at", "seconds", "slots", "state", "token", "until"),
    )

    def __init__(
        self,
        key: str,
        limit: str,
        slots: int,
        occupy: int,
        seconds: float,
        owner: dict[str, Any],
        *,
        patient: bool = True,
        listener: Any = None,
    ) -> None:
        self.id, self.limit, self.slots, self.occupy, self.seconds = key, limit, slots, occupy, seconds
        self.owner, self.patient, self.listener = owner, patient, listener
        self.state = WAITING
        self.leaving = self.lost = False
        self.token: int | None = None
        self.numbers: tuple[int, ...] = ()
        self.until = self.renew_at = self.look_at = 0.0
        self.looks = 0
        self.error: Exception | None = None
        self.failing_since: float | None = None

    def told(self, state: str | None, holder: Entry | None, began: float) -> None:
        """The store answered what was asked at `began` (monotonic); `state` is what it has from then on, as `holder`
        where it is HELD."""
        self.error = self.failing_since = None
        if holder is not None:
            self.token, self.numbers = holder["token"], tuple(holder["numbers"])
        if state is not None:
            self.state = state
            self.until = began + SAFE * self.seconds
            self.renew_at = began + RENEW * self.seconds


class Sight:
    """What one observer saw of one document: since when each entry has been as it is, on its own monotonic clock.

    `boot` names the boot whose monotonic clock that is ("" where it has no name: then no notes are left or read).
    """

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._since: dict[str, tuple[str, float]] = {}

    def look(self, doc: Doc, now: float) -> None:
        """Take in a document that was read before `now`."""
        known, self._since = self._since, {}
        for entry in (*doc["holders"], *doc["queue"]):
            beat, since = known.get(entry["id"], (entry["beat"], now))
            if beat != entry["beat"]:
                since = now
            note = entry.get("seen", {}).get(self._boot) if self._boot else None
            if isinstance(note, int | float) and isfinite(note):
                since = min(since, note)
            self._since[entry["id"]] = entry["beat"], since

    def over(self, entry: Entry, now: float) -> bool:
        """Whether the lease of an entry has run out, or its process is gone by proof."""
        since = self._since.get(entry["id"], ("", now))[1]
        return now - since >= entry["lease"] or dead(entry)

    def note(self, doc: Doc) -> bool:
        """Write down since when everybody in `doc` is as it is; whether that changed it."""
        changed = False
        for entry in (*doc["holders"], *doc["queue"]):
            notes = entry.setdefault("seen", {})
            if self._boot and self._boot not in notes and len(notes) < NOTES and entry["id"] in self._since:
                notes[self._boot] = self._since[entry["id"]][1]
                changed = True
        return changed


def dead(entry: Entry) -> bool:
    """Whether the process of an entry is gone by proof: it was one of this boot and this PID namespace."""
    return entry.get("host") == identity.host() and identity.alive(entry) is False


def boot() -> str:
    """The name of the monotonic clock that the processes of this boot share."""
    found = identity.boot_id()
    return f"{found}/{identity.time_namespace()}" if found else ""


def empty() -> Doc:
    return {"token": 0, "slots": 0, "holders": [], "queue": []}


def sound(doc: Doc) -> bool:
    """Whether everybody can read it: over HTTP, whoever may append may write one."""
    holders, queue = doc.get("holders"), doc.get("queue")
    if not (isinstance(holders, list) and isinstance(queue, list) and _whole(doc, "token", "slots")):
        return False
    return all(_sound(entry) for entry in (*holders, *queue)) and all(
        _whole(entry, "token")
        and isinstance(entry.get("numbers"), list)
        and all(map(_number, entry["numbers"]))
        for entry in holders
    )


def _sound(entry: Any) -> bool:
    if not (isinstance(entry, dict) and isinstance(entry.get("seen", {}), dict) and _whole(entry, "occupy")):
        return False
    texts = [entry.get(key) for key in ("id", "beat")]
    known = [entry[key] for key in _NUMBERS if entry.get(key) is not None]
    names = [entry[key] for key in _NAMES if entry.get(key) is not None]
    return all(isinstance(text, str) for text in (*texts, *names)) and all(
        map(_number, (entry.get("lease"), *known))
    )


_NUMBERS = ("namespace", "pid", "start_ticks", "since", "renewed_at")
_NAMES = ("host", "boot", "run_id", "run_name")


def _whole(said: Doc, *names: str) -> bool:
    return all(type(said.get(name)) is int for name in names)


def _number(value: Any) -> bool:
    return type(value) in (int, float)


def sweep(doc: Doc, sight: Sight, now: float, mine: Iterable[str] = ()) -> bool:
    """Take out who is over, but for `mine`; whether that changed anything."""
    changed = False
    for place in ("holders", "queue"):
        kept = [entry for entry in doc[place] if entry["id"] in mine or not sight.over(entry, now)]
        changed |= len(kept) != len(doc[place])
        doc[place] = kept
    return changed


def turn(doc: Doc, leases: list[Lease], sight: Sight, now: float, wall: float) -> tuple[bool, list[News]]:
    """One step for all leases that a process has in a limit. Changes `doc` and nothing else; returns whether it has to
    be written, and for each lease its state and entry once it is (no state: as before, not renewed). `sight` has looked
    at `doc` at `now` (monotonic); `wall` is for people."""
    changed = sweep(doc, sight, now, {lease.id for lease in leases})
    news = []
    for lease in leases:
        different, state, holder = _step(doc, lease, sight, now, wall)
        changed |= different
        news.append((lease, state, holder))
    return changed, news


def _step(
    doc: Doc, lease: Lease, sight: Sight, now: float, wall: float
) -> tuple[bool, str | None, Entry | None]:
    if lease.leaving:
        noted = lease.token is None and sight.note(doc)
        return _remove(doc, lease.id) or noted, GONE, None
    holder = _find(doc["holders"], lease.id)
    if holder is not None:
        due = now >= lease.renew_at or lease.token is None  # its answer may have been lost
        return due and _renew(holder, wall), HELD if due else None, holder
    if lease.token is not None:
        return False, LOST, None
    if _fits(doc, lease):
        return True, HELD, _grant(doc, lease, wall)
    if not lease.patient:
        return sight.note(doc), REFUSED, None
    ticket = _find(doc["queue"], lease.id)
    if ticket is None:
        doc["queue"].append(_entry(lease, wall))
        return True, WAITING, None
    due = now >= lease.renew_at
    return due and _renew(ticket, wall), WAITING if due else None, None


def _fits(doc: Doc, lease: Lease) -> bool:
    """Whether there is room for all that came before and for this one, so that nobody is passed at his cost."""
    taken = sum(entry["occupy"] for entry in doc["holders"])
    for entry in doc["queue"]:
        if entry["id"] == lease.id:
            break
        taken += entry["occupy"]
    return bool(taken + lease.occupy <= lease.slots)


def _grant(doc: Doc, lease: Lease, wall: float) -> Entry:
    _remove(doc, lease.id)
    doc["token"] += 1
    doc["slots"] = lease.slots
    taken = {number for holder in doc["holders"] for number in holder["numbers"]}
    free = [number for number in range(lease.slots) if number not in taken][: lease.occupy]
    holder = {**_entry(lease, wall), "token": doc["token"], "numbers": free}
    doc["holders"].append(holder)
    return holder


def _entry(lease: Lease, wall: float) -> Entry:
    facts = {"id": lease.id, "beat": token(8), "occupy": lease.occupy, "lease": lease.seconds}
    return {**lease.owner, **facts, "since": wall, "renewed_at": wall}


def _renew(entry: Entry, wall: float) -> bool:
    entry["beat"] = token(8)
    entry["renewed_at"] = wall
    entry.pop("seen", None)
    return True


def _find(entries: list[Entry], key: str) -> Entry | None:
    return next((entry for entry in entries if entry["id"] == key), None)


def _remove(doc: Doc, key: str) -> bool:
    before = len(doc["holders"]) + len(doc["queue"])
    for place in ("holders", "queue"):
        doc[place] = [entry for entry in doc[place] if entry["id"] != key]
    return len(doc["holders"]) + len(doc["queue"]) != before
