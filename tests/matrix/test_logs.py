"""Logs: what a run says is kept as said, nobody's print, handler or level is changed, and no secret gets through."""

from __future__ import annotations

import hashlib
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
    assert sorted(done.out.splitlines()) == sorted(
        without.out.splitlines()
    )  # threads take turns as they like
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
        loggers = {name: each for name, each in logging.Logger.manager.loggerDict.items() if not name.startswith("holter")}
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
            "print": builtins.print, "streams": (sys.stdout, sys.stderr), "hooks": (sys.excepthook, threading.excepthook),
            "warnings": (len(warnings.filters), warnings.showwarning),
        })
"""
SETTINGS = {
    "nothing": "",
    "basicConfig": 'logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")',
    "dictConfig": "import logging.config\nlogging.config.dictConfig({'version': 1, 'root': {'level': 'ERROR', 'handlers': ['h']}, "
    "'handlers': {'h': {'class': 'logging.StreamHandler', 'level': 'DEBUG'}}})",
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


# --- secrets ---------------------------------------------------------------------------------------------------------


class Leak(NamedTuple):
    """A way for a secret to get out: a script that has it as `secret`, in a URL as `url`, and another one as `other`.
    Variables `environ` have it as their value and the command line has it for {}; `shape` is how it looks."""

    text: str
    environ: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    shape: str = "{0}"
    settings: str = ""


def given(body: str) -> str:
    """A flow that gets the secret as a parameter with a telling name."""
    lines = "\n    ".join(body.splitlines())
    return f"@flow(log_prints=True, log_records=True)\ndef job(password):\n    {lines}\njob(secret)\n"


def unaware(body: str) -> str:
    """A flow that nobody told what is secret."""
    lines = "\n    ".join(body.splitlines())
    return f"@flow(log_prints=True, log_records=True)\ndef job():\n    {lines}\njob()\n"


CONFIG = """
from dataclasses import dataclass
@dataclass
class Config:
    user: str
    db_password: str
@flow(log_prints=True)
def job(config):
    print(config)
    raise ValueError(config)
job(Config("u", secret))
"""
HOOK = """
def fails(run): raise ValueError(secret)
@flow(on_completion=[fails])
def job(password): pass
job(secret)
"""
LATE = """
os.environ["NEW_TOKEN"] = secret
@flow(log_prints=True)
def job():
    print(secret)
    os.environ["LATE_TOKEN"] = other
    print(other)
job()
"""
GONE = """
@flow(log_prints=True)
def job(): print(secret)
@flow
def first(): os.environ.pop("API_TOKEN")
first()
job()
"""
LEAKS = {
    # --- where a value has a name ---
    "a parameter": Leak(given("pass")),
    "a parameter's default": Leak("@flow\ndef job(password=secret): pass\njob()"),
    "a keyword-only parameter": Leak("@flow\ndef job(*, api_key): pass\njob(api_key=secret)"),
    "a free keyword": Leak("@flow\ndef job(**options): pass\njob(authToken=secret)"),
    "a method's parameter": Leak("class A:\n    @flow\n    def job(self, token): pass\nA().job(secret)"),
    "a partial's parameter": Leak(
        "from functools import partial\ndef job(a, token): print(token)\n"
        "flow(log_prints=True)(partial(job, token=secret))(1)"
    ),
    "a nested dict": Leak("@flow\ndef job(config): print(secret)\njob({'db': [{'Password': secret}]})"),
    "a secret that is a dict itself": Leak(
        "@flow\ndef job(credentials): print(secret)\njob({'a': [secret]})"
    ),
    "a secret of bytes": Leak("@flow(log_prints=True)\ndef job(token): print(token)\njob(secret.encode())"),
    "a dataclass": Leak(CONFIG),
    "a result": Leak(given("return {'session': {'token': password}, 'text': f'got {password}', 'url': url}")),
    "a result that has it twice": Leak(unaware("return {'text': f'got {secret}', 'token': secret}")),
    "a parameter before it": Leak("@flow\ndef job(*all, token): pass\njob(secret, [secret], token=secret)"),
    "a name that the settings call secret": Leak(
        "@flow(log_prints=True)\ndef job(patient_ssn): print(patient_ssn)\njob(secret)",
        settings="redact: ['*_ssn']",
    ),
    # --- where it is said ---
    "a print": Leak(given("print('using', password)")),
    "a print in pieces": Leak(given("print(password[:9], end=''); print(password[9:], 'is used')")),
    "a log line": Leak(given("logging.error('login with %s', password)")),
    "a run logger's line": Leak(given("get_run_logger().error('login with %s', password)")),
    "a loguru line": Leak(given("loguru.logger.error('login with {}', password)")),
    "a logged traceback": Leak(
        given("try: raise ValueError(password)\nexcept ValueError: logging.exception('failed')")
    ),
    "a traceback of loguru": Leak(
        given("try: raise ValueError(password)\nexcept ValueError: loguru.logger.exception('x')")
    ),
    "a local variable that loguru knows": Leak(
        unaware("here = other\ntry: here.x\nexcept Exception: loguru.logger.exception('x')")
    ),
    "an exception": Leak(given("raise ValueError(f'cannot log in with {password}')")),
    "an exception's repr": Leak(given("raise KeyError(password)")),
    "an exception's note": Leak(
        given("error = ValueError('x'); error.add_note(f'with {password}'); raise error")
    ),
    "a chained exception": Leak(
        given("try: raise OSError(password)\nexcept OSError as e: raise ValueError('x') from e")
    ),
    "an exception's context": Leak(
        given("try: raise OSError(password)\nexcept OSError: raise ValueError('x')")
    ),
    "a group": Leak(
        given("raise ExceptionGroup('g', [OSError(password), ExceptionGroup('in', [OSError(password)])])")
    ),
    "an attempt that failed": Leak(given("@task(retries=1)\ndef step(): raise OSError(password)\nstep()")),
    "an exit": Leak(given("sys.exit(f'no login with {password}')")),
    "a hook that fails": Leak(HOOK),
    "progress": Leak(given("progress(1, 2, f'with {password}')")),
    "an artifact's words": Leak(given("artifact(password, markdown=password, description=password)")),
    "an artifact's table": Leak(given("artifact('a', table=[{'token': other, 'x': [password]}])")),
    "an artifact's link": Leak(unaware("artifact('a', link=url)")),
    "a tag": Leak(given("with tags(password, 'eu'): task(tags=[password])(lambda: 1)()")),
    "a run's name": Leak(given("task(task_run_name=lambda: f'with {password}')(lambda: 1)()")),
    "a run's name from its parameters": Leak(
        "@flow(flow_run_name='{config} {password}')\ndef job(config, password): pass\njob({'x': secret}, secret)"
    ),
    "a key of a dict": Leak(given("return {password: 1, url: 2}")),
    # --- where nobody gave it a name ---
    "the environment": Leak(unaware("print(secret)\nraise ValueError(secret)"), ("API_TOKEN",)),
    "the environment, changed meanwhile": Leak(LATE),
    "the environment, taken away meanwhile": Leak(GONE, ("API_TOKEN",)),
    "a URL in the environment": Leak(unaware("print(secret)"), ("DATABASE_URL",)),
    "a URL": Leak(unaware("print(url)\nreturn [url, {'url': url}]")),
    "a URL in an exception": Leak(unaware("raise ConnectionError(f'cannot connect to {url}')")),
    "a URL with odd signs in its password": Leak(
        unaware("print(f'postgres://u:{secret}@{secret}/{secret}@host/db')")
    ),
    "a URL whose user is a token": Leak(
        unaware("print(f'https://{secret}@host/x https://{secret}:x-oauth-basic@host/x')")
    ),
    "the query of a URL": Leak(
        unaware("print(f'https://h/x?a=1&api_key={secret}&b=2 https://h?X-Amz-Signature={secret}')")
    ),
    "the command line": Leak(unaware("print(secret)"), args=("--token", "{}")),
    "the command line in one word": Leak(unaware("print(secret)"), args=("--api-key={}",)),
    "an assignment on the command line": Leak(unaware("print(secret)"), args=("DB_PASSWORD={}",)),
    "a URL on the command line": Leak(unaware("print(secret)"), args=("--db", "postgres://u:{}@host/db")),
    "a header on the command line": Leak(unaware("print(secret)"), args=("-H", "Authorization: Bearer {}")),
    # --- where a limit would cut it in two: each leaves 15 of its 28 characters ---
    "a long parameter": Leak(
        "@flow\ndef job(password, text): pass\njob(secret, 'x' * 985 + secret + 'x' * 100)"
    ),
    "a long message": Leak(given("raise ValueError('x' * 3985 + password + 'x' * 9000)")),
    "a long first line": Leak(given("raise ValueError('x' * 473 + password + 'x' * 9000)")),
    "a longer first line": Leak(given("raise ValueError('x' * 1973 + password + 'x' * 9000)")),
    "a long attempt": Leak(
        given("@task(retries=1)\ndef step(): raise OSError('x' * 476 + password)\nstep()")
    ),
    "a long traceback": Leak(given("raise ValueError('x' * 9500 + password * 40 + 'x' * 9500)")),
    "a long log line": Leak(given("get_run_logger().error('x' * (2**15 - 15) + password)")),
    "a huge log line": Leak(
        given(
            "get_run_logger().error('x' * (2**19 - 15) + password + 'x' * 2**20 + password + 'x' * (2**19 - 15))"
        )
    ),
    "a long line in pieces": Leak(
        given("print('x' * 99_985, end=''); print(password, end=''); print('x' * 99_985)")
    ),
    "a long exit": Leak(given("sys.exit('x' * 1979 + password)")),
    "long progress": Leak(given("progress(1, 2, 'x' * 185 + password)")),
    "a long artifact": Leak(
        given("artifact('x' * 185 + password, markdown='x' * 32_000 + (password + ' ') * 2000)")
    ),
    "a long run name": Leak(given("task(task_run_name=lambda: 'x' * 285 + password)(lambda: 1)()")),
    "a long key": Leak(given("return {'x' * 185 + password: 1}")),
    "a long word on the command line": Leak(unaware("pass"), ("API_TOKEN",), args=("x" * 985 + "{}",)),
    # --- where it looks different ---
    "several lines": Leak(
        unaware("print(secret)\nraise ValueError(secret)"),
        ("PRIVATE_KEY",),
        shape="-- KEY --\n{0}\n{1}\n--\n",
    ),
    "odd signs": Leak(
        unaware("print(secret, [secret])\nraise KeyError(secret)"),
        ("DB_PASSWORD",),
        shape="pä\"ss\\{0}/ {1}@'%",
    ),
    "odd signs in a URL": Leak(
        unaware("from urllib.parse import quote\nprint(quote(secret, safe=''))"),
        ("DB_PASSWORD",),
        shape="pä/ss {0}@%{1}",
    ),
}
TOOLS = """
import logging, loguru, os, sys
from holter import artifact, get_run_logger, progress, tags
loguru.logger.remove()
logging.root.addHandler(logging.NullHandler())
secret, other = open("secret").read(), open("other").read()
url = f"postgres://user:{secret}@host/db"
"""


def canary(name: str) -> str:
    return "cnry" + hashlib.sha256(name.encode()).hexdigest()[:24]


def found(name: str, text: bytes) -> list[str]:
    """Which of the row's secrets are in there, whole or cut in two."""
    secrets = [canary(name), canary(f"{name}, again"), canary(f"{name}, other")]
    parts = [part for each in secrets for part in (each[:12], each[-12:])]
    return [part for part in parts if part.encode() in text]


def written(home: Any) -> bytes:
    return b"\n".join(text for _, text in home.files())


@pytest.mark.parametrize("name", LEAKS)
def test_a_secret_gets_into_no_byte_that_is_written(home: Any, name: str) -> None:
    row = LEAKS[name]
    secret = row.shape.format(canary(name), canary(f"{name}, again"))
    (home.folder / "secret").write_text(secret)
    (home.folder / "other").write_text(canary(f"{name}, other"))
    home.settings(row.settings)
    environ = {
        each: f"postgres://u:{secret}@host/db" if each.endswith("URL") else secret for each in row.environ
    }
    done = home.run(TOOLS + row.text, *(word.format(secret) for word in row.args), **environ)
    ours = "\n".join(line for line in done.err.splitlines() if line.startswith("holter: "))
    assert "job" in home.runs, done.err
    assert found(name, written(home)) == []
    assert found(name, ours.encode()) == []
