"""`holter ui`, as somebody types it."""

from __future__ import annotations

import re
import signal
from http.client import HTTPConnection

from .conftest import BOUND, HOLTER, Host


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


def get(port: int, path: str, cookie: str = "") -> tuple[int, str, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=BOUND)
    connection.request("GET", path, headers={"Cookie": cookie, "Accept": "text/html"})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, (answer.headers["Set-Cookie"] or "").partition(";")[0], text
