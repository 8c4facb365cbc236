"""Self-healing with real processes: a job that crashed is started again, and cannot loop."""

from __future__ import annotations

from collections.abc import Callable

from tests.acceptance.conftest import Host, wait_until

JOB = """
    import os
    from holter import flow
    @flow
    def etl():
        os.kill(os.getpid(), 9)
    etl()
"""


def events(host: Host) -> list[str]:
    """Of the open incidents; a busy machine has one of its own."""
    return [held.value["incident"]["event"] for _, held in host.store.list("incident")]


def test_a_crashed_job_is_rerun_as_often_as_the_bound_says_and_then_an_incident_says_so(
    new_host: Callable[[], Host],
) -> None:
    host = new_host()
    host.settings("alerts: {on: [crashed], jobs: [etl], rerun: true, max: 2 per 1h, back_off: 0s}")
    script = host.script(JOB)
    with host.watching():
        host.run(script)
        wait_until(lambda: "automation" in events(host), "the incident")
    first, *again = host.runs()
    assert [run.state for run in (first, *again)] == ["CRASHED"] * 3
    assert [run.cause and run.cause["rerun_of"] for run in again] == [first.id, again[0].id]
    assert again[0].cause is not None
    assert again[0].cause["alert"] == f"{first.id}:crashed"


def test_a_single_pass_acts_too(new_host: Callable[[], Host]) -> None:
    host = new_host()
    host.settings(f"alerts: {{on: [crashed], run: \"sh -c 'cat > {host.folder}/alert'\"}}")
    host.run(host.script(JOB))
    assert host.holter("watch", "--once").code == 0
    path = host.folder / "alert"
    wait_until(lambda: path.exists() and '"event": "crashed"' in path.read_text(), "the command")
    wait_until(lambda: any(run.kind == "command" and run.ended for run in host.runs()), "its record")
