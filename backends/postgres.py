"""One PostgreSQL for a team or a fleet: any number of scripts, collectors, watchdogs and readers share it.

An append is one transaction: it locks the journals and the runs that it changes, folds, and stores with COPY. It is
exactly once by journal and offset, so that whoever does not know whether a commit arrived sends again.

`postgresql://user:password@host:5432/database?schema=holter`; parameters other than `schema` are libpq's.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from . import postgres_reads as reads
from .clock import SYSTEM
from .digest import digest
from .errors import OffsetMismatch
from .lines import batch
from .postgres_link import AGAIN, Link
from .postgres_registry import PostgresRegistry
from .postgres_rows import Held, Moved
from .postgres_schema import Months, born_of, upgrade

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from .clock import Clock
    from .digest import Digest
    from .many import Batch
    from .postgres_link import Connection
    from .queries import LogQuery, Retention, RunQuery
    from .records import Bucket, JobRuns, JobSummary, Json, Log, Process, Pruned, Run, Transition

    Lines = list[tuple[int, Json | None]]

T = TypeVar("T")
_MAINTENANCE_SECONDS = 600  # for one statement of retention
TRIES = 6  # of a transaction that PostgreSQL refuses because of another one
# An advisory lock's first number: shared by appends, alone for the rare one that needs it.
_APPENDING = 0x686F6C74


class PostgresBackend(PostgresRegistry):
    """See `holter.backends.base` for the contract. `timeout` None waits as long as another writer holds a row.

    The clock is the server's, unless another than `SYSTEM` is given: hosts whose clocks differ write into it.
    """

    def __init__(
        self, url: str, *, home: str = "", clock: Clock = SYSTEM, timeout: float | None = 10.0
    ) -> None:
        self._link = Link(url, timeout)
        self.url = self._link.name
        self._clock = clock
        self._months = Months(self._link)
        self._ears = partial(Link, url, timeout)
        self._listening: Link | None = None
        try:
            upgrade(self._link)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._link.close()
        if self._listening is not None:
            self._listening.close()

    def changes(self, timeout: float) -> bool:
        """Wait until a run or its lines may have changed, at most `timeout` seconds; see `changes`. LISTEN needs a
        session of its own: through a pooler that lends one per transaction this is a wait and nothing more."""
        if self._listening is None or not self._link.opened:
            self._link.connection()  # raises where this is closed
            self._listening = self._ears()
        return self._listening.heard(f"holter_{self._link.schema}", timeout)

    def size(self) -> int:
        """Bytes that the records take, about."""
        from .postgres_prune import size

        return size(self)

    def check(self) -> dict[str, Any]:
        return reads.check(self)

    # --- transactions ---

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._link.transaction(read=True) as db:
            return db.execute(sql.encode(), values).fetchall()

    def _do(self, sql: str, *values: Any) -> int:
        return self._tried(lambda db: db.execute(sql.encode(), values).rowcount)

    def _tried(self, work: Callable[[Connection], T]) -> T:
        """The work in a transaction, again where another one was in the way."""
        for attempt in range(TRIES):
            try:
                with self._link.transaction(statement_seconds=_MAINTENANCE_SECONDS) as db:
                    return work(db)
            except AGAIN as error:
                if attempt + 1 == TRIES:
                    self._link.refuse(error)
        raise AssertionError

    def now(self, db: Connection) -> float:
        """The store's clock, Unix seconds."""
        if self._clock is not SYSTEM:
            return self._clock.wall()
        row = db.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
        assert row is not None
        return float(row[0])

    # --- ledger: writing ---

    def append(self, journal: str, offset: int, data: bytes) -> int:
        (answer,) = self.append_many([(journal, offset, data)])
        if isinstance(answer, OffsetMismatch):
            raise answer
        return answer

    def append_many(self, batches: Sequence[Batch]) -> list[int | OffsetMismatch]:
        """Many batches in one transaction, see `many`."""
        parsed = [(journal, offset, len(data), batch(data, offset)) for journal, offset, data in batches]
        alone = False
        for attempt in range(TRIES):
            try:
                return self._apply(parsed, alone, mending=attempt > 0)
            except Moved:
                alone = True
            except AGAIN as error:
                if attempt + 1 == TRIES:
                    self._link.refuse(error)
        raise AssertionError

    def _apply(
        self, batches: Sequence[tuple[str, int, int, Lines]], alone: bool, mending: bool
    ) -> list[int | OffsetMismatch]:
        ids = sorted({run for *_, lines in batches for run in _runs_of(lines)})
        self._months.make_for({born_of(run) for run in ids}, self._clock.wall())
        answers: list[int | OffsetMismatch] = []
        digests: list[tuple[str, Digest]] = []
        with self._link.transaction() as db:
            lock = "pg_advisory_xact_lock" if alone else "pg_advisory_xact_lock_shared"
            db.execute(f"SELECT {lock}({_APPENDING}, hashtext(current_schema()))".encode())
            held = Held(db, mending)
            held.lock_journals({journal for journal, *_ in batches})
            held.lock_docs(ids)
            now = self.now(db)
            applied: dict[str, int] = {}
            for journal, offset, size, lines in batches:
                stood, record = held.journals[journal]
                if stood != offset:
                    answers.append(OffsetMismatch(journal, expected=stood, given=offset))
                    continue
                out = digest(journal, lines, record, held.load, now)
                held.docs |= out.docs
                held.journals[journal] = (offset + size, out.process)
                applied[journal] = offset + size
                digests.append((journal, out))
                answers.append(offset + size)
            held.put(applied, digests, alone)
        return answers

    def prune(self, retention: Retention) -> Pruned:
        from .postgres_prune import prune

        return prune(self, retention)

    # --- ledger: reading ---

    def runs(self, query: RunQuery) -> list[Run]:
        return reads.runs(self, query)

    def run(self, run_id: str) -> Run | None:
        return reads.run(self, run_id)

    def events(self, run_id: str) -> list[Json]:
        return reads.events(self, run_id)

    def logs(self, query: LogQuery) -> list[Log]:
        return reads.logs(self, query)

    def summarize(self, query: RunQuery) -> list[JobSummary]:
        return reads.summarize(self, query)

    def newest(self, query: RunQuery, each: int) -> list[JobRuns]:
        return reads.newest(self, query, each)

    def timeline(self, query: RunQuery, every: float) -> list[Bucket]:
        return reads.timeline(self, query, every)

    def transitions(self, after: int, limit: int = 500) -> list[Transition]:
        return reads.transitions(self, after, limit)

    def processes(self, *, open_only: bool = True, journals: Collection[str] | None = None) -> list[Process]:
        return reads.processes(self, open_only=open_only, journals=journals)


def _runs_of(lines: Lines) -> Iterator[str]:
    """Ids that the batch may touch. What is no id is left to the fold, which keeps it out."""
    for _, event in lines:
        if event is not None and isinstance(run := event.get("run"), str) and len(run) <= 80:
            yield run
