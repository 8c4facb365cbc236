"""Logs: what a run says is kept as it was said, and nobody's print, handler or level is changed."""

from __future__ import annotations

from textwrap import dedent
from typing import Any, NamedTuple

import pytest

# --- prints ------------------------------------------------------------------------------------------------------


class Says(NamedTuple):
    """A script, and the texts that its runs keep, by the name of the run, in order."""

    text: str
    kept: dict[str, list[str]]


def printing(body: str) -> str:
    return f"@flow(log_prints=True)\ndef job():\n    {body}\njob()\n"


PRINTS = {
    "a line": Says(printing('print("one"); print("two", 2, sep="-")'), {"job": ["one", "two-2"]}),
    "an empty line": Says(printing("print()"), {"job": [""]}),
    "several lines at once": Says(printing(r'print("one\n\ntwo")'), {"job": ["one\n\ntwo"]}),
    "a line in pieces": Says(
        printing('print("o", end=""); print("ne"); print("rest", end="")'), {"job": ["one", "rest"]}
    ),
    "bytes and odd characters": Says(
        printing(r'print(b"\xff\0"); print("\udcff|\0|\U0001f600")'),
        {"job": [r"b'\xff\x00'", "\ufffd|\ufffd|\U0001f600"]},
    ),
    "file=": Says(
        """
        import io
        @flow(log_prints=True)
        def job():
            print("to nobody", file=io.StringIO())
            print("to stderr", file=sys.stderr)
            with open("other", "w") as other: print("to a file", file=other)
            print("to stdout", file=sys.stdout)
            print("to the default", file=None)
        job()
        """,
        {"job": ["to stdout", "to the default"]},
    ),
    "only what is inside": Says(
        """
        print("before")
        @flow(log_prints=True)
        def job(): print("inside")
        job()
        print("after")
        """,
        {"job": ["inside"]},
    ),
    "nesting": Says(
        """
        @task
        def heir(): print("heir")
        @task(log_prints=False)
        def quiet(): print("quiet")
        @flow
        def sub(): print("sub"); heir()
        @flow(log_prints=True)
        def job():
            print("first"); heir(); quiet(); sub(); print("last")
        job()
        """,
        {"job": ["first", "last"], "heir": ["heir", "heir"], "quiet": [], "sub": ["sub"]},
    ),
    "a task that prints in a flow that does not": Says(
        """
        @task(log_prints=True)
        def step(): print("step")
        @flow
        def job(): print("job"); step()
        job()
        """,
        {"job": [], "step": ["step"]},
    ),
    "threads": Says(
        """
        import threading
        @flow(log_prints=True)
        def job():
            for n in range(3):
                thread = threading.Thread(target=lambda: print(n)); thread.start(); thread.join()
        job()
        """,
        {"job": ["0", "1", "2"]},
    ),
    "tasks in threads": Says(
        """
        @task
        def step(n): print("step", n)
        import threading
        @flow(log_prints=True)
        def job():
            for n in range(2):
                thread = threading.Thread(target=step, args=(n,)); thread.start(); thread.join()
        job()
        """,
        {"job": [], "step": ["step 0", "step 1"]},
    ),
    "two flows at once": Says(
        """
        import threading
        turn, lock = threading.Barrier(2), threading.Lock()
        def talk(name):
            for n in range(3):
                turn.wait()
                with lock: print(name, n)
        a = flow(name="a", log_prints=True)(lambda: talk("a"))
        b = flow(name="b")(lambda: talk("b"))
        threads = [threading.Thread(target=each) for each in (a, b)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """,
        {"a": ["a 0", "a 1", "a 2"], "b": []},
    ),
    "coroutines at once": Says(
        """
        import asyncio
        async def talk(name):
            for n in range(2):
                print(name, n); await asyncio.sleep(0)
        a, b = (task(name=name)(talk) for name in "ab")
        @flow(log_prints=True)
        async def job(): await asyncio.gather(a("a"), b("b"))
        asyncio.run(job())
        """,
        {"job": [], "a": ["a 0", "a 1"], "b": ["b 0", "b 1"]},
    ),
    "a generator, not its consumer": Says(
        """
        @flow(log_prints=True)
        def job():
            print("one"); yield 1
            print("two"); yield 2
        for n in job(): print("consumer", n)
        """,
        {"job": ["one", "two"]},
    ),
    "something that prints when it is shown": Says(
        """
        class Loud:
            def __str__(self):
                print("aside")
                return "loud"
        @flow(log_prints=True)
        def job(): print(Loud())
        job()
        """,
        {"job": ["aside", "loud"]},
    ),
}


UTF8 = {"PYTHONIOENCODING": "utf-8:surrogateescape"}
RESTORED = "\nimport builtins\nassert type(builtins.print) is type(len), builtins.print\n"


def said(home: Any) -> dict[str, list[str]]:
    """The texts that were kept, by the name of the run."""
    kept: dict[str, list[str]] = {}
    for run in home.every_run:
        kept.setdefault(run.name, []).extend(log.text for log in home.logs(run))
    return kept


@pytest.mark.parametrize("name", PRINTS)
def test_prints_are_kept_and_reach_the_console_as_without_us(home: Any, name: str) -> None:
    row = PRINTS[name]
    text = dedent(row.text) + RESTORED
    done = home.run(text, **UTF8)
    without = home.run(text, plain=True, **UTF8)
    assert (done.code, done.err) == (0, without.err)
    # Threads take turns as they like.
    assert sorted(done.out.splitlines()) == sorted(without.out.splitlines())
    assert said(home) == row.kept


def test_a_very_long_line_in_pieces_loses_nothing(home: Any) -> None:
    done = home.run("""
        @flow(log_prints=True)
        def job():
            for _ in range(250): print("x" * 1000, end="")
            print("end")
        job()
    """)
    assert done.out == "x" * 250_000 + "end\n"
    assert "".join(said(home)["job"]) == "x" * 250_000 + "end"


def test_pieces_that_threads_print_at_once_are_all_kept(home: Any) -> None:
    """Each thread has its own unfinished line: none takes, or wipes out, what another one has said so far."""
    home.run("""
        import threading
        def talk(sign):
            for n in range(500):
                print(sign, end="")
                print(n, end="\\n" if n % 5 == 4 else "")
            print(sign, end="")
            all_there.wait()
        all_there = threading.Barrier(8)
        @flow(log_prints=True)
        def job():
            threads = [threading.Thread(target=talk, args=(sign,)) for sign in "abcdefgh"]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
        sys.setswitchinterval(1e-6)
        sys.stdout = open(os.devnull, "w")
        job()
    """)
    lines = [line for text in said(home)["job"] for line in text.split("\n")]
    for sign in "abcdefgh":
        own = [line for line in lines if line.startswith(sign)]
        assert own == ["".join(f"{sign}{n}" for n in range(end - 4, end + 1)) for end in range(4, 500, 5)] + [
            sign
        ]
    assert len(lines) == 8 * 101


def test_a_print_of_the_users_own_is_used_and_put_back(home: Any) -> None:
    done = home.run("""
        import builtins
        plain = builtins.print
        mine = builtins.print = lambda *values, **options: plain("mine:", *values, **options)
        @flow(log_prints=True)
        def job(): print(7, [8])
        job()
        plain(builtins.print is mine)
        @flow(log_prints=True)
        def swaps(): builtins.print = plain
        swaps()
        plain(builtins.print is plain)
    """)
    assert done == (0, "mine: 7 [8]\nTrue\nTrue\n", "")
    assert said(home)["job"] == ["7 [8]"]


# --- records of logging and loguru -----------------------------------------------------------------------------------

RECORDS = {
    "in order with prints": Says(
        """
        import logging, loguru
        from holter import get_run_logger
        logging.basicConfig(level=logging.INFO)
        @flow(log_prints=True, log_records=True)
        def job():
            print("1 print")
            logging.info("2 %s", "logging")
            loguru.logger.info("3 {}", "loguru")
            logging.getLogger("deep.down").warning("4 named")
            get_run_logger().info("5 run logger")
            print("6 print")
        job()
        """,
        {"job": ["1 print", "2 logging", "3 loguru", "4 named", "5 run logger", "6 print"]},
    ),
    "only those that are asked for": Says(
        """
        import logging, loguru
        @task(log_records=False)
        def quiet(): logging.error("no"); loguru.logger.error("no")
        @flow(log_records=True)
        def job(): logging.error("yes"); quiet(); loguru.logger.error("yes")
        logging.error("no"); loguru.logger.error("no")
        job()
        logging.error("no"); loguru.logger.error("no")
        @flow
        def other(): logging.error("no"); loguru.logger.error("no")
        other()
        """,
        {"job": ["yes", "yes"], "quiet": [], "other": []},
    ),
    "as the levels let through": Says(
        """
        import logging
        logging.basicConfig(level=logging.WARNING)
        @flow(log_records=True)
        def job():
            logging.info("no")
            logging.warning("yes")
            own = logging.getLogger("own"); own.setLevel(logging.DEBUG); own.debug("own")
            logging.disable(logging.CRITICAL); logging.error("no")
        job()
        """,
        {"job": ["yes", "own"]},
    ),
    "with the traceback": Says(
        """
        import logging
        logging.basicConfig(format="%(message).0s")
        @flow(log_records=True)
        def job():
            try: 1 / 0
            except ZeroDivisionError: logging.error("failed", exc_info=True)
        job()
        """,
        {"job": ["failed\nTraceback (most recent call last):\n  File"]},
    ),
    "in threads and coroutines": Says(
        """
        import asyncio, logging, threading
        @flow(log_records=True)
        def job():
            thread = threading.Thread(target=logging.error, args=("thread",)); thread.start(); thread.join()
            async def talk(): logging.error("coroutine")
            asyncio.run(talk())
        job()
        """,
        {"job": ["thread", "coroutine"]},
    ),
    "not what was made elsewhere": Says(
        """
        import logging
        @flow(log_records=True)
        def job(): logging.makeLogRecord({"msg": "from afar", "levelname": "INFO"})
        job()
        """,
        {"job": []},
    ),
    "nor what cannot be put together": Says(
        """
        import logging
        logging.raiseExceptions = False
        @flow(log_records=True)
        def job(): logging.error("%d", "no number"); logging.error("yes")
        job()
        """,
        {"job": ["yes"]},
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_log_records_are_kept(home: Any, name: str) -> None:
    row = RECORDS[name]
    done = home.run(row.text)
    assert done.code == 0, done.err
    kept = said(home)
    assert {
        name: [text[: len(want)] for text, want in zip(kept[name], texts)] for name, texts in row.kept.items()
    } == row.kept
    assert {name: len(texts) for name, texts in kept.items()} == {
        name: len(texts) for name, texts in row.kept.items()
    }


def test_levels_and_streams_are_kept(home: Any) -> None:
    home.run("""
        import logging, loguru
        logging.addLevelName(35, "NOTICE")
        @flow(log_prints=True, log_records=True)
        def job():
            print("a"); logging.error("b"); logging.log(35, "c"); loguru.logger.success("d")
        job()
    """)
    lines = [(log.stream, log.level) for log in home.logs(home.runs["job"])]
    assert lines == [("print", "INFO"), ("log", "ERROR"), ("log", "NOTICE"), ("log", "SUCCESS")]


SNAPSHOT = """
    import builtins, json, logging, sys, threading, warnings
    logging.getLogger("own")

    def snapshot():
        loggers = {name: each for name, each in logging.root.manager.loggerDict.items() if "holter" not in name}
        loguru = sys.modules.get("loguru")
        return repr({
            "root": [(type(h), id(h), h.level, id(h.formatter), h.filters) for h in logging.root.handlers],
            "level": (logging.root.level, logging.root.disabled, logging.root.manager.disable),
            "loggers": {name: (each.level, each.handlers, each.propagate) for name, each in loggers.items()
                        if isinstance(each, logging.Logger)},
            "factory": logging.getLogRecordFactory(),
            "class": logging.getLoggerClass(),
            "last resort": (logging.lastResort, logging.lastResort.level, logging.raiseExceptions),
            "loguru": loguru and sorted(loguru.logger._core.handlers),
            "print": builtins.print, "streams": (sys.stdout, sys.stderr),
            "hooks": (sys.excepthook, threading.excepthook),
            "warnings": (len(warnings.filters), warnings.showwarning),
        })
"""
SETTINGS = {
    "nothing": "",
    "basicConfig": 'logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")',
    "dictConfig": """
from logging.config import dictConfig
handlers = {"h": {"class": "logging.StreamHandler", "level": "DEBUG"}}
dictConfig({"version": 1, "root": {"level": "ERROR", "handlers": ["h"]}, "handlers": handlers})
""",
    "a record factory": "logging.setLogRecordFactory(type('Mine', (logging.LogRecord,), {}))",
    "loguru": "import loguru\nloguru.logger.remove()\nloguru.logger.add(sys.stderr, level='ERROR')",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_logging_is_configured_after_import_and_runs_as_it_was_before(home: Any, setting: str) -> None:
    before = dedent(SNAPSHOT) + SETTINGS[setting] + "\nbefore = snapshot()\n"
    done = home.run(
        """
        imported = snapshot()
        from holter import get_run_logger
        @task(log_prints=True)
        def step(): print("x"); logging.getLogger("own").error("x")
        @flow(log_prints=True, log_records=True)
        def job(fail):
            get_run_logger().error("x"); step()
            if fail: raise OSError("x")
        job(False)
        try: job(True)
        except OSError: pass
        after = snapshot()
        for each in (imported, after):
            if each != before: print(before, each, sep="\\n", file=sys.stderr)
        sys.exit(not before == imported == after)
        """,
        before=before,
    )
    assert done.code == 0, done.err


# --- large and odd messages ------------------------------------------------------------------------------------------

HUGE = {
    "print": 'print("head" + "x" * 10_000_000 + "tail")',
    "logging": 'logging.error("head" + "x" * 10_000_000 + "tail")',
    "loguru": 'loguru.logger.error("head" + "x" * 10_000_000 + "tail")',
    "signs that take twelve bytes each": 'print("head" + "\\U0001f600" * 2_000_000 + "tail", file=None)',
}


@pytest.mark.parametrize("name", HUGE)
def test_a_message_of_ten_megabytes_keeps_its_head_and_tail_and_says_what_is_missing(
    home: Any, name: str
) -> None:
    done = home.run(f"""
        import logging, loguru, resource
        logging.root.addHandler(logging.NullHandler())
        loguru.logger.remove()
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
        @flow(log_prints=True, log_records=True)
        def job():
            began = time.monotonic()
            {HUGE[name]}
            return time.monotonic() - began
        seconds = job()
        sys.stderr.write(str(seconds < 2))
    """)
    assert done == (0, "", "True")
    run = home.runs["job"]
    text = "".join(log.text for log in home.logs(run))
    assert text.startswith("head")
    assert text.endswith("tail")
    assert len(text) < 2**20 + 100
    assert run.dropped["lines"] == 1
    assert len(text) + run.dropped["bytes"] == pytest.approx(
        2_000_008 if "twelve" in name else 10_000_008, abs=100
    )


@pytest.mark.parametrize(
    "say", ["print({0})", "logging.error({0})", "loguru.logger.error({0})", "log.error({0})"]
)
def test_odd_messages_arrive_readable_and_whole(home: Any, say: str) -> None:
    odd = ['b"\\xff\\x00"', '"\\udcff\\0"', '"one\\r\\ntwo"', '"{braces} %s"', '""', "None", '"\\x1b[31mred"']
    lines = "\n".join(f"            {say.format(each)}" for each in odd)
    done = home.run(
        f"""
        import logging, loguru
        from holter import get_run_logger
        logging.raiseExceptions = False
        @flow(log_prints=True, log_records=True)
        def job():
            log = get_run_logger()
{lines}
        job()
        """,
        **UTF8,
    )
    assert done.code == 0, done.err
    assert said(home)["job"] == [
        "b'\\xff\\x00'",
        "\ufffd\ufffd",
        "one\r\ntwo",
        "{braces} %s",
        "",
        "None",
        "\x1b[31mred",
    ]
