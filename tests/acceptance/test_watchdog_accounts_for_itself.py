"""`holter watch` as a service: after its own downtime, with settings that change, beside others, and for cron."""

from __future__ import annotations

import os
import signal
import socket
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

QUICK = {"HOLTER_HEARTBEAT": "0.2"}
LIVES = """
    import os, sys, time
    from holter import flow
    @flow(name=sys.argv[1])
    def main():
        while not os.path.exists("stop"): time.sleep(0.02)
    main()
"""


def with_hook(url: str, more: str = "") -> str:
    return f"""
    heartbeat: 0.2s
    watchdog: {{interval: 0.2s{more}}}
    host: {{disk_free: 1KB, memory_free: 0%, memory_pressure: 100, load: 1000, every: 0.3s}}
    channels: {{hook: {{webhook: "{url}"}}}}
    """


def start_all(host: Any, *names: str) -> list[Any]:
    script = host.script(LIVES)
    return [host.start(script, name, **QUICK) for name in names]


def long_ago(host: Any, seconds: float) -> None:
    """Make the last pulse older, as if nobody had watched since."""
    for key, held in host.store.list("pulse"):
        host.store.put("pulse", key, {**held.value, "at": held.value["at"] - seconds}, held.version)


def incidents(host: Any) -> list[str]:
    return [held.value["incident"]["event"] for _, held in host.store.list("incident")]


@pytest.mark.long
def test_after_its_own_downtime_one_message_names_the_gap_and_what_is_unresolved(
    host: Any, hook: Any, until: Any
) -> None:
    host.settings(with_hook(hook.url))
    names = [f"job{number}" for number in range(7)]
    processes = start_all(host, *names)
    with host.watching() as dog:
        until(lambda: len(host.seen()) == len(names), "the runs")
        dog.kill()
    for process in processes:
        process.kill()
        process.wait()
    long_ago(host, 3600)
    with host.watching():
        began = time.time()
        until(lambda: hook.taken, "the message")
        assert hook.taken[0]["at"] - began >= 0.5  # a grace of three heartbeats
        until(lambda: {run.state for run in host.seen()} == {"CRASHED"}, "the verdicts")
        until(lambda: "watch_gap" not in incidents(host), "the end of the account")
    (message,) = hook.taken
    assert (
        "nobody watched from" in message["alert"]["body"]
        and "7 runs crashed since" in message["alert"]["body"]
    )
    assert all(name in message["alert"]["body"] for name in names)


def test_a_restart_of_the_host_ends_every_run_of_before_and_is_one_message(
    host: Any, hook: Any, until: Any
) -> None:
    host.settings(with_hook(hook.url))
    names = [f"job{number}" for number in range(7)]
    processes = start_all(host, *names)
    until(lambda: len(host.runs()) == len(names), "the runs")
    for process in processes:
        process.kill()
        process.wait()
    host.env["HOLTER_TEST_BOOT"] = "the next boot"
    with host.watching():
        until(lambda: hook.taken, "the message")
        until(lambda: "host_restarted" not in incidents(host), "that it was told")
    assert {(run.state, run.reason) for run in host.seen()} == {("CRASHED", "host restarted")}
    (message,) = hook.taken
    assert "7 runs that were open are gone" in message["alert"]["body"]


@pytest.mark.long
def test_settings_change_without_a_restart_and_a_bad_file_changes_nothing(
    host: Any, hook: Any, until: Any
) -> None:
    host.settings("watchdog: {interval: 0.2s}")
    (process,) = start_all(host, "lives")
    until(lambda: host.runs(), "the run")
    with host.watching() as dog:
        assert host.holter("alerts", "snooze", "other", "2h").code == 0
        host.settings(with_hook(hook.url) + "checks: {lives: {max_duration: 100ms}}\n")
        dog.send_signal(signal.SIGHUP)
        until(lambda: [each for each in hook.taken if each["alert"]["event"] == "overdue"], "the alert")
        host.settings("chanels: {}")
        dog.send_signal(signal.SIGHUP)
        until(lambda: "settings_refused" in incidents(host), "the refusal")
        assert dog.poll() is None
        host.settings(with_hook(hook.url))
        until(lambda: "settings_refused" not in incidents(host), "the end of it")
        assert "other" in host.holter("alerts").out  # still snoozed
    process.kill()
    assert (host.folder / "watch.log").read_text().count("the old ones hold") == 1


def test_systemd_hears_that_it_is_ready_alive_reloading_and_stopping(host: Any, until: Any) -> None:
    host.settings("watchdog: {interval: 10s}")
    address = str(host.folder / "notify")
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear:
        ear.bind(address)
        ear.setblocking(False)

        def says(word: str) -> bool:
            with suppress(BlockingIOError):
                while True:
                    heard.append(ear.recv(4096).decode())
            return any(word in each for each in heard)

        host.env.update(NOTIFY_SOCKET=address, WATCHDOG_USEC="400000")
        with host.watching() as dog:
            until(lambda: says("WATCHDOG=1"), "a sign of life")
            assert heard[0] == "READY=1"
            heard.clear()
            until(lambda: says("WATCHDOG=1"), "the next one, long before the next pass", 3.0)
            dog.send_signal(signal.SIGHUP)
            until(lambda: says("READY=1"), "the end of the reload")
            assert [each for each in heard if each.startswith("RELOADING=1\nMONOTONIC_USEC=")]
        assert says("STOPPING=1")


class Pings:
    """Answers the ping; `hangs` while that is set."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.hangs = threading.Event()
        self.release = threading.Event()
        pings = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                pings.paths.append(self.path)
                if pings.hangs.is_set():
                    pings.release.wait(30)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def pings() -> Iterator[Pings]:
    made = Pings()
    yield made
    made.close()


@pytest.mark.long
def test_the_ping_goes_out_after_good_passes_only_and_a_server_that_hangs_holds_up_nobody(
    host: Any, pings: Pings, until: Any
) -> None:
    host.settings(f"""
    watchdog: {{interval: 0.1s, ping: "{pings.url}/${{PING_KEY}}", ping_every: 0.2s}}
    """)
    host.env["PING_KEY"] = "abc"
    with host.watching():
        until(lambda: len(pings.paths) >= 3, "pings")
        pings.hangs.set()
        count = len(pings.paths)
        until(lambda: len(pings.paths) > count, "the ping that hangs")
        (process,) = start_all(host, "dies")
        until(lambda: host.seen(), "the run")
        process.kill()
        until(lambda: host.seen()[0].state == "CRASHED", "the verdict", 3.0)
        assert len(pings.paths) == count + 1
    assert set(pings.paths) == {"/abc"}


def test_passes_that_fail_send_no_ping(host: Any, pings: Pings, until: Any) -> None:
    host.settings(f"""
    watchdog: {{interval: 0.1s, ping: "{pings.url}/abc", ping_every: 0.1s}}
    """)
    os.mkdir(host.home / "holter.db")
    dog = host.spawn([*_holter(), "watch"])
    time.sleep(0.7)  # nothing is to happen: there is no condition to wait for
    assert dog.poll() is None and pings.paths == []
    os.rmdir(host.home / "holter.db")
    until(lambda: pings.paths, "the ping")
    dog.terminate()
    assert dog.wait(20) == 0


def test_two_hosts_on_one_store_write_each_fact_once(host: Any, until: Any) -> None:
    """Two homes of one host name would be one host; two names with one store are two watchdogs that both judge."""
    host.settings("watchdog: {interval: 0.1s}\n")
    other = host.spawn([*_holter(), "watch"], HOLTER_TEST_HOST="elsewhere", HOLTER_HOME=str(host.folder / "second"),
                       HOLTER_BACKEND=f"sqlite:///{host.home}/holter.db")  # fmt: skip
    with host.watching():
        until(lambda: len(host.store.list("pulse")) == 2, "both pulses")
        processes = start_all(host, *(f"job{number}" for number in range(5)))
        until(lambda: len(host.seen()) == 5, "the runs")
        for process in processes:
            process.kill()
        until(lambda: {run.state for run in host.seen()} == {"CRASHED"}, "the verdicts")
    other.terminate()
    assert other.wait(20) == 0
    endings = [row.run_id for row in host.store.transitions(0) if row.to_state == "CRASHED"]
    assert len(endings) == len(set(endings)) == 5


def test_single_passes_for_cron_do_everything_and_overlap_without_harm(
    host: Any, hook: Any, until: Any
) -> None:
    host.settings(with_hook(hook.url))
    (process,) = start_all(host, "dies")
    until(lambda: host.seen() if host.home.exists() else None, "the run")
    process.kill()
    process.wait()
    passes = [host.spawn([*_holter(), "watch", "--once"]) for _ in range(3)]
    assert [each.wait(60) for each in passes] == [0, 0, 0]
    assert host.holter("watch", "--once").code == 0
    assert [each["alert"]["event"] for each in hook.taken] == ["crashed"]
    assert host.seen()[0].state == "CRASHED" and len(host.store.list("host")) == 1


def test_doctor_tells_of_a_watchdog_that_goes_by_old_settings_and_sends_a_test_alert(
    host: Any, hook: Any, until: Any
) -> None:
    host.settings(with_hook(hook.url))
    with host.watching():
        done = host.holter("doctor", "--alert")
        assert done.code == 0 and "hook took it" in done.out, done.out
        assert [each["alert"]["event"] for each in hook.taken] == ["test"]
        host.settings(with_hook(hook.url, more=", intervall: 1s"))
        done = host.holter("doctor")
        assert done.code == 1 and "did you mean interval?" in done.out


def _holter() -> list[str]:
    return [f"{sysconfig.get_path('scripts')}/holter"]
