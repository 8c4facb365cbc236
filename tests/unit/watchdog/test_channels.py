"""Channels: what reaches the other side, and what each kind of failure is called."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from holter.agent.settings import Channel
from holter.agent.watchdog import message
from holter.agent.watchdog.channels import open_channel
from holter.backends.errors import ChannelError

ALERT = message.test_alert("ops", 1_800_000_000.0)


def send(channel: Channel, timeout: float = 5.0, environ: dict[str, str] | None = None) -> None:
    open_channel(channel, environ or {}).send(ALERT, timeout)


def webhook(url: str, secret: str | None = None) -> Channel:
    return Channel(kind="webhook", target=url, secret=secret)


def command(line: str) -> Channel:
    return Channel(kind="command", target=line)


def failure_of(channel: Channel, timeout: float = 5.0) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        send(channel, timeout)
    return caught.value


# --- webhook ---


def test_a_webhook_gets_the_alert_as_json_with_its_event_and_idempotency_key(receiver: Any) -> None:
    send(webhook(receiver.url))
    (request,) = receiver.requests
    assert json.loads(request["body"]) == ALERT
    assert request["headers"]["Content-Type"] == "application/json"
    assert request["headers"]["Holter-Event"] == "test"
    assert request["headers"]["Idempotency-Key"] == ALERT["dedupe_key"]
    assert "Holter-Signature" not in request["headers"]


@pytest.mark.parametrize(
    ("job", "told"),
    [
        ("etl 100%", "etl 100%"),
        ("日報", "%E6%97%A5%E5%A0%B1"),
        ("Größe \u2013 1", "Gr%C3%B6%C3%9Fe %E2%80%93 1"),
        ("a\r\nX: y", "a%0D%0AX: y"),
    ],
)
def test_any_name_of_a_job_fits_into_a_header(receiver: Any, job: str, told: str) -> None:
    alert = {**ALERT, "dedupe_key": f"job:default/{job}:missed:1"}
    open_channel(webhook(receiver.url)).send(alert, 5.0)
    (request,) = receiver.requests
    assert request["headers"]["Idempotency-Key"] == f"job:default/{told}:missed:1"
    assert "X" not in request["headers"]


def test_a_secret_signs_the_body_so_that_the_receiver_can_check_it(receiver: Any) -> None:
    send(webhook(receiver.url, secret="${HOOK_SECRET}"), environ={"HOOK_SECRET": "s3cret"})
    (request,) = receiver.requests
    stamp, signed = (part.split("=")[1] for part in request["headers"]["Holter-Signature"].split(","))
    assert abs(int(stamp) - time.time()) < 60
    assert signed == hmac.new(b"s3cret", stamp.encode() + b"." + request["body"], hashlib.sha256).hexdigest()


def test_user_and_password_of_the_url_become_a_basic_authorization(receiver: Any) -> None:
    send(webhook(f"http://me:p%40ss@127.0.0.1:{receiver.port}/hook"))
    assert receiver.requests[0]["headers"]["Authorization"] == "Basic bWU6cEBzcw=="


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_delivered(receiver: Any, status: int) -> None:
    receiver.answers = [status]
    send(webhook(receiver.url))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
def test_a_4xx_is_permanent(receiver: Any, status: int) -> None:
    receiver.answers = [status]
    assert failure_of(webhook(receiver.url)).permanent


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(receiver: Any, status: int) -> None:
    receiver.answers = [status]
    assert not failure_of(webhook(receiver.url)).permanent


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_says_so(receiver: Any, status: int) -> None:
    receiver.answers = [status]
    error = failure_of(webhook(receiver.url))
    assert "redirects are not followed" in str(error)
    assert len(receiver.requests) == 1


def test_a_hanging_webhook_costs_its_timeout_and_no_more(receiver: Any) -> None:
    receiver.answers = ["hang"]
    began = time.monotonic()
    assert not failure_of(webhook(receiver.url), timeout=0.3).permanent
    assert time.monotonic() - began < 2


def test_a_reset_connection_and_a_closed_port_are_tried_again(receiver: Any) -> None:
    receiver.answers = ["reset"]
    assert not failure_of(webhook(receiver.url)).permanent
    assert not failure_of(webhook("http://127.0.0.1:1/")).permanent


@pytest.mark.parametrize("url", ["ftp://example.org/x", "file:///etc/passwd", "example.org/hook", "http://"])
def test_only_http_urls_are_webhooks(url: str) -> None:
    assert failure_of(webhook(url)).permanent


def test_an_error_shows_nothing_of_the_url_but_its_host(receiver: Any) -> None:
    receiver.answers = [404]
    error = failure_of(webhook(f"http://me:hush@127.0.0.1:{receiver.port}/services/T0K3N?key=S3CRET"))
    assert f"127.0.0.1:{receiver.port}" in str(error)
    assert not any(secret in str(error) for secret in ("hush", "T0K3N", "S3CRET"))


def test_a_variable_that_is_not_set_is_a_permanent_error_that_names_it() -> None:
    error = failure_of(webhook("https://example.org/${HOOK_PATH_NOT_SET}"))
    assert error.permanent
    assert "HOOK_PATH_NOT_SET" in str(error)


# --- command ---


def script(tmp_path: Path, text: str) -> str:
    path = tmp_path / "page.py"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o700)
    return str(path)


def test_a_command_gets_the_alert_on_its_stdin(tmp_path: Path) -> None:
    copy = tmp_path / "copy of alert"
    send(command(f"sh -c 'cat > \"$0\"' '{copy}'"))
    assert json.loads(copy.read_text()) == ALERT


def test_a_command_that_reads_nothing_is_delivered_by_its_exit_code() -> None:
    send(command("true"))


def test_a_failing_command_is_tried_again_and_its_last_line_is_in_the_error() -> None:
    error = failure_of(command("sh -c 'echo one; echo no modem >&2; exit 4'"))
    assert not error.permanent
    assert "sh ended with 4: no modem" in str(error)


def test_the_error_of_a_command_shows_none_of_its_secrets_even_if_it_says_them_itself() -> None:
    told = (
        "sh -c 'echo told $2 and $3 >&2; exit 1' sh --api-token t0kenvalue https://me:hush9988@example.org/x"
    )
    error = failure_of(command(told))
    assert "told ***" in str(error)
    assert not any(secret in str(error) for secret in ("t0kenvalue", "hush9988"))


@pytest.mark.parametrize("line", ["/no/such/program", "/etc", "'unclosed", ""])
def test_a_command_that_cannot_run_is_permanent(line: str) -> None:
    assert failure_of(command(line)).permanent


def test_a_command_that_hangs_is_killed_with_everything_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    line = script(
        tmp_path,
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '9999'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(9999)\n",
    )
    error = failure_of(command(line), timeout=1)
    assert not error.permanent
    started = [int(pid) for pid in pids.read_text().split()]
    wait_until(lambda: not any(map(runs, started)))


def test_a_command_whose_child_keeps_the_output_open_is_delivered_at_once() -> None:
    began = time.monotonic()
    send(command("sh -c 'sleep 5 & exit 0'"), timeout=4)
    assert time.monotonic() - began < 3


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def wait_until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


# --- apprise ---

needs_apprise = pytest.mark.skipif(
    find_spec("apprise") is None, reason="Apprise is missing: pip install 'holter[alerts]'"
)
imports_old_modules = pytest.mark.filterwarnings(
    "ignore:'imghdr' is deprecated"
)  # Apprise before Python 3.13


@needs_apprise
@imports_old_modules
def test_apprise_delivers_title_and_text(receiver: Any) -> None:
    send(Channel(kind="apprise", target=f"json://127.0.0.1:{receiver.port}/"))
    (request,) = receiver.requests
    said = json.loads(request["body"])
    assert (said["title"], said["message"]) == (ALERT["title"], ALERT["body"])


@needs_apprise
@imports_old_modules
def test_what_apprise_could_not_deliver_is_tried_again_and_says_why_without_secrets(receiver: Any) -> None:
    receiver.answers = [500]
    error = failure_of(Channel(kind="apprise", target=f"json://me:hush99@127.0.0.1:{receiver.port}/T0K3N"))
    assert not error.permanent
    assert "500" in str(error)
    assert not any(secret in str(error) for secret in ("hush99", "T0K3N"))


@needs_apprise
@imports_old_modules
def test_apprise_that_hangs_costs_its_timeout_and_no_more(receiver: Any) -> None:
    receiver.answers = ["hang"]
    began = time.monotonic()
    assert not failure_of(Channel(kind="apprise", target=f"json://127.0.0.1:{receiver.port}/"), 0.3).permanent
    assert time.monotonic() - began < 3


@needs_apprise
@imports_old_modules
def test_a_url_that_apprise_cannot_read_is_permanent_and_not_printed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    error = failure_of(Channel(kind="apprise", target="nosuchservice://T0K3Nvalue/other"))
    assert error.permanent
    out, err = capfd.readouterr()
    assert "T0K3N" not in str(error) + out + err


@needs_apprise
@imports_old_modules
def test_apprise_gets_the_whole_where_the_url_says_what_to_do_with_it(receiver: Any) -> None:
    long = {**ALERT, "body": "x" * 40_000 + "\n\nSee more: holter alerts"}
    for query, whole in (("", False), ("?overflow=upstream", True)):
        target = f"json://127.0.0.1:{receiver.port}/{query}"
        open_channel(Channel(kind="apprise", target=target), {}).send(long, 5.0)
        said = json.loads(receiver.requests[-1]["body"])["message"]
        assert said.endswith("See more: holter alerts")
        assert (said == long["body"]) is whole


@needs_apprise
@imports_old_modules
def test_what_apprise_escapes_is_cut_by_us_before_and_not_refused(receiver: Any) -> None:
    target = f"rocket://web/hook@127.0.0.1:{receiver.port}/%23ops"  # takes 1,000 characters of markup
    body = "\n".join(["*_" * 20] * 20 + ["", "See more: holter alerts"])
    open_channel(Channel(kind="apprise", target=target), {}).send({**ALERT, "body": body}, 5.0)
    said = json.loads(receiver.requests[0]["body"])["text"]
    assert 700 < len(said) <= 1000 and said.endswith("See more: holter alerts")


@needs_apprise
@imports_old_modules
@pytest.mark.parametrize(
    "url",
    [
        "slack://T1JJ3T3L2/hush9999/hush8888!!",
        "tgram://hush9999token/hush8888",
        "twilio://hush9999:hush8888@123",
        "sns://HUSH9999/HUSH8888/hush8888",
    ],
)
def test_what_apprise_says_of_a_wrong_url_shows_no_part_of_it(url: str) -> None:
    error = failure_of(Channel(kind="apprise", target=url))
    assert error.permanent and ("***" in str(error) or "..." in str(error))
    assert not any(secret in str(error).lower() for secret in ("hush9999", "hush8888"))


def test_without_apprise_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    error = failure_of(Channel(kind="apprise", target="json://localhost"))
    assert error.permanent
    assert "pip install 'holter[alerts]'" in str(error)
