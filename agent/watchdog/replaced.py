"""Journals that a process replaced by another one: their files are gone, and nobody says that they are closed.

The store would count them among the live ones for ever, and every pass of every watchdog look at them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress

from ...backends.base import Ledger
from ...backends.errors import OffsetMismatch
from ...backends.lines import encode
from ...backends.records import Process

SETTLED = 60.0  # seconds after which nobody is still at reading the file of a replaced journal


def close_replaced(
    store: Ledger, replaced: Iterable[Process], spoken_of: Collection[str | None], now: float
) -> None:
    """Close those of the `replaced`, open journals that were left a minute ago, unless an open run is `spoken_of` by
    that name: a run is known by the journal that it began in. `now` is in Unix seconds."""
    for each in replaced:
        if each.journal in spoken_of or each.received_at > now - SETTLED:
            continue
        with suppress(OffsetMismatch):  # another watchdog was faster
            store.append(each.journal, each.offset, encode({"event": "close", "at": each.received_at}))
