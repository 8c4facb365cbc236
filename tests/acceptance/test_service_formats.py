"""What Slack, Discord, Teams, ntfy and a mail server get, compared with what they document.

The bytes are the very ones that would leave the host: a process of its own tells what is in the store, through an HTTPS
proxy that answers for the services, and to an SMTP server. Each test names the page that states its limits.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from holter.agent.watchdog.incidents import Board, Incident
from holter.backends.base import Backend
from holter.backends.lines import encode
from holter.backends.urls import open_backend

from .services import Front, Post, Postbox, authority_file

_MISSING = [name for name in ("apprise", "trustme", "aiosmtpd") if find_spec(name) is None]
pytestmark = pytest.mark.skipif(bool(_MISSING), reason=f"pip install {' '.join(_MISSING)}")

SLACK, DISCORD, TEAMS = "hooks.slack.com", "discord.com", "prod-01.westus.logic.azure.com"
TOKENS = ("TIiajkdnlazkcOXrIdevi7FQ", "JHMHI8qBe7bk2ZwO5U711o3dV_js", "4ab34f3e_signature", "hush-hush-99")
NAME = "nightly\r\nBcc: evil@example.org\n\nüber <!channel> *all*"
HOSTILE = "@everyone @here <!channel> <@U123> <at>ops</at> & `a` *b* _c_ [x](http://e.org) \x1b[31mred\x1b[0m\x07\u202e"
LINES = [
    f"line {number:02}: {HOSTILE if number % 2 else 'äöü 漢字 🚀 ``` &amp;'} {'x' * 500}"
    for number in range(20)
]


@frozen
class Heard:
    """What each service got. `said` is what the processes that told it wrote."""

    front: Front
    postbox: Postbox
    said: str

    def posts(self, host: str) -> list[Post]:
        return self.front.to(host)

    @property
    def ntfy(self) -> list[Post]:
        return self.front.to(f"127.0.0.1:{self.front.port}")

    def all_texts(self) -> Iterator[tuple[str, str]]:
        """Every (service, text for people)."""
        for host in (SLACK, DISCORD, TEAMS):
            for post in self.posts(host):
                yield from ((host, text) for text in texts(post.json))
        for post in self.ntfy:
            yield from (("ntfy", post.json[name]) for name in ("title", "message"))
        for mail in self.postbox.mails:
            yield from (("mail", text) for text in (mail.message["Subject"], mail.message.get_content()))


def texts(value: Any) -> Iterator[str]:
    """All texts under the keys that people read."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name in ("text", "title", "content", "description", "message") and isinstance(each, str):
                yield each
            else:
                yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def append(store: Backend, journal: str, host: str, *events: dict[str, Any]) -> None:
    now = time.time()
    head = {"event": "process", "at": now, "host": host, "pid": 1, "project": "default"}
    store.append(journal, 0, b"".join(encode({"at": now, **each}) for each in (head, *events)))


def start(run: str, name: str) -> dict[str, Any]:
    return {"event": "start", "run": run, "name": name, "kind": "flow"}


def crash(run: str, reason: str) -> dict[str, Any]:
    return {"event": "judge", "run": run, "state": "CRASHED", "by": "proof", "reason": reason}


def trouble(store: Backend) -> None:
    """A failure with all that may be in a text, one of nothing but markup, a late job, a crash, forty of one cause."""
    log = [{"event": "log", "run": "r1", "level": "INFO", "text": line} for line in LINES]
    error = {"type": "ValueError", "message": HOSTILE}
    append(
        store,
        "j1",
        "web-1",
        start("r1", NAME),
        *log,
        {"event": "end", "run": "r1", "state": "FAILED", "error": error},
    )
    marks = ["*_`" * 180] * 19 + ["<&" * 270]
    lines = [{"event": "log", "run": "r0", "level": "INFO", "text": line} for line in marks]
    ended = {"event": "end", "run": "r0", "state": "FAILED"}
    append(store, "j0", "web-1", start("r0", "marks"), *lines, ended)
    append(store, "j2", "web-1", start("r2", "etl_of_all"), crash("r2", "killed by signal 9"))
    many = [(start(f"x{n}", f"job_{n}@everyone"), crash(f"x{n}", "host restarted")) for n in range(40)]
    append(store, "j3", "web-2", *(event for pair in many for event in pair))
    now = time.time()
    late = Incident("late", "late:1", "expected at 02:00, not seen by 02:10", now - 600, job="sync")
    Board(store).settle("job:default/sync", [late], now)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heard]:
    with told(tmp_path_factory.mktemp("services"), trouble, recovery) as what:
        yield what


@contextmanager
def told(folder: Path, *happenings: Callable[[Backend], None], more: str = "") -> Iterator[Heard]:
    """What the services got after each of the happenings was told in turn; `more` settings."""
    import trustme

    home = folder / "home"
    home.mkdir(mode=0o700)
    authority = trustme.CA()
    front, postbox = Front(authority), Postbox()
    (home / "holter.yaml").write_text(
        f"""{more}
channels:
  slack: slack://T1JJ3T3L2/A1BRTD4JD/{TOKENS[0]}
  discord: discord://4174216298/{TOKENS[1]}
  teams: workflows://{TEAMS}:443/643e69f83c8944/{TOKENS[2]}
  ntfy: ntfy://127.0.0.1:{front.port}/jobs?priority=high&tags=warning
  mail: "mailto://127.0.0.1:{postbox.port}/?from=holter@example.org&to=ops@example.org"
"""
    )
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    env |= {"HOLTER_HOME": str(home), "HTTPS_PROXY": f"http://127.0.0.1:{front.port}"}
    env |= {"REQUESTS_CA_BUNDLE": authority_file(authority, folder)}
    store = open_backend("sqlite:///holter.db", str(home))
    said = ""
    for happens in happenings:
        happens(store)
        command = [sys.executable, str(Path(__file__).with_name("telling.py"))]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        said += done.stdout + done.stderr
    store.close()
    yield Heard(front, postbox, said)
    front.close()
    postbox.close()


def recovery(store: Backend) -> None:
    append(store, "j4", "web-1", *completed("etl_of_all"))


def completed(name: str) -> tuple[dict[str, Any], ...]:
    return start("r3", name), {"event": "end", "run": "r3", "state": "COMPLETED"}


def test_every_service_takes_every_alert_once_and_in_order(heard: Heard) -> None:
    assert heard.said == ""
    titles = ["sync late", "nightly Bcc", "marks failed", "etl_of_all crashed", "web-2 was restarted"]
    titles.append("etl_of_all recovered")
    assert [mail.message["Subject"][:9] for mail in heard.postbox.mails] == [each[:9] for each in titles]
    for posts in (heard.posts(SLACK), heard.posts(DISCORD), heard.posts(TEAMS), heard.ntfy):
        plain = [post.body.decode().replace("\\\\", "") for post in posts]
        assert len(plain) == 6
        assert all(title in text for title, text in zip(titles, plain, strict=True))


def test_slack_gets_json_within_its_limits_in_which_no_text_is_a_command(heard: Heard) -> None:
    """Slack, "Sending messages using incoming webhooks", "Formatting message text" (& < > are escaped; <!channel> and
    <@U...> call people), "Truncating really long messages" (40,000 characters), "Blocks" (3,000 in a section, 150 in a
    header)."""
    for post in heard.posts(SLACK):
        assert post.path == f"/services/T1JJ3T3L2/A1BRTD4JD/{TOKENS[0]}"
        assert post.headers["content-type"].startswith("application/json")
        assert post.json.get("text") or post.json.get("attachments") or post.json.get("blocks")
        for text in texts(post.json):
            assert 0 < len(text) <= 3000
            assert "<" not in text and ">" not in text
            assert re.findall(r"&(?!amp;|lt;|gt;)", text) == []
        for each in post.json["attachments"]:
            assert len(each["title"]) <= 150, each["title"]
        assert not post.json.get("link_names") and post.json.get("parse") != "full"


def test_discord_gets_messages_within_its_limits_that_call_nobody(heard: Heard) -> None:
    """Discord, "Execute Webhook" (content of 2,000 characters, or embeds), "Embed Limits" (title 256, description
    4,096, 6,000 in all), "Allowed Mentions" (what content mentions is called unless it is forbidden)."""
    for post in heard.posts(DISCORD):
        said = post.json
        assert said.get("content") or said.get("embeds")
        assert len(said.get("content", "")) <= 2000
        for embed in said.get("embeds", []):
            assert len(embed.get("title", "")) <= 256 and len(embed.get("description", "")) <= 4096
        assert sum(map(len, texts(said.get("embeds", [])))) <= 6000
        if said.get("allowed_mentions", {}).get("parse") != []:
            assert re.search(r"@everyone|@here|<@[!&]?\w", said["content"]) is None
        assert said["content"].count("```") == 2, "what is inside could end the block of code"


def test_teams_gets_an_adaptive_card_within_its_limit_that_mentions_nobody(heard: Heard) -> None:
    """Microsoft, "Create incoming webhooks with Workflows" (a message with attachments), "Adaptive Card schema" (type,
    version, body), "Limits and specifications for Teams" (28 KB a message), "Text formatting in cards" (two line feeds
    begin a line)."""
    for post in heard.posts(TEAMS):
        assert len(post.body) <= 28 * 1024
        assert post.json["type"] == "message"
        (attachment,) = post.json["attachments"]
        assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
        card = attachment["content"]
        assert card["type"] == "AdaptiveCard" and re.fullmatch(r"1\.\d", card["version"])
        blocks = [each for each in card["body"] if each["type"] == "TextBlock"]
        assert all(each["text"] for each in blocks) and blocks[-1]["wrap"]
        assert "entities" not in card.get("msteams", {})
        assert re.search(r"(?<!\n)\n(?!\n)", blocks[-1]["text"]) is None


def test_ntfy_gets_messages_and_no_attachments(heard: Heard) -> None:
    """ntfy, "Publish as JSON" (topic, title, message; the rest as headers), "Limitations" (a message of 4,096 bytes; a
    longer one becomes an attachment), "Message priority" (1 to 5, or their names)."""
    for post in heard.ntfy:
        assert post.path == "/" and post.headers["content-type"].startswith("application/json")
        assert post.json["topic"] == "jobs"
        assert len(post.json["message"].encode()) <= 4096
        assert 0 < len(post.json["title"]) <= 200 and "\n" not in post.json["title"]
        named = {"min": 1, "low": 2, "default": 3, "high": 4, "max": 5}
        priority = post.json.get("priority", post.headers.get("x-priority", "default"))
        assert 1 <= named.get(priority, 0) <= 5 or int(priority) in range(1, 6)
        assert post.json.get("tags", post.headers.get("x-tags", "").split(",")) == ["warning"]


def test_mails_are_well_formed_and_a_job_cannot_write_headers(heard: Heard) -> None:
    """RFC 5322 (From, Date and the lines of a message: CRLF, at most 998 octets), RFC 2045 (MIME-Version, the encoding
    of what is not ASCII)."""
    for mail in heard.postbox.mails:
        message, head = mail.message, mail.raw.partition(b"\r\n\r\n")[0]
        assert mail.sender == "holter@example.org" and mail.recipients == ["ops@example.org"]
        assert message["From"].addresses[0].addr_spec == "holter@example.org"
        assert [each.addr_spec for each in message["To"].addresses] == ["ops@example.org"]
        assert abs(parsedate_to_datetime(message["Date"]).timestamp() - time.time()) < 3600
        assert re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", message["Message-ID"])
        assert message["MIME-Version"] == "1.0" and message.get_content_charset() == "utf-8"
        assert message["Bcc"] is None and message["Cc"] is None
        assert head.isascii() and message.defects == []
        assert b"\n" not in mail.raw.replace(b"\r\n", b"") and b"\r" not in mail.raw.replace(b"\r\n", b"")
        assert all(len(line) <= 998 for line in mail.raw.split(b"\r\n"))
        assert message["Subject"] and "\n" not in message["Subject"]
        assert message.get_content_type() == "text/plain"


def test_the_longest_alert_keeps_its_head_its_newest_lines_and_the_command_that_shows_more(
    heard: Heard,
) -> None:
    places = {"slack": heard.posts(SLACK), "discord": heard.posts(DISCORD), "teams": heard.posts(TEAMS)}
    found = {name: "\n".join(texts(posts[1].json)) for name, posts in places.items()}
    found["ntfy"] = heard.ntfy[1].json["message"]
    found["mail"] = heard.postbox.mails[1].message.get_content()
    for name, text in found.items():
        plain = text.replace("\\", "")
        assert "ValueError: @" in plain, name
        assert "line 19: @" in plain and "line 18: äöü 漢字 🚀" in plain, name
        assert "See more: holter show r1" in plain, name
    assert "line 00" in found["mail"] and "line 00" in found["teams"], "what fits is not cut"
    assert all(
        "  ..." in found[name] and "line 00" not in found[name] for name in ("slack", "discord", "ntfy")
    )


def test_no_text_rings_colours_or_turns_the_direction_of_writing(heard: Heard) -> None:
    for service, text in heard.all_texts():
        assert re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202e]|\\[31m", text.replace("\\", "")) is None, (
            service
        )


def test_what_cannot_be_delivered_shows_nothing_of_a_url_but_its_scheme(tmp_path: Path) -> None:
    """A port where nobody listens, as proxy and as server: neither output nor store names a secret."""
    channels = {
        "slack": f"slack://T1JJ3T3L2/A1BRTD4JD/{TOKENS[0]}",
        "discord": f"discord://4174216298/{TOKENS[1]}",
        "teams": f"workflows://{TEAMS}:443/643e69f83c8944/{TOKENS[2]}",
        "ntfy": f"ntfy://me:{TOKENS[3]}@127.0.0.1:1/jobs",
        "mail": f"mailto://me:{TOKENS[3]}@127.0.0.1:1/?from=holter@example.org&to=ops@example.org",
    }
    (tmp_path / "holter.yaml").write_text(json.dumps({"channels": channels}))
    store = open_backend("sqlite:///holter.db", str(tmp_path))
    append(store, "j2", "web-1", start("r2", "etl"), crash("r2", "killed by signal 9"))
    env = {**os.environ, "HOLTER_HOME": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:1"}
    command = [sys.executable, str(Path(__file__).with_name("telling.py"))]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    documents = json.dumps([held.value for kind in ("alert", "channel") for _, held in store.list(kind)])
    store.close()
    assert done.returncode == 0 and done.stderr.count("was not delivered") >= 5
    assert documents.count("did not deliver") >= 10
    assert not any(token in done.stdout + done.stderr + documents for token in TOKENS)


@pytest.mark.long
def test_random_alerts_are_within_all_limits(tmp_path: Path) -> None:
    """200 failures of whatever may be in a name, an error and a log, each told alone: the same limits hold."""
    dice = random.Random(11)
    words = [
        "x" * 90,
        "äöü",
        "漢字" * 20,
        "🚀👩‍👩‍👧",
        "```",
        "**",
        "<!here>",
        "@here",
        "&amp;",
        "\\",
        '"',
        "'",
        "\x1b[1m",
        "\x00",
    ]
    words += [
        "\n",
        "\r\n",
        "\u202e",
        "\u2028",
        "\t",
        " ",
        "_" * 40,
        "](http://e.org)",
        "<at>a</at>",
        "%s{}",
        "http://a.b/c_d",
    ]

    def text(most: int) -> str:
        return "".join(dice.choices(words, k=dice.randint(1, most)))

    def storm(store: Backend) -> None:
        for number in range(200):
            run = f"r{number}"
            log = [
                {"event": "log", "run": run, "level": "INFO", "text": text(30)}
                for _ in range(dice.randint(0, 25))
            ]
            end = {"event": "end", "run": run, "state": "FAILED", "error": {"type": "E", "message": text(20)}}
            append(store, f"j{number}", "web-1", start(run, f"n{number}{text(8)}"), *log, end)

    with told(tmp_path, storm, more="watchdog: {digest: 0}") as what:
        assert what.said == "" and len(what.postbox.mails) == 200
        assert [len(what.posts(host)) for host in (SLACK, DISCORD, TEAMS)] == [200] * 3 and len(
            what.ntfy
        ) == 200
        test_slack_gets_json_within_its_limits_in_which_no_text_is_a_command(what)
        test_discord_gets_messages_within_its_limits_that_call_nobody(what)
        test_teams_gets_an_adaptive_card_within_its_limit_that_mentions_nobody(what)
        test_ntfy_gets_messages_and_no_attachments(what)
        test_mails_are_well_formed_and_a_job_cannot_write_headers(what)
        test_no_text_rings_colours_or_turns_the_direction_of_writing(what)
