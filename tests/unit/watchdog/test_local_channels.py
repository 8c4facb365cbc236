"""Channels that need nobody else: a log file and the desktop; and how an alert is cut and cleaned for a screen."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holter.agent.settings import Channel
from holter.agent.watchdog import message
from holter.agent.watchdog.channels import open_channel
from holter.agent.watchdog.dialects import dialect_of
from holter.agent.watchdog.fitting import fitted, printable, title_of
from holter.agent.watchdog.message import Facts, compose
from holter.backends.errors import ChannelError
from holter.backends.records import Run

HOSTILE = {"type": "ValueError", "message": "no rows\nroot: \x1b[2Jall fine \u202e"}
RUN = Run(id="r1", kind="flow", name="etl\nforged", root_id="r1", state="FAILED", host="web-1", error=HOSTILE)
FAILED = compose(RUN, Facts("failed", "failed:r1", 1_800_000_000.0, tail=("one", "two")))


def send(channel: Channel, alert: Any = FAILED, environ: dict[str, str] | None = None) -> None:
    open_channel(channel, environ or {}).send(alert, 5.0)


def refused(channel: Channel, environ: dict[str, str] | None = None) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        send(channel, environ=environ)
    return caught.value


# --- log ---


def test_a_log_gets_one_readable_line_for_each_alert_whatever_is_in_it(tmp_path: Path) -> None:
    log = tmp_path / "alerts.log"
    send(Channel("log", str(log)))
    send(Channel("log", str(log)), message.test_alert("ops", 1_800_000_000.0))
    first, second = log.read_text().splitlines()
    assert first == (
        "2027-01-15T08:00:00.000Z failed: etl forged failed on web-1: "
        "ValueError: no rows root: all fine (failed:r1)"
    )
    assert " test: holter test: channel ops works: somebody ran `holter alerts test` (" in second
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_log_named_jsonl_gets_the_alerts_themselves(tmp_path: Path) -> None:
    log = tmp_path / "alerts.jsonl"
    send(Channel("log", str(log)))
    send(Channel("log", str(log)))
    assert [json.loads(line) for line in log.read_text().splitlines()] == [FAILED, FAILED]


def test_a_log_may_be_rotated_by_name_between_two_alerts(tmp_path: Path) -> None:
    log = tmp_path / "alerts.log"
    channel = open_channel(Channel("log", str(log)), {})
    channel.send(FAILED, 5.0)
    log.rename(tmp_path / "alerts.log.1")
    channel.send(FAILED, 5.0)
    assert len(log.read_text().splitlines()) == 1


def test_lines_of_several_watchdogs_never_mix(tmp_path: Path) -> None:
    log = Channel("log", str(tmp_path / "alerts.jsonl"))
    long = {**FAILED, "body": "x" * 50_000}

    def work() -> None:
        for _ in range(50):
            send(log, long)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(line) for line in Path(log.target).read_text().splitlines()] == [long] * 200


def test_what_a_full_disk_cut_short_does_not_spoil_the_next_line(tmp_path: Path) -> None:
    log = tmp_path / "alerts.jsonl"
    log.write_text('{"event": "fai')
    send(Channel("log", str(log)))
    assert json.loads(log.read_text().splitlines()[1]) == FAILED


def test_a_full_disk_is_tried_again_and_a_wrong_place_is_not(tmp_path: Path) -> None:
    assert not refused(Channel("log", "/dev/full")).permanent
    for wrong in (str(tmp_path), str(tmp_path / "none" / "alerts.log"), "alerts.log", ""):
        assert refused(Channel("log", wrong)).permanent


# --- desktop ---


def notify_send(folder: Path, code: int = 0) -> dict[str, str]:
    """An environment in which `notify-send` keeps its words."""
    program = folder / "notify-send"
    text = f"import json, os, sys\njson.dump([sys.argv[1:], dict(os.environ)], open({str(folder / 'said')!r}, 'w'))\n"
    program.write_text(f"#!{sys.executable}\n{text}sys.exit({code})\n")
    program.chmod(0o700)
    return {"PATH": str(folder)}


def test_a_desktop_shows_title_and_text_with_markup_as_text(tmp_path: Path) -> None:
    alert = {
        **FAILED,
        "title": "-etl failed",
        "body": "a <b>bold</b> & claim\n" + "x" * 5000 + "\n\nSee more: holter show r1",
    }
    send(Channel("desktop", ""), alert, notify_send(tmp_path))
    words, environ = json.loads((tmp_path / "said").read_text())
    assert words[:4] == ["--app-name=holter", "--urgency=critical", "--", "-etl failed"]
    assert words[4].startswith("a &lt;b&gt;bold&lt;/b&gt; &amp; claim") and len(words[4]) < 700
    assert words[4].endswith("See more: holter show r1")
    assert environ["DBUS_SESSION_BUS_ADDRESS"].endswith(f"/run/user/{os.getuid()}/bus")


def test_a_desktop_without_a_session_is_tried_again(tmp_path: Path) -> None:
    assert not refused(Channel("desktop", ""), notify_send(tmp_path, code=1)).permanent


def test_a_host_without_a_desktop_says_so_for_good_and_what_to_do(tmp_path: Path) -> None:
    error = refused(Channel("desktop", ""), {"PATH": str(tmp_path)})
    assert error.permanent and "libnotify-bin" in str(error)


# --- texts ---


@given(st.text(max_size=3000), st.integers(5, 2000), st.lists(st.text(max_size=600), max_size=25))
def test_a_fitted_text_has_no_more_than_its_room(head: str, room: int, tail: list[str]) -> None:
    body = "\n".join([head, "Last lines:", *tail, "", "See more: holter show r1"])
    for size in (len, lambda text: len(text.encode("utf-8", "replace")), lambda text: len(json.dumps(text))):
        cut = fitted(body, room, size)
        assert size(cut) <= max(room, size("..."))
        assert cut == body if size(body) <= room else "..." in cut


@given(st.text(), st.text())
def test_texts_for_a_screen_hold_no_control_characters_and_titles_are_one_line(title: str, body: str) -> None:
    assert (
        re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029]", printable(body).replace("\t", ""))
        is None
    )
    assert "\n" not in title_of({"title": title}) and len(title_of({"title": title})) <= 150


@given(st.text(max_size=400), st.text(max_size=5000))
@pytest.mark.parametrize(
    ("scheme", "room"), [("discord", 2000), ("slack", 3000), ("ntfy", 4096), ("workflows", 20_000)]
)
def test_title_and_body_together_are_within_what_each_service_takes(
    scheme: str, room: int, title: str, body: str
) -> None:
    dialect = dialect_of(scheme, 0)
    said = dialect.texts({"title": title, "body": f"{body}\n\nSee more: holter show r1"})
    assert sum(map(dialect.size, said)) <= room


@pytest.mark.parametrize(
    "call", ["@everyone", "@here", "@all", "@channel", "@room", "@**all**", "<users/all>", "<@U1>"]
)
def test_no_chat_is_called_by_what_a_log_holds(call: str) -> None:
    for scheme in ("slack", "discord", "mmost", "rocket", "gchat", "matrix", "zulip"):
        said = "".join(
            dialect_of(scheme, 4000).texts({"title": f"{call} x", "body": f"a {call} b\n\nSee more: x"})
        )
        assert call not in said and call[-3:] in said
    assert dialect_of("mailto", 0).texts({"title": call, "body": call}) == (call, call)
