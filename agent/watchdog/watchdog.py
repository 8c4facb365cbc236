"""The detecting half: adopts dead journals, judges live runs, and writes what it found into the store, to nobody else.

A step is a line in `Watchdog.steps`; its work is in a module of its own: a small class with one method that acts on the
store.
"""

from __future__ import annotations

import os
from math import inf

from loguru import logger

from ...backends.clock import SYSTEM, Clock
from ..settings import Settings
from . import account, gaps, metrics, pulse, reap, slot_watch
from .account import Account
from .adopt import Adopted, catch_up
from .afar import Ears
from .births import Births
from .bounds import Expected
from .cancelling import Canceller
from .deaths import Deaths
from .enforce import Enforcer
from .expecting import Expecting
from .host_watch import HostWatch
from .judgements import Judge
from .metrics import Passes
from .oom import Ooms
from .owners import Owners
from .reap import Reaper
from .reconcile import reconcile
from .reload import Reloader
from .sightings import Ages, Sightings
from .slot_watch import SlotWatch
from .steps import NOT_NOW, Half, Pace, Step
from .system_home import prepare


class Watchdog(Half):
    """The detecting half. `step()` is one pass; everything it knows besides the store is when journals last grew."""

    def __init__(self, settings: Settings, *, clock: Clock = SYSTEM, once: bool = False) -> None:
        super().__init__(settings, clock=clock)
        self.once = once
        self.started_at = clock.wall()
        self.deaths = Deaths(None if once else Births(_journals(settings)))
        self.seen = Adopted()
        # Whether all journals were looked at in this pass: silence is judged on nothing older.
        self._looked = False
        self._looked_at = 0.0  # when (monotonic seconds) the journals of this pass began to be looked at
        self._limited = False  # whether conditions were judged in this pass, and a live run has a limit
        self._silence: dict[str, float] = {}
        self._due_at = float("inf")  # when a run may pass a limit (Unix seconds)
        self._sweeps, self._looks = Pace(0.004), Pace(0.006, most=60.0)
        self._starts = Pace(0.05, most=5.0)  # looks because a run began
        self._sightings, self._ages = Sightings(), Ages()
        self._ears = Ears(settings.watchdog.lost_after)
        self._reaper, self._slots = Reaper(clock), SlotWatch(settings.home, clock)
        self._judge: Judge | None = None
        self._asked: Expected | None = None
        self._enforcer = Enforcer(clock, once)
        self._canceller = Canceller(clock)
        self._ooms = Ooms(clock=clock)
        self._owners: Owners | None = None
        self._expecting = Expecting(clock, once=once)
        self._host = HostWatch(settings.home, clock)
        self._account = Account(clock, once=once)
        self.reloader = Reloader(settings)
        prepare(settings)
        self.passes = Passes()
        self.fellows: list[
            Half
        ] = []  # the other halves: new settings are theirs too, and their errors are told
        self._host_step = Step("looking at the host", self._look_at_host, every=settings.host.every)
        self.steps = [
            Step("reading the settings", self._reload),
            Step("accounting for itself", self._account_for, every=account.EVERY),
            Step("adopting dead journals", self._adopt),
            Step("reconciling live runs", self._reconcile),
            Step("enforcing time limits", self._enforce),
            Step("carrying out cancellations", self._cancel, every=1.0),
            Step("judging expectations", self._expect),
            Step("freeing leases that ran out", self._reap, every=reap.EVERY),
            Step("looking at waiters and holders", self._watch_slots, every=slot_watch.EVERY),
            self._host_step,
            Step("writing the pulse", self._pulse, every=pulse.EVERY),
        ]

    def step(self, until: float = inf) -> bool:
        """One pass over every step; true if something was found that the alerting loop should look at now."""
        before, began = self.seen.crashed, self.clock.monotonic()
        self._looked = self._limited = False
        super().step(until)
        self.passes.took(self.clock.monotonic() - began)
        return self.seen.crashed != before

    def use(self, settings: Settings) -> None:
        super().use(settings)
        self._ears.lost_after = settings.watchdog.lost_after
        self._host_step.every = settings.host.every
        prepare(settings)

    def close(self) -> None:
        """Say that nobody watches any more, and let go of everything. Raises nothing: the store may be away."""
        Step("closing", self._close).run(self.clock.monotonic())
        self.deaths.close()

    def _close(self) -> None:
        if self._backend is not None:
            self._enforcer.close(self._backend)
        self._canceller.close()
        if self._judge is not None:
            self._judge.close()
        if self._backend is not None:
            self._beat(stopped=not self.once)
            self._backend.close()

    def _adopt(self) -> None:
        """All journals now and then; in between those to which something happened."""
        self._sightings.mind(self.clock)
        self._ears.mind(self.clock)
        self._ooms.begin()  # before it is asked who lives
        began, touched = self.clock.monotonic(), self.deaths.touched()
        self._owners = self._owners or Owners(self._store())
        whole = self._sweeps.due(began) or touched is None or self._run_began(began)
        if not whole and not touched:
            return
        self._sweeps.hurry()  # after one that fails, all are looked at again
        self._looked_at = began
        out = catch_up(
            self.settings.home,
            self._store(),
            self.clock,
            before=self.seen.live,
            only=None if whole else touched,
            living=self.deaths.living,
            explain=self._ooms.explain,
            owners=self._owners,
        )
        self._ooms.follow(out.live)
        self._note(out, whole)
        self.deaths.follow(out.live)
        if whole:
            self._sweeps.took(began, self.clock.monotonic())

    def _note(self, out: Adopted, whole: bool) -> None:
        for fault in set(out.faults) - set(self.seen.faults):
            logger.error("cannot adopt {}", fault)
        if out.crashed:
            logger.warning("{} runs crashed", out.crashed)
            self._host_step.hurry()  # what the host went through belongs to their alerts
        out.crashed += self.seen.crashed
        out.restarted += self.seen.restarted
        if not whole:
            out.faults = [*self.seen.faults, *out.faults]
        self.seen = out
        self._looked = whole

    def _reconcile(self) -> object:
        """Where all journals were looked at in this pass, now and then, and soon after a run began, whose limits nobody
        knows yet; and when a run may have passed a limit."""
        began = self.clock.monotonic()
        if self._looked:
            self._silence = self._sightings.look(self.seen.live, self.clock, self._looked_at)
        turn = self._looked and (self._looks.due(began) or self._run_began(began))
        if not turn and self.clock.wall() < self._due_at:
            return NOT_NOW
        self._expecting.began = False
        store, live, dues = self._store(), self.seen.live, list[float]()
        self._asked = Expected(store, dict(self.settings.checks))
        pulses = [held for _, held in store.list(pulse.KIND)]
        far = self._ears.listen(store.processes(), live, self.clock, pulses)
        changed = reconcile(
            self._asked, self._open_judge(), live, self._silence, self.clock, far, dues, self._ages
        )
        if changed:
            logger.info("{} conditions changed", changed)
        now = self.clock.wall()
        self._due_at = min((due for due in dues if due > now), default=float("inf"))
        self._limited = bool(dues)
        for pace in (self._looks, self._starts):
            pace.took(began, self.clock.monotonic())
        return None

    def _run_began(self, now: float) -> bool:
        return self._expecting.began and self._starts.due(now)

    def _enforce(self) -> None:
        if self._asked is None or not (self._limited or self._enforcer.busy):
            return
        ended = self._enforcer.enforce(self._open_judge(), self.seen.live, self._asked, self._ears.here)
        if ended:
            logger.warning("{} runs ended from outside: past their time limit", ended)

    def _cancel(self) -> None:
        for text in self._canceller.look(self._store(), self._open_judge):
            logger.warning("{}", text)

    def _expect(self) -> None:
        self._expecting.look(self._store(), self.settings)

    def _open_judge(self) -> Judge:
        if self._judge is None:
            self._judge = Judge(self.settings.home, self.settings.project, self._store(), self.clock)
        return self._judge

    def _reap(self) -> None:
        for text in self._reaper.reap(self._store()):
            logger.warning("{}", text)

    def _watch_slots(self) -> None:
        self._slots.look(self._store(), self.settings.limits)

    def _look_at_host(self) -> None:
        self._host.look(self._store(), self.settings.host, self.seen.restarted)

    def _reload(self) -> None:
        new = None if self.once else self.reloader.look(self.clock.monotonic())
        if new is not None:
            for half in (self, *self.fellows):
                half.use(new)

    def _account_for(self) -> None:
        self._account.look(self._store(), self.settings, self.reloader.refused)

    def _pulse(self) -> None:
        gaps.note(self._store(), self.clock.wall())  # this may be a pass in which no account was due
        self._beat()

    def _beat(self, *, stopped: bool = False) -> None:
        store = self._store()
        others = sum(each.header.get("pid") != os.getpid() for each in self.seen.live)
        passes = metrics.figures(store, self.passes, others, (self, *self.fellows))
        pulse.beat(
            store,
            self.clock.wall(),
            started_at=self.started_at,
            once=self.once,
            stopped=stopped,
            interval=self.settings.watchdog.interval,
            about={"settings": self.reloader.to_json(), "passes": passes},
        )


def _journals(settings: Settings) -> str:
    folder = f"{settings.home}/journals"
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder
