"""The dashboard's pages, as anybody with a browser could ask for them. Real sockets on loopback."""

from __future__ import annotations

import html
import json
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

import pytest

from holter.agent import jobs, ledgers
from holter.agent.watchdog import message, outbox
from holter.agent.watchdog.incidents import Board, Incident
from holter.agent.web import tokens
from holter.agent.web.pages.live import newest_transition
from holter.backends.base import Backend
from holter.backends.clock import rfc3339
from holter.backends.urls import open_backend
from holter.testing.collector import collector
from holter.testing.places import NOON
from holter.testing.tapes import Tape

Answer = tuple[int, dict[str, str], str]


class Site:
    def __init__(self, store: Backend, url: str) -> None:
        self.store, self.port, self.cookie = store, int(url.rpartition(":")[2]), ""

    def ask(self, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> Answer:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        named = {"Accept": "text/html", **{name.replace("_", "-"): text for name, text in headers.items()}}
        if self.cookie:
            named["Cookie"] = self.cookie
        if form is not None:
            named["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, None if form is None else urlencode(form), named)
        response = connection.getresponse()
        body, found = response.read(), {name.lower(): text for name, text in response.getheaders()}
        connection.close()
        if found.get("content-encoding") == "gzip":
            body = zlib.decompress(body, 31)
        if "set-cookie" in found:
            self.cookie = found["set-cookie"].partition(";")[0]
        return response.status, found, body.decode()

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def jobs(self, path: str = "/", **headers: str) -> list[str]:
        status, _, text = self.get(path, **headers)
        assert status == 200, text
        return re.findall(r'<th scope="row"><a href="/job[^>]*>([^<]+)</a>', text)

    def token(self, *scopes: str, project: str | None = None) -> str:
        text, _ = tokens.mint(self.store, scopes, project, "ann", time.time())
        time.sleep(0.3)  # as long as a collector may go by what it knows of tokens
        return f"Bearer {text}"

    def sign_in(self, token: str) -> Answer:
        return self.ask("POST", "/sign-in", {"token": token.removeprefix("Bearer ")})

    def csrf(self, path: str) -> dict[str, str]:
        """What the forms of this page send along."""
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', self.get(path)[2])
        assert found
        return {"csrf": found[1]}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with collector(str(tmp_path)) as url:
        store = open_backend("sqlite:///holter.db", str(tmp_path))
        yield Site(store, url)
        store.close()


def test_jobs_that_failed_stand_before_those_that_run_and_those_that_are_well(site: Site) -> None:
    Tape("j1").ran("r1", name="a-well").send(site.store)
    Tape("j2").ran("r2", "FAILED", name="c-broken").send(site.store)
    Tape("j3").start("r3", name="b-busy").send(site.store)
    assert site.jobs() == ["c-broken", "b-busy", "a-well"]


def test_filters_of_the_address_keep_the_jobs_that_match(site: Site) -> None:
    Tape("j1", project="a").ran("r1", name="load[eu]").send(site.store)
    Tape("j2", project="b").ran("r2", "FAILED", name="load-us").send(site.store)
    assert site.jobs("/?text=%5Beu%5D") == ["load[eu]"]
    assert site.jobs("/?project=b") == ["load-us"]
    assert site.jobs("/?state=Failed") == ["load-us"]
    assert "No job matches" in site.get("/?text=%5B*")[2]


def test_every_run_is_one_tick_and_those_in_trouble_stand_out(site: Site) -> None:
    tape = Tape("j1")
    for number in range(40):
        tape.ran(f"r{number:02}", "FAILED" if number == 39 else "COMPLETED")
    tape.send(site.store)
    text = site.get("/")[2]
    assert "29 of the last 30 completed, 1 in trouble" in text
    drawn = dict(re.findall(r'<path class="(\w+)" d="([^"]+)"', text))
    assert {kind: path.count("M") for kind, path in drawn.items()} == {"good": 29, "bad": 1}
    assert '<td class="n">96.6%' in text


def test_what_the_watchdog_found_of_a_job_wants_attention_too(site: Site) -> None:
    Tape("j1").ran("r1", name="a").send(site.store)
    Tape("j2").ran("r2", name="b").send(site.store)
    missed = Incident("missed", "missed:b", "expected at 02:00", NOON, "shop", "b")
    Board(site.store).settle("job:b", [missed], NOON)
    assert site.jobs() == ["b", "a"]
    assert site.jobs("/?state=missed") == ["b"]
    assert "expected at 02:00" in site.get("/")[2]


def test_filters_by_tag_and_host_are_in_the_address_too(site: Site) -> None:
    Tape("j1", host="web-1").ran("r1", name="load", tags=["nightly"]).send(site.store)
    Tape("j2", host="web-2").ran("r2", name="mail").send(site.store)
    assert site.jobs("/?tag=nightly") == site.jobs("/?host=web-1") == ["load"]
    assert site.jobs("/?tag=nightly&host=web-2") == []


def test_a_job_that_runs_says_for_how_long(site: Site) -> None:
    Tape("j1", at=time.time() - 66).start("r1").send(site.store)
    text = site.get("/")[2]
    assert re.search(r'<td class="n"><span data-since="[\d.]+">1m 0\ds</span>', text)
    assert "Nothing needs attention · 1 running · 0 well" in text


def test_a_job_says_when_it_is_expected_next(site: Site) -> None:
    Tape("j1").ran("r1", check={"schedule": "30 4 * * *", "timezone": "UTC"}).send(site.store)
    head = {"schedule": "30 4 * * *", "timezone": "UTC", "since": NOON, "until": NOON}
    site.store.put(ledgers.HEAD, jobs.key_of("shop", "etl"), head, 0)
    said = r'<time datetime="\d{4}-\d\d-\d\dT04:30:00Z"'
    assert re.search(rf"{said}[^<]*<[^<]*</td></tr>", site.get("/")[2])
    assert re.search(rf"<dt>Next</dt><dd>{said}", site.get(ETL)[2])


# --- a job ----------------------------------------------------------------------------------------------------

ETL = "/job?project=shop&name=etl"


DAY = 86400.0
DUE = (time.time() - 7200) // 60 * 60  # when `etl` was due last
LAGOS = ZoneInfo("Africa/Lagos")  # an hour from UTC all year
CAME = (  # at, how it ended, what it said
    (DUE - 3 * DAY + 60, "FAILED", "no rows"),
    (DUE - 2 * DAY + 3600, "COMPLETED", ""),
    (DUE + 1, "FAILED", "no rows"),
    (DUE + 30, "FAILED", "disk full"),
)


@pytest.fixture
def history(site: Site) -> Site:
    """`etl`, due once a day: three days ago it was a minute late, then an hour, then it did not come, today twice."""
    due = datetime.fromtimestamp(DUE, LAGOS)
    check = {"schedule": f"{due.minute} {due.hour} * * *", "timezone": "Africa/Lagos", "grace": 900}
    for number, (at, state, words) in enumerate(CAME):
        error = {"type": "ValueError", "message": words, "traceback": "", "fingerprint": words}
        tape = Tape(f"j{number}", at=at - 1).start(f"r{number}", check=check)
        tape.end(f"r{number}", state, seconds=number + 1.0, **({"error": error} if words else {}))
        tape.send(site.store)
    return site


def test_what_was_expected_of_a_job_stands_beside_what_came_also_where_nobody_watches(history: Site) -> None:
    text = history.get(ETL)[2]
    assert 'aria-label="Expected times: 2 on time, 1 late, 1 missed"' in text
    assert len(re.findall(r'<circle class="(?:good|late)"', text)) == 3
    assert "<dt>Came when expected</dt><dd>75%</dd>" in text
    assert "<dt>Median lateness</dt><dd>1m 00s</dd>" in text


def test_a_job_has_a_year_of_days_and_its_hours_in_the_zone_of_its_schedule(history: Site) -> None:
    text = history.get(ETL)[2]
    days = dict(re.findall(r"<title>(\d{4}-\d\d-\d\d): ([^<]*)</title>", text))
    assert 365 <= len(days) <= 371
    said = {day: words for day, words in days.items() if words != "0 runs"}
    assert said == told(datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d") for at, _, _ in CAME)
    hours = re.findall(r"<title>(\d\d:00 Africa/Lagos): ([1-9][^<]*)</title>", text)
    assert dict(hours) == told(
        datetime.fromtimestamp(at, LAGOS).strftime("%H:00 Africa/Lagos") for at, _, _ in CAME
    )


def told(names: Iterable[str]) -> dict[str, str]:
    """How many runs of CAME each name stands for, in words."""
    found: dict[str, list[str]] = {}
    for name, (_, state, _) in zip(names, CAME, strict=True):
        found.setdefault(name, []).append(state)
    return {name: in_words(len(states), states.count("FAILED")) for name, states in found.items()}


def in_words(runs: int, bad: int) -> str:
    return f"{runs} run{'s' * (runs > 1)}" + (f", {bad} in trouble" if bad else "")


def test_failures_of_a_job_are_grouped_by_what_went_wrong_and_marked_among_its_durations(
    history: Site,
) -> None:
    text = history.get(ETL)[2]
    groups = re.findall(r'<th scope="row" class="long">([^<]*)</th><td class="n">(\d+)</td>', text)
    assert groups == [("ValueError: disk full", "1"), ("ValueError: no rows", "2")]
    (drawn,) = re.findall(r'data-plot="([^"]*)"', text)
    plot = json.loads(html.unescape(drawn))
    assert (plot["good"], plot["bad"]) == ([None, 2.0, None, None], [1.0, None, 3.0, 4.0])
    assert re.findall(r'<th scope="row"><a href="/runs/(r\d)">', text) == ["r3", "r2", "r1", "r0"]
    assert re.findall(
        r'<th scope="row"><a href="/runs/(r\d)">', history.get(f"{ETL}&state=completed")[2]
    ) == ["r1"]


# --- a run ----------------------------------------------------------------------------------------------------


def test_a_run_shows_what_its_process_used_what_it_held_and_where_it_came_from(site: Site) -> None:
    tape = Tape("j1").start("r0").end("r0")
    tape.start("r1", cause={"rerun_of": "r0"}).start("r1.1", name="part", kind="task")
    for number in range(3):
        tape.say("beat", seq=number + 1, rss=(number + 1) * 50_000_000, cpu=number * 0.5)
    tape.say("slot", run="r1", limit="database", occupy=2, waited=61.0, held=5.0)
    tape.say("slot", run="r1", limit="gpu", occupy=1, waited=0.0)
    tape.end("r1.1").end("r1", result={"rows": 3}).send(site.store)
    text = site.get("/runs/r1")[2]
    (drawn,) = re.findall(r'data-usage="([^"]*)"', text)
    usage = json.loads(html.unescape(drawn))
    assert (usage["memory"], usage["cpu"]) == ([50.0, 100.0, 150.0], [None, 50.0, 50.0])
    assert (
        '<th scope="row">database</th>'
        + "".join(f'<td class="n">{each}</td>' for each in ("2", "1m 01s", "5.0s"))
        in text
    )
    assert re.search(r'gpu</th>(<td class="n">[^<]*</td>){2}<td class="n">still</td>', text)
    assert 'again <a href="/runs/r0">' in text
    assert '<a href="/runs/r1">whole run</a>' in site.get("/runs/r1.1")[2]
    assert ">etl</a>" in text


def test_a_failed_run_is_held_against_the_last_success(site: Site) -> None:
    Tape("j1").start("r1", parameters={"day": 1}).log("r1", "read 5 rows").end("r1").send(site.store)
    tape = Tape("j2", at=NOON + 3600).start("r2", parameters={"day": 2}).log("r2", "read 0 rows")
    error = {"type": "ValueError", "message": "day is odd", "traceback": "", "fingerprint": "f"}
    tape.log("r2", "giving up").end("r2", "FAILED", error=error).send(site.store)
    text = site.get("/runs/r2")[2]
    assert "<li>Parameter day is 2, and was 1 in the last success</li>" in text
    assert (
        'Compared with the last success, <a href="/runs/r1">r1</a>: 1 difference, 1 new kind of lines' in text
    )
    assert "giving up</code>" in text


def test_causes_quote_code_as_code_and_say_nothing_twice(site: Site) -> None:
    error = {"type": "OSError", "message": "reset", "traceback": "", "fingerprint": "f"}
    for number, (state, word) in enumerate((("COMPLETED", "<old>"), ("FAILED", "new"), ("FAILED", "new"))):
        tape = Tape(f"j{number}", at=NOON + number * 3600).start(f"r{number}", argv=["etl", word])
        tape.end(f"r{number}", state, **({"error": error} if state == "FAILED" else {})).send(site.store)
    text = site.get("/runs/r2")[2]
    assert "has <code>new</code>, where the last success had <code>&lt;old&gt;</code>" in text
    assert text.count("he same failure happened once before") == 1


def test_where_nothing_was_said_no_empty_box_stands(site: Site) -> None:
    Tape("j1").ran("r1").send(site.store)
    text = site.get("/runs/r1")[2]
    assert re.search(r'<ol class="lines"[^>]*></ol>', text)  # its style hides it, as long as nothing is in it
    assert "Nothing was printed or logged." in text


def test_every_attempt_of_a_run_is_told_with_why_it_failed_and_what_it_waited(site: Site) -> None:
    error = {"type": "OSError", "message": "reset", "traceback": "", "fingerprint": "f"}
    tape = Tape("j1").start("r1").say("retry", run="r1", attempt=1, delay=90.0, error=error)
    tape.say("attempt", run="r1", attempt=2).end("r1").send(site.store)
    text = site.get("/runs/r1")[2]
    assert "attempt 2" in text
    assert re.search(r'OSError: reset</td><td class="n">1m 30s</td>', text)


# --- limits, hosts, alerts ---------------------------------------------------------------------------------------


def test_limits_show_how_much_is_held_by_whom_and_who_waits(site: Site) -> None:
    Tape("j1").start("r1").start("r2", name="other").send(site.store)
    assert "No limit is known" in site.get("/slots")[2]
    entry = {"host": "web-1", "pid": 42, "lease": 30.0, "since": time.time() - 65, "beat": "x", "id": "x"}
    holder = {**entry, "occupy": 2, "run_id": "r1", "run_name": "etl", "token": 7, "numbers": [0, 1]}
    waiter = {**entry, "occupy": 1, "run_id": "r2", "run_name": "other"}
    site.store.put("lease", "gpu", {"token": 7, "slots": 3, "holders": [holder], "queue": [waiter]}, 0)
    text = site.get("/slots")[2]
    assert "2 of 3 held, 1 waiting, shared by all hosts" in text
    assert (text.count('<rect class="busy"'), text.count('<rect class="none"')) == (2, 1)
    assert re.findall(
        r'<td>(\w+)</td><td>web-1</td><td class="n">42</td><td><a href="/runs/(r\d)">', text
    ) == [
        ("holds", "r1"),
        ("waits", "r2"),
    ]
    assert "1m 05s" in text


def test_a_run_that_waits_for_a_slot_says_so_on_its_page_and_who_holds_one_too(site: Site) -> None:
    Tape("j1").start("r1").start("r1.0001", parent="r1", kind="task", name="part").start("r10").send(
        site.store
    )
    entry = {"host": "web-1", "pid": 42, "lease": 30.0, "since": time.time() - 65, "beat": "x", "id": "x"}
    holder = {**entry, "occupy": 1, "run_id": "r10", "run_name": "other", "token": 7, "numbers": [0]}
    waiter = {**entry, "occupy": 1, "run_id": "r1.0001", "run_name": "part"}
    site.store.put("lease", "gpu", {"token": 7, "slots": 1, "holders": [holder], "queue": [waiter]}, 0)
    for path in ("/runs/r1", "/runs/r1.0001"):
        text = site.get(path)[2]
        assert re.search(r"waits for</strong> a slot of gpu for <span[^>]*>1m 05s", text)
        assert "holds a slot" not in text
    assert "holds a slot of gpu" in site.get("/runs/r10")[2]


def test_hosts_show_what_runs_there_how_they_are_and_whether_somebody_watches(site: Site) -> None:
    Tape("j1", host="web-1").start("r1").send(site.store)
    Tape("j2", host="web-2").start("r2").start("r3").send(site.store)
    now = time.time()
    for host, at in (("web-1", now), ("web-2", now - 3600)):
        beat = {"at": at, "host": host, "pid": 9, "started_at": at, "good_for": 30.0, "stopped": False}
        site.store.put("pulse", host, beat, 0)
    signals = {"at": now, "host": "web-1", "memory_available": 2.5e9, "load": 0.75, "notes": []}
    site.store.put("host", "web-1", signals, 0)
    Board(site.store).settle("x", [Incident("disk", "k", "/srv is 99% full", now, host="web-2")], now)
    first, second = re.findall(r'<tr><th scope="row">(web-.*?)</tr>', site.get("/hosts")[2], re.DOTALL)
    assert [word for word in ("watches", "2.5 GB", "0.75") if word not in first] == []
    assert re.search(r'<td class="n">1</td><td class="n">1</td>', first)
    assert [word for word in ("silent", "/srv is 99% full") if word not in second] == []
    assert re.search(r'<td class="n">1</td><td class="n">2</td>', second)


def test_alerts_say_what_why_to_whom_and_when_it_was_delivered(site: Site) -> None:
    error = {"type": "ValueError", "message": "no rows", "traceback": "", "fingerprint": "f"}
    Tape("j1").start("r1").end("r1", "FAILED", error=error).send(site.store)
    run = site.store.run("r1")
    assert run
    alert = message.compose(run, message.Facts("failed", "r1:failed", NOON))
    doc = outbox.draft(alert, outbox.Order("ops", 1, "flow", NOON), NOON, state="sent")
    outbox.post(site.store, {**doc, "sent_at": NOON + 4, "attempts": 2})
    row = site.get("/alerts")[2].partition("<tbody>")[2]
    assert [
        word for word in ("failed", "ValueError: no rows", ">etl</a>", "sent to ops") if word not in row
    ] == []
    times = re.findall(r'<time datetime="([^"]*)"', row)
    assert times == [f"{rfc3339(NOON)[:19]}Z", f"{rfc3339(NOON + 4)[:19]}Z"]
    assert "try 2" in row


EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


def test_nothing_that_a_client_can_write_becomes_markup_on_any_page(site: Site) -> None:
    error = {"type": EVIL, "message": EVIL, "traceback": EVIL, "fingerprint": EVIL}
    tape = Tape("j1", project=EVIL, host=EVIL, user=EVIL, python=EVIL, argv=[EVIL], cwd=EVIL)
    tape.start(
        "r1",
        name=EVIL,
        run_name=EVIL,
        tags=[EVIL],
        parameters={EVIL: EVIL},
        code={"file": EVIL, "git_commit": EVIL},
    )
    tape.start("r1.1", name=EVIL, kind="task", run_name=EVIL).say(
        "log", run="r1", level=EVIL, stream=EVIL, text=EVIL
    )
    for kind, data in (
        ("markdown", f"{EVIL} [link](javascript:alert(1)) ![i](http://evil/x.png)"),
        ("table", [{EVIL: EVIL}, [EVIL], EVIL]),
        ("link", "javascript:alert(1)"),
        ("image", {"file": f"artifacts/{EVIL}"}),
        (EVIL, EVIL),
    ):
        tape.say("artifact", run="r1", key=f"{kind} {EVIL}", type=kind, description=EVIL, data=data)
    tape.say("progress", run="r1", done=1, total=2, text=EVIL).say(
        "slot", run="r1", limit=EVIL, occupy=1, waited=0.1
    )
    tape.end("r1.1", "FAILED", error=error).end("r1", "FAILED", error=error, result=EVIL, signal=EVIL)
    tape.send(site.store)
    Board(site.store).settle("x", [Incident(EVIL, EVIL, EVIL, NOON, EVIL, EVIL, EVIL)], NOON)
    outbox.snooze(site.store, EVIL, time.time() + 3600, by=EVIL)
    job = f"/job?{urlencode({'project': EVIL, 'name': EVIL})}"
    for path in (
        "/",
        job,
        "/runs/r1",
        "/runs/r1.1",
        "/runs/r1/lines",
        "/alerts",
        "/slots",
        "/hosts",
        f"/?text={quote(EVIL)}",
    ):
        status, _, text = site.get(path)
        assert status == 200, (path, text)
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert not re.search(r"(href=\"?javascript|src=\"?http)", text), path


def test_pages_carry_no_script_or_style_of_their_own_and_forbid_them(site: Site) -> None:
    status, headers, text = site.get("/")
    assert status == 200
    assert "Nothing has been recorded yet" in text
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert not re.search(r"<style|<script(?! src=\"/assets/)|style=|\son\w+=|https?://", text)


def test_static_files_may_be_kept_for_ever_under_the_name_of_their_content(site: Site) -> None:
    paths = re.findall(r'(?:href|src)="(/assets/[^"]+)"', site.get("/")[2])
    assert len(paths) == 3
    for path in paths:
        status, headers, _ = site.get(path, Accept_Encoding="gzip")
        assert status == 200
        assert "immutable" in headers["cache-control"]
    assert site.get("/assets/..%2Frender.py")[0] == 404


def test_a_run_of_many_steps_is_counted_by_name_and_shown_page_by_page(site: Site) -> None:
    tape = Tape("j1").start("r1")
    for number in range(450):
        tape.start(f"r1.{number:04}", name=f"part-{number % 3}", kind="task")
        tape.end(f"r1.{number:04}", "FAILED" if number == 7 else "COMPLETED")
    tape.end("r1").send(site.store)
    pages = [
        re.findall(r'href="/runs/(r1\.\d+)"', site.get(f"/runs/r1?page={page}")[2]) for page in (1, 2, 3)
    ]
    assert [len(page) for page in pages] == [200, 200, 50]
    assert [step for page in pages for step in page] == [f"r1.{number:04}" for number in range(450)]
    assert re.findall(r'<th scope="row">(part-\d)</th><td class="n">(\d+)', site.get("/runs/r1")[2])[0] == (
        "part-1",
        "150",
    )


def test_lines_are_shown_in_windows_and_found_by_words_and_level(site: Site) -> None:
    tape = Tape("j1").start("r1")
    for number in range(1000):
        tape.log("r1", f"row {number}")
    tape.say("log", run="r1", level="ERROR", stream="log", text="row 1000 is torn").end("r1").send(site.store)

    def shown(query: str = "") -> list[str]:
        return re.findall(r"<span>(row [^<]*)</span></li>", site.get(f"/runs/r1{query}")[2])

    def leads(query: str, words: str) -> str:
        found = re.search(rf'href="(\?[^"#]*)#logs">{words}', site.get(f"/runs/r1{query}")[2])
        assert found
        return html.unescape(found[1])

    assert shown()[::199] == ["row 801", "row 1000 is torn"]
    assert shown(leads("", "Earlier"))[::199] == ["row 601", "row 800"]
    assert shown(leads(leads("", "Earlier"), "Later"))[0] == "row 801"
    assert shown("?q=torn") == shown("?level=error") == ["row 1000 is torn"]
    assert shown("?q=nothing") == []
    assert "No line matches" in site.get("/runs/r1?q=nothing")[2]


# --- who may -------------------------------------------------------------------------------------------------


def test_a_token_is_asked_for_as_by_the_api_and_shows_only_its_project(site: Site) -> None:
    Tape("j1", project="a").ran("r1", name="mine").send(site.store)
    Tape("j2", project="b").start("r2", name="theirs").log("r2", "secret line").end("r2").send(site.store)
    bound, writer = site.token(tokens.READ, project="a"), site.token(tokens.INGEST)
    assert site.get("/")[0] == 401
    assert site.get("/", Authorization=writer)[0] == 403
    assert site.jobs(Authorization=bound) == ["mine"]
    assert site.jobs("/?project=b", Authorization=bound) == []
    for path in ("/runs/r2", "/runs/r2/lines", "/job?project=b&name=theirs"):
        status, _, text = site.get(path, Authorization=bound)
        assert (status, "secret line" in text) == (404, False)
    assert {site.get(path, Authorization=bound)[0] for path in ("/slots", "/hosts")} == {403}
    assert site.get("/runs/r1", Authorization=bound)[0] == 200


def test_a_bound_token_sees_no_snoozes_channels_or_alerts_of_others(site: Site) -> None:
    Tape("j1", project="a").ran("r1", name="mine").send(site.store)
    Board(site.store).settle("x", [Incident("late", "k", "secret reason", NOON, "b", "theirs")], NOON)
    outbox.snooze(site.store, "theirs", time.time() + 60)
    channel = {"channel": "secret-hook", "failing_since": NOON, "failures": 3, "last_error": "no route"}
    site.store.put("channel", "secret-hook", channel, 0)
    text = site.get("/alerts", Authorization=site.token(tokens.READ, project="a"))[2]
    assert [word for word in ("secret", "theirs") if word in text] == []
    text = site.get("/alerts", Authorization=site.token(tokens.READ))[2]
    assert [word for word in ("secret reason", "secret-hook", "theirs") if word not in text] == []


PAGES_OF_READERS = (
    "/",
    "/job?project=shop&name=etl",
    "/runs/r1",
    "/runs/r1/lines",
    "/alerts",
    "/slots",
    "/hosts",
    "/live",
)


def test_no_page_is_shown_without_a_token_where_tokens_are(site: Site) -> None:
    Tape("j1").ran("r1").send(site.store)
    site.token(tokens.READ)
    for path in PAGES_OF_READERS:
        status, _, text = site.get(path)
        assert (status, "sign in with a token" in text.lower()) == (401, True), path


def test_whoever_signs_in_has_a_cookie_that_no_script_and_no_other_site_can_use(site: Site) -> None:
    reader = site.token(tokens.READ)
    status, headers, _ = site.sign_in(reader)
    assert (status, headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=strict"} <= set(headers["set-cookie"].split("; "))
    assert reader.removeprefix("Bearer ") not in headers["set-cookie"]
    assert site.get("/")[0] == 200
    cookie = site.cookie.partition("=")[2]
    assert cookie not in str(site.store.list("session"))
    assert site.get("/v1/documents?kind=session", Authorization=site.token(tokens.WATCH))[0] == 403


def test_nobody_signs_in_with_a_token_that_may_not_read(site: Site) -> None:
    for token in (site.token(tokens.INGEST), "holter_x_y", "", "Bearer"):
        status, _, text = site.sign_in(token)
        assert (status, "No token that may read here" in text) == (401, True)
        assert site.get("/")[0] == 401


def test_no_other_site_signs_somebody_in(site: Site) -> None:
    form = {"token": site.token(tokens.READ).removeprefix("Bearer ")}
    assert site.ask("POST", "/sign-in", form, Sec_Fetch_Site="cross-site")[0] == 403
    assert site.ask("POST", "/sign-in", form, Sec_Fetch_Site="same-origin")[0] == 303


def test_a_session_ends_with_its_time_with_signing_out_and_with_its_token(site: Site) -> None:
    site.sign_in(site.token(tokens.READ))
    [(key, held)] = site.store.list("session")
    site.store.put("session", key, {**held.value, "until": time.time() - 1}, held.version)
    assert site.get("/")[0] == 401
    site.sign_in(site.token(tokens.READ))
    assert len(site.store.list("session")) == 1, "the old one is forgotten"
    kept = site.cookie
    assert site.ask("POST", "/sign-out", site.csrf("/"))[0] == 303
    site.cookie = kept
    assert site.get("/")[0] == 401


def test_the_form_leads_back_to_where_one_came_from_but_never_elsewhere(site: Site) -> None:
    reader = site.token(tokens.READ).removeprefix("Bearer ")
    for target, led in {
        "/runs/r1?q=x": "/runs/r1?q=x",
        "//evil.example": "/",
        "https://evil.example": "/",
        "/\\evil.example": "/",
        "javascript:alert(1)": "/",
        "/a\r\nSet-Cookie: x=y": "/",
    }.items():
        answer = site.ask("POST", "/sign-in", {"token": reader, "next": target})
        assert (answer[0], answer[1]["location"]) == (303, led)


ACTIONS = (
    ("/snooze", {"job": "etl", "for": "1h"}),
    ("/acknowledge", {"job": "etl"}),
    ("/runs/r1/cancel", {}),
    ("/runs/r1/mark", {"state": "FAILED"}),
    ("/runs/r1/rerun", {}),
)


@pytest.mark.parametrize(("path", "form"), ACTIONS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_button_takes_the_right_to_press_it_and_a_form_of_this_session(
    site: Site, path: str, form: dict[str, str]
) -> None:
    Tape("j1").start("r1").send(site.store)
    reader, operator = site.token(tokens.READ), site.token(tokens.OPERATE)
    assert site.ask("POST", path, form)[0] == 401
    site.sign_in(reader)
    csrf = site.csrf("/")
    assert site.ask("POST", path, {**form, **csrf})[0] == 403
    site.sign_in(operator)
    assert site.ask("POST", path, form)[0] == 403
    assert site.ask("POST", path, {**form, **csrf})[0] == 403, "a form of another session"
    assert site.get(path)[0] == 405
    assert [site.store.list(kind) for kind in ("snooze", "cancel")] == [[], []]
    assert site.store.run("r1").state == "RUNNING"  # type: ignore[union-attr]


def test_buttons_do_what_they_say_and_it_is_on_record_by_whose_word(site: Site) -> None:
    Tape("j1").start("r1").send(site.store)
    site.sign_in(site.token(tokens.OPERATE))
    csrf = site.csrf("/runs/r1")
    assert site.ask("POST", "/snooze", {"job": "etl", "for": "2h", "next": "/job?name=etl", **csrf})[1][
        "location"
    ] == ("/job?name=etl")
    assert site.ask("POST", "/runs/r1/cancel", {"reason": "wrong day", **csrf})[0] == 303
    [(_, held)] = site.store.list("snooze")
    assert (held.value["job"], "(dashboard)" in held.value["by"]) == ("etl", True)
    assert 7100 < held.value["until"] - time.time() < 7300
    [(_, request)] = site.store.list("cancel")
    assert (request.value["run"], request.value["reason"]) == ("r1", "wrong day")
    assert "wrong day" not in site.get("/runs/r1")[2]
    assert "Asked to end by token" in site.get("/runs/r1")[2]
    assert site.ask("POST", "/runs/r1/mark", {"state": "crashed", "reason": "seen", **csrf})[0] == 303
    run = site.store.run("r1")
    assert run
    assert run.state == "CRASHED"
    assert "seen (token" in (run.reason or "")
    assert site.ask("POST", "/runs/r1/mark", {"state": "bright", **csrf})[0] == 400
    assert site.ask("POST", "/runs/r1/rerun", csrf)[0] == 403, "a record that was sent starts nothing here"


def test_a_token_of_one_project_presses_no_button_of_another(site: Site) -> None:
    Tape("j1", project="a").start("r1").send(site.store)
    Tape("j2", project="b").start("r2").send(site.store)
    site.sign_in(site.token(tokens.OPERATE, project="a"))
    csrf = site.csrf("/runs/r1")
    assert site.ask("POST", "/runs/r2/cancel", csrf)[0] == 404
    assert site.ask("POST", "/runs/r1/cancel", csrf)[0] == 303
    assert site.ask("POST", "/snooze", {"job": "etl", **csrf})[0] == 403


def test_a_page_of_elsewhere_cannot_press_buttons_where_no_token_is_asked_for(site: Site) -> None:
    Tape("j1").start("r1").send(site.store)
    csrf = site.csrf("/runs/r1")
    assert site.ask("POST", "/runs/r1/cancel", csrf, Origin="https://evil.example")[0] == 401
    assert site.ask("POST", "/runs/r1/cancel", csrf, Sec_Fetch_Site="cross-site")[0] == 401
    site.cookie = ""
    assert site.ask("POST", "/runs/r1/cancel", csrf)[0] == 403
    assert site.store.list("cancel") == []


def test_forms_are_bounded(site: Site) -> None:
    assert site.ask("POST", "/sign-in", {"token": "x" * 100_000})[0] == 413
    assert site.ask("POST", "/sign-in", {f"x{number}": "1" for number in range(100)})[0] == 400
    assert site.ask("POST", "/sign-in", None, Content_Type="application/json")[0] == 415


def test_the_dashboard_of_one_person_opens_with_its_key_only_and_has_no_api(tmp_path: Path) -> None:
    with collector(str(tmp_path), key="k" * 40) as url:
        store = open_backend("sqlite:///holter.db", str(tmp_path))
        mine = Site(store, url)
        assert mine.get("/")[0] == 401
        assert mine.get("/sign-in?key=wrong")[0] == 401
        assert mine.get("/", Authorization=mine.token(tokens.WATCH))[0] == 401
        assert mine.get(f"/sign-in?key={'k' * 40}")[1]["location"] == "/"
        assert mine.get("/")[0] == 200
        assert mine.get("/v1/runs")[0] == 404
        store.close()


# --- what is not there ----------------------------------------------------------------------------------------


def test_what_is_not_there_is_a_page_that_says_so(site: Site) -> None:
    for path in ("/runs/none", "/job?name=none&project=none", "/job", "/nowhere", "/artifacts/x.png"):
        status, headers, text = site.get(path)
        assert (status, headers["content-type"].partition(";")[0]) == (404, "text/html"), path
        assert "<h1>Not found</h1>" in text
    assert site.get("/runs/none", Accept="application/json")[1]["content-type"] == "application/json"


def test_pictures_of_runs_are_shown_and_no_other_file(site: Site, tmp_path: Path) -> None:
    name = f"{'a' * 32}.svg"
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / name).write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "artifacts" / f"{'b' * 32}.png").symlink_to("/etc/passwd")
    status, headers, _ = site.get(f"/artifacts/{name}")
    assert (status, "sandbox" in headers["content-security-policy"]) == (200, True)
    for path in ("/artifacts/..%2Fholter.db", f"/artifacts/{'b' * 32}.png", f"/artifacts/{'c' * 32}.png"):
        assert site.get(path)[0] == 404, path


def test_a_store_that_is_away_is_said_and_the_page_tries_again(tmp_path: Path) -> None:
    with collector(str(tmp_path)) as url:
        store = open_backend("sqlite:///holter.db", str(tmp_path))
        store.close()
        (tmp_path / "holter.db").rename(tmp_path / "away")
        (tmp_path / "holter.db").mkdir()
        status, headers, text = Site(store, url).get("/")
        assert (status, "tries again" in text) == (503, True)
        assert int(headers["retry-after"]) > 0


def test_news_of_a_run_are_told_to_whoever_may_see_it(site: Site) -> None:
    tape = Tape("j1", project="a").start("r1")
    tape.send(site.store)

    def told(token: str, change: Callable[[], object]) -> str:
        connection = HTTPConnection("127.0.0.1", site.port, timeout=2)
        connection.request("GET", "/live?run=r1", headers={"Authorization": token})
        response = connection.getresponse()
        heard = response.read1()
        time.sleep(0.6)  # two looks, of which the first is what there was
        change()
        try:
            while b"event" not in heard:
                heard += response.read1()
        except TimeoutError:
            pass
        connection.close()
        return heard.decode()

    mine, other = site.token(tokens.READ, project="a"), site.token(tokens.READ, project="b")
    assert "event: lines" in told(mine, lambda: tape.log("r1", "new").send(site.store))
    assert "event: change" in told(
        mine, lambda: tape.say("progress", run="r1", done=1, total=2).send(site.store)
    )
    assert "event" not in told(other, lambda: tape.log("r1", "news").end("r1").send(site.store))


# --- for anybody --------------------------------------------------------------------------------------------


@pytest.fixture
def open_site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "holter.yaml").write_text("public: [shop]\n")
    with collector(str(tmp_path)) as url:
        store = open_backend("sqlite:///holter.db", str(tmp_path))
        yield Site(store, url)
        store.close()


def test_a_project_that_is_public_has_a_status_page_and_badges_without_a_token(open_site: Site) -> None:
    error = {"type": "ValueError", "message": "canary", "traceback": "canary", "fingerprint": "f"}
    now = time.time() - 100
    tape = Tape("j1", at=now, host="canary-host", user="canary").ran("r1", name="etl")
    tape.start("r2", name="load", parameters={"x": "canary"}).log("r2", "canary").end(
        "r2", "FAILED", error=error
    )
    tape.start("r3", name="sync").send(open_site.store)
    Tape("j2", at=now, project="secret").ran("r4", name="concealed").send(open_site.store)
    open_site.token(tokens.READ)
    status, headers, text = open_site.get("/public/shop")
    assert (status, "etl" in text, "canary" in text, "concealed" in text) == (200, True, False, False)
    assert "script-src" not in headers["content-security-policy"]
    for job, word in (("etl", "passing"), ("load", "failing"), ("sync", "running"), ("none", "unknown")):
        status, headers, text = open_site.get(f"/badge/shop/{job}.svg")
        assert (status, headers["content-type"]) == (200, "image/svg+xml")
        assert f">{word}</text>" in text
        assert "canary" not in text
    assert {
        open_site.get(path)[0] for path in ("/public/secret", "/public/none", "/badge/secret/concealed.svg")
    } == {404}
    assert open_site.get("/public/secret")[2].replace("secret", "x") == open_site.get("/public/none")[
        2
    ].replace("none", "x")


def test_nothing_is_public_unless_it_is_said(site: Site) -> None:
    Tape("j1").ran("r1").send(site.store)
    assert {site.get(path)[0] for path in ("/public/shop", "/badge/shop/etl.svg")} == {404}


def test_a_badge_of_any_name_is_sound(open_site: Site) -> None:
    text = open_site.get(f"/badge/shop/{quote(EVIL)}.svg")[2]
    assert "<script" not in text
    assert "<img" not in text


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 8, 9, 33])
def test_the_newest_change_is_found_without_reading_all(tmp_path: Path, count: int) -> None:
    store = open_backend(f"memory:{tmp_path}", str(tmp_path))
    tape = Tape("j1")
    for number in range(count):
        tape.start(f"r{number}")
    tape.send(store)
    assert newest_transition(store) == max((row.seq for row in store.transitions(0)), default=0)
