"""What `holter top` draws: pictures in, lines of exactly fitting width out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from ..occupancy import Occupancy
from .tables import far, lasting, note, state_text
from .text import clean, line, moment, took
from .top_picture import Flow, Picture, Trouble

KEYS = "↑↓ select  Enter open  l logs  c cancel  ? help  q quit"
GAP = "  "
HELP = """\
  ↑ ↓  j k       select a run; scroll in a run or its lines
  PgUp PgDn      the same, by pages;  g G  to the first, to the last
  Enter          open the run: what it got, did and said
  l              its lines, as they come
  c              cancel it, with all that it started (asks first)
  q Esc          back; from the list, quit

  The bar of a run is its progress where it tells of any, else (~) the time that
  it took of what its job usually takes.
  What is asked of the store is asked at most once a second."""


@frozen
class Signs:
    """What bars are drawn with, and the mark of what is selected."""

    full: str = "█"
    empty: str = "░"
    guess: str = "▒"
    mark: str = "▸"


ASCII = Signs("#", ".", "=", ">")


def picture_lines(
    picture: Picture, width: int, height: int | None, *, chosen: int = -1, signs: Signs | None = None
) -> list[Text]:
    """Header, live runs, ended ones, trouble and slots in `width` columns and at most `height` lines (None: as many as
    there are, ten ended ones). `chosen` counts through the live and then the ended runs."""
    signs = signs or Signs()
    room = None if height is None else max(0, height - 2)
    trouble = _section(_trouble_lines(picture, width), room and max(2, room // 4))
    slots = _section(_slot_lines(picture, width), room and max(2, room // 4))
    left = None if room is None else room - len(trouble) - len(slots)
    timed = any(each.usual is not None for each in (*picture.live, *picture.recent))
    flows = [_flow_line(each, picture.now, width, signs, timed) for each in picture.live]
    ended = [_flow_line(each, picture.now, width, signs, timed) for each in picture.recent]
    body = _runs(flows, ended, chosen, left, picture.more, signs, width)
    return [_fit(each, width) for each in (*_header(picture, width), *body, *trouble, *slots)][:height]


def _header(picture: Picture, width: int) -> Iterable[Text]:
    clock = moment(picture.now, picture.now)
    said = Text.assemble(
        ("holter top", "bold"), f"{GAP}{line(picture.host)}{GAP}", (line(picture.store), "dim")
    )
    room = width - len(clock) - 1
    said.truncate(room, overflow="ellipsis", pad=True)
    yield Text.assemble(said, " ", clock)
    if picture.stale:
        yield Text(f"! stale since {clock}: {line(picture.stale)}", "bold red")
    elif picture.unwatched:
        yield Text(f"! {picture.unwatched}", "yellow")
    else:
        yield Text(f"✔ watchdog alive on {line(picture.watcher)}", "green")


def _section(lines: Sequence[Text], most: int | None) -> list[Text]:
    """Title and rows; what there is no room for is counted."""
    if not lines:
        return []
    rows = list(lines)
    if most is not None and len(rows) > most:
        cut = len(rows) - most
        rows = rows[:most]
        rows[0] = Text.assemble(rows[0], (f"{GAP}{cut} more below: make the window higher", "dim"))
    return rows


def _runs(
    live: list[Text], ended: list[Text], chosen: int, room: int | None, more: int, signs: Signs, width: int
) -> list[Text]:
    """Both lists with their titles, scrolled so that the chosen run is seen."""
    for place, each in enumerate((*live, *ended)):
        mark = place == chosen
        each.plain = (signs.mark if mark else " ") + each.plain[1:]
        if mark:
            each.pad_right(max(0, width - cell_len(each.plain)))
            each.stylize("reverse")
    count = f"{len(live)}{f' and {more} more' if more else ''}"
    head = Text(f"RUNNING {count}" if live else "RUNNING nothing now", "bold")
    rows = [head, *live]
    if ended:
        rows += [Text("ENDED", "bold"), *(ended if room is not None else ended[:10])]
    if room is None or len(rows) <= room:
        return rows
    at = 1 + chosen + (chosen >= len(live))
    first = min(max(0, at - room // 2), len(rows) - room) if chosen >= 0 else 0
    return rows[first : first + room]


# --- one run ------------------------------------------------------------------------------------------------


def _flow_line(flow: Flow, now: float, width: int, signs: Signs, timed: bool) -> Text:
    """Columns go as the width does: note and id first, then what is usual, then the bar, then all but sign and name."""
    run = flow.run
    state = state_text(run.state, run.conditions)
    if flow.waits:
        state = Text("! waits", "yellow")
    spent = lasting(run, now)
    lasted, usual = took(spent), f"~{took(flow.usual)}" if flow.usual is not None else ""
    bar = _bar(flow, spent, 8 if width < 100 else 12 if width < 140 else 24, signs)
    what = line(run.run_name or run.name)
    at = moment(run.started_at or run.created_at, now)
    said = far(flow.progress) if flow.progress and not run.ended else note(run)
    said = f"for a slot of {line(flow.waits)}" if flow.waits else said
    if width < 60:
        names = max(6, width - 14)
        share = _share(flow, spent) if width >= 36 else ""
        names -= 6 if share else 0
        parts = [
            state.plain[:1],
            set_cell_size(what, names),
            share.rjust(4) if share else "",
            lasted.rjust(7),
        ]
        return _joined(parts, state, width)
    names = min(40, max(14, width // 4 - 2))
    parts = [set_cell_size(state.plain, 12 if width < 100 else 14), set_cell_size(what, names)]
    parts.append(bar if not run.ended else set_cell_size(at, cell_len(bar)))
    parts.append(lasted.rjust(7))
    if timed and width >= (100 if run.ended or flow.waits else 76):
        parts.append(usual.ljust(8))
    if width >= 140:
        parts += [set_cell_size(line(run.host or ""), 10), run.id]
    return _joined([*parts, said], state, width)


def _joined(parts: Sequence[str], state: Text, width: int) -> Text:
    shown = Text("  " + GAP.join(part for part in parts if part))
    shown.stylize(state.style, 2, 2 + len(parts[0]))
    shown.truncate(width, overflow="ellipsis")
    return shown


def _far(flow: Flow, spent: float | None) -> tuple[float | None, bool]:
    """How far, 0 to 1 and beyond, and whether that is a guess from the time it took."""
    told = flow.progress or {}
    done, total = told.get("done"), told.get("total")
    if isinstance(done, int | float) and isinstance(total, int | float) and total > 0:
        return done / total, False
    if flow.usual and spent is not None:
        return spent / flow.usual, True
    return None, True


def _share(flow: Flow, spent: float | None) -> str:
    rate, guess = _far(flow, spent)
    if rate is None or flow.run.ended:
        return ""
    return f"{'~' if guess else ''}{min(int(100 * rate), 999)}%"


def _bar(flow: Flow, spent: float | None, width: int, signs: Signs) -> str:
    rate, guess = _far(flow, spent)
    if rate is None:
        return " " * (width + 5)
    cells = int(min(1.0, max(0.0, rate)) * width)
    full = signs.guess if guess else signs.full
    return full * cells + signs.empty * (width - cells) + _share(flow, spent).rjust(5)


# --- trouble and slots ---------------------------------------------------------------------------------------


def _trouble_lines(picture: Picture, width: int) -> list[Text]:
    if not picture.troubles:
        return []
    rows = [_trouble(each, picture.now) for each in reversed(picture.troubles)]
    return [Text(f"ALERTS {len(rows)} open", "bold red"), *rows]


def _trouble(each: Trouble, now: float) -> Text:
    event = set_cell_size(line(each.event), 12)
    lasts = took(max(0.0, now - each.since)).rjust(7)
    return Text.assemble(
        "  ", (event, "red"), f" {lasts}{GAP}", (line(each.about), "bold"), f"{GAP}{line(each.reason)}"
    )


def _slot_lines(picture: Picture, width: int) -> list[Text]:
    used = [each for each in picture.limits if each.holders or each.waiters]
    if not picture.limits:
        return []
    free = len(picture.limits) - len(used)
    title = f"SLOTS {len(used)} in use" + (f", {free} free" if free else "")
    return [Text(title, "bold"), *(_slot(each, picture.now) for each in used)]


def _slot(each: Occupancy, now: float) -> Text:
    said = Text.assemble("  ", (line(each.limit), "bold"), f" {each.held} of {each.slots or '?'}")
    for word, places in (("held by", each.holders), ("waiting:", each.waiters)):
        names = dict.fromkeys(line(place.run_name or place.run_id or "?") for place in places)
        if names:
            said.append(f"{GAP}{word} ", "yellow" if places is each.waiters else "dim").append(
                ", ".join(names)
            )
    return said


def _fit(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    text.rstrip()
    return text


# --- windows -------------------------------------------------------------------------------------------------


def window(title: Text, body: Sequence[Text], width: int, height: int, top: int) -> list[Text]:
    """A title and `height` - 2 lines of `body` from line `top` on, with where one is; long lines are cut."""
    room = max(1, height - 2)
    top = max(0, min(top, len(body) - room))
    shown = [each.copy() for each in body[top : top + room]]
    where = f"lines {top + 1 if body else 0}-{min(len(body), top + room)} of {len(body)}"
    head = Text.assemble(title, (f"{GAP}{where}", "dim"))
    return [_fit(each, width) for each in (head, *shown)]


def footer(text: str, width: int, style: str = "dim") -> Text:
    """The last line: keys, a question or an answer."""
    return _fit(Text(" ".join(clean(text).split("\n")), style), width)
