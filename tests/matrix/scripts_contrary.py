"""A store of somebody else's that misbehaves as the environment says: `contrary:` in front of a SQLite store.

CONTRARY is JSON: `op` (import, open, append, close), `fault` (a key of FAULTS), and `after`, `times`: how many calls go
well first, and how many fail then (without `times`: all). MARK is a file that the first fault after `after` good calls,
or the first good call after `times` faults, makes.
"""

# ruff: noqa: ANN001, ANN003, ANN201, ANN204

import json
import os
import threading
import time

from holter.backends.errors import OffsetMismatch, StorageError
from holter.backends.sqlite import SqliteBackend

TABLE = json.loads(os.environ.get("CONTRARY", "{}"))
calls = {"open": 0, "append": 0, "close": 0}


class Panic(BaseException):
    """As drivers in Rust raise."""


def fail(error):
    raise error


def hang():
    threading.Event().wait(300)


FAULTS = {
    "raises StorageError": lambda: fail(StorageError("the store is away", hint="wait")),
    "raises OSError": lambda: fail(ConnectionResetError(104, "Connection reset by peer")),
    "raises TimeoutError": lambda: fail(TimeoutError("timed out")),
    "is full": lambda: fail(OSError(28, "No space left on device")),
    "has a bug": lambda: None.nothing,
    "raises MemoryError": lambda: fail(MemoryError()),
    "raises SystemExit": lambda: fail(SystemExit(5)),
    "panics": lambda: fail(Panic("a driver in another language")),
    "recurses": lambda: FAULTS["recurses"](),
    "hangs": hang,
    "is slow": lambda: time.sleep(0.3),
    "says it is elsewhere": lambda: fail(OffsetMismatch("it", expected=10**9, given=0)),
}


def meet(op):
    """Misbehave where the table says so."""
    if TABLE.get("op") != op:
        return
    calls[op] += 1
    after, times = TABLE.get("after", 0), TABLE.get("times", 10**9)
    if calls[op] <= after:
        return
    if after:
        mark()
    if calls[op] <= after + times:
        FAULTS[TABLE["fault"]]()


def mark():
    open(os.environ["MARK"], "w").close()


class Contrary(SqliteBackend):
    def __init__(self, url, **options):
        if TABLE.get("fault") == "takes other arguments":
            fail(TypeError("__init__() got an unexpected keyword argument 'clock'"))
        meet("open")
        super().__init__(url.replace("contrary:", "sqlite:"), **options)
        self.url = url

    def append(self, journal, offset, data):
        if TABLE.get("fault") == "takes it, and hangs":
            super().append(journal, offset, data)
            hang()
        if TABLE.get("fault") == "takes it, and the answer is lost":
            super().append(journal, offset, data)
            fail(StorageError("connection lost", hint="wait"))
        meet("append")
        stands = super().append(journal, offset, data)
        if "times" in TABLE:
            mark()
        return {"answers nothing": None, "answers nonsense": 0, "answers text": "all of it"}.get(
            TABLE.get("fault"), stands
        )

    def close(self):
        super().close()
        meet("close")


if TABLE.get("op") == "import":
    if TABLE["fault"] == "is not there":
        raise ModuleNotFoundError("No module named 'contrary_driver'")
    if TABLE["fault"] == "lacks the class":
        del Contrary
    elif TABLE["fault"] in FAULTS:
        FAULTS[TABLE["fault"]]()
