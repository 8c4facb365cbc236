"""Who may come in now: bytes that wait are bounded for all together, and per second for each client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .options import Options
from .refusals import Refusal

CLIENTS_REMEMBERED = 10_000
PARCELS_AT_MOST = 4096  # waiting for the store, however small
BUSY_SECONDS = 2.0  # until somebody who was sent away comes back


class Admission:
    """Counted in the event loop only."""

    def __init__(self, options: Options) -> None:
        self._room, self._rate = options.waiting_limit, options.rate_limit
        self._bytes = self._parcels = 0
        self._buckets: dict[str, tuple[float, float]] = {}  # what is left for a client, and as of when

    @contextmanager
    def parcel(self) -> Iterator[Load]:
        """Room for one body, until it is answered. Raises Refusal (429) where none is left."""
        if self._parcels >= PARCELS_AT_MOST:
            raise _busy("too many batches wait for the store")
        load = Load(self)
        self._parcels += 1
        try:
            yield load
        finally:
            self._parcels -= 1
            self._bytes -= load.bytes

    def take(self, size: int) -> None:
        if self._bytes + size > self._room:
            raise _busy("too many bytes wait for the store")
        self._bytes += size

    def charge(self, client: str, size: int, now: float) -> None:
        """Raises Refusal (429) where this client has sent more than its rate; `now` is monotonic."""
        left, since = self._buckets.get(client, (2.0 * self._rate, now))
        left = min(2.0 * self._rate, left + (now - since) * self._rate)
        if left <= 0:
            wait = 1.0 - left / self._rate
            raise Refusal(
                429, f"{client} sends more than {self._rate:,} bytes a second", "slow down", retry_after=wait
            )
        if len(self._buckets) >= CLIENTS_REMEMBERED:
            self._buckets.clear()
        self._buckets[client] = (left - size, now)


class Load:
    """The bytes that one body holds of the room."""

    __slots__ = ("_admission", "bytes")

    def __init__(self, admission: Admission) -> None:
        self._admission, self.bytes = admission, 0

    def take(self, size: int) -> None:
        self._admission.take(size)
        self.bytes += size


def _busy(why: str) -> Refusal:
    return Refusal(429, why, "records wait in their journals; come back later", retry_after=BUSY_SECONDS)
