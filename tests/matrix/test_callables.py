"""Callables: what is decorated is called, inspected, typed and pickled as before, and its parameters are recorded."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Shape(NamedTuple):
    """A script that makes `plain`, and may say in `use(f, x)` how it is called; a call gives `x` back, or raises it.
    `recorded` are the parameters that stand in the record of `use(f, 7)`, under the `name` of the run."""

    text: str
    recorded: dict[str, Any]
    name: str = "plain"


RUN = "import asyncio\ndef use(f, x): return asyncio.run(f(x))\n"
ITERATE = """
def use(f, x):
    steps = f(x)
    assert next(steps) is x
    assert steps.send("more") == "more"
    try: next(steps)
    except StopIteration as stop: return stop.value
"""
ITERATE_LATER = """
import asyncio
async def whole(steps):
    item = await anext(steps)
    assert await steps.asend("more") == "more"
    assert [each async for each in steps] == []
    return item
def use(f, x): return asyncio.run(whole(f(x)))
"""
ENTER = "def use(f, x):\n    with contextlib.contextmanager(f)(x) as held: return held\n"
ENTER_LATER = """
import asyncio
async def enter(f, x):
    async with contextlib.asynccontextmanager(f)(x) as held: return held
def use(f, x): return asyncio.run(enter(f, x))
"""
IN_CLASS = """
def use(f, x):
    B = type("B", (A,), {"go": f})
    assert B().go(5) == 5
    return B.go(x)
"""
SHAPES = {
    "function": Shape("def plain(x: int) -> int:\n    'Doc.'\n    return give(x)", {"x": 7}),
    "lambda": Shape("plain = lambda x: give(x)", {"x": 7}, "<lambda>"),
    "partial": Shape(
        "def whole(a: int, x: object, *, b: int = 2): return give(x)\nplain = functools.partial(whole, 1, b=3)",
        {"a": 1, "b": 3, "x": 7},
        "whole",
    ),
    "partial of a method": Shape(
        "class A:\n    def go(self, a, x): return give(x)\nplain = functools.partial(A().go, 1)",
        {"a": 1, "x": 7},
        "go",
    ),
    "bound method": Shape(
        "class A:\n    def go(self, x: int): return give(x)\nplain = A().go", {"x": 7}, "go"
    ),
    "method": Shape(
        "class A:\n    def go(self, x: int): return give(x)\nplain = A.go\n"
        "def use(f, x): return type('B', (A,), {'go': f})().go(x)",
        {"x": 7},
        "go",
    ),
    "class method": Shape(
        "class A:\n    @classmethod\n    def go(cls, x: int): return give(x)\nplain = A.__dict__['go']"
        + IN_CLASS,
        {"x": 7},
        "go",
    ),
    "static method": Shape(
        "class A:\n    @staticmethod\n    def go(x: int): return give(x)\nplain = A.__dict__['go']"
        + IN_CLASS,
        {"x": 7},
        "go",
    ),
    "callable object": Shape(
        "class Caller:\n    'Doc.'\n    def __call__(self, x: int): return give(x)\nplain = Caller()",
        {"x": 7},
        "Caller",
    ),
    "class": Shape("class Box:\n    def __new__(cls, x): return give(x)\nplain = Box", {"args": [7]}, "Box"),
    "builtin": Shape(
        "plain = operator.itemgetter(0)\ndef use(f, x): return f(Items(x))",
        {"args": ["<__main__.Items>"]},
        "itemgetter",
    ),
    "generator": Shape("def plain(x):\n    yield (yield give(x))\n    return x\n" + ITERATE, {"x": 7}),
    "generator method": Shape(
        "class A:\n    def go(self, x):\n        yield (yield give(x))\n        return x\nplain = A().go"
        + ITERATE,
        {"x": 7},
        "go",
    ),
    "context manager": Shape("def plain(x):\n    yield give(x)\n" + ENTER, {"x": 7}),
    "async function": Shape(
        RUN + "async def plain(x: int) -> int:\n    await asyncio.sleep(0)\n    return give(x)", {"x": 7}
    ),
    "async method": Shape(
        RUN + "class A:\n    async def go(self, x): return give(x)\nplain = A().go", {"x": 7}, "go"
    ),
    "async callable object": Shape(
        RUN + "class A:\n    async def __call__(self, x): return give(x)\nplain = A()", {"x": 7}, "A"
    ),
    "partial of an async function": Shape(
        RUN + "async def whole(a, x): return give(x)\nplain = functools.partial(whole, 1)",
        {"a": 1, "x": 7},
        "whole",
    ),
    "async generator": Shape(
        "async def plain(x: int):\n    yield (yield give(x))\n" + ITERATE_LATER, {"x": 7}
    ),
    "async context manager": Shape("async def plain(x): yield give(x)\n" + ENTER_LATER, {"x": 7}),
    "*args and **kwargs": Shape(
        "def plain(*rest, **more): return give(more['x'])\ndef use(f, x): return f(1, 'a', x=x, y=None)",
        {"rest": [1, "a"], "x": 7, "y": None},
    ),
    "positional-only": Shape(
        "def plain(x, y=2, /, z=3): return give(x)\ndef use(f, x): return f(x, 4)", {"x": 7, "y": 4, "z": 3}
    ),
    "keyword-only": Shape(
        "def plain(*, x, y=2): return give(x)\ndef use(f, x): return f(x=x)", {"x": 7, "y": 2}
    ),
    "defaults": Shape(
        "def plain(x, y=(1, 2), z=None, *, w='w'): return give(x)\ndef use(f, x): return f(x, z=5)",
        {"x": 7, "y": [1, 2], "z": 5, "w": "w"},
    ),
    "closure": Shape(
        "def make(n):\n    def plain(x): return give(x)\n    return plain\nplain = make(1)", {"x": 7}
    ),
    "another decorator": Shape(
        "def other(f): return functools.wraps(f)(lambda *args: f(*args))\n@other\ndef plain(x: int): return give(x)",
        {"args": [7]},
    ),
    "lru_cache": Shape("@functools.lru_cache\ndef plain(x): return give(x)", {"args": [7]}),
    "singledispatch": Shape("@functools.singledispatch\ndef plain(x): return give(x)", {"args": [7]}),
    "already decorated": Shape("@task\ndef plain(x): return give(x)", {"args": [7]}),
}
CHECKS = """
import contextlib, functools, inspect, operator, traceback, typing

def use(f, x): return f(x)
def give(x):
    if isinstance(x, BaseException): raise x
    return x
class Items:
    def __init__(self, x): self.x = x
    def __getitem__(self, n): return give(self.x)

{definition}

def facts(f):
    f = getattr(f, "__func__", f) if isinstance(f, (classmethod, staticmethod)) else f
    kinds = [getattr(inspect, name)(f) for name in ("iscoroutinefunction", "isgeneratorfunction", "isasyncgenfunction")]
    names = [getattr(f, name, None) for name in ("__doc__", "__module__")]
    if hasattr(f, "__name__"): names += [f.__name__, f.__qualname__]
    try: hints = typing.get_type_hints(f)
    except TypeError: hints = None
    try: signature = inspect.signature(f)
    except ValueError: signature = None
    return signature, hints, kinds, names

def ending(f):
    "How a call that raises ends: the frames of the user's between the call and the exception, innermost last."
    error = LookupError("x")
    try:
        use(f, error)
    except LookupError as caught:
        assert caught is error
        assert caught.__cause__ is caught.__context__ is None
        frames = [frame for frame, _ in traceback.walk_tb(caught.__traceback__)]
        users = [frame.f_code for frame in frames if not frame.f_globals["__name__"].startswith("holter")]
        return [code.co_name for code in users], frames[-1].f_code is users[-1]

for decorate in (flow, task):
    decorated = decorate(plain)
    thing = object()
    assert use(decorated, thing) is thing
    assert ending(decorated) == ending(plain), (ending(decorated), ending(plain))
    want, have = facts(plain), facts(decorated)
    if not hasattr(plain, "__name__"):  # a partial or an object: the decorated one is more of a function than it was
        want, have = want[0], have[0]
    assert have == want, (have, want)
    assert type(decorated) in (type(plain), type(use)), decorated
    if not isinstance(plain, (classmethod, staticmethod)): assert decorated.fn is plain
    assert use(decorated, 7) == 7
"""


@pytest.mark.parametrize("name", SHAPES)
def test_a_decorated_callable_is_what_it_was(home: Any, name: str) -> None:
    shape = SHAPES[name]
    done = home.run(CHECKS.replace("{definition}", shape.text))
    assert (done.code, done.err) == (0, "")
    last = {run.kind: run for run in home.every_run if run.parent_id is None}
    assert {kind: run.parameters for kind, run in last.items()} == {
        "flow": shape.recorded,
        "task": shape.recorded,
    }
    assert {run.state for run in home.every_run} == {"COMPLETED", "FAILED"}
    assert {run.name for run in home.every_run} == {shape.name}


# --- pickle ------------------------------------------------------------------------------------------------------

TRAVELS = {
    "a task": "@task\ndef job(x): return x + 1\n",
    "a flow with options": (
        "@flow(name='job', retries=2, retry_delay_seconds=[0, 1], tags=['a'], log_prints=True,\n"
        "      timeout_seconds=60, on_completion=[lambda run: print('hook', run.state)])\n"
        "def job(x):\n    print('x is', x)\n    return x + 1\n"
    ),
    "a flow that calls a task": "@task\ndef step(x): return x + 1\n@flow\ndef job(x): return step(x)\n",
    "a coroutine": "import asyncio\n@flow\nasync def job(x): return x + 1\n",
    "a generator": "@flow\ndef job(x): yield x + 1\n",
    "a method": "class A:\n    @flow\n    def job(self, x): return x + 1\n",
}
TAKE = {
    "a coroutine": "asyncio.run(job(1))",
    "a generator": "next(job(1))",
    "a method": "A().job(1)",
}


@pytest.mark.parametrize("name", TRAVELS)
def test_a_decorated_function_is_pickled_by_its_name(home: Any, name: str) -> None:
    (home.folder / "library.py").write_text(f"from holter import flow, task\n{TRAVELS[name]}")
    taken = "A.job" if name == "a method" else "job"
    done = home.run(f"""
        import pickle, library
        from library import *
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps({taken}, protocol)) is {taken}
        {TRAVELS[name].splitlines()[0] if "asyncio" in TRAVELS[name] else ""}
        assert {TAKE.get(name, "job(1)")} == 2
    """)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize("name", TRAVELS)
def test_a_script_s_own_function_travels_to_another_process_with_cloudpickle(home: Any, name: str) -> None:
    """As executors and notebooks send them: by value, to a process that does not have the script."""
    taken = "A" if name == "a method" else "job"
    sender = home.run(
        f"import cloudpickle\n{TRAVELS[name]}\nopen('sent', 'wb').write(cloudpickle.dumps({taken}))\n"
    )
    assert (sender.code, sender.err) == (0, "")
    receiver = f"import asyncio, pickle\n{taken} = pickle.load(open('sent', 'rb'))\nprint({TAKE.get(name, 'job(1)')})\n"
    process = home.start([sys.executable, "-c", receiver])
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.endswith("2\n")
    assert home.runs["job"].state == ("CANCELLED" if name == "a generator" else "COMPLETED")


# --- types -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which type checkers find `holter`, and the file that they are to check."""
    folder = tmp_path_factory.mktemp("typed")
    (folder / "holter").symlink_to(ROOT, target_is_directory=True)
    shutil.copy(Path(__file__).with_name("typed_usage.py"), folder)
    return folder


def checked(command: list[str], folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
        env={**os.environ, "MYPYPATH": str(folder)},
    )
    return done.returncode, done.stdout + done.stderr


def wrong_lines(text: str) -> list[int]:
    """The lines that say `wrong` at their end: there a type checker has to complain."""
    return [number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# wrong")]


def complained(out: str) -> list[int]:
    return sorted({int(number) for number in re.findall(r"typed_usage\.py:(\d+)[:\d]*(?: -)? error", out)})


CHECKERS = {
    "mypy": [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--no-error-summary",
        "typed_usage.py",
    ],
    "pyright": [sys.executable, "-m", "pyright", "typed_usage.py"],
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_type_checker_sees_parameters_and_results_through_the_decorators(tree: Path, checker: str) -> None:
    """Every `assert_type` in the file holds, and every call that is `# wrong` is found to be."""
    pytest.importorskip(checker, reason=f"{checker} is missing: pip install -e '.[dev]'")
    if checker == "pyright" and checked([sys.executable, "-m", "pyright", "--version"], tree)[0] != 0:
        pytest.skip(
            "pyright brings its own code from npm, which cannot be had here: run `pyright --version` online once"
        )
    out = checked(CHECKERS[checker], tree)[1]
    wrong = wrong_lines((tree / "typed_usage.py").read_text())
    assert complained(out) == wrong, out
    assert len(wrong) > 10
