"""Rate limits: slots that are used up, and come back one by one, `per_second` of them (in holter.yaml
`limits: {api: {slots: 5, per_second: 2}}`), among all processes of this host.

A limit's bucket is a file under HOLTER_HOME/prefect/rates: how many slots were free, and when. Who finds too few books
its turn all the same, so that those who come later queue behind it, and sleeps until then.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from ...backends.errors import SlotTimeout
from ...backends.gate import Gate
from ..knobs import knobs
from .results import place


def pauses(names: list[str], occupy: int, timeout: float | None) -> Iterator[float]:
    """The seconds to sleep before going on. Raises SlotTimeout where that is longer than `timeout`, ValueError for a
    limit whose slots do not come back."""
    for name in names:
        limit = knobs().limits[name]
        rate = limit.get("per_second")
        if not rate:
            raise ValueError(
                f"limit {name!r} has no rate (write `limits: {{{name}: {{slots: 1, per_second: 1}}}}` into holter.yaml)"
            )
        wait = _book(place("rates"), name, int(limit.get("slots", 1)), float(rate), occupy, timeout)
        if wait > 0:
            yield wait


def _book(folder: Path, name: str, slots: int, rate: float, occupy: int, timeout: float | None) -> float:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / sha256(name.encode()).hexdigest()[:16]
    gate = Gate(f"{path}.lock", timeout=None)
    try:
        with gate.held():
            now = time.time()
            free, at = _read(path, slots, now)
            free = min(float(slots), free + max(0.0, now - at) * rate) - occupy
            wait = max(0.0, -free / rate)
            if timeout is not None and wait > timeout:
                raise SlotTimeout(
                    f"limit {name!r}: its turn would come in {wait:.1f} s, not within {timeout:g} s"
                )
            path.write_text(json.dumps([free, now]))
    finally:
        gate.close()
    return wait


def _read(path: Path, slots: int, now: float) -> tuple[float, float]:
    try:
        free, at = json.loads(path.read_text())
        return float(free), float(at)
    except (OSError, ValueError, TypeError):
        return float(slots), now
