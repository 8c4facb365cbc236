"""What somebody sees and does who looks at scripts while they run."""

from __future__ import annotations

import subprocess
import time
from statistics import median
from typing import Any

import pytest

from holter.agent.web import tokens
from holter.backends.queries import RunQuery

from .conftest import HOLTER, Fleet, Looker, go_on, until

STEPS = """
    import sys
    from holter import flow, task, progress, artifact

    @task(retries=1, retry_delay_seconds=0)
    def load(part, tries=[]):
        tries.append(part)
        if tries == [0, 1]:
            raise ConnectionError("warehouse:5432 refused")
        print("loaded part", part)

    @flow(name="nightly-etl", log_prints=True)
    def etl(day):
        artifact("summary", markdown="# Figures\\n\\n<script>alert(1)</script>")
        for part in range(3):
            load(part)
        progress(3, 10, "rows")
        for line in sys.stdin:
            if line.strip() == "fail":
                raise ValueError("no such day: " + day)
            if line.strip() == "end":
                return {"rows": 3}
            print(line.strip())

    etl("2026-11-23")
"""


HOLDS = """
    import sys
    from holter import flow, concurrency

    @flow(name="train")
    def train():
        with concurrency("gpu", occupy=1):
            sys.stdin.readline()

    train()
"""


def in_state(page: Any, name: str, word: str) -> None:
    page.locator("tr", has_text=name).locator(".state", has_text=word).first.wait_for()


def test_a_run_appears_changes_and_ends_on_the_overview_by_itself(fleet: Fleet, looker: Looker) -> None:
    page = looker.open()
    page.get_by_text("Nothing has been recorded yet").wait_for()
    page.locator("#live[data-state=live]").wait_for()
    job = fleet.start(STEPS)
    in_state(page, "nightly-etl", "running")
    go_on(job, "end")
    in_state(page, "nightly-etl", "completed")


@pytest.mark.long
def test_a_change_is_on_the_page_within_a_second_of_being_stored(fleet: Fleet, looker: Looker) -> None:
    page = looker.open()
    page.locator("#live[data-state=live]").wait_for()
    taken = []
    for number in range(5):
        name = f"job-{number}"
        job = fleet.start(STEPS.replace("nightly-etl", name))
        in_state(page, name, "running")
        go_on(job, "end")
        until(lambda name=name: fleet.run(name).ended)
        stored = time.monotonic()
        in_state(page, name, "completed")
        taken.append(time.monotonic() - stored)
    print(f"shown {median(taken):.2f} s after it was stored, {max(taken):.2f} s at most")
    assert median(taken) < 1.0


@pytest.mark.long
def test_lines_are_followed_and_searched_as_they_come(fleet: Fleet, looker: Looker) -> None:
    job = fleet.start(STEPS)
    run = fleet.run("nightly-etl")
    page = looker.open(f"/runs/{run.id}")
    page.locator("#lines li", has_text="loaded part 2").wait_for()
    go_on(job, "a line that is new")
    page.locator("#lines li", has_text="a line that is new").wait_for()
    page.locator("#logs input[name=q]").fill("loaded part")
    page.locator("#logs button").click()
    page.wait_for_url("**q=loaded+part**")
    assert page.locator("#lines li").count() == 3
    go_on(job, "end")
    page.locator("h1 .state", has_text="completed").wait_for()


@pytest.mark.long
def test_the_waterfall_shows_every_attempt_of_every_step(fleet: Fleet, looker: Looker) -> None:
    job = fleet.start(STEPS)
    run = fleet.run("nightly-etl")
    until(lambda: len(fleet.store.runs(RunQuery(parent_id=run.id, states=("COMPLETED",)))) == 3)
    page = looker.open(f"/runs/{run.id}")
    rows = page.locator(".waterfall tbody tr")
    assert rows.count() == 3
    assert "\N{MULTIPLICATION SIGN}2" in rows.nth(1).inner_text()
    assert rows.nth(1).locator("rect.bad").count() == 1
    assert rows.nth(1).locator("rect.good").count() == 1
    assert page.locator("progress").first.get_attribute("value") == "3"
    assert page.get_by_role("heading", name="Figures").count() == 1
    rows.nth(1).get_by_role("link").click()
    page.get_by_text("ConnectionError: warehouse:5432 refused").first.wait_for()
    go_on(job, "end")


def test_from_the_overview_to_the_failing_line_with_keys_alone(fleet: Fleet, looker: Looker) -> None:
    job = fleet.start(STEPS)
    go_on(job, "fail")
    until(lambda: fleet.run("nightly-etl").ended)
    page = looker.open()
    press_to(page, "nightly-etl")
    page.keyboard.press("Enter")
    page.wait_for_url("**/job?**")
    page.get_by_role("heading", name="Why it failed").wait_for()
    press_to(page, page.locator("section[aria-labelledby=groups] td a").inner_text())
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs/**")
    assert "no such day: 2026-11-23" in page.locator("#error h2").inner_text()
    assert 'raise ValueError("no such day: " + day)' in page.locator("#error pre").inner_text()


def press_to(page: Any, text: str) -> None:
    """Tab until the link of this text has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if text in page.evaluate("document.activeElement.closest('a')?.innerText ?? ''"):
            return
    raise AssertionError(f"no way to {text!r} by Tab")


@pytest.mark.long
def test_filters_live_in_the_address(fleet: Fleet, looker: Looker) -> None:
    for name in ("nightly-etl", "send-mails"):
        job = fleet.start(STEPS.replace("nightly-etl", name))
        go_on(job, "end" if name == "send-mails" else "fail")
        until(lambda name=name: fleet.run(name).ended)
    page = looker.open()
    page.locator("input[name=text]").fill("mail")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**text=mail**")
    assert page.locator("tbody th a").all_inner_texts() == ["send-mails"]
    page.locator("input[name=text]").fill("")
    page.locator("select[name=state]").select_option("attention")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**state=attention**")
    assert page.locator("tbody th a").all_inner_texts() == ["nightly-etl"]
    page.reload()
    assert page.locator("select[name=state]").input_value() == "attention"


def signed_in(looker: Looker, token: str, path: str = "/") -> Any:
    page = looker.open(path)
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.locator("#live, h1").first.wait_for()
    looker.faults[:] = [each for each in looker.faults if "401" not in each]
    return page


def test_who_may_only_read_has_no_buttons_and_who_forges_them_is_refused(
    fleet: Fleet, looker: Looker
) -> None:
    fleet.token(tokens.INGEST)
    reader, operator = fleet.token(tokens.READ), fleet.token(tokens.OPERATE)
    fleet.start(STEPS)
    run = fleet.run("nightly-etl")
    page = signed_in(looker, reader, f"/runs/{run.id}")
    page.locator("h1", has_text="nightly-etl").wait_for()
    assert page.locator("#actions").count() == 0
    assert post(page, f"/runs/{run.id}/cancel", {}) == 403
    assert post(page, "/snooze", {"job": "nightly-etl", "for": "1h"}) == 403
    page = signed_in(looker, operator, f"/runs/{run.id}")
    page.locator("#actions").wait_for()
    assert post(page, f"/runs/{run.id}/cancel", {}) == 403, "without the CSRF token of the page"
    assert fleet.store.list("cancel") == fleet.store.list("snooze") == []
    looker.faults.clear()


def post(page: Any, path: str, form: dict[str, str]) -> int:
    """What a form that no page of ours made is answered."""
    script = (
        "([path, form]) => fetch(path, {method: 'POST', body: new URLSearchParams(form)}).then(a => a.status)"
    )
    return int(page.evaluate(script, [path, form]))


@pytest.mark.long
def test_a_run_is_cancelled_and_its_job_snoozed_from_the_page(fleet: Fleet, looker: Looker) -> None:
    fleet.token(tokens.WATCH, tokens.INGEST)
    operator = fleet.token(tokens.OPERATE)
    fleet.watch()
    job = fleet.start(STEPS)
    run = fleet.run("nightly-etl")
    page = signed_in(looker, operator, f"/runs/{run.id}")
    page.get_by_label("Reason").first.fill("wrong day")
    page.get_by_role("button", name="Cancel this run").click()
    page.locator("h1 .state", has_text="cancelled").wait_for()
    assert "wrong day" in (fleet.run("nightly-etl").reason or "")
    assert job.wait(10) != 0
    page.locator(".trail a").nth(1).click()
    page.get_by_role("button", name="Snooze").click()
    page.get_by_text("Snoozed until").wait_for()
    [(_, held)] = fleet.store.list("snooze")
    assert held.value["job"] == "nightly-etl"


@pytest.mark.long
def test_a_session_ends_when_its_token_is_revoked(fleet: Fleet, looker: Looker) -> None:
    page = signed_in(looker, fleet.token(tokens.READ))
    page.get_by_text("Nothing has been recorded yet").wait_for()
    [each] = tokens.everyone(fleet.store)
    tokens.revoke(fleet.store, each.id, time.time())
    time.sleep(0.3)  # as long as a collector may go by what it knows of tokens
    page.reload()
    page.get_by_label("Token").wait_for()
    looker.faults.clear()


@pytest.mark.long
def test_the_page_says_when_the_server_is_away_and_comes_back_by_itself(fleet: Fleet, looker: Looker) -> None:
    page = looker.open()
    page.locator("#live[data-state=live]").wait_for()
    fleet.collector.kill()
    page.locator("#live[data-state=away]").wait_for()
    assert "not up to date" in page.locator("#live").inner_text()
    looker.picture(page, "overview-away-light-1280")
    fleet.collector.start()
    page.locator("#live[data-state=live]").wait_for()
    looker.faults.clear()  # the browser says that it could not connect


@pytest.mark.long
def test_times_are_in_the_readers_zone_with_utc_on_hover(fleet: Fleet, looker: Looker) -> None:
    go_on(fleet.start(STEPS), "end")
    run = until(lambda: fleet.run("nightly-etl") if fleet.run("nightly-etl").ended else None)
    page = looker.open(f"/runs/{run.id}")
    shown = page.locator(".facts time")
    utc = shown.get_attribute("title")
    assert utc == time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(run.created_at))
    assert shown.inner_text() == page.evaluate(
        "at => new Date(at).toLocaleString('sv-SE', {timeZone: 'Europe/Berlin'})", utc.replace(" UTC", "Z")
    )


AXE = "() => axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"


@pytest.mark.long
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 380], ids=["wide", "narrow"])
def test_every_page_is_readable_by_everybody(fleet: Fleet, looker: Looker, dark: bool, width: int) -> None:
    go_on(fleet.start(STEPS.replace("nightly-etl", "other <b>etl</b>")), "end")
    go_on(fleet.start(STEPS), "fail")
    fleet.watch()
    until(lambda: fleet.store.list("pulse"))
    live = fleet.start(STEPS)
    go_on(live, "still running")
    fleet.start(HOLDS)
    unbroken = STEPS.replace("nightly-etl", "another").replace("no such day: ", "warehouse/of/the/day/" * 20)
    go_on(fleet.start(unbroken), "fail")
    until(lambda: len(fleet.store.runs(RunQuery(roots=True, states=("RUNNING",)))) == 2)
    until(
        lambda: (
            fleet.store.list("alert") and any(held.value["holders"] for _, held in fleet.store.list("lease"))
        )
    )
    failed = fleet.run("nightly-etl", states=("FAILED",))
    running = fleet.run("nightly-etl", states=("RUNNING",))
    shade = "dark" if dark else "light"
    for name, path in {
        "overview": "/",
        "overview-empty": "/?text=nothing",
        "job": "/job?project=default&name=nightly-etl",
        "run-failed": f"/runs/{failed.id}",
        "run-live": f"/runs/{running.id}",
        "run-unbroken": f"/runs/{fleet.run('another').id}",
        "alerts": "/alerts",
        "slots": "/slots",
        "hosts": "/hosts",
        "sign-in": "/sign-in",
        "not-found": "/runs/none",
        "public": "/public/default",
    }.items():
        page = looker.open(path, dark=dark, width=width, bypass_csp=False)
        page.locator("main").wait_for()
        looker.picture(page, f"{name}-{shade}-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{path} is too wide"
        page.context.close()
        page = looker.open(path, dark=dark, width=width, bypass_csp=True)  # to bring a script along
        page.add_script_tag(path=str(__file__).replace("test_dashboard.py", "axe.min.js"))
        found = page.evaluate(AXE)["violations"]
        assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found] == []
        page.context.close()
    looker.faults[:] = [each for each in looker.faults if "404" not in each]  # of the page that is none


@pytest.mark.long
def test_the_theme_is_the_readers_choice_and_stays(fleet: Fleet, looker: Looker) -> None:
    page = looker.open()
    page.get_by_role("button", name="Use dark colours").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 17, 19)"
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(17, 17, 19)"


def test_without_scripts_every_page_still_shows_everything(fleet: Fleet, looker: Looker) -> None:
    go_on(fleet.start(STEPS), "fail")
    run = until(lambda: fleet.run("nightly-etl") if fleet.run("nightly-etl").ended else None)
    page = looker.open("/", java_script_enabled=False)
    page.get_by_role("link", name="nightly-etl").click()
    page.locator("section[aria-labelledby=groups] td a").click()
    assert "no such day" in page.locator("#error h2").inner_text()
    assert page.locator("#lines li").count() >= 3
    assert page.url.endswith(run.id)


@pytest.mark.long
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_report_opens_from_disk_asks_for_nothing_and_is_readable_by_everybody(
    fleet: Fleet, looker: Looker, dark: bool
) -> None:
    for word in ("end", "fail"):
        go_on(fleet.start(STEPS), word)
    until(lambda: len(fleet.store.runs(RunQuery(roots=True, states=("FAILED", "COMPLETED")))) == 2)
    path = fleet.folder / "report.html"
    done = subprocess.run(
        [HOLTER, "report", "--html", str(path)], env=fleet.env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for width in (1280, 380):
        page = looker.open(dark=dark, width=width)
        page.goto("about:blank")
        asked: list[str] = []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(path.as_uri())
        page.get_by_text("ValueError: no such day: 2026-11-23").first.wait_for()
        assert asked == [path.as_uri()]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        looker.picture(page, f"report-{'dark' if dark else 'light'}-{width}")
        page = looker.open(dark=dark, width=width, bypass_csp=True)
        page.goto(path.as_uri())
        page.add_script_tag(path=str(__file__).replace("test_dashboard.py", "axe.min.js"))
        assert [each["id"] for each in page.evaluate(AXE)["violations"]] == []
