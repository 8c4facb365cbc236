"""What a watchdog hears of processes elsewhere: those whose journal is on another host, or in another home.

All that is seen of them is what the store receives: a journal's beats arrive with its other lines, and the store keeps
the latest. Silence is counted on this watchdog's own monotonic clock, from when it first looked, so a fresh one gives
everybody a full grace; after a sleep of its host, a step of its clock or a time without the store it starts anew. No
sender's clock is asked.

From silence follows `lost`, never CRASHED: the host may be cut off, and its runs well. Whatever is heard of the process
takes it back, and nothing else: several watchdogs do not contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from sys import intern

from attrs import define, field, frozen

from ...backends.clock import Clock, rfc3339
from ...backends.records import Document, Json, Process, Run
from ...backends.schedule import format_duration
from .adopt import Live
from .sightings import Sightings

MISSED_BEATS = 3


@frozen
class Voice:
    """The last that was heard of a process: `silent` for so many seconds as far as we saw; `mark` changes whenever
    something is heard. `foreign`: its journal is not of this home. `host` and `at` (the store's clock) say who and
    since when, `beat` seconds lie between its beats."""

    silent: float
    mark: int
    foreign: bool
    host: str = "its host"
    at: float = 0.0
    beat: float = 0.0


@define
class Afar:
    """Voices by journal. `noted` are the marks at which lost runs were first seen to be lost, by run, and `known` those
    of the pass before. `here` has, for each journal of a process of this home, the one that it writes now.
    `watched` are the hosts that have a watchdog of their own. `replaced` are journals that their process replaced."""

    voices: dict[str, Voice] = field(factory=dict)
    lost_after: float = 60.0
    known: dict[str, int] = field(factory=dict)
    noted: dict[str, int] = field(factory=dict)
    here: dict[str, str] = field(factory=dict)
    watched: frozenset[str] = frozenset()
    replaced: tuple[Process, ...] = ()

    def is_foreign(self, run: Run) -> bool:
        voice = self.voices.get(run.journal or "")
        return voice is not None and voice.foreign

    def lost(self, run: Run) -> str | None:
        """Why the run is lost from now on; "" where it is not any more, None where nothing is new.

        A run that is lost stays so until something is heard that came after we saw that it is: another watchdog may
        hear sooner or later than this one, and both must not contradict each other.
        """
        voice = self.voices.get(run.journal or "")
        if voice is None:
            return None
        if "lost" in run.conditions:
            self.noted[run.id] = self.known.get(run.id, voice.mark)
            return "" if voice.mark != self.noted[run.id] else None
        patience = max(self.lost_after, MISSED_BEATS * voice.beat)
        if not voice.foreign or voice.silent <= patience:
            return None  # of one whose journal is here, the proofs count
        since = str(rfc3339(voice.at))[:19]
        return f"nothing was heard of {voice.host} since {since}Z, for more than {format_duration(patience)}"


@define
class Ears:
    """Listens to the store, pass by pass. `lost_after` is in seconds."""

    lost_after: float
    _names: dict[str, str] = field(factory=dict)  # of each journal, what tells its process from every other
    _sightings: Sightings = field(factory=Sightings)
    _pulses: Sightings = field(factory=Sightings)
    _last: Afar = field(factory=Afar)

    @property
    def here(self) -> dict[str, str]:
        """Of each journal of a process of this home, the one that it writes now; as of the last time."""
        return self._last.here

    def mind(self, clock: Clock) -> None:
        """A pass in which nobody listens."""
        self._sightings.mind(clock)
        self._pulses.mind(clock)

    def listen(
        self,
        processes: Iterable[Process],
        live: Iterable[Live],
        clock: Clock,
        pulses: Iterable[Document] = (),
    ) -> Afar:
        """`processes` are those that the store has open, `live` the journals of this home whose process lives, `pulses`
        what watchdogs say of themselves; whether one still beats is seen, no clock of its own is asked."""
        processes = list(processes)
        headers = {each.journal: each.header for each in processes}
        headers |= {each.journal: each.header for each in live}
        known = self._names  # a journal's header never changes
        self._names = {name: known.get(name) or intern(_identity(each)) for name, each in headers.items()}
        here = {self._names[each.journal]: each.journal for each in live}  # in order: the newest counts
        # A process that went on in a new journal is heard in any of them.
        groups: dict[str, list[Process]] = {}
        for each in processes:
            groups.setdefault(self._names[each.journal], []).append(each)
        marks = {name: sum(each.offset for each in group) for name, group in groups.items()}
        silent = self._sightings.silence(marks, clock)
        voices: dict[str, Voice] = {}
        for name, group in groups.items():
            voice = _voice(group, silent[name], marks[name], foreign=name not in here)
            voices.update((each.journal, voice) for each in group)
        beats = {each.value["host"]: each for each in pulses if not each.value["stopped"]}
        still = self._pulses.silence({host: each.version for host, each in beats.items()}, clock)
        watched = frozenset(host for host, each in beats.items() if still[host] <= each.value["good_for"])
        replaced = tuple(each for each in processes if each.moved_to is not None)
        self._last = Afar(voices, self.lost_after, known=self._last.noted, watched=watched, replaced=replaced)
        for name, group in groups.items():
            if name in here:
                self._last.here.update((each.journal, here[name]) for each in group)
        return self._last


def _voice(group: list[Process], silent: float, mark: int, *, foreign: bool) -> Voice:
    last = max(group, key=lambda each: each.received_at)
    beat = last.header.get("heartbeat")
    return Voice(
        silent,
        mark,
        foreign,
        host=str(last.header.get("host") or "its host"),
        at=last.received_at,
        beat=float(beat) if isinstance(beat, int | float) else 0.0,
    )


def _identity(header: Json) -> str:
    """What tells a process from every other, whatever journal it writes."""
    return repr([header.get(key) for key in ("host", "boot", "namespace", "pid", "start_ticks")])
