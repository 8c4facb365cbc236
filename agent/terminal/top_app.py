"""What the keys of `holter top` do: a stack of windows over the list of runs. No terminal, no store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, evolve, field, frozen
from rich.text import Text

from ...backends.records import Run
from . import top_view
from .text import line, moment
from .top_picture import Picture
from .top_view import HELP, KEYS, Signs, footer, picture_lines, window

SHORT_KEYS = "Enter open  l logs  c cancel  ? q"
PAGE = 10  # lines
_MOVES = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -PAGE, "page down": PAGE, " ": PAGE}


@frozen
class Wish:
    """What is to be read for the window on top: `list`, `run` or `logs`, the latter two of `run_id`."""

    what: str
    run_id: str = ""


@define
class Window:
    """A run or its lines. `parts` is what rich draws there, `top` the first line that is seen, `follows` whether that
    is the end."""

    wish: Wish
    title: str
    parts: Sequence[Any] = ()
    top: int = 0
    follows: bool = False


Render = Callable[[Sequence[Any], int], list[Text]]
Cancel = Callable[[str], None]


@define
class App:
    """`press` keys, `take` what was read, ask for `lines`. `cancel` begins to end a run; `render` makes lines of what
    rich draws."""

    render: Render
    cancel: Cancel
    signs: Signs = field(factory=Signs)
    picture: Picture | None = None
    done: bool = False
    message: str = ""
    _chosen: str = ""
    _at: int = 0
    _asked: Run | None = None
    _help: bool = False
    _windows: list[Window] = field(factory=list)

    @property
    def wish(self) -> Wish:
        return self._windows[-1].wish if self._windows else Wish("list")

    # --- what was read ---

    def take(self, wish: Wish, found: Any) -> None:
        """The answer to a wish: a Picture, or parts for rich. One that came too late is left out."""
        if isinstance(found, Picture):
            self.picture = found
        elif self._windows and self._windows[-1].wish == wish:
            self._windows[-1].parts = found
        if self.picture is not None:
            self.picture = evolve(self.picture, stale="")

    def fail(self, why: str) -> None:
        """The store is away: the last picture stays, and says so."""
        if self.picture is not None:
            self.picture = evolve(self.picture, stale=why)

    # --- keys ---

    def press(self, key: str) -> None:
        self.message = ""
        if self._asked is not None:
            self._answer(key)
        elif self._help:
            self._help = False
        elif key == "?":
            self._help = True
        elif key in ("q", "back"):
            self._back()
        elif key in _MOVES or key in ("g", "G", "first", "last"):
            self._move(key)
        else:
            self._do(key)

    def _back(self) -> None:
        if self._windows:
            self._windows.pop()
        else:
            self.done = True

    def _move(self, key: str) -> None:
        if self._windows:
            held = self._windows[-1]
            held.follows = held.wish.what == "logs" and key in ("G", "last")
            far = {"g": 0, "first": 0, "G": 10**9, "last": 10**9}
            held.top = far[key] if key in far else max(0, held.top + _MOVES[key])
            return
        runs = self._runs()
        far = {"g": 0, "first": 0, "G": len(runs) - 1, "last": len(runs) - 1}
        self._at = max(0, min(len(runs) - 1, far[key] if key in far else self._place() + _MOVES[key]))
        self._chosen = runs[self._at].id if runs else ""

    def _do(self, key: str) -> None:
        run = self._run()
        if run is None or key not in ("enter", "l", "c"):
            return
        if key == "c" and run.ended:
            self.message = f"{line(run.name)} has ended already: {run.state}"
        elif key == "c":
            self._asked = run
        elif key == "l" and self.wish.what != "logs":
            self._windows.append(Window(Wish("logs", run.id), line(run.run_name or run.name), follows=True))
        elif key == "enter" and not self._windows:
            self._windows.append(Window(Wish("run", run.id), line(run.run_name or run.name)))

    def _answer(self, key: str) -> None:
        run, self._asked = self._asked, None
        if run is not None and key in ("y", "Y"):
            self.message = f"cancelling {line(run.name)} ..."
            self.cancel(run.id)

    # --- what is chosen ---

    def _runs(self) -> list[Run]:
        return (
            [] if self.picture is None else [each.run for each in (*self.picture.live, *self.picture.recent)]
        )

    def _place(self) -> int:
        """Where the chosen run is now; a run that is on no list any more leaves its place to the next one."""
        ids = [run.id for run in self._runs()]
        self._at = ids.index(self._chosen) if self._chosen in ids else max(0, min(self._at, len(ids) - 1))
        self._chosen = ids[self._at] if ids else ""
        return self._at

    def _run(self) -> Run | None:
        runs = self._runs()
        if self._windows:
            return next((run for run in runs if run.id == self._windows[0].wish.run_id), None)
        return runs[self._place()] if runs else None

    # --- the picture ---

    def lines(self, width: int, height: int) -> list[Text]:
        """Exactly what fits: the last line is the footer."""
        room = max(1, height - 1)
        if self.picture is None:
            body = [Text("reading ...")]
        elif self._help:
            body = [Text("holter top", "bold"), *(Text(each) for each in HELP.splitlines())]
        elif self._windows:
            body = self._window(self._windows[-1], width, room)
        else:
            body = picture_lines(self.picture, width, room, chosen=self._place(), signs=self.signs)
        body = [*body, *[Text()] * room][:room]
        for each in body:
            each.truncate(width, overflow="ellipsis")
        return [*body, self._footer(width)] if height > 1 else body

    def _window(self, held: Window, width: int, room: int) -> list[Text]:
        parts = self.render(held.parts, width) if held.parts else [Text("reading ...")]
        last = max(0, len(parts) - max(1, room - 2))
        held.top = last if held.follows else min(held.top, last)
        title = Text.assemble(
            (held.title, "bold"), f"{top_view.GAP}{held.wish.what if held.wish.what != 'run' else ''}"
        )
        return window(title, parts, width, room, held.top)

    def _footer(self, width: int) -> Text:
        if self._asked is not None:
            return footer(
                f"Cancel {line(self._asked.name)} and all that it started? y/n", width, "bold yellow"
            )
        if self.message:
            return footer(self.message, width, "yellow")
        if self.picture is not None and self.picture.stale and self._windows:
            return footer(f"stale since {moment(self.picture.now, self.picture.now)}", width, "bold red")
        return footer(KEYS if width >= 60 else SHORT_KEYS, width)
