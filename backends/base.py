"""The storage contract: a Ledger of runs and a Registry of small documents. A backend is both.

Rules that hold for every method:

* Errors: `StorageError` where the store cannot do it now (trying again later may help); nothing was changed then.
* Threads: a backend object belongs to the thread that uses it; open another one for another thread or after a fork.
* Clocks: `now` of a store is its own clock (`Clock.wall`); times inside events are the writers' claims.

`holter.testing` is one suite for every backend; docs/backends.md builds one and runs it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

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


class Ledger(Protocol):
    """What happened. Written only by `append`, in bytes of journals; everything else reads."""

    def append(self, journal: str, offset: int, data: bytes) -> int:
        """Apply whole lines of `journal` that start at byte `offset`; return the offset after them.

        Atomic: events, runs, transitions and the new offset are stored together or not at all.
        Idempotent: by offset. Where the store does not stand at `offset`, `OffsetMismatch` says where it stands
        (0 for a journal that it does not know), and nothing is changed; so any number of senders may race.
        Order: within a journal by offset, between journals any; the resulting runs are the same (see `fold`).
        `data` that does not end in a newline is refused with ValueError; damaged lines are counted, not applied.
        """
        ...

    def runs(self, query: RunQuery) -> list[Run]:
        """Runs that match, newest `created_at` first (ties: greater id first). Absent: []. One consistent read."""
        ...

    def run(self, run_id: str) -> Run | None:
        """The run with exactly this id; None if there is none or its start has not arrived yet."""
        ...

    def events(self, run_id: str) -> list[Json]:
        """The run's own events (without lines, progress and beats) in order of their time `at`. Absent: []."""
        ...

    def logs(self, query: LogQuery) -> list[Log]:
        """Recorded lines in the order in which the store received them (`seq` only grows). Absent: []."""
        ...

    def summarize(self, query: RunQuery) -> list[JobSummary]:
        """Counts and nearest-rank percentiles per (project, name, kind) of the runs that match, by project and name.

        Computed inside the store; `limit` and `offset` of the query are not used. `last` is the newest run's
        `id, state, conditions, created_at, duration_seconds`.
        """
        ...

    def newest(self, query: RunQuery, each: int) -> list[JobRuns]:
        """The newest `each` runs of every job (project, name, kind) that has one that matches, by project and name.

        `limit` and `offset` of the query are not used. Costs what is answered, not what the store holds, where the
        query names neither states nor tags nor a host.
        """
        ...

    def timeline(self, query: RunQuery, every: float) -> list[Bucket]:
        """How many of the runs that match were created in each span of `every` seconds, counted from the Unix epoch,
        in order; spans without a run are left out. `limit` and `offset` of the query are not used."""
        ...

    def transitions(self, after: int, limit: int = 500) -> list[Transition]:
        """Transitions with seq > `after`, oldest first, at most `limit`. This is the outbox of alerting.

        A row is written in the same transaction as its cause and never changes. A reader that keeps the last seq
        it handled sees each row at least once; `seq` grows, not without gaps.
        """
        ...

    def processes(self, *, open_only: bool = True, journals: Collection[str] | None = None) -> list[Process]:
        """Journals that the store knows, newest first; `open_only` leaves out those that were closed, `journals` (ids)
        all others."""
        ...

    def prune(self, retention: Retention) -> Pruned:
        """Forget what `retention` says, in bounded transactions. Idempotent; may be interrupted and repeated."""
        ...


class Registry(Protocol):
    """What is to be remembered: small JSON documents by kind and key, changed by compare-and-set only."""

    def get(self, kind: str, key: str) -> Document | None:
        """The document, or None."""
        ...

    def put(self, kind: str, key: str, value: Json, expect_version: int) -> int | None:
        """Write `value` if the stored version is `expect_version` (0: it must not exist); return the new version.

        Returns None when somebody was faster: nothing was changed, read again and decide again. Atomic.
        Versions of a document only grow; one that is made again after a `delete` begins at 1. So who deletes documents
        whose keys come again must look at the value too, or not rely on a version that was read long ago.
        """
        ...

    def list(self, kind: str) -> Listing:
        """All documents of a kind, by key. Absent: []."""
        ...

    def delete(self, kind: str, key: str, expect_version: int) -> bool:
        """Remove the document if it has this version; False if it has another or is not there. Atomic."""
        ...


class Backend(Ledger, Registry, Protocol):
    """A store. `url` is where it is, without secrets."""

    url: str

    def close(self) -> None:
        """Release files and connections. Idempotent. Nothing acknowledged is lost without it."""
        ...

    def check(self) -> dict[str, Any]:
        """What `holter doctor` prints about the store: at least `ok` (bool) and `detail` (text)."""
        ...
