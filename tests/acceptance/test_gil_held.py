"""C code that holds the GIL: no thread of the process can beat meanwhile, and it is not dead for that (HB-1)."""

from __future__ import annotations

from typing import Any

SCRIPT = """
    import ctypes, os, time
    from holter import flow
    @flow(name="crunch")
    def crunch():
        print("in", flush=True)
        while not os.path.exists("go"): time.sleep(0.02)
        ctypes.PyDLL(None).usleep(3_000_000)  # 5 times what makes it unresponsive, in C and with the GIL
        while not os.path.exists("stop"): time.sleep(0.02)
    crunch()
"""


def test_who_holds_the_gil_is_unresponsive_until_it_lets_go_and_never_crashed(
    host: Any, hook: Any, until: Any
) -> None:
    host.settings(f"""
        watchdog: {{interval: 0.2}}
        channels: {{hook: {{webhook: "{hook.url}"}}}}
        alerts: [{{on: [unresponsive, crashed, lost, failed], to: [hook]}}]
    """)
    with host.watching():
        process = host.start(host.script(SCRIPT), HOLTER_HEARTBEAT="0.2")
        assert process.stdout.readline() == "in\n"
        until(lambda: host.seen(), "the run")
        (host.folder / "go").touch()
        until(lambda: "unresponsive" in host.seen()[0].conditions, "the condition")
        assert host.one("crunch").state == "RUNNING"
        until(lambda: "unresponsive" not in host.seen()[0].conditions, "the end of the condition")
        until(lambda: len(hook.taken) == 2, "both alerts")
        (host.folder / "stop").touch()
        assert process.wait(20) == 0
        until(lambda: host.one("crunch").ended, "the ending")
    assert host.one("crunch").state == "COMPLETED"
    assert "CRASHED" not in {row.to_state for row in host.store.transitions(0)}
    assert [each["alert"]["event"] for each in hook.taken] == ["unresponsive", "recovered"]
