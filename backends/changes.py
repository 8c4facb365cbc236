"""To wait for news of a store, for who shows them as they come: some stores can tell, others are looked at."""

from __future__ import annotations

from .clock import SYSTEM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .base import Backend
    from .clock import Clock

POLL = 0.5  # seconds


def wait_for_changes(store: Backend, seconds: float, clock: Clock = SYSTEM) -> bool:
    """Return when runs or lines may have changed, after `seconds` at most; False where certainly nobody said so.

    A store may have a method `changes(timeout) -> bool` of this meaning. Without one this sleeps, `POLL` seconds at
    most, and says True: look. It is a hint in both cases; who missed one sees the change with the next look.
    """
    own = getattr(store, "changes", None)
    if own is not None:
        return bool(own(seconds))
    clock.sleep(min(seconds, POLL))
    return True
