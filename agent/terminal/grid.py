"""A table without lines whose ids are never cut: in a narrow terminal only columns that may give way do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

GAP = 2  # blanks between columns


class Grid:
    """Rows of cells under `columns`. `right` are aligned to the right. `elastic` names those that give way,
    in this order, each down to so many characters; those in `wrap` go on in the next line, others are cut. Where that
    is not enough, `optional` ones go, and then the terminal wraps the lines. With no `header` only rows are shown."""

    def __init__(
        self,
        *columns: str,
        right: Sequence[str] = (),
        elastic: Mapping[str, int] | None = None,
        wrap: Sequence[str] = (),
        optional: Sequence[str] = (),
        header: bool = True,
    ) -> None:
        self._columns = columns
        self._right = right
        self._elastic = elastic or {}
        self._wrap = wrap
        self._optional = optional
        self._header = header
        self._rows: list[Sequence[Text]] = []

    def add(self, *cells: Text) -> None:
        """A row; cells that are not given are empty."""
        self._rows.append((*cells, *[Text()] * (len(self._columns) - len(cells))))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(
            box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold", show_header=self._header
        )
        widths = self._widths(options.max_width, list(range(len(self._columns))))
        for place, width in widths.items():
            name = self._columns[place]
            wraps = name in self._wrap
            table.add_column(name, width=width, no_wrap=not wraps, overflow="fold" if wraps else "ellipsis")
            table.columns[-1].justify = "right" if name in self._right else "left"
        for row in self._rows:
            table.add_row(*(row[place] for place in widths))
        # Rich would cut what must not be.
        whole = sum(widths.values()) + GAP * len(widths)
        yield from console.render(table, options.update(max_width=max(whole, options.max_width)))

    def _widths(self, room: int, shown: Sequence[int]) -> dict[int, int]:
        """How wide each column is, by its place among all, but for those of `shown` for which there is no `room`."""
        widths = {place: self._wanted(place) for place in shown}
        excess = sum(widths.values()) + GAP * (len(widths) - 1) - room
        places = {self._columns[place]: place for place in shown}
        for name, least in self._elastic.items():
            if name in places and excess > 0:
                given = min(excess, max(0, widths[places[name]] - least))
                widths[places[name]] -= given
                excess -= given
        going = [places[name] for name in self._optional if name in places]
        if excess > 0 and going:
            return self._widths(room, [place for place in shown if place != going[-1]])
        return widths

    def _wanted(self, place: int) -> int:
        texts = (line for row in self._rows for line in row[place].plain.split("\n"))
        least = cell_len(self._columns[place]) if self._header else 0
        return max(least, max(map(cell_len, texts), default=0))
