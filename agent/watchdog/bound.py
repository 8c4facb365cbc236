"""How often automations may act for one job. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ..setting_types import Bound


def recent(times: Iterable[float], bound: Bound, now: float) -> list[float]:
    """Those of `times` (Unix seconds) that still count at `now`, in order; of a clock that was set back, all later."""
    return sorted(at for at in times if now - bound.seconds < at)


def next_at(times: Iterable[float], bound: Bound, back_off: float, now: float) -> float | None:
    """When one more may act (Unix seconds; in the past: now), None where the bound is reached.

    The pause after the last one is `back_off` seconds, and doubles with each more that still counts.
    """
    counted = recent(times, bound, now)
    if len(counted) >= bound.count:
        return None
    return counted[-1] + back_off * 2.0 ** (len(counted) - 1) if counted else now
