"""Several hosts on one store: what is seen from afar, and limits that all of them share. A host is a HOLTER_HOME with a
name and a boot of its own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from holter.backends.errors import StorageError
from holter.backends.urls import open_backend
from holter.testing.places import SITES

from .collecting import Collector, Proxy

HERE = Path(__file__).parent
LEASE = 2.0
SETTINGS = """
heartbeat: 0.3
watchdog: {interval: 0.1, lost_after: 3}
limits: {gpu: {slots: 2, scope: shared, lease: 2s}}
"""
WAITS = """
import os, sys, time
from holter import flow
@flow
def patient():
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.02)
patient()
"""
STORES = (
    "http+postgres",
    *(pytest.param(name, marks=pytest.mark.long) for name in ("sqlite", "file", "postgres", "http+sqlite")),
)


def stop(pid: int, host: Any) -> None:
    """SIGSTOP, but not while it writes to the store: everybody would wait for it (tests/pauses are about that)."""
    with closing(open_backend(host.backend, str(host.home), timeout=1.0)) as store:
        for number in count():
            os.kill(pid, signal.SIGSTOP)
            with suppress(StorageError):
                store.put("probe", f"{pid}-{number}-{time.time()}", {}, 0)
                return
            os.kill(pid, signal.SIGCONT)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "store"
    folder.mkdir()
    with SITES[request.param].found(str(folder)) as url:
        yield url.replace(":///", f":///{folder}/") if url.startswith(("sqlite:///", "file:///")) else url


@pytest.fixture
def two(store: str, new_host: Callable[..., Any]) -> list[Any]:
    hosts = [new_host(store), new_host(store)]
    for number, host in enumerate(hosts):
        host.settings(SETTINGS)
        host.env.update(HOLTER_TEST_HOST=f"host-{number}", HOLTER_TEST_BOOT=f"boot-{number}")
    return hosts


def changes(host: Any, run: Any) -> list[tuple[str, str | None]]:
    return [
        (row.to_state, row.condition) for row in host.store.transitions(0, 10_000) if row.run_id == run.id
    ]


def test_a_silent_host_is_lost_and_comes_back_and_is_never_called_crashed(
    two: list[Any], tmp_path: Path, until: Callable[..., Any]
) -> None:
    near, far = two
    go = tmp_path / "go"
    with near.watching():
        job = far.start(far.script(WAITS), str(go))
        run = until(lambda: next(iter(near.seen(job="patient")), None), "the run is seen")
        time.sleep(3.5)  # more than lost_after: who beats is not lost
        assert changes(near, run) == [("RUNNING", None)]
        stop(job.pid, near)
        lost = until(lambda: next(iter(near.seen(states=("lost",))), None), "it is lost")
        assert lost.state == "RUNNING"
        assert lost.reason.startswith("nothing was heard of host-1 since 20")
        os.kill(job.pid, signal.SIGCONT)
        until(lambda: not near.store.run(run.id).conditions, "it is heard again")
        stop(job.pid, near)
        until(lambda: near.store.run(run.id).conditions == ("lost",), "it is lost again")
        go.touch()
        os.kill(job.pid, signal.SIGCONT)
        until(lambda: near.store.run(run.id).ended, "it ends")
    states = [state for state, _ in changes(near, run)]
    assert states.count("COMPLETED") == 1
    assert set(states) == {"RUNNING", "COMPLETED"}


@pytest.mark.long
def test_of_several_watchdogs_each_says_it_but_it_happens_once(
    two: list[Any], new_host: Callable[..., Any], store: str, tmp_path: Path, until: Callable[..., Any]
) -> None:
    near, far = two
    third = new_host(store)
    third.settings(SETTINGS)
    third.env.update(HOLTER_TEST_HOST="host-2", HOLTER_TEST_BOOT="boot-2")
    with near.watching(), third.watching():
        job = far.start(far.script(WAITS), str(tmp_path / "never"))
        run = until(lambda: next(iter(near.seen(job="patient")), None), "the run is seen")
        stop(job.pid, near)
        until(lambda: near.store.run(run.id).conditions == ("lost",), "it is lost")
        time.sleep(1.0)
        os.kill(job.pid, signal.SIGCONT)
        until(lambda: not near.store.run(run.id).conditions, "it is heard again")
        job.kill()
        until(lambda: near.store.run(run.id).conditions == ("lost",), "a dead one is lost, too, from afar")
        time.sleep(1.0)
        assert near.store.run(run.id).state == "RUNNING"
        job.wait()
        far.holter("runs")  # its own host has the proof
        assert near.store.run(run.id).state == "CRASHED"
    assert changes(near, run) == [
        ("RUNNING", None),
        ("RUNNING", "+lost"),
        ("RUNNING", "-lost"),
        ("RUNNING", "+lost"),
        ("CRASHED", None),
    ]


# --- a limit that hosts share --------------------------------------------------------------------------------


class Audit:
    """What tenants wrote, and until when a holder that was killed or stopped counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.over: dict[int, float] = {}

    def lines(self) -> list[tuple[float, str, int, int, int]]:
        if not self.path.exists():
            return []
        split = (line.split() for line in self.path.read_text().splitlines())
        return sorted(
            (float(at), what, int(pid), int(number), int(token)) for at, what, pid, number, token in split
        )

    def stays(self) -> list[tuple[float, float, int, int]]:
        """(from, to, number, token) of everybody who was in; of the killed and stopped, as long as that is certain."""
        out, inside = [], {}
        for at, what, pid, number, token in self.lines():
            if what == "+":
                inside[pid] = (at, number, token)
            elif what == "-" and pid in inside:
                since, number, token = inside.pop(pid)
                out.append((since, min(at, self.over.get(pid, at)), number, token))
        out += [
            (since, self.over.get(pid, since), number, token)
            for pid, (since, number, token) in inside.items()
        ]
        return sorted((since, max(since, end), number, token) for since, end, number, token in out)

    def most(self) -> int:
        steps = sorted(
            [(since, 1) for since, *_ in self.stays()] + [(end, -1) for _, end, *_ in self.stays()]
        )
        count = most = 0
        for _, change in steps:
            count += change
            most = max(most, count)
        return most


class Tenants:
    def __init__(self, hosts: list[Any], folder: Path) -> None:
        self.hosts, self.folder = hosts, folder
        self.audit = Audit(folder / "audit")
        self.resource = folder / "resource"
        self.resource.mkdir()
        self.living: list[subprocess.Popen[str]] = []

    def start(self, host: Any, writes: int = 100) -> None:
        command = [
            sys.executable,
            str(HERE / "tenant.py"),
            str(self.audit.path),
            str(self.resource),
            str(writes),
        ]
        self.living.append(host.spawn(command))

    def inside(self) -> list[subprocess.Popen[str]]:
        there: dict[int, bool] = {}
        for _, what, pid, *_ in self.audit.lines():
            there[pid] = what == "+"
        return [each for each in self.living if there.get(each.pid) and each.pid not in self.audit.over]

    def kill(self, tenant: subprocess.Popen[str]) -> None:
        self.audit.over.setdefault(tenant.pid, time.monotonic())
        tenant.kill()
        tenant.wait()
        self.living.remove(tenant)

    def stop(self, tenant: subprocess.Popen[str]) -> None:
        """Its last renewal was at most a third of the lease ago."""
        os.kill(tenant.pid, signal.SIGSTOP)
        self.audit.over[tenant.pid] = time.monotonic() + LEASE * 0.6

    def refused(self) -> list[tuple[int, int]]:
        return [(number, token) for _, what, _, number, token in self.audit.lines() if what == "r"]


def torture(two: list[Any], folder: Path, until: Callable[..., Any], kills: int, stops: int) -> Tenants:
    chance = random.Random(4)
    tenants = Tenants(two, folder)
    for number in range(6):
        tenants.start(two[number % 2])
    stopped = []
    for turn in ["kill"] * kills + ["stop"] * stops:
        victim = chance.choice(until(tenants.inside, "somebody is in"))
        getattr(tenants, turn)(victim)
        if turn == "stop":
            stopped.append(victim)
        tenants.start(chance.choice(two))
    entries = len(tenants.audit.lines())
    until(lambda: len(tenants.audit.lines()) >= entries + 8, "it goes on")
    until(lambda: _overtaken(tenants, stopped), "others have the slots of the stopped")
    for each in stopped:
        os.kill(each.pid, signal.SIGCONT)
    until(lambda: len(tenants.refused()) >= 1, "who was overtaken is refused")
    return tenants


def _overtaken(tenants: Tenants, stopped: list[subprocess.Popen[str]]) -> bool:
    greatest: dict[int, int] = {}
    of: dict[int, tuple[int, int]] = {}
    for _, what, pid, number, token in tenants.audit.lines():
        greatest[number] = max(greatest.get(number, 0), token)
        if what == "+":
            of[pid] = number, token
    return all(greatest[of[each.pid][0]] > of[each.pid][1] for each in stopped)


def judged(tenants: Tenants, figures: Callable[..., None]) -> None:
    stays = tenants.audit.stays()
    assert tenants.audit.most() <= 2
    tokens = [token for *_, token in stays]
    assert len(tokens) == len(set(tokens))
    for slot in (0, 1):  # whoever came later to a slot has the greater token
        assert all(a[3] < b[3] for a, b in pairwise(each for each in stays if each[2] == slot))
    figures(entries=len(stays), most_at_once=tenants.audit.most(), refused=len(tenants.refused()))


def test_a_shared_limit_is_kept_while_holders_are_killed_and_stopped(
    two: list[Any], tmp_path: Path, until: Callable[..., Any], figures: Callable[..., None]
) -> None:
    judged(torture(two, tmp_path, until, kills=4, stops=2), figures)


@pytest.mark.long
def test_a_shared_limit_is_kept_over_many_deaths(
    two: list[Any], tmp_path: Path, until: Callable[..., Any], figures: Callable[..., None]
) -> None:
    judged(torture(two, tmp_path, until, kills=60, stops=6), figures)


@pytest.mark.long
@pytest.mark.parametrize("cuts", [1, 5])
def test_who_is_cut_off_is_told_and_refused_and_lost_until_it_is_back(
    new_host: Callable[..., Any],
    tmp_path: Path,
    until: Callable[..., Any],
    figures: Callable[..., None],
    cuts: int,
) -> None:
    pytest.importorskip("uvicorn", reason="pip install 'holter[web]'")
    (tmp_path / "there").mkdir()
    with closing(Collector(tmp_path / "there").start()) as collector, closing(Proxy(collector.port)) as link:
        near, far = new_host(collector.url), new_host(link.url)
        for name, host in (("near", near), ("far", far)):
            host.settings(SETTINGS)
            host.env.update(HOLTER_TEST_HOST=name, HOLTER_TEST_BOOT=name)
        with near.watching():
            job = far.start(far.script(WAITS), str(tmp_path / "go"))
            run = until(lambda: next(iter(near.seen(job="patient")), None), "the run is seen")
            tenants = Tenants([near, far], tmp_path)
            for _ in range(cuts):
                cut_off(near, far, link, tenants, until)
                until(lambda: near.store.run(run.id).conditions == ("lost",), "it is lost")
                link.mend()
                until(lambda: not near.store.run(run.id).conditions, "it is heard again", 60.0)
            (tmp_path / "go").touch()
            job.wait(60)
            until(lambda: (far.holter("runs"), near.store.run(run.id).ended)[1], "it ends")
        assert [each for each in changes(near, run) if each[1] is None] == [
            ("RUNNING", None),
            ("COMPLETED", None),
        ]
        judged(tenants, figures)
        near.close()
        far.close()


def cut_off(near: Any, far: Any, link: Proxy, tenants: Tenants, until: Callable[..., Any]) -> None:
    """The link breaks while somebody behind it holds a slot, and works on for longer than the lease."""
    before = len(tenants.living)
    tenants.start(far, writes=1000)
    mine = until(
        lambda: next((each for each in tenants.inside() if each in tenants.living[before:]), None), "it is in"
    )
    for _ in range(3):
        tenants.start(near)
    link.cut()
    tenants.audit.over[mine.pid] = time.monotonic() + LEASE * 0.6  # its last renewal was a third of it ago
    said = lambda what: [each for each in tenants.audit.lines() if each[1] == what and each[2] == mine.pid]  # noqa: E731
    (refused,) = until(lambda: said("r"), "who was overtaken is refused")
    at, _, _, number, token = said("l")[0]
    later = [
        each for each in tenants.audit.lines() if each[1] == "+" and each[3] == number and each[4] > token
    ]
    assert at < min(each[0] for each in later) < refused[0], "it was told before others could come in"
    for each in list(tenants.living):
        tenants.kill(each)
