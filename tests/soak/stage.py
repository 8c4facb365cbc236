"""The soak's world: a collector on SQLite, two hosts with a watchdog each, writers, and those who look at it all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from holter.backends.base import Backend
from holter.backends.lines import decode
from holter.backends.queries import RunQuery
from holter.backends.urls import open_backend

from ..acceptance.collecting import Collector
from ..acceptance.conftest import Hook, Host, wait_until
from . import truth
from .auditor import Auditor
from .fleet import Fleet, Watch, hosts_of
from .plan import WATCHDOGS, Act, Plan
from .sampler import Sampler, size_of

DAY = 86400.0
# Seconds: an alert that a watchdog died of is claimed for 40, and where in doubt waits for 300.
LAST_WORD = 420.0
SETTINGS = """
channels: {{hook: {{webhook: "{url}"}}}}
alerts: [{{on: [failed, crashed, timed_out, stale, overdue], to: [hook], recovered: false}}]
watchdog: {{digest: 0}}
retention: {{days: {days:.9f}, logs_days: {days:.9f}, keep_failures: {seconds:g}s}}
"""


def header_at(path: Path) -> dict[str, object] | None:
    """The first event of a journal; None where it is gone."""
    try:
        with path.open("rb") as file:
            return next(iter(decode(file.readline())))[1]
    except FileNotFoundError:
        return None


class Stage:
    """`kept_for`: seconds of retention; `every`: seconds between two samples; `each`: writers of a host."""

    def __init__(self, folder: Path, hook: Hook, kept_for: float, every: float, each: int) -> None:
        self.hook, self.kept_for = hook, kept_for
        self.collector = Collector(folder)
        for name in ("host0", "host1"):
            (folder / name).mkdir()
        made = [Host(folder / name, self.collector.url) for name in ("host0", "host1")]
        said = SETTINGS.format(url=hook.url, days=kept_for / DAY, seconds=kept_for)
        self.hosts = hosts_of(made, said)
        self.watches = {name: Watch(host, name) for name, host in zip(WATCHDOGS, self.hosts)}
        self.fleet = Fleet(self.hosts, folder / "truth", each)
        self.auditor = Auditor(self.open_store, kept_for)
        self.sampler = Sampler(self._pids, self._folders(), self.open_store, every)
        self.did: Counter[str] = Counter()
        self.began = 0.0

    def open_store(self) -> Backend:
        return open_backend(self.collector.url, str(self.hosts[0].home))

    def _pids(self) -> dict[str, int]:
        found = {name: watch.pid for name, watch in self.watches.items()}
        server = self.collector.process
        if server is not None and server.poll() is None:
            found["the collector"] = server.pid
        return {**self.fleet.pids(), **{name: pid for name, pid in found.items() if pid is not None}}

    def _folders(self) -> dict[str, Callable[[], int]]:
        homes = [host.home for host in self.hosts]
        journals = [home / "journals" for home in homes]
        return {
            "the store": lambda: size_of([self.collector.home]),
            "the journals": lambda: size_of(journals),
            "other files of the hosts": lambda: size_of(homes) - size_of(journals),
        }

    # --- the load ---

    def play(self, plan: Plan) -> None:
        """From the first process to the last ending that arrived."""
        self.collector.start()
        for watch in self.watches.values():
            watch.start()
            watch.ready()
        self.began = time.monotonic()
        self.auditor.start()
        self.sampler.start()
        for act in plan.acts:
            self._wait_until(act.at)
            self._do(act)
        self._wait_until(plan.seconds)
        self.fleet.stop()
        self.sampler.finish()
        for watch in self.watches.values():
            watch.ready()
        self._catch_up()

    def _wait_until(self, at: float) -> None:
        """Meanwhile whoever has ended begins again."""
        self.fleet.tend()
        while (left := self.began + at - time.monotonic()) > 0:
            time.sleep(min(left, 0.1))
            self.fleet.tend()

    def _do(self, act: Act) -> None:
        if act.whom == "writer":
            self.fleet.kill_one()
        elif act.do == "prune":
            done = self.hosts[0].holter("prune", "--yes")
            assert done.code == 0 or self.collector_is_away, done.err
        else:
            target = self.collector if act.whom == "collector" else self.watches[act.whom]
            getattr(target, act.do)()
        self.did[f"{act.do} {act.whom}"] += 1

    @property
    def collector_is_away(self) -> bool:
        return self.collector.process is None or self.collector.process.poll() is not None

    def _catch_up(self) -> None:
        wait_until(lambda: not self._journals(), "all journals to arrive", 120.0)
        wait_until(lambda: not self.auditor.open, "all runs to end", 60.0)
        deadline = time.monotonic() + LAST_WORD
        while self._untold() and time.monotonic() < deadline:
            time.sleep(0.2)
        self.auditor.finish()
        for watch in self.watches.values():
            assert watch.stop() == 0, watch.log.read_text()
        assert not any(host.journals() for host in self.hosts)

    def _journals(self) -> list[Path]:
        """Those of writers; each watchdog has one of its own, for what it judges."""
        watching = {watch.pid for watch in self.watches.values()}
        return [
            path
            for host in self.hosts
            for path in host.journals()
            if (header := header_at(path)) and header.get("pid") not in watching
        ]

    def _untold(self) -> set[str]:
        bad = {run for run, one in self.auditor.seen.items() if one.state in ("FAILED", "CRASHED")}
        return bad - {each["alert"].get("run_id") for each in list(self.hook.taken)}

    # --- what came of it ---

    def faults(self) -> list[str]:
        """All that is not as it should be, in sentences; memory and the like aside."""
        told, seen, late = truth.read_truth(self.fleet.folder), self.auditor.seen, set(self.auditor.late)
        for run in late:
            told.runs.pop(run, None)
        found = truth.faults(told, seen, self.fleet.killed)
        found += self.auditor.strays
        alerts = [each["alert"] for each in self.hook.taken if each["alert"].get("run_id") not in late]
        found += truth.alert_faults(seen, alerts)
        found += self._kept()
        found += sorted(self.fleet.complaints())
        if len(late) > 0.01 * len(seen):
            found.append(f"{len(late)} runs of {len(seen)} were forgotten before anybody saw them")
        found += [
            f"{count} writers ended with {code}"
            for code, count in self.fleet.ends.items()
            if code not in (0, 1)
        ]
        logs = [self.collector.log, *(watch.log for watch in self.watches.values())]
        return found + [f"{log.name} has a traceback" for log in logs if "Traceback" in log.read_text()]

    def _kept(self) -> list[str]:
        """After a last pruning all that is old is gone, and nothing else."""
        before = time.time()
        done = self.hosts[0].holter("prune", "--yes")
        assert done.code == 0, done.err
        cut = (before - self.kept_for, time.time() - self.kept_for)
        kept = self.hosts[0].store.runs(RunQuery(roots=True, limit=None))
        known = [run for run in kept if run.id not in self.auditor.late]
        self.did["kept runs"] = len(kept)
        return truth.retention_faults(self.auditor.seen, known, self.auditor.created(), cut)

    def figures(self) -> dict[str, int]:
        """What was tried."""
        seen = self.auditor.seen.values()
        return {
            "events": self.auditor.events,
            "root runs": len(seen),
            "writers started": self.fleet.lives,
            "kills of writers": len(self.fleet.killed),
            "runs that crashed": sum(one.state == "CRASHED" for one in seen),
            "runs that failed": sum(one.state == "FAILED" for one in seen),
            "alerts": len(self.hook.taken),
            "alerts twice": len(self.hook.taken) - len({each["alert"]["run_id"] for each in self.hook.taken}),
            "kills of the collector": self.did["kill collector"],
            "kills of watchdogs": sum(self.did[f"kill {name}"] for name in WATCHDOGS),
            "prunings": self.did["prune store"],
            "root runs kept at the end": self.did["kept runs"],
            "forgotten unseen": len(self.auditor.late),
        }

    def wall_of(self, moment: float) -> float:
        """A monotonic moment in Unix seconds."""
        return time.time() - time.monotonic() + moment

    def close(self) -> None:
        self.fleet.close()
        for watch in self.watches.values():
            watch.close()
        for host in self.hosts:
            host.close()
        self.collector.close()
