"""What only PostgreSQL has: commits out of order, lost connections, months, listeners, poolers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holter.backends import postgres_link
from holter.backends.changes import wait_for_changes
from holter.backends.clock import base32
from holter.backends.errors import StorageError, StoreTooNew, UnknownBackend
from holter.backends.globs import regex
from holter.backends.postgres import PostgresBackend
from holter.backends.postgres_schema import months_of
from holter.backends.queries import LogQuery, Retention, RunQuery
from holter.backends.records import Pruned
from holter.backends.urls import open_backend
from holter.testing.database import schema
from holter.testing.places import SITES, HandClock, Place
from holter.testing.tapes import EVERYTHING, Tape, answers, ids, outbox

JANUARY, MARCH, JUNE = 1_767_830_400.0, 1_772_928_000.0, 1_780_876_800.0  # the 8th of each, 2026
BOUND = 20.0


@pytest.fixture
def place(tmp_path: Any) -> Iterator[Place]:
    with SITES["postgres"].set_up(str(tmp_path)) as found:
        yield found


@pytest.fixture
def store(place: Place) -> PostgresBackend:
    found = place.open()
    assert isinstance(found, PostgresBackend)
    return found


@pytest.fixture
def admin(store: PostgresBackend) -> Iterator[psycopg.Connection[Any]]:
    """Somebody else in the same schema."""
    db = store._link.connect()
    db.execute(f"SET search_path = {store._link.schema}".encode())
    yield db
    db.close()


def wait_until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + BOUND
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def dated(at: float, number: int) -> str:
    return base32(int(at * 1000) << 35 | number, 16)


# --- numbers and commits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["transitions", "logs"])
def test_a_reader_who_keeps_the_last_number_misses_no_row_of_a_slow_commit(
    place: Place, store: PostgresBackend, admin: psycopg.Connection[Any], what: str
) -> None:
    """`slow` draws its numbers first and commits last: a reader between must not be led past it."""
    admin.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.run_id = 'r1.slow' THEN PERFORM pg_sleep(1); END IF; RETURN NULL; END $$"
    )
    admin.execute(
        f"CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON {what} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW"
        " EXECUTE FUNCTION dawdle()".encode()
    )
    Tape("j0").start("r1").log("r1", "first").send(store)
    slow = Tape("j1").start("r1.slow").log("r1.slow", "x")
    quick = Tape("j2").start("r1.quick").log("r1.quick", "x")
    senders = [threading.Thread(target=lambda tape=tape: tape.send(place.open())) for tape in (slow, quick)]
    senders[0].start()
    asleep = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name = 'holter'"
    wait_until(lambda: admin.execute(asleep).fetchone())
    senders[1].start()
    seen: list[Any] = []

    def look() -> None:
        last = seen[-1].seq if seen else 0
        seen.extend(
            store.transitions(last) if what == "transitions" else store.logs(LogQuery("r1", after=last))
        )

    while any(sender.is_alive() for sender in senders):
        look()
    look()
    assert sorted(each.run_id for each in seen) == ["r1", "r1.quick", "r1.slow"]


def test_two_who_bring_the_first_word_of_a_run_under_different_projects_make_one_run(
    place: Place, store: PostgresBackend
) -> None:
    """The project is in the key, so the key alone would let both in."""
    for number in range(20):
        run = f"r{number}"
        start = Tape(f"a{number}").start(run).log(run, "x")
        judge = Tape(f"b{number}", project="watch").judge(run, condition="overdue", on=True)
        moved = Tape(f"c{number}", at=judge.at + 9, project="other").say("attempt", run=run, attempt=2)
        together = threading.Barrier(3)

        def send(tape: Tape, together: threading.Barrier = together) -> None:
            mine = place.open()
            together.wait(BOUND)
            tape.send(mine)
            mine.close()

        senders = [threading.Thread(target=send, args=(tape,)) for tape in (start, judge, moved)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    runs = store.runs(EVERYTHING)
    assert sorted(run.id for run in runs) == sorted(f"r{number}" for number in range(20))
    assert {(run.project, run.conditions, run.attempt) for run in runs} == {("other", ("overdue",), 2)}


def test_a_journal_that_was_forgotten_can_be_sent_again(store: PostgresBackend) -> None:
    Tape("j1").start("r1").send(store)
    judge = Tape("w1").judge("r1", condition="overdue", on=True).say("close")
    judge.send(store)
    store.prune(Retention(runs_before=1.9e9, failures_before=1.9e9, logs_before=0.0))
    assert [each.journal for each in store.processes(open_only=False)] == ["j1"]
    assert store.append("w1", 0, judge.data) == len(judge.data)
    assert [event["event"] for event in store.events("r1")] == ["start", "judge"]


# --- connections ---------------------------------------------------------------------------------------------


def test_a_connection_that_was_lost_between_calls_is_replaced_unseen(
    store: PostgresBackend, admin: psycopg.Connection[Any]
) -> None:
    tape = Tape().start("r1")
    tape.send(store)
    admin.execute(KILL)
    tape.end("r1").send(store)
    admin.execute(KILL)
    assert ids(store) == ["r1"]


KILL = """  -- who waits first: else it may get what the one that holds lets go of
    SELECT pg_terminate_backend(pid, 5000) FROM (
        SELECT pid FROM pg_stat_activity WHERE application_name = 'holter' AND pid <> pg_backend_pid()
        ORDER BY wait_event_type = 'Lock' DESC NULLS LAST OFFSET 0
    ) AS others"""


def test_a_connection_that_is_lost_in_the_middle_is_an_error_once(
    place: Place, store: PostgresBackend, admin: psycopg.Connection[Any]
) -> None:
    tape = Tape().start("r1")
    tape.send(store)
    admin.execute("BEGIN")
    admin.execute("SELECT * FROM journals FOR UPDATE")
    failed: list[BaseException] = []

    def send() -> None:
        try:
            tape.end("r1").send(store)
        except StorageError as error:
            failed.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'holter'"
    with store._link.connect() as other:
        wait_until(lambda: other.execute(waiting).fetchone())
        other.execute(KILL)  # both: the one that holds and the one that waits
    sender.join()
    assert len(failed) == 1
    assert tape.send(store) == len(tape.data)
    assert [run.state for run in store.runs(EVERYTHING)] == ["COMPLETED"]


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[psycopg.Connection[Any]], None]]:
    """Stop the server's process behind a connection: the kernel acknowledges what comes, and nobody answers."""
    monkeypatch.setattr(postgres_link, "ANSWER_SECONDS", 0.5)
    stopped: list[int] = []

    def stop(db: psycopg.Connection[Any]) -> None:
        stopped.append(db.info.backend_pid)
        os.kill(stopped[-1], signal.SIGSTOP)

    yield stop
    for each in stopped:
        os.kill(each, signal.SIGCONT)


def test_a_server_that_never_answers_is_replaced_between_calls(
    store: PostgresBackend, stop: Callable[[psycopg.Connection[Any]], None]
) -> None:
    stop(store._link.connection())
    with store._link.transaction(statement_seconds=1) as db:
        assert db.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_never_answers_is_an_error_in_the_middle(
    store: PostgresBackend, stop: Callable[[psycopg.Connection[Any]], None]
) -> None:
    def ask() -> None:
        with store._link.transaction(statement_seconds=1) as db:
            stop(db)
            db.execute("SELECT 1")

    tape = Tape().start("r1")
    with pytest.raises(StorageError, match=r"no answer within 1\.5 s"):
        ask()
    assert tape.send(store) == len(tape.data)


def test_a_server_that_never_answers_a_listener_is_an_error(
    store: PostgresBackend, stop: Callable[[psycopg.Connection[Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ears, connect = store._ears(), store._link.connect

    def connect_and_stop() -> psycopg.Connection[Any]:
        db = connect()
        stop(db)
        return db

    monkeypatch.setattr(ears, "connect", connect_and_stop)
    with pytest.raises(StorageError, match=r"no answer within 0\.6 s"):
        ears.heard("holter", 0.1)
    ears.close()


def test_a_lock_that_somebody_keeps_is_an_error_after_the_timeout(
    place: Place, store: PostgresBackend, admin: psycopg.Connection[Any]
) -> None:
    tape = Tape().start("r1")
    tape.send(store)
    impatient = place.open(timeout=0.2)
    admin.execute("BEGIN")
    admin.execute("SELECT * FROM journals FOR UPDATE")
    with pytest.raises(StorageError, match="lock timeout"):
        tape.end("r1").send(impatient)
    admin.execute("ROLLBACK")
    assert tape.send(impatient) == len(tape.data)


def test_no_statement_and_no_idle_transaction_lasts_for_ever(store: PostgresBackend) -> None:
    """By the limits that the documentation names; what is past its own is one error, and nothing of it stays."""
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    with store._link.transaction() as db:
        shown = {name: db.execute(f"SHOW {name}".encode()).fetchone() for name in names}
        assert shown == dict(zip(names, (("1min",), ("10s",), ("1min",)), strict=True))
        assert db.execute("SHOW client_connection_check_interval").fetchone() == ("1s",)

    def dawdle() -> None:
        with store._link.transaction(statement_seconds=1) as db:
            db.execute("INSERT INTO registry VALUES ('kind', 'key', 1, '{}')")
            db.execute("SELECT pg_sleep(30)")

    began = time.monotonic()
    with pytest.raises(StorageError, match="statement timeout"):
        dawdle()
    assert time.monotonic() - began < 10
    assert store.get("kind", "key") is None
    assert Tape().ran("r1").send(store) > 0


def test_every_key_of_the_tables_that_grow_holds_the_project_so_that_they_can_be_sharded_by_it(
    store: PostgresBackend, admin: psycopg.Connection[Any]
) -> None:
    """What Citus asks of a table that is distributed by `project`: it is in each unique key, and nothing refers to or
    from another table, or draws from a sequence."""
    Tape().ran(dated(JUNE, 1)).send(store)
    found = admin.execute(
        "SELECT c.relname, i.indexrelid::regclass::text, 'project' = ANY(SELECT a.attname FROM pg_attribute a"
        " WHERE a.attrelid = c.oid AND a.attnum = ANY(i.indkey::int2[])) FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indrelid WHERE i.indisunique AND c.relnamespace = current_schema()::regnamespace"
        " AND c.relname ~ '^(runs|events|logs|transitions)'"
    ).fetchall()
    assert {table for table, *_ in found} >= {"runs", "events", "logs", "transitions"}
    assert [key for _, key, has_project in found if not has_project] == []
    refers = "SELECT conname FROM pg_constraint WHERE contype IN ('f', 'x')"
    assert (
        admin.execute(f"{refers} AND connamespace = current_schema()::regnamespace".encode()).fetchall() == []
    )
    sequences = (
        "SELECT relname FROM pg_class WHERE relkind = 'S' AND relnamespace = current_schema()::regnamespace"
    )
    assert admin.execute(sequences.encode()).fetchall() == []


def test_nothing_of_a_session_matters_beyond_a_transaction(store: PostgresBackend) -> None:
    """As behind a pooler: before each transaction the session is wiped, so it could be another one."""
    link, begin = store._link, store._link._begin

    def wiped(read: bool, seconds: int) -> Any:
        link.connection().execute("DISCARD ALL")
        return begin(read, seconds)

    link._begin = wiped  # type: ignore[method-assign]
    tape = Tape().start("r1").log("r1", "x").end("r1")
    tape.send(store)
    assert store.put("kind", "key", {}, 0) == 1
    assert answers(store)["runs"][0].state == "COMPLETED"
    assert store.prune(Retention(1.9e9, 1.9e9, 1.9e9)) == Pruned(1, 1)
    assert store.check()["ok"]


def test_a_password_is_in_no_message() -> None:
    url = "postgresql://me:hunter2@127.0.0.1:1/db"
    with pytest.raises(StorageError) as caught:
        open_backend(url, "", timeout=1.0)
    assert "hunter2" not in str(caught.value) and "me:***@127.0.0.1" in str(caught.value)
    for wrong in (f"{url}?nonsense=1", "postgresql://me:hunter2%zz@h/db"):
        with pytest.raises(UnknownBackend) as refused:
            open_backend(wrong, "")
        assert "hunter2" not in str(refused.value)


def test_without_psycopg_the_error_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from holter.backends.urls import open_backend\n"
        "try: open_backend('postgresql://h/db', '')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "StorageError the store postgresql:// needs psycopg (pip install 'holter[postgres]')"
    )


def test_a_schema_of_a_newer_holter_is_left_alone(
    place: Place, store: PostgresBackend, admin: psycopg.Connection[Any]
) -> None:
    Tape().ran("r1").send(store)
    admin.execute("UPDATE holter_schema SET version = version + 1")
    with pytest.raises(StoreTooNew, match="upgrade holter"):
        place.open()


def test_a_schema_has_a_plain_name() -> None:
    with pytest.raises(UnknownBackend, match="schema"):
        open_backend('postgresql://h/db?schema=a"; DROP', "")


# --- months --------------------------------------------------------------------------------------------------


def months(store: PostgresBackend) -> list[str]:
    with store._link.transaction() as db:
        return sorted(months_of(db))


def stored_in(db: psycopg.Connection[Any], table: str) -> dict[str, int]:
    sql = f"SELECT tableoid::regclass::text, count(*) FROM {table} GROUP BY 1"
    return dict(db.execute(sql.encode()).fetchall())


def test_months_are_made_where_they_are_needed_and_ahead_and_odd_ids_go_elsewhere(
    place: Place, store: PostgresBackend, admin: psycopg.Connection[Any]
) -> None:
    assert isinstance(place.clock, HandClock)
    place.clock.now = JUNE
    old, far = dated(JANUARY, 1), dated(JUNE + 400 * 86400, 2)
    Tape(at=JANUARY).ran(old).ran(far).ran("odd").log(old, "x").send(store)
    assert months(store) == ["2026-01"]
    assert stored_in(admin, "runs") == {"runs_2026_01": 1, "runs_else": 2}
    assert stored_in(admin, "logs") == {"logs_2026_01": 1}
    store.prune(Retention(0.0, 0.0, 0.0))
    assert months(store) == ["2026-01", "2026-06", "2026-07"]
    assert sorted(ids(store)) == sorted([old, far, "odd"])


def test_a_month_of_which_nothing_stays_is_dropped_whole_and_others_are_not(
    place: Place, store: PostgresBackend
) -> None:
    assert isinstance(place.clock, HandClock)
    place.clock.now = JUNE
    tape = Tape(at=JANUARY)
    for number in range(5):
        tape.ran(dated(JANUARY, number)).log(dated(JANUARY, number), "x")
    kept = dated(MARCH, 1)
    tape.at = MARCH
    tape.ran(kept, "FAILED").ran(dated(MARCH, 2)).send(store)
    assert store.prune(Retention(JUNE, JUNE, 0.0)) == Pruned(runs=6, logs=5)
    assert months(store) == ["2026-03", "2026-06", "2026-07"]
    assert ids(store) == [kept]  # the last failure of its job
    assert [each.run_id for each in outbox(store)] == [kept]
    late = dated(JANUARY, 9)
    Tape("j9", at=JANUARY).ran(late).send(store)
    assert late in ids(store)


def test_lines_of_a_past_month_go_at_once_unless_a_run_of_it_lives(
    place: Place, store: PostgresBackend, admin: psycopg.Connection[Any]
) -> None:
    assert isinstance(place.clock, HandClock)
    place.clock.now = JUNE
    ended, live = dated(JANUARY, 1), dated(MARCH, 1)
    Tape(at=JANUARY).ran(ended).log(ended, "x").log(ended, "y").send(store)
    Tape("j2", at=MARCH).start(live).log(live, "z").send(store)
    before = admin.execute("SELECT pg_relation_filenode('logs_2026_01')").fetchone()
    assert store.prune(Retention(0.0, 0.0, JUNE)) == Pruned(runs=0, logs=2)
    assert admin.execute("SELECT pg_relation_filenode('logs_2026_01')").fetchone() != before  # truncated
    assert len(store.logs(LogQuery(live))) == 1
    assert ids(store) == [live, ended]


def test_a_month_that_somebody_reads_is_emptied_row_by_row(place: Place, store: PostgresBackend) -> None:
    assert isinstance(place.clock, HandClock)
    place.clock.now = JUNE
    Tape(at=JANUARY).ran(dated(JANUARY, 1)).send(store)
    impatient = place.open(timeout=0.2)
    with place.open()._link.transaction(read=True) as db:  # type: ignore[attr-defined]
        db.execute("SELECT * FROM runs").fetchall()
        assert impatient.prune(Retention(JUNE, JUNE, 0.0)).runs == 1
    assert ids(store) == []


# --- listening -----------------------------------------------------------------------------------------------


def test_a_listener_hears_of_lines_and_of_nothing_else(place: Place, store: PostgresBackend) -> None:
    rival = place.open()
    assert store.changes(0.0)  # it may have missed something before
    assert not store.changes(0.05)
    tape = Tape().start("r1")
    tape.send(rival)
    assert store.changes(BOUND)
    tape.say("beat", seq=1).send(rival)
    assert not store.changes(0.2)
    began = time.monotonic()
    sender = threading.Timer(0.2, lambda: tape.log("r1", "x").send(place.open()))
    sender.start()
    assert wait_for_changes(store, BOUND)
    assert time.monotonic() - began < BOUND / 2
    sender.join()


# --- questions -----------------------------------------------------------------------------------------------

ALPHABET = st.text("ab*?[]!-^\\.$ü\n", max_size=7)


def test_shell_patterns_mean_what_python_makes_of_them(store: PostgresBackend) -> None:
    @settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(pattern=ALPHABET, names=st.lists(ALPHABET, min_size=1, max_size=8))
    def check(pattern: str, names: list[str]) -> None:
        sql = 'SELECT name FROM unnest(%s::text[]) AS name WHERE name COLLATE "C" ~ %s'
        found = [row[0] for row in store._rows(sql, names, regex(pattern))]
        assert found == [name for name in names if fnmatchcase(name, pattern)]

    check()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (RunQuery(roots=True), "created_at_id_state_project"),
        (RunQuery(), "created_at_id_idx"),
        (RunQuery(job="job-7", states=("FAILED",)), "name_created_at_id_state_idx"),
        (RunQuery(journal="j1", states=("RUNNING",)), "journal_state_idx"),
        (RunQuery(root_id="r100", limit=None), "pkey"),
        (RunQuery(parent_id="r100", limit=None), "parent_id_idx"),
        (RunQuery(prefix="r1000"), "pkey"),
    ],
)
def test_the_common_questions_are_answered_by_an_index(
    many: PostgresBackend, query: RunQuery, index: str
) -> None:
    from holter.backends.postgres_reads import where_of

    where, values = where_of(query)
    sql = f"EXPLAIN SELECT doc FROM runs WHERE {where} ORDER BY created_at DESC, id DESC LIMIT %s"
    plan = "\n".join(row[0] for row in many._rows(sql, *values, query.limit))
    assert index in plan, plan
    assert "Seq Scan" not in plan.replace("Seq Scan on runs_else", ""), plan


@pytest.fixture(scope="module")
def many() -> Iterator[PostgresBackend]:
    """Twenty thousand runs of fifty jobs, each with a part, in one month."""
    with schema() as url:
        store = PostgresBackend(url)
        sql = (
            "INSERT INTO runs SELECT 'r' || n, 'r' || n / 2, CASE n %% 2 WHEN 1 THEN 'r' || n / 2 END, 'flow',"
            " 'job-' || n %% 50, 'shop', CASE n %% 100 WHEN 0 THEN 'RUNNING' WHEN 1 THEN 'FAILED' ELSE 'COMPLETED' END,"
            " '', '[]'::jsonb, 'web', 'j' || n / 100, n, n, 1.0, '{}', '1970-01-01'::date"
            " FROM generate_series(1, 20000) AS n"
        )
        store._do(sql)
        store._do("ANALYZE runs")
        yield store
        store.close()
