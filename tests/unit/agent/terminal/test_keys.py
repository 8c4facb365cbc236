"""What the keys of `holter top` do, and what a terminal sends for them."""

from __future__ import annotations

from typing import Any

from rich.text import Text

from holter.agent.terminal.full_screen import split
from holter.agent.terminal.top_app import App, Wish
from holter.agent.terminal.top_picture import Flow, Picture
from holter.backends.records import Run


def a_picture(*ids: str, state: str = "RUNNING") -> Picture:
    runs = [Run(each, "flow", f"job-{each}", state, each, created_at=0.0, started_at=0.0) for each in ids]
    return Picture(100.0, "box", "memory:", live=tuple(Flow(run) for run in runs))


def an_app(*ids: str, **more: Any) -> tuple[App, list[str]]:
    ended: list[str] = []
    app = App(lambda parts, width: [Text(str(part)) for part in parts], ended.append)
    app.take(Wish("list"), a_picture(*ids, **more))
    app.lines(80, 24)
    return app, ended


def chosen(app: App) -> str:
    return next(each.plain for each in app.lines(80, 24) if each.plain.startswith("▸"))


def test_keys_have_names_however_the_terminal_sends_them() -> None:
    assert list(split("\x1b[Aj\x1bOB\x1b[5~\r\x7f")) == ["up", "j", "down", "page up", "enter", "back"]
    assert list(split("\x1b")) == ["back"]
    assert list(split("\x1b[1;5Cq\x1b[200~y")) == ["q", "y"]  # unknown ones are nothing, not their letters


def test_the_choice_stays_with_its_run_while_others_come_and_go() -> None:
    app, _ = an_app("a", "b", "c")
    app.press("j")
    assert "job-b" in chosen(app)
    app.take(Wish("list"), a_picture("new", "a", "b", "c"))
    assert "job-b" in chosen(app)
    app.take(Wish("list"), a_picture("new", "a", "c"))
    assert "job-c" in chosen(app)  # what came into its place
    for key in ("page down", "down", "G"):
        app.press(key)
        assert "job-c" in chosen(app)
    app.press("g")
    app.press("up")
    assert "job-new" in chosen(app)


def test_windows_are_a_stack_and_ask_for_what_they_show() -> None:
    app, _ = an_app("a")
    app.press("enter")
    assert app.wish == Wish("run", "a")
    app.press("l")
    assert app.wish == Wish("logs", "a")
    app.take(Wish("run", "a"), ["too late"])
    assert "reading ..." in [each.plain for each in app.lines(80, 24)]
    app.take(Wish("logs", "a"), [f"line {n}" for n in range(100)])
    assert "line 99" in [each.plain for each in app.lines(80, 24)]
    app.press("up")
    app.take(Wish("logs", "a"), [f"line {n}" for n in range(200)])
    assert "line 199" not in [
        each.plain for each in app.lines(80, 24)
    ]  # who scrolled reads on where they were
    app.press("G")
    assert "line 199" in [each.plain for each in app.lines(80, 24)]
    for _ in range(2):
        app.press("q")
    assert app.wish == Wish("list") and not app.done
    app.press("back")
    assert app.done


def test_only_a_yes_cancels() -> None:
    app, ended = an_app("a")
    for key in ("n", "enter", "back", "q"):
        app.press("c")
        app.press(key)
    assert ended == [] and not app.done
    app.press("c")
    assert "Cancel job-a" in app.lines(80, 24)[-1].plain
    app.press("y")
    assert ended == ["a"]


def test_the_question_is_about_the_run_that_was_chosen_then() -> None:
    app, ended = an_app("a", "b")
    app.press("c")
    app.take(Wish("list"), a_picture("b"))
    app.press("y")
    assert ended == ["a"]


def test_a_store_that_fails_leaves_the_picture_and_says_since_when_until_it_is_back() -> None:
    app, _ = an_app("a")
    app.fail("disk I/O error")
    rows = [each.plain for each in app.lines(80, 24)]
    assert "stale since" in rows[1] and any("job-a" in row for row in rows)
    app.take(Wish("list"), a_picture("a"))
    assert "stale" not in app.lines(80, 24)[1].plain


def test_nothing_to_choose_from_is_no_trouble() -> None:
    app, ended = an_app()
    for key in ("j", "k", "G", "enter", "l", "c", "?", "x", "q"):
        app.press(key)
        assert len(app.lines(30, 5)) == 5
    assert ended == [] and app.wish == Wish("list")
