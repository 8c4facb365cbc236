"""What a job needs before it starts: other jobs that have completed, lately enough.

The store is asked in a thread of its own, for at most BUDGET seconds, so that one that hangs cannot hold up the job:
where it cannot be asked, the job runs with a warning. Decided once, in a generator that says how long to sleep; the
drivers, sync or async, obey.

Not guaranteed: that a completion which has not reached the store yet counts, nor that the other job does not begin
again, or fail, right after.
"""

from __future__ import annotations

import _thread
import sys

from ..backends.clock import SYSTEM, rfc3339
from ..backends.errors import HolterError, NeedsUnmet
from ..backends.globs import quoted
from ..backends.schedule import format_duration, parse_duration, parse_need
from .knobs import knobs
from .secrets import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from .active import ActiveRun

    Completed = dict[str, float | None]  # when each job last completed (Unix seconds)

BUDGET = 2.0  # seconds for one question to the store, its opening included
WAIT = 3600.0  # seconds that `on_unmet="wait"` waits unless it is told otherwise
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0  # seconds between two questions; each pause is half as long again
PATIENCE = 3  # questions in a row without an answer after which a job that waits goes on
UNMET = ("refuse", "wait", "warn")


class Needs:
    """`jobs`: names with the seconds within which each must have completed (None: ever). `on_unmet`: one of UNMET.
    `wait`: seconds. Raises ValueError (ScheduleError) for what cannot be meant."""

    __slots__ = ("jobs", "on_unmet", "wait")

    def __init__(
        self,
        needs: str | Sequence[str],
        on_unmet: str | None = None,
        wait: str | float | None = None,
    ) -> None:
        texts = (needs,) if isinstance(needs, str) else tuple(needs)
        self.jobs = dict(parse_need(text) for text in texts)
        self.on_unmet = on_unmet or "refuse"
        self.wait = WAIT if wait is None else parse_duration(wait)
        if self.on_unmet not in UNMET:
            raise ValueError(f'on_unmet is "refuse", "wait" or "warn", not {on_unmet!r}')


def meet(needs: Needs, run: ActiveRun) -> Iterator[float]:
    """Ask until the needs are met; yields the seconds to sleep before it goes on. Returns where the job may run.

    Raises NeedsUnmet, with the run's id, where they are not met and `on_unmet` refuses, or waited long enough.
    """
    began, pause, failures, told = SYSTEM.monotonic(), FIRST_PAUSE, 0, False
    while True:
        answer = yield from _ask(needs)
        waited = SYSTEM.monotonic() - began
        left = needs.wait - waited if needs.on_unmet == "wait" else 0.0
        if isinstance(answer, str):
            failures += 1
            if left <= 0 or failures == PATIENCE:
                return _warn(
                    run, f"cannot tell whether {_named(needs)} completed, {answer}: it runs all the same"
                )
        else:
            failures = 0
            unmet = judge(needs, answer, SYSTEM.wall())
            if unmet is None:
                if told:
                    run.log(f"waited {waited:.1f} s for {_named(needs)}", stream="holter")
                return None
            if needs.on_unmet == "warn":
                return _warn(run, f"{unmet}: it runs all the same")
            if left <= 0:
                raise _refusal(run, needs, unmet)
            if not told:
                run.log(f"{unmet}: it waits for at most {format_duration(needs.wait)}", stream="holter")
                told = True
        yield min(pause, left)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def judge(needs: Needs, completed: Completed, now: float) -> str | None:
    """What is missing at `now` (Unix seconds), in words; None where all is there. Pure."""
    missing = []
    for job, within in needs.jobs.items():
        at = completed.get(job)
        if at is not None and (within is None or now - at <= within):
            continue
        asked = job if within is None else f"{job} within {format_duration(within)}"
        last = "has never completed" if at is None else f"last completed {rfc3339(at)}"
        missing.append(f"it needs {asked}, which {last}")
    return "; ".join(missing) or None


def _ask(needs: Needs) -> Generator[float, None, Completed | str]:
    """When each job last completed, or in words why that is not known."""
    import threading  # noqa: F401 - where a thread of ours were the first to import it, Python would wait for that at exit

    said: list[Completed | str] = []
    try:
        _thread.start_new_thread(_look, (tuple(needs.jobs), said))
    except RuntimeError as error:
        return str(error)
    end, pause = SYSTEM.monotonic() + BUDGET, 0.001
    while not said:
        if SYSTEM.monotonic() >= end:
            return f"the store did not answer within {BUDGET:g} s"
        yield pause
        pause = min(pause * 2, 0.05)
    return said[0]


def _look(jobs: tuple[str, ...], said: list[Completed | str]) -> None:
    from . import shipper

    try:
        with shipper.loading:  # a fork waits for what we import
            said.append(_completed(jobs))
    except (HolterError, OSError, ImportError) as error:
        said.append(str(error))


def _completed(jobs: tuple[str, ...]) -> Completed:
    from glob import escape

    from ..backends.queries import RunQuery
    from ..backends.urls import open_backend

    settings = knobs()
    if settings.backend.startswith("off:"):
        raise HolterError("nothing is recorded", hint="backend: off:")
    store = open_backend(settings.backend, settings.home, timeout=0.8 * BUDGET)  # its own words come first
    try:
        found: Completed = {}
        for job in jobs:
            query = RunQuery(
                project=settings.project,
                job=escape(job),
                kinds=("flow", "command"),
                states=("COMPLETED",),
                limit=20,  # one that began earlier may have ended later
            )
            found[job] = max((run.ended_at or 0.0 for run in store.runs(query)), default=None)
        return found
    finally:
        store.close()


def _named(needs: Needs) -> str:
    return ", ".join(needs.jobs)


def _refusal(run: ActiveRun, needs: Needs, unmet: str) -> NeedsUnmet:
    waited = f" after waiting {format_duration(needs.wait)}" if needs.on_unmet == "wait" else ""
    error = NeedsUnmet(
        f"{unmet}{waited}", hint=f"`holter runs --job {quoted(next(iter(needs.jobs)))}` shows why"
    )
    error.run_id = run.id
    return error


def _warn(run: ActiveRun, text: str) -> None:
    run.log(text, level="WARNING", stream="holter")
    if sys.stderr is not None:
        try:
            sys.stderr.write(f"holter: {run.name}: {clean(text)}\n")
        except (OSError, ValueError):  # closed: the run's log has it
            return
