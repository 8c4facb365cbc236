"""Signals of the host: read from folders that a test lays out, judged with hysteresis, written as incidents."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent import identity
from holter.agent.settings import HostSettings, Room
from holter.agent.watchdog import host_watch
from holter.agent.watchdog.adopt import Live
from holter.agent.watchdog.host_signals import Reading, judge, read
from holter.agent.watchdog.host_watch import HostWatch
from holter.agent.watchdog.incidents import handled, news, open_incidents
from holter.agent.watchdog.oom import REASON, Ooms
from holter.backends.base import Backend

GB = 10**9


class Kernel:
    """A folder like /proc, and one like /sys/fs/cgroup."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.groups = folder / "proc", folder / "cgroup"
        self.write("meminfo", "MemTotal: 16000000 kB\nMemFree: 10 kB\nMemAvailable: 8000000 kB\n")
        self.write("pressure/memory", "some avg10=0.00 avg60=1.50 avg300=0.00 total=0\nfull avg10=0.00\n")
        self.write("loadavg", "9.00 2.00 1.00 1/100 4242\n")
        self.write("stat", "cpu 1 2 3\nbtime 1799990000\n")
        self.killed(0)

    def write(self, name: str, text: str, root: Path | None = None) -> None:
        path = (root or self.proc) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def killed(self, count: int) -> None:
        self.write("vmstat", f"pgfault 12\noom_kill {count}\n")

    def group(self, name: str, count: int) -> None:
        self.write(
            f"{name}/memory.events", f"low 0\noom 7\noom_kill {count}\noom_group_kill 0\n", self.groups
        )

    def read(self, *paths: str) -> Reading:
        return read(paths, str(self.proc), cores=2)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


# --- reading -------------------------------------------------------------------------------------------------


def test_the_kernels_files_become_figures(kernel: Kernel, tmp_path: Path) -> None:
    reading = kernel.read(str(tmp_path), str(tmp_path / "not there"))
    assert (reading.memory, reading.pressure, reading.load, reading.oom_kills) == (
        (8_192_000_000, 16_384_000_000),
        1.5,
        1.0,
        0,
    )
    assert list(reading.disks) == [str(tmp_path)]
    free, total = reading.disks[str(tmp_path)]
    assert 0 < free < total


@pytest.mark.parametrize(
    "text", ["", "MemAvailable", "some avg60=x", "\0\0", "oom_kill x", "MemAvailable: x kB"]
)
def test_what_a_system_does_not_say_is_not_judged(tmp_path: Path, text: str) -> None:
    kernel = Kernel(tmp_path)
    for name in ("meminfo", "pressure/memory", "loadavg", "vmstat"):
        kernel.write(name, text)
    reading = kernel.read()
    assert reading == Reading()
    assert judge(reading, HostSettings()) == []
    assert read((), str(tmp_path / "nowhere")).oom_kills is None


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    reading = read((str(tmp_path),))
    assert reading.disks
    if os.path.exists("/proc/meminfo"):
        assert reading.memory is not None and reading.load is not None


# --- judging -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("room", "free", "full"),
    [
        (Room(size=GB), GB - 1, True),
        (Room(size=GB), GB, False),
        (Room(percent=5.0), 5 * GB - 1, True),
        (Room(percent=5.0), 5 * GB, False),
        (Room(GB, 5.0), 2 * GB, False),  # the default: the lesser of both
        (Room(GB, 5.0), GB - 1, True),
        (Room(), 0, False),
    ],
)
def test_a_disk_is_too_full_by_size_or_share(room: Room, free: int, full: bool) -> None:
    found = judge(Reading(disks={"/": (free, 100 * GB)}), HostSettings(disk_free=room))
    assert [(each.event, each.about) for each in found] == ([("disk", "/")] if full else [])


def test_each_signal_says_what_it_is(kernel: Kernel) -> None:
    reading = Reading({"/data": (GB // 2, 500 * GB)}, (GB // 10, 16 * GB), 35.0, 7.25, 3)
    found = judge(reading, HostSettings(), killed=2)
    assert [(each.event, each.text) for each in found] == [
        ("disk", "500 MB of 500.0 GB free at /data, less than 1.0 GB"),
        ("memory", "100 MB of 16.0 GB of memory available, less than 480 MB"),
        ("memory", "tasks wait for memory 35% of the time, more than 20%"),
        ("memory", "the kernel killed 2 processes for want of memory in the last 10m"),
        ("load", "load is 7.2 per core, more than 4, over five minutes"),
    ]


@given(st.lists(st.floats(0.97, 1.03), max_size=30))
def test_what_wavers_at_its_threshold_is_told_once(wavering: list[float]) -> None:
    """Whatever it does within 3% of the threshold, it sets in once at most and stays."""
    settings = HostSettings()
    lasting: set[tuple[str, str]] = set()
    changes = 0
    for share in wavering:
        reading = Reading({"/": (int(GB * share), 900 * GB)}, None, 20.0 * share, 4.0 * share)
        now = {(each.event, each.about) for each in judge(reading, settings, lasting)}
        changes += len(now ^ lasting)
        assert lasting <= now
        lasting = now
    assert changes <= 3


def test_it_is_over_when_it_is_clearly_better() -> None:
    lasting = {("disk", "/"), ("load", "load")}
    better = Reading({"/": (int(1.21 * GB), 900 * GB)}, load=3.1)
    assert judge(better, HostSettings(), lasting) == []
    assert len(judge(Reading({"/": (int(1.19 * GB), 900 * GB)}, load=3.3), HostSettings(), lasting)) == 2


# --- watching ------------------------------------------------------------------------------------------------


@pytest.fixture
def look(store: Backend, clock: Any, kernel: Kernel, tmp_path: Path) -> Callable[..., int]:
    watch = HostWatch(str(tmp_path), clock, str(kernel.proc))

    def act(after: float = 10.0, restarted: int = 0, **settings: Any) -> int:
        clock.now += after
        return watch.look(store, HostSettings(**{"disk_free": Room(0), "load": 1e9, **settings}), restarted)

    return act


def document(store: Backend) -> dict[str, Any]:
    held = store.get(host_watch.KIND, host_watch.key_of(identity.host()))
    assert held is not None
    return held.value


def test_an_incident_sets_in_lasts_and_ends(store: Backend, look: Callable[..., int], clock: Any) -> None:
    assert look() == 0
    assert look(memory_pressure=1.0) == 1
    since = clock.now
    (incident,) = open_incidents(store)
    assert (incident.event, incident.host, incident.since) == ("memory", identity.host(), since)
    assert document(store)["notes"] == ["tasks wait for memory 2% of the time, more than 1%"]
    assert look(memory_pressure=1.0) == 0
    assert open_incidents(store)[0].since == since
    assert look() == 1
    assert open_incidents(store) == [] and document(store)["notes"] == []


def test_the_kernels_kills_are_told_for_a_while_also_by_the_next_watchdog(
    store: Backend, look: Callable[..., int], clock: Any, kernel: Kernel, tmp_path: Path
) -> None:
    kernel.killed(4)
    look()
    assert open_incidents(store) == []  # what was before the first look is nobody's news
    kernel.killed(6)
    again = HostWatch(str(tmp_path), clock, str(kernel.proc))
    again.look(store, HostSettings(load=1e9, disk_free=Room(0)))
    assert [each.reason for each in open_incidents(store)] == [
        "the kernel killed 2 processes for want of memory in the last 10m"
    ]
    look(590.0)
    assert len(open_incidents(store)) == 1
    look(30.0)
    assert open_incidents(store) == []


def test_a_count_of_another_boot_is_no_kill(
    store: Backend, look: Callable[..., int], kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    look()
    kernel.killed(6)
    monkeypatch.setenv("HOLTER_TEST_BOOT", "another")
    look()
    assert open_incidents(store) == []


def test_figures_are_written_seldom_unless_they_say_something_new(
    store: Backend, look: Callable[..., int], clock: Any
) -> None:
    look()
    first = document(store)["at"]
    look(10.0)
    look(10.0)
    assert document(store)["at"] == first
    look(10.0)
    assert document(store)["at"] == first + 30
    look(1.0, memory_pressure=1.0)
    assert document(store)["at"] == first + 31


def test_a_restart_that_took_runs_with_it_is_one_incident_until_it_was_told(
    store: Backend, look: Callable[..., int]
) -> None:
    look(restarted=0)
    assert open_incidents(store) == []
    look(restarted=3)
    look(restarted=3)
    (incident,) = open_incidents(store)
    assert incident.event == "host_restarted" and incident.since == 1799990000.0
    assert "3 runs that were open are gone" in incident.reason
    assert handled(store, news(store)[0])
    look(restarted=3)
    (over,) = news(store)
    assert over.over_at is not None and handled(store, over)
    look(restarted=3)
    assert news(store) == [] and open_incidents(store) == []


def test_a_restart_that_nobody_was_told_of_is_over_after_a_day(
    store: Backend, look: Callable[..., int], clock: Any
) -> None:
    look(restarted=1)
    clock.now = 1799990000.0 + 86300
    look(restarted=1)
    assert len(open_incidents(store)) == 1
    look(100.0, restarted=1)
    assert open_incidents(store) == []


# --- out of memory -------------------------------------------------------------------------------------------


@pytest.fixture
def ooms(kernel: Kernel, clock: Any, monkeypatch: pytest.MonkeyPatch) -> Ooms:
    monkeypatch.setattr(identity, "alive", lambda header: True)
    return Ooms(str(kernel.proc), str(kernel.groups), clock)


def live(pid: int) -> Live:
    header: dict[str, object] = {"boot": "b", "namespace": 1, "pid": pid, "start_ticks": pid}
    return Live(f"j{pid}", f"/j{pid}", header, 0, 0)


def sweep(ooms: Ooms, *alive: Live) -> None:
    ooms.begin()
    ooms.follow(alive)


def test_a_death_while_the_counter_of_its_group_rose_was_the_kernels(kernel: Kernel, ooms: Ooms) -> None:
    for pid, group in ((10, "/a"), (11, "/b")):
        kernel.write(f"{pid}/cgroup", f"0::{group}\n")
        kernel.group(group[1:], 5)
    sweep(ooms, live(10), live(11))
    sweep(ooms, live(10), live(11))
    kernel.group("a", 6)
    kernel.killed(1)
    ooms.begin()
    assert ooms.explain(live(11).header) is None
    assert ooms.explain(live(10).header) == REASON


def test_one_kill_explains_one_death(kernel: Kernel, ooms: Ooms) -> None:
    for pid in (10, 11, 12):
        kernel.write(f"{pid}/cgroup", "12:pids:/x\n4:cpu,memory:/a\n")
    counter = "memory/a/memory.oom_control"
    kernel.write(counter, "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", kernel.groups)
    sweep(ooms, live(10), live(11), live(12))
    kernel.write(counter, "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", kernel.groups)
    ooms.begin()
    said = [ooms.explain(live(pid).header) for pid in (10, 11, 12)]
    assert said == [REASON, REASON, None]
    ooms.follow([])
    ooms.begin()
    assert ooms.explain(live(12).header) is None


def test_a_kill_between_the_counters_and_the_sweep_explains_the_death_that_the_next_sweep_finds(
    kernel: Kernel, ooms: Ooms
) -> None:
    kernel.write("10/cgroup", "0::/a\n")
    kernel.group("a", 0)
    sweep(ooms, live(10))
    ooms.begin()
    kernel.group("a", 1)  # the sweep had found it alive already
    ooms.follow([live(10)])
    ooms.begin()
    assert ooms.explain(live(10).header) == REASON


def test_a_process_that_is_found_dying_is_explained_when_it_is_gone(
    kernel: Kernel, ooms: Ooms, clock: Any
) -> None:
    """The kernel counts first, and takes the process apart then."""
    kernel.write("10/cgroup", "0::/a\n")
    kernel.group("a", 0)
    sweep(ooms, live(10))
    kernel.group("a", 1)
    sweep(ooms, live(10))
    clock.now += 1.0
    sweep(ooms, live(10))
    ooms.begin()
    assert ooms.explain(live(10).header) == REASON


def test_a_kill_that_no_death_followed_explains_none_that_comes_later(
    kernel: Kernel, ooms: Ooms, clock: Any
) -> None:
    kernel.write("10/cgroup", "0::/a\n")
    kernel.group("a", 0)
    sweep(ooms, live(10))
    kernel.group("a", 1)
    sweep(ooms, live(10))
    clock.now += 6.0
    sweep(ooms, live(10))
    ooms.begin()
    assert ooms.explain(live(10).header) is None


def test_where_its_group_is_gone_or_unknown_the_hosts_counter_is_asked(kernel: Kernel, ooms: Ooms) -> None:
    kernel.write("10/cgroup", "0::/a\n")
    kernel.group("a", 3)
    sweep(ooms, live(10))
    (kernel.groups / "a/memory.events").unlink()
    ooms.begin()
    assert ooms.explain(live(10).header) is None
    kernel.killed(1)
    assert ooms.explain(live(10).header) == REASON
    kernel.killed(2)
    assert ooms.explain(live(99).header) == REASON


def test_what_was_counted_before_the_first_sweep_explains_nothing(kernel: Kernel, ooms: Ooms) -> None:
    kernel.killed(9)
    ooms.begin()
    assert ooms.explain(live(10).header) is None
