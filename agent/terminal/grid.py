"""A table without lines whose ids are never cut: in a narrow terminal only columns that may give way do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.table import Table
from rich.text import Text

GAP = 2  # blanks between columns


class Grid:
    """Rows of cells under `columns`. `right` are aligned to the right. `elastic` names those that give way,
    in this order, each down to so many characters; those in `wrap` go on in the next line, others are cut. With no
    `header` only the rows are shown."""

    def __init__(
        self,
        *columns: str,
        right: Sequence[str] = (),
        elastic: Mapping[str, int] | None = None,
        wrap: Sequence[str] = (),
        header: bool = True,
    ) -> None:
        self._columns = columns
        self._right = right
        self._elastic = elastic or {}
        self._wrap = wrap
        self._header = header
        self._rows: list[Sequence[Text]] = []

    def add(self, *cells: Text) -> None:
        self._rows.append(cells)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        table = Table(
            box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold", show_header=self._header
        )
        for name, width in zip(self._columns, self._widths(options.max_width)):
            wraps = name in self._wrap
            table.add_column(name, width=width, no_wrap=not wraps, overflow="fold" if wraps else "ellipsis")
            table.columns[-1].justify = "right" if name in self._right else "left"
        for row in self._rows:
            table.add_row(*row)
        yield table

    def _widths(self, room: int) -> list[int]:
        widths = [cell_len(name) if self._header else 0 for name in self._columns]
        for row in self._rows:
            for place, cell in enumerate(row):
                widths[place] = max(widths[place], max(map(cell_len, cell.plain.split("\n")), default=0))
        excess = sum(widths) + GAP * (len(widths) - 1) - room
        for name, least in self._elastic.items():
            if name in self._columns and excess > 0:
                place = self._columns.index(name)
                given = min(excess, max(0, widths[place] - least))
                widths[place] -= given
                excess -= given
        return widths
