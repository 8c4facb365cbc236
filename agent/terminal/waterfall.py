"""A run's waterfall in text: a line per part, its bar on the common time axis. Pure: model and width in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.cells import cell_len
from rich.text import Text

from ..waterfall import DELAYS, FAILS, RUNS, WAITS, Row, Span, Waterfall
from .tables import STYLES, state_text
from .text import line, took

BLOCKS = {RUNS: "█", FAILS: "▓", WAITS: "░", DELAYS: "·"}
ASCII = {RUNS: "=", FAILS: "x", WAITS: ".", DELAYS: "-"}
_STYLES = {RUNS: "cyan", FAILS: "red", WAITS: "dim", DELAYS: "yellow"}
_WORDS = {RUNS: "ran", FAILS: "failed", WAITS: "waited", DELAYS: "before the next attempt"}
ROOMY = 100  # columns from which states, ids and notes are whole
NARROW = 60  # columns below which there are no ids
WIDEST = 60  # columns of the longest bar
GAP = "  "


def lines(
    fall: Waterfall, width: int, *, unicode: bool = True, notes: Mapping[str, str] | None = None
) -> Iterator[Text]:
    """The picture in at most `width` columns: the axis, a line per row, what the fills mean. `notes` are what to say of
    runs, by id; there is room for them from ROOMY columns on."""
    signs = BLOCKS if unicode else ASCII
    rows = fall.rows if len(fall.rows[0].spans) > 1 else fall.rows[1:]  # the run's own bar would be full
    cells = [(_name(row), *_facts(row, width)) for row in rows]
    widths = [max((cell_len(cell[place].plain) for cell in cells), default=0) for place in range(4)]
    widths[0] = min(widths[0], max(10, width // 3))
    others = sum(each + len(GAP) for each in widths if each) + 2
    bar = max(4, min(WIDEST, (width - others) if width < ROOMY else (width - others) // 2 + 4))
    axis = Text(" " * (2 + widths[0]) + GAP + _axis(fall.seconds, bar), "dim")
    axis.truncate(width)
    yield axis
    for row, (name, state, lasted, run_id) in zip(rows, cells):
        note = (notes or {}).get(row.id or "", "")
        name.truncate(widths[0], overflow="ellipsis", pad=True)
        parts = [name, bar_of(row.spans, fall.seconds, bar, signs), state, lasted, run_id]
        state.pad_right(widths[1] - cell_len(state.plain))
        lasted.pad_left(widths[2] - cell_len(lasted.plain))
        run_id.pad_right(widths[3] - cell_len(run_id.plain))
        shown = Text("  ") + Text(GAP).join(part for part in parts if part)
        if note and width >= ROOMY:
            shown.append(f"{GAP}{note}", "dim")
        shown.truncate(width, overflow="ellipsis")
        shown.rstrip()
        yield shown
    if fall.left_out:
        yield Text(f"  ... and {fall.left_out:,} more", "dim")
    yield _legend(rows, signs, width)


def bar_of(spans: tuple[Span, ...], seconds: float, width: int, signs: Mapping[str, str] = BLOCKS) -> Text:
    """The spans in `width` cells. Each has a cell at least, and the cell in which an attempt failed is painted over by
    nothing but another failure."""
    cells: list[str | None] = [None] * width
    for span in spans:
        first, after = _cells(span, seconds, width)
        cells[first:after] = [span.kind] * (after - first)
    for span in spans:
        if span.kind == FAILS:
            cells[_cells(span, seconds, width)[1] - 1] = FAILS
    out = Text()
    for kind in cells:
        out.append(signs[kind] if kind else " ", _STYLES[kind] if kind else "")
    return out


def _cells(span: Span, seconds: float, width: int) -> tuple[int, int]:
    first = min(width - 1, int(span.start / seconds * width))
    return first, min(width, max(first + 1, round(span.end / seconds * width)))


def _name(row: Row) -> Text:
    shown = Text("  " * max(0, row.depth - 1)).append(line(row.name), "bold")
    return shown if row.count == 1 else shown.append(f" x{row.count:,}", "dim")


def _facts(row: Row, width: int) -> tuple[Text, Text, Text]:
    """State, duration and id; in a narrow picture no more of them than has to be said."""
    state = _state(row)
    well = row.count == 1 and row.state in ("COMPLETED", "SKIPPED") and not row.conditions
    if width < NARROW or (well and width < ROOMY):
        state = Text(state.plain[:1], state.style)
    run_id = line(row.id or "")
    if width < ROOMY:
        run_id = run_id[run_id.index(".") :] if "." in run_id and width >= NARROW else ""
    return state, Text(took(row.seconds)), Text(run_id, "dim")


def _state(row: Row) -> Text:
    if row.count == 1:
        return state_text(row.state, row.conditions)
    sign, style = STYLES[row.state]
    said = [f"{row.failures:,} failed"] if row.failures else []
    said += [f"{row.live:,} live"] if row.live else []
    return Text(f"{sign} {', '.join(said) or 'all'}", style)


def _axis(seconds: float, width: int) -> str:
    """`0s      1m 20s      2m 40s`, as far as there is room for the middle."""
    half, whole = took(seconds / 2), took(seconds)
    left = width // 2 - 2 - len(half) // 2
    right = width - 2 - left - len(half) - len(whole)
    if left < 1 or right < 1:
        return "0s" + whole.rjust(max(0, width - 2))
    return f"0s{' ' * left}{half}{' ' * right}{whole}"


def _legend(rows: tuple[Row, ...], signs: Mapping[str, str], width: int) -> Text:
    there = {span.kind for row in rows for span in row.spans}
    out = Text("  ")
    for kind in (RUNS, FAILS, WAITS, DELAYS):
        if kind in there:
            out.append(signs[kind], _STYLES[kind]).append(f" {_WORDS[kind]}{GAP}", "dim")
    out.truncate(width)
    out.rstrip()
    return out
