"""`holter copy`: the history of one store into another, through nothing but the two interfaces.

A copy writes a journal of its own, whose header says `copy_of`. In it go the events, lines and transitions of the
source, told anew; a run that is there already gets only what it lacks, so a copy that was interrupted is simply started
again. Transitions go in the order of the source, and the header says how far they went. The journals of the source are
claimed at the offset that they had there: what their processes still have to ship goes on from it, in either store.

Not guaranteed: that a run that is live meanwhile arrives with its last lines (copy again, after it ended), and anything
at all where two copies into one store run at once.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from math import inf, nextafter

from ..backends.base import Backend
from ..backends.clock import SYSTEM, Clock, new_id
from ..backends.errors import OffsetMismatch, StorageError
from ..backends.lines import encode
from ..backends.many import append_many
from ..backends.queries import LogQuery, RunQuery
from ..backends.records import Json, Log, Process, Run, Transition
from .tally import Copied, Tallies
from .watchdog import notify, outbox, pulse

BATCH = 2**19  # bytes per append
PAGE = 500  # rows per question
PATIENCE = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds before each further try of a store that is away
KINDS = ("check", outbox.CHANNEL, outbox.SNOOZE, outbox.TOLD, outbox.ALERT)  # leases, pulses and tokens stay
Progress = Callable[[int, int], None]


def copy(source: Backend, target: Backend, progress: Progress, clock: Clock = SYSTEM) -> Copied:
    """Bring `target` to hold all that `source` holds, and compare. `progress(done, of)` hears of root runs, first
    copied, then checked. Raises StorageError where a store stays away; what went over by then need not go again."""
    half = sum(job.runs for job in source.summarize(RunQuery(roots=True)))
    tape = _Tape(target, source.url, clock)
    journals = source.processes(open_only=False)
    _claim(target, [each for each in journals if each.closed_at is not None], whole=True)
    _claim(target, [each for each in journals if each.closed_at is None], whole=False)
    runs = 0
    for done, root in enumerate(families(source)):
        runs += _copy_root(source, target, tape, root)
        progress(done, 2 * half)
    tape.flush()
    runs += _catch_up(source, target, tape)
    _copy_alerting(source, target, tape, clock)
    tape.close()
    tallies = Tallies(source, target)
    for done, root in enumerate(families(source)):
        tallies.compare(root)
        progress(half + done, 2 * half)
    progress(2 * half, 2 * half)
    return tallies.result(runs)


def families(store: Backend) -> Iterator[str]:
    """The id of every root run, newest first, then those of which there are parts only: their own start is still on its
    way, or was lost."""
    known = set()
    for root in _pages(store, roots=True):
        known.add(root.id)
        yield root.id
    if sum(job.runs for job in store.summarize(RunQuery())) == len(known):
        return
    for part in _pages(store, roots=False):
        if part.root_id not in known:
            known.add(part.root_id)
            yield part.root_id


def _pages(store: Backend, *, roots: bool) -> Iterator[Run]:
    """Every run, or every root run, newest first, a page at a time. Those that begin meanwhile are not among them."""
    until: float | None = None
    seen: set[str] = set()
    while True:
        page = store.runs(RunQuery(roots=roots, until=until, limit=PAGE + len(seen)))
        new = [run for run in page if run.id not in seen]
        if not new:
            return
        yield from new
        last = new[-1].created_at
        seen = {run.id for run in page if run.created_at == last}
        until = nextafter(last, inf)


class _Tape:
    """The journal of this copy: what is said is appended in batches of about `BATCH` bytes."""

    def __init__(self, target: Backend, url: str, clock: Clock) -> None:
        self.journal = new_id()
        self._target, self._clock = target, clock
        self._header: Json = {"journal": self.journal, "host": "copy", "copy_of": url}
        self._offset = self._size = 0
        self._lines: list[bytes] = []
        self.head()

    def head(self, **more: object) -> None:
        """The header again, with more in it: it becomes true together with what follows in the same batch."""
        self._header |= more
        self.say({"event": "process", "at": self._clock.wall(), **self._header})

    def say(self, event: Json) -> None:
        self._lines.append(encode(event))
        self._size += len(self._lines[-1])

    def full(self) -> bool:
        return self._size > BATCH

    def flush(self) -> None:
        data, self._lines, self._size = b"".join(self._lines), [], 0
        self._offset = _patiently(self._clock, self._target, self.journal, self._offset, data)

    def close(self) -> None:
        self.say({"event": "close", "at": self._clock.wall()})
        self.flush()


def _patiently(clock: Clock, target: Backend, journal: str, offset: int, data: bytes) -> int:
    """Append, again where the store is away for some seconds; an answer that was lost is found in the next one."""
    end = offset + len(data)
    for wait in (*PATIENCE, None):
        try:
            return target.append(journal, offset, data)
        except OffsetMismatch as error:
            if error.expected != end:
                raise
            return end
        except StorageError:
            if wait is None:
                raise
            clock.sleep(wait)
    raise AssertionError


# --- journals ------------------------------------------------------------------------------------------------


def _claim(target: Backend, journals: Iterable[Process], *, whole: bool) -> None:
    """Make the journals known with their headers, so that runs find theirs; `whole`: as far as the source has them."""
    known = {each.journal: each.offset for each in target.processes(open_only=False)}
    batches: list[tuple[str, int, bytes]] = []
    for each in journals:
        there = known.get(each.journal, 0)
        if there < each.offset and (whole or not there):
            batches.append((each.journal, there, _account(each, there) if whole else _header(each)))
        if len(batches) >= PAGE or sum(len(data) for *_, data in batches) > BATCH:
            _send(target, batches)
    _send(target, batches)


def _send(target: Backend, batches: list[tuple[str, int, bytes]]) -> None:
    append_many(target, batches)  # a journal that is refused is shipped there by now
    batches.clear()


def _header(process: Process) -> bytes:
    return encode({"event": "process", **process.header})


def _account(process: Process, there: int) -> bytes:
    """What a target that stands at `there` needs to stand where the source does, and to say the same of the process."""
    said = b"" if there else _header(process)
    if process.beat_at is not None:
        said += encode({"event": "beat", "at": process.beat_at, "seq": process.beats})
    if process.closed_at is not None:
        said += encode({"event": "close", "at": process.closed_at})
    said += b"" if there else b"?\n" * process.damaged
    room = process.offset - there - len(said)
    least = len(encode({"event": "elsewhere", "x": ""}))
    if room >= least:
        return said + encode({"event": "elsewhere", "x": "." * (room - least)})
    return said + b"\n" * room  # an empty line says nothing


# --- runs ----------------------------------------------------------------------------------------------------


def _copy_root(source: Backend, target: Backend, tape: _Tape, root: str) -> int:
    """A root run with its descendants and their lines; how many runs were not there yet, or lacked something."""
    runs = source.runs(RunQuery(root_id=root, limit=None))
    known = {run.id: run for run in target.runs(RunQuery(root_id=root, limit=None))}
    lacking = [run for run in runs if known.get(run.id) != run]
    if not lacking:
        return 0
    for run in lacking:
        _tell_events(tape, run, source.events(run.id), target.events(run.id) if run.id in known else [])
    lines = source.logs(LogQuery(root))
    held = Counter(map(_plain, target.logs(LogQuery(root)) if known else ()))
    told: Counter[str] = Counter()
    for line in lines:
        if held[_plain(line)] > 0:
            held[_plain(line)] -= 1
            continue
        tape.say({"event": "log", "run": line.run_id, "at": line.at, **_text(line)})
        told[line.run_id] += 1
        if tape.full():
            tape.flush()
    for run in lacking:
        _tell_rest(tape, run, known.get(run.id), told[run.id])
    if tape.full():
        tape.flush()
    return len(lacking)


def _tell_events(tape: _Tape, run: Run, events: list[Json], held: list[Json]) -> None:
    """The events that are not there, the start first: a run without one is nobody."""
    left = list(held)
    for event in sorted(events, key=lambda event: event["event"] != "start"):
        if event in left:
            left.remove(event)
        else:
            own = {"journal": run.journal} if event["event"] in ("start", "attempt", "retry", "end") else {}
            tape.say({**event, **own})
    if tape.full():
        tape.flush()


def _tell_rest(tape: _Tape, run: Run, known: Run | None, told: int) -> None:
    """Progress, and how many lines were recorded that the source has no longer."""
    if run.progress is not None and (known is None or known.progress != run.progress):
        tape.say({"event": "progress", "run": run.id, **run.progress})
    gone = run.log_lines - told - (known.log_lines if known else 0)
    if gone > 0 or (known or run).active_at < run.active_at or known is None:
        tape.say({"event": "forgot", "run": run.id, "at": run.active_at, "lines": max(0, gone)})


def _catch_up(source: Backend, target: Backend, tape: _Tape) -> int:
    """Claim the open journals as far as they are now, then once more what was written since their runs were read."""
    journals = source.processes()
    _claim(target, journals, whole=True)
    live = {
        run.root_id for each in journals for run in source.runs(RunQuery(journal=each.journal, limit=None))
    }
    count = sum(_copy_root(source, target, tape, root) for root in sorted(live))
    tape.flush()
    return count


def _plain(line: Log) -> tuple[object, ...]:
    return line.run_id, line.at, line.level, line.stream, line.text


def _text(line: Log) -> Json:
    return {"level": line.level, "stream": line.stream, "text": line.text}


# --- transitions, and what the alerting side knows ------------------------------------------------------------


def _copy_alerting(source: Backend, target: Backend, tape: _Tape, clock: Clock) -> None:
    """History is no news in the target: what the source's watchdog has told is told, and the rest is still to be."""
    watched = bool(target.list(pulse.KIND))
    _set_cursor(target, lambda held: {"seq": 0, **held, "since": clock.wall()})
    _copy_transitions(source, target, tape)
    told = source.get(*notify.CURSOR)
    untold = sum(1 for _ in _transitions(source, told.value["seq"])) if told else 0
    last = deque((row.seq for row in _transitions(target, 0)), maxlen=untold + 1)
    seq = last[0] if len(last) > untold else 0
    if not watched:
        since = told.value["since"] if told else clock.wall()
        _set_cursor(target, lambda held: {"seq": seq, "since": since})
    _copy_documents(source, target, seq - (told.value["seq"] if told else 0), watched)


def _set_cursor(target: Backend, change: Callable[[Json], Json]) -> None:
    outbox.update(target, *notify.CURSOR, change)


def _copy_transitions(source: Backend, target: Backend, tape: _Tape) -> None:
    """Those after the last one that an earlier copy brought."""
    copies = [each.header for each in target.processes(open_only=False) if "copy_of" in each.header]
    url = tape._header["copy_of"]
    after = max((each.get("transitions", 0) for each in copies if each["copy_of"] == url), default=0)
    while rows := source.transitions(after, PAGE):
        after = rows[-1].seq
        tape.head(transitions=after)
        for row in rows:
            change = {"from": row.from_state, "to": row.to_state, "condition": row.condition}
            tape.say({"event": "transition", "run": row.run_id, "at": row.at, **change, "reason": row.reason})
        tape.flush()


def _transitions(store: Backend, after: int) -> Iterator[Transition]:
    while rows := store.transitions(after, 10 * PAGE):
        yield from rows
        after = rows[-1].seq


def _copy_documents(source: Backend, target: Backend, shift: int, watched: bool) -> None:
    """The source's word counts until somebody watches the target. An alert names a transition by its seq, which is
    another one here: `shift` keeps the order."""
    for kind in KINDS:
        documents = source.list(kind)
        held = dict(target.list(kind))
        for key, document in documents:
            value = dict(document.value)
            if kind in (outbox.ALERT, outbox.TOLD):
                value["seq"] += shift
            there = held.pop(key, None)
            if there is None or not (watched or there.value == value):
                target.put(kind, key, value, there.version if there else 0)
        if kind == outbox.ALERT and not watched:
            for key, there in held.items():  # told since the last copy
                target.delete(kind, key, there.version)
