"""What a client wrote is text in a real browser, on every page and in the report: also without the policy."""

from __future__ import annotations

import subprocess
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from holter.testing.tapes import Tape
from tests.browser.conftest import HOLTER, Fleet, Looker, until
from tests.prove import Proof

from . import evil

pytestmark = pytest.mark.proof

MARKUP = {
    "script": "<script>window.owned=1</script>",
    "attribute": "\"'><img src=x onerror='window.owned=1'>",
    "svg": "</textarea></title></svg><svg onload=window.owned=1><script>window.owned=1</script>",
    "template": "{{window.owned=1}}${window.owned=1}{% raw %}",
    "json": '</script><script>window.owned=1</script>\u2028\\"];window.owned=1;//',
    "frame": "<iframe srcdoc='<script>parent.owned=1</script>'></iframe><base href=//evil>",
    "form": "<form action=//evil><button formaction=javascript:window.owned=1>go</button></form>",
    "style": "<style>*{display:none}</style><link rel=stylesheet href=//evil/x.css>",
    "refresh": "<meta http-equiv=refresh content='0;url=javascript:window.owned=1'>",
    "comment": "--><!--<img src=x onerror=window.owned=1>]]>",
}
ALL = "".join(MARKUP.values())
LINKS = (
    "javascript:window.owned=1",
    "JaVaScRiPt:window.owned=1",
    " javascript:x",
    "data:text/html,x",
    "vbscript:x",
)
DOWN = "\n\n".join(
    f"[go]({link}) ![i]({link}) <{link}> <a href='{link}'>x</a>\n\n[go][r]\n\n[r]: {link}" for link in LINKS
)
DRAWN = (
    '<svg xmlns="http://www.w3.org/2000/svg" onload="window.owned=1"><script>window.owned=1</script></svg>'
)

SOUND = """() => {
    const all = [...document.querySelectorAll('*')];
    return {
        owned: window.owned ?? null,
        links: [...document.links].map(a => a.protocol).filter(p => !['http:', 'https:', 'file:'].includes(p)),
        foreign: [...document.links].filter(a => a.hostname === 'evil').length,
        handlers: all.filter(e => [...e.attributes].some(a => a.name.startsWith('on'))).length,
        strange: document.querySelectorAll('iframe, base, object, [formaction], link[href*=evil]').length,
    }
}"""
NOTHING = {"owned": None, "links": [], "foreign": 0, "handlers": 0, "strange": 0}


def paths() -> list[str]:
    job = f"/job?{urlencode({'project': ALL, 'name': ALL})}"
    return [
        "/",
        job,
        "/runs/r1",
        "/runs/r1.1",
        "/runs/r1live",
        "/alerts",
        "/slots",
        "/hosts",
        f"/?text={quote(ALL)}",
    ]


def fill(fleet: Fleet) -> None:
    more = (
        ("markdown", DOWN),
        *(("link", link) for link in LINKS),
        ("table", [{"href": link} for link in LINKS]),
    )
    evil.write(fleet.store, ALL, artifact=more)


@pytest.mark.parametrize("policy", [True, False], ids=["with the policy", "without it"])
def test_no_field_is_a_script_a_link_or_a_form_on_any_page(
    fleet: Fleet, looker: Looker, policy: bool, proof: Proof
) -> None:
    fill(fleet)
    looked = paths()[:: proof.of(2 if policy else 1, 1)]
    for path in looked:
        page = looker.open(path, bypass_csp=not policy)
        page.wait_for_load_state("load")
        assert page.evaluate(SOUND) == NOTHING, path
    page = looker.open("/runs/r1live", bypass_csp=not policy)
    page.locator("#lines li").first.wait_for()
    count = page.locator("#lines li").count()
    Tape("j2").say("log", run="r1live", level=ALL, stream=ALL, text=ALL).send(fleet.store)
    until(lambda: page.locator("#lines li").count() > count)  # a line that comes by the page's own script
    assert page.evaluate(SOUND) == NOTHING
    looker.close()
    proof.count((len(looked) + 1) * (len(MARKUP) + len(LINKS)), "payloads on pages")


def test_nor_in_a_report_that_is_sent_around(fleet: Fleet, looker: Looker, proof: Proof) -> None:
    fill(fleet)
    for number, more in enumerate(([], ["--public"])):
        path = fleet.folder / f"report{number}.html"
        done = subprocess.run(
            [HOLTER, "report", "--html", str(path), *more], env=fleet.env, capture_output=True
        )
        assert done.returncode in (0, 1), done.stderr
        page = looker.open("/sign-in", bypass_csp=True)
        page.goto(path.as_uri())
        assert page.evaluate(SOUND) == NOTHING
        proof.count(len(MARKUP), "payloads on pages")


def test_a_picture_that_is_a_script_runs_nowhere(fleet: Fleet, looker: Looker) -> None:
    name = f"artifacts/{'a' * 32}.svg"
    (fleet.collector.home / "artifacts").mkdir(mode=0o700)
    (fleet.collector.home / name).write_text(DRAWN)
    evil.write(fleet.store, "x", artifact=(("image", {"file": name, "name": "x.svg"}),))
    page = looker.open("/runs/r1")
    page.locator("img[src*=artifacts]").first.wait_for()
    assert page.evaluate(SOUND) == NOTHING
    page.goto(f"{fleet.url}/{name}")
    assert page.evaluate("window.owned ?? null") is None
    looker.faults[:] = [each for each in looker.faults if "sandbox" not in each and "Refused" not in each]
    looker.faults[:] = [each for each in looker.faults if "Content Security Policy" not in each]


def test_planted_a_page_that_does_not_escape_is_noticed(browser: Any) -> None:
    page = browser.new_page(bypass_csp=True)
    page.set_content(f"{DOWN}<h1>{ALL}</h1>")
    page.wait_for_function("window.owned === 1")
    found = page.evaluate(SOUND)
    page.close()
    assert all(found[name] != nothing for name, nothing in NOTHING.items() if name != "foreign"), found
