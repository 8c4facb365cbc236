"""Questions and names as weapons: SQL, patterns that never end, paths that lead out. On every kind of store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holter.backends import file_format, sqlite_where
from holter.backends.base import Backend
from holter.backends.errors import HolterError
from holter.backends.queries import LogQuery, RunQuery
from holter.backends.urls import open_backend
from holter.testing.places import SITES
from holter.testing.tapes import Tape
from tests.prove import Proof

pytestmark = pytest.mark.proof

SQL = (
    "' OR '1'='1",
    "'; DROP TABLE runs; --",
    '" OR ""="',
    "x' UNION SELECT value, 1 FROM registry --",
    "\\'; DELETE FROM runs WHERE 'a'='a",
    "%' OR 1=1 --",
    "$1); DROP TABLE runs; --",
    "{x}",
    "%s %(x)s %%",
    "?; :x @x $x",
    "x') OR instr('",
    'text:"a" OR *',
    "NEAR(a b) NOT c",
    "a\\",
    "E'\\x27'",
    "/* x */ -- x",
)
TEXTS = ("job", "project", "host", "prefix", "root_id", "parent_id", "journal")
LISTS = ("tags", "kinds", "states")


KINDS = ("memory", "sqlite", "file", "postgres", "http+sqlite")


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with SITES[request.param].set_up(str(tmp_path)) as place:
        yield place.open()


def filled(store: Backend) -> Backend:
    Tape("j1").start("r1", tags=["t"]).log("r1", "said").end("r1").send(store)
    store.put("check", "k", {"secret": "canary"}, 0)
    return store


def asked(store: Backend, text: str) -> list[Any]:
    """What the store finds for this text in every place that takes one; a refusal counts as nothing."""
    questions: list[Callable[[], Any]] = [
        *(lambda name=name: store.runs(RunQuery(**{name: text})) for name in TEXTS),
        *(lambda name=name: store.runs(RunQuery(**{name: (text,)})) for name in LISTS),
        *(lambda name=name: store.summarize(RunQuery(**{name: text})) for name in ("job", "project", "host")),
        *(lambda name=name: store.timeline(RunQuery(**{name: text}), 60.0) for name in ("job", "host")),
        lambda: store.newest(RunQuery(job=text), 2),
        lambda: store.logs(LogQuery("r1", text=text)),
        lambda: store.logs(LogQuery(text)),
        lambda: store.logs(LogQuery("r1", levels=(text,))),
        lambda: store.events(text),
        lambda: store.processes(open_only=False, journals=[text]),
        lambda: store.get(text, text),
        lambda: store.list(text),
        lambda: store.run(text),
        lambda: store.delete(text, text, 1),
    ]
    found = []
    for question in questions:
        try:
            found.append(question())
        except (HolterError, ValueError):
            found.append(None)
    return found


def attack(store: Backend, texts: tuple[str, ...]) -> int:
    """Asks everything of a filled store, and looks whether anything was found, told or changed; the number of asks."""
    before, tried = (store.runs(RunQuery()), store.logs(LogQuery("r1")), store.list("check")), 0
    for text in texts:
        answers = asked(store, text)
        assert not any(answers), (text, answers)
        assert "canary" not in str(answers)
        tried += len(answers)
        store.put(text, text, {"a": text}, 0)
        assert [(key, held.value) for key, held in store.list(text)] == [(text, {"a": text})]
        assert store.delete(text, text, store.list(text)[0][1].version)
    assert (store.runs(RunQuery()), store.logs(LogQuery("r1")), store.list("check")) == before
    return tried


def test_no_question_is_a_statement(store: Backend, proof: Proof) -> None:
    proof.count(attack(filled(store), SQL), "hostile questions")


def test_planted_a_filter_that_is_put_into_the_statement_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from holter.backends import sqlite_reads

    def pasted(query: RunQuery) -> tuple[str, list[Any]]:
        return (f"runs.name='{query.job}'" if query.job else "1=1"), []

    for module in (sqlite_reads, sqlite_where):
        monkeypatch.setattr(module, "where_of", pasted)
    store = filled(open_backend("sqlite:///holter.db", str(tmp_path)))
    with pytest.raises(AssertionError):
        attack(store, SQL[:1])
    store.close()


PATTERNS = (
    "*a" * 50 + "b",
    "*" * 500,
    "[" * 2000,
    "?*" * 200 + "z",
    "[!" + "a-" * 500 + "]",
    "*" + "[a-z]*" * 60 + "!",
    "*a" * 500,
    "*[!b]" * 300 + "z",
)
SECONDS = 5.0


def test_no_pattern_takes_longer_than_a_moment(store: Backend, proof: Proof) -> None:
    name = "a" * 200
    Tape("j1", host=name).start("r1", name=name).log("r1", name).end("r1").send(store)
    for pattern in PATTERNS:
        began = time.perf_counter()
        for query in (RunQuery(job=pattern), RunQuery(host=pattern)):
            store.runs(query)
        store.logs(LogQuery("r1", text=pattern[:200]))
        assert time.perf_counter() - began < SECONDS, pattern[:20]
        proof.count(3, "patterns")


PATHS = (
    "../../../etc/cron.d/x",
    "..",
    ".",
    "/etc/passwd",
    "a/../../../b",
    "..%2f..%2fx",
    "\\..\\x",
    "x\0y",
    "~root",
    ".ssh",
    "-rf",
    "CON",
    "\u2215\uff0e\uff0e",
    "a" * 3000,
    "",
)


def outside(folder: Path) -> set[str]:
    return {str(path) for path in folder.rglob("*") if "inside" not in path.parts}


@pytest.mark.parametrize("url", ["file:///inside", "sqlite:///inside.db"])
def test_no_id_of_a_run_a_journal_or_a_document_is_a_path(tmp_path: Path, url: str, proof: Proof) -> None:
    home = tmp_path / "a" / "b" / "inside"
    store = open_backend(url.replace("inside.db", "x.db"), str(home))
    before = outside(tmp_path)
    for number, name in enumerate(PATHS):
        for journal in (f"j{number}", name):
            try:
                Tape(journal).start(name).say("artifact", run=name, key=name, type="link", data=name).end(
                    name
                ).send(store)
                store.put(name, name, {"a": 1}, 0)
            except (HolterError, ValueError):
                continue
        proof.count(3, "names as paths")
    store.close()
    assert outside(tmp_path) == before
    assert all(not path.is_symlink() for path in home.rglob("*"))


def test_planted_a_name_that_is_used_as_it_is_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_format, "escaped", lambda name: name)
    home = tmp_path / "a" / "b" / "inside"
    store = open_backend("file:///inside", str(home))
    before = outside(tmp_path)
    store.put("check", "../../../../x", {"a": 1}, 0)
    store.close()
    assert outside(tmp_path) != before
