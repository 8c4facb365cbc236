"""`holter ui`, as somebody types it."""

from __future__ import annotations

import re
import signal
from http.client import HTTPConnection
from urllib.parse import urlencode

from holter.backends.records import Run

from .conftest import BOUND, HOLTER, Host, wait_until


def test_holter_ui_opens_the_configured_store_for_whoever_has_its_address(host: Host) -> None:
    done = host.holter("run", "--name", "hello", "--", "echo", "hello")
    assert done.code == 0
    process = host.spawn([*HOLTER, "ui", "--no-browser"])
    assert process.stdout is not None
    said = "".join(process.stdout.readline() for _ in range(3))
    found = re.search(r"http://127\.0\.0\.1:(\d+)(/sign-in\?key=\w{40})", said)
    assert found, said
    port = int(found[1])
    assert get(port, "/")[0] == 401
    status, cookie, _ = get(port, found[2])
    assert status == 303
    status, _, text = get(port, "/", cookie)
    assert (status, ">hello</a>" in text) == (200, True)
    process.send_signal(signal.SIGINT)
    process.wait(BOUND)


def test_in_holter_ui_a_run_is_run_again_as_it_was_and_one_that_goes_on_is_ended_at_once(host: Host) -> None:
    assert host.holter("run", "--name", "hello", "--", "sh", "-c", "echo hello; exit 3").code == 3
    (first,) = host.runs()
    port, cookie = opened(host)
    assert "Run again" in get(port, f"/runs/{first.id}", cookie)[2]
    assert press(port, f"/runs/{first.id}/rerun", cookie, csrf="wrong") == 403
    assert len(host.runs()) == 1
    assert press(port, f"/runs/{first.id}/rerun", cookie) == 303

    def again() -> Run | None:
        return next((run for run in host.runs() if run.id != first.id and run.ended), None)

    second = wait_until(again, "the second run")
    assert (second.name, second.argv, second.exit_code) == ("hello", first.argv, 3)
    assert second.cause["rerun_of"] == first.id

    process = host.spawn([*HOLTER, "run", "--name", "long", "--", "sleep", "600"])
    live = wait_until(lambda: next((run for run in host.runs() if run.name == "long"), None), "its start")
    assert press(port, f"/runs/{live.id}/cancel", cookie, reason="too long") == 303
    assert process.wait(BOUND) != 0
    assert [(run.state, "too long" in str(run.reason)) for run in host.runs() if run.name == "long"] == [
        ("CANCELLED", True)
    ]


def opened(host: Host) -> tuple[int, str]:
    """The port of a `holter ui`, and the cookie of whoever came by its address."""
    process = host.spawn([*HOLTER, "ui", "--no-browser"])
    assert process.stdout is not None
    found = re.search(
        r"http://127\.0\.0\.1:(\d+)(/sign-in\?key=\w{40})",
        "".join(process.stdout.readline() for _ in range(3)),
    )
    assert found
    port = int(found[1])
    return port, get(port, found[2])[1]


def press(port: int, path: str, cookie: str, **form: str) -> int:
    """Send the form of a run's page; the status of the answer."""
    page = get(port, path.rpartition("/")[0], cookie)[2]
    known = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert known
    connection = HTTPConnection("127.0.0.1", port, timeout=BOUND)
    headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded", "Accept": "text/html"}
    connection.request("POST", path, urlencode({"csrf": known[1], **form}), headers)
    status = connection.getresponse().status
    connection.close()
    return status


def get(port: int, path: str, cookie: str = "") -> tuple[int, str, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=BOUND)
    connection.request("GET", path, headers={"Cookie": cookie, "Accept": "text/html"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, (answer.headers["Set-Cookie"] or "").partition(";")[0], text
