"""A store at the other end of a wire: the collector's REST interface as a Ledger and a Registry.

The writing side, which ships the journal of every script, uses the standard library only. A request that may have been
done although its answer was lost can be sent again: an append by its offset, a document by the version it expects.

Not guaranteed here: that a listing longer than a page (a thousand runs, ten thousand lines) is one consistent read; it
is put together from pages.
"""

from __future__ import annotations

from json import dumps
from urllib.parse import quote

from .clock import SYSTEM
from .errors import OffsetMismatch, StorageError
from .http_place import HttpPlace
from .http_wire import Wire
from .lines import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from .clock import Clock
    from .queries import LogQuery, Retention, RunQuery
    from .records import (
        Bucket,
        Document,
        JobRuns,
        JobSummary,
        Json,
        Listing,
        Log,
        Process,
        Pruned,
        Run,
        Transition,
    )

LINES = "application/jsonl"
PRUNE_SECONDS = 600.0
SKEW = 5.0  # seconds between the clocks that are worth a word


class HttpBackend:
    """See `holter.backends.base` for the contract. Nothing is sent before the first call. `timeout` (seconds, None:
    30) bounds each call."""

    def __init__(self, url: str, *, home: str, clock: Clock = SYSTEM, timeout: float | None = 10.0) -> None:
        place = HttpPlace(url, home)
        self.url = place.url
        self._wire = Wire(place, timeout, clock)

    def close(self) -> None:
        self._wire.close()

    def check(self) -> dict[str, Any]:
        _, said = self._wire.call("GET", "/v1/about")
        skew = self._wire.skew or 0.0
        clocks = f"its clock differs by {skew:+.0f} s: set the clocks" if abs(skew) > SKEW else "clocks agree"
        scopes = ", ".join(said["scopes"])
        ok = bool(said["ready"]) and abs(skew) <= SKEW
        state = "" if said["ready"] else ", its store does not answer"
        return {"ok": ok, "detail": f"holter {said['holter']}, may {scopes}, {clocks}{state}"}

    # --- ledger: writing ---

    def append(self, journal: str, offset: int, data: bytes) -> int:
        if whole(data) != len(data):
            raise ValueError("a batch ends in a newline")
        path = f"/v1/journals/{quote(journal, safe='')}"
        status, said = self._wire.call("POST", path, {"offset": offset}, data, LINES)
        if status == 409:
            raise OffsetMismatch(journal, expected=int(said["expected"]), given=offset)
        return int(_found(self, status, said)["offset"])

    def prune(self, retention: Retention) -> Pruned:
        from .http_reads import prune

        return prune(self, retention)

    def size(self) -> int | None:
        """Bytes that the records take, about; None where the collector's store cannot tell."""
        status, said = self._wire.call("GET", "/v1/size")
        found = _found(self, status, said)
        return int(found["bytes"]) if found["known"] else None

    # --- ledger: reading (loaded on first use, with the classes that it returns) ---

    def runs(self, query: RunQuery) -> list[Run]:
        from .http_reads import runs

        return runs(self, query)

    def run(self, run_id: str) -> Run | None:
        from .http_reads import run

        return run(self, run_id)

    def events(self, run_id: str) -> list[Json]:
        status, said = self._wire.call("GET", "/v1/events", {"run_id": run_id})
        return list(_found(self, status, said)["events"])

    def logs(self, query: LogQuery) -> list[Log]:
        from .http_reads import logs

        return logs(self, query)

    def summarize(self, query: RunQuery) -> list[JobSummary]:
        from .http_reads import summarize

        return summarize(self, query)

    def newest(self, query: RunQuery, each: int) -> list[JobRuns]:
        from .http_reads import newest

        return newest(self, query, each)

    def timeline(self, query: RunQuery, every: float) -> list[Bucket]:
        from .http_reads import timeline

        return timeline(self, query, every)

    def transitions(self, after: int, limit: int = 500) -> list[Transition]:
        from .http_reads import transitions

        return transitions(self, after, limit)

    def processes(self, *, open_only: bool = True, journals: Collection[str] | None = None) -> list[Process]:
        from .http_reads import processes

        return processes(self, open_only=open_only, journals=journals)

    # --- registry ---

    def get(self, kind: str, key: str) -> Document | None:
        from .records import Document

        status, said = self._wire.call("GET", "/v1/document", {"kind": kind, "key": key})
        return (
            None if status == 404 and "kind" in said else Document(**_found(self, status, said)["document"])
        )

    def put(self, kind: str, key: str, value: Json, expect_version: int) -> int | None:
        """Where an answer was lost and the put was sent again, or its fate is asked for, a document of the next version
        with this very value is taken for ours."""
        query = {"kind": kind, "key": key, "expect_version": expect_version}
        try:
            status, said = self._wire.call("PUT", "/v1/document", query, dumps(value).encode())
        except StorageError as error:
            if error.__cause__ is None:  # it was answered
                raise
            held = self.get(kind, key)
            if held is None or (held.version, held.value) != (expect_version + 1, value):
                raise
            return held.version
        if status == 409:
            ours = {"value": value, "version": expect_version + 1}
            return expect_version + 1 if self._wire.resent and said["document"] == ours else None
        return int(_found(self, status, said)["version"])

    def list(self, kind: str) -> Listing:
        from .records import Document

        status, said = self._wire.call("GET", "/v1/documents", {"kind": kind})
        return [(each.pop("key"), Document(**each)) for each in _found(self, status, said)["documents"]]

    def delete(self, kind: str, key: str, expect_version: int) -> bool:
        query = {"kind": kind, "key": key, "expect_version": expect_version}
        status, said = self._wire.call("DELETE", "/v1/document", query)
        found = _found(self, status, said)
        return bool(found["deleted"] or (self._wire.resent and found["gone"]))


def _found(store: HttpBackend, status: int, said: Any) -> Any:
    """What was asked for; a 404 of something else that speaks JSON, or of another version of ours, is an error."""
    if status in (200, 201) and isinstance(said, dict):
        return said
    raise StorageError(
        f"{store.url} has no such address (status {status})",
        hint="a path too much in `backend`, or an older holter there?",
    )
