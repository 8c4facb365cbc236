"""A small world that writes journals: processes that run things, rotate and die, and a watchdog that judges them.

Everything that it writes could have happened; what is arbitrary is how it is cut, ordered and sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st

from ..backends.clock import base32
from ..backends.states import CONDITIONS, ENDINGS
from .places import NOON
from .tapes import Tape

NAMES = st.sampled_from(["etl", "etl-night", "Report", "übung"])
WORDS = st.sampled_from(["one two", "two three", "Eins", "", "x_1 3.14", "ÜBUNG übung"])
PAUSES = st.sampled_from([0.0, 0.25, 1.0, 3600.0])
ERROR = {"type": "ValueError", "message": "no", "traceback": "", "fingerprint": "f0"}


@dataclass
class Activity:
    """A run as its process sees it."""

    id: str
    attempt: int = 0
    retrying: bool = False
    over: bool = False


@dataclass
class Worker:
    """A process with its journals; the last one is the one that it writes to."""

    tapes: list[Tape]
    runs: list[Activity] = field(default_factory=list)
    closed: bool = False

    @property
    def tape(self) -> Tape:
        return self.tapes[-1]


class World:
    """`tapes` are all journals so far; the methods let something happen, at a time that only moves on."""

    def __init__(self) -> None:
        self.at = NOON
        self.workers: list[Worker] = []
        self.watchdog = self._tape(host="watch", project="default")
        self.tapes = [self.watchdog]
        self._runs = 0

    def _tape(self, **header: object) -> Tape:
        number = len(getattr(self, "tapes", []))
        journal = f"j{number:03}" if number % 2 else base32(int(self.at * 1000) << 35 | number, 16)
        return Tape(journal, self.at, **header)

    def _say(self, worker: Worker | None, event: str, **fields: object) -> None:
        tape = worker.tape if worker else self.watchdog
        tape.at = self.at
        tape.say(event, **fields)

    def pause(self, seconds: float) -> None:
        self.at += seconds

    def begin(self, host: str, project: str) -> Worker:
        worker = Worker([self._tape(host=host, project=project, argv=["x.py"])])
        self.workers.append(worker)
        self.tapes.append(worker.tape)
        return worker

    def rotate(self, worker: Worker) -> None:
        worker.tapes.append(self._tape(host="moved", project="shop"))
        self.tapes.append(worker.tape)
        self._say(
            worker,
            "carry",
            runs=[run.id for run in worker.runs if not run.over],
            after=worker.tapes[-2].journal,
        )

    def start(
        self, worker: Worker, parent: str | None, name: str, kind: str, tags: list[str], pending: bool
    ) -> None:
        self._runs += 1
        dated = base32(int(self.at * 1000) << 35 | self._runs, 16)
        root = parent.partition(".")[0] if parent else (dated if self._runs % 2 else f"r{self._runs}")
        run = Activity(f"{root}.p-{self._runs}" if parent else root, attempt=0 if pending else 1)
        worker.runs.append(run)
        extra = {"parent": parent} if parent else {}
        if pending:
            extra["pending"] = True  # type: ignore[assignment]
        self._say(worker, "start", run=run.id, name=name, kind=kind, tags=tags, **extra)

    def step(self, worker: Worker, run: Activity) -> None:
        """The next attempt, or the failure of this one."""
        if run.retrying or run.attempt == 0:
            run.attempt, run.retrying = run.attempt + 1, False
            self._say(worker, "attempt", run=run.id, attempt=run.attempt)
        else:
            run.retrying = True
            self._say(
                worker, "retry", run=run.id, attempt=run.attempt, delay=1.5, error=ERROR, reason="again"
            )

    def end(self, worker: Worker, run: Activity, state: str) -> None:
        run.over = True
        failed = (
            {"error": ERROR, "reason": "no", "exit_code": 1} if state == "FAILED" else {"result": {"n": 1}}
        )
        self._say(worker, "end", run=run.id, state=state, seconds=float(run.attempt), **failed)

    def remark(self, worker: Worker, run: Activity, what: str, text: str) -> None:
        fields: dict[str, dict[str, object]] = {
            "log": {"text": text, "level": "INFO", "stream": "print"},
            "progress": {"done": len(text), "total": 20, "text": text},
            "artifact": {"key": text, "type": "markdown", "description": None, "data": text},
            "slot": {"limit": "db", "occupy": 1, "waited": 0.5, "held": None},
            "drop": {"lines": 2, "bytes": len(text)},
            "novelty": {"text": text},
        }
        self._say(worker, what, run=run.id, **fields[what])

    def judge(self, run_id: str, verdict: str, on: bool, by: str) -> None:
        if verdict in CONDITIONS:
            self._say(None, "judge", run=run_id, condition=verdict, on=on, reason=f"{verdict}?")
        else:
            self._say(None, "judge", run=run_id, state=verdict, reason="seen from outside", by=by)

    def beat(self, worker: Worker) -> None:
        self._say(worker, "beat", seq=len(worker.tape.lines), rss=1000 * len(worker.tape.lines), cpu=0.5)

    def close(self, worker: Worker) -> None:
        worker.closed = True
        self._say(worker, "close")

    @property
    def run_ids(self) -> list[str]:
        return [run.id for worker in self.workers for run in worker.runs]


VERDICTS = st.sampled_from([*CONDITIONS, "CRASHED", "TIMED_OUT", "CANCELLED"])
REMARKS = st.sampled_from(["log", "log", "log", "progress", "artifact", "slot", "drop", "novelty"])
WHAT = ["start", "start", "step", "end", "remark", "remark", "remark", "judge", "beat", "rotate", "close"]
STATES = st.sampled_from(ENDINGS)


def happen(world: World, draw: st.DataObject) -> None:
    """One thing happens in the world."""
    world.pause(draw.draw(PAUSES, label="pause"))
    workers = [worker for worker in world.workers if not worker.closed]
    if not workers or draw.draw(st.integers(0, 9), label="a new process at 0") == 0:
        world.begin(
            draw.draw(st.sampled_from(["web-1", "db-1"])), draw.draw(st.sampled_from(["shop", "bank"]))
        )
        return
    worker = draw.draw(st.sampled_from(workers), label="worker")
    live = [run for run in worker.runs if not run.over]
    what = draw.draw(st.sampled_from(WHAT), label="what")
    if what == "start" or (what in ("step", "end", "remark") and not live):
        parent = draw.draw(st.sampled_from([None, *world.run_ids]), label="parent")
        kind = draw.draw(st.sampled_from(["flow", "task", "command"]))
        tags = draw.draw(st.lists(st.sampled_from(["a", "b"]), unique=True, max_size=2))
        world.start(worker, parent, draw.draw(NAMES), kind, tags, draw.draw(st.booleans()))
    elif what == "step":
        world.step(worker, draw.draw(st.sampled_from(live)))
    elif what == "end":
        world.end(worker, draw.draw(st.sampled_from(live)), draw.draw(STATES))
    elif what == "remark":
        world.remark(worker, draw.draw(st.sampled_from(live)), draw.draw(REMARKS), draw.draw(WORDS))
    elif what == "judge" and world.run_ids:
        by = draw.draw(st.sampled_from(["proof", "mark"]))
        world.judge(
            draw.draw(st.sampled_from(world.run_ids)), draw.draw(VERDICTS), draw.draw(st.booleans()), by
        )
    elif what == "beat":
        world.beat(worker)
    elif what == "rotate":
        world.rotate(worker)
    elif what == "close":
        world.close(worker)
