"""What must never be finalised, not even at the end of the process.

Nothing is imported when it is needed, for that may be in a child that was just forked: a module that another thread of
its parent was importing stays locked there for ever.
"""

from __future__ import annotations

from _ctypes import Py_INCREF  # a third of a millisecond; all of ctypes costs twenty times as much

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def keep(thing: Any) -> None:
    """One reference that nobody gives back."""
    Py_INCREF(thing)
