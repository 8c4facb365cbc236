"""What a run prints and logs is kept, and reaches the console exactly as without us."""

from __future__ import annotations

import builtins
import io
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import pytest

from holter import flow, get_run_logger, task


def printed(made: Any, name: str = "main") -> list[str]:
    return [log.text for log in made.logs(made.named(name)) if log.stream == "print"]


def test_printed_lines_are_kept_and_printed(made: Any, capsys: pytest.CaptureFixture[str]) -> None:
    @flow(log_prints=True)
    def main() -> None:
        print("one")
        print("two", 2, sep="-", end="!\n")
        print("three\nfour")
        print()
        print("five, ", end="")
        print("six")
        print("no newline", end="")
        print("aside", file=sys.stderr)
        print("to standard output", file=sys.stdout, flush=True)

    plain = builtins.print
    main()
    assert builtins.print is plain
    out, err = capsys.readouterr()
    assert out == "one\ntwo-2!\nthree\nfour\n\nfive, six\nno newlineto standard output\n"
    assert err == "aside\n"
    assert printed(made) == [
        "one",
        "two-2!",
        "three\nfour",
        "",
        "five, six",
        "no newlineto standard output",
    ]


def test_a_last_line_without_its_end_is_kept(made: Any) -> None:
    flow(name="main", log_prints=True)(lambda: print("half", end=""))()
    assert printed(made) == ["half"]


def test_tasks_and_subflows_inherit_it_unless_they_say_otherwise(made: Any) -> None:
    @task
    def heir() -> None:
        print("heir")

    @task(log_prints=False)
    def quiet() -> None:
        print("quiet")
        heir.with_options(name="grandchild")()

    @flow
    def subflow() -> None:
        print("subflow")

    @flow(log_prints=True)
    def main() -> None:
        heir()
        quiet()
        subflow()
        print("main")

    main()
    assert {name: printed(made, name) for name in ("main", "heir", "quiet", "grandchild", "subflow")} == {
        "main": ["main"],
        "heir": ["heir"],
        "quiet": [],
        "grandchild": [],
        "subflow": ["subflow"],
    }


def test_without_log_prints_nothing_is_kept_and_nothing_replaced(made: Any) -> None:
    seen = []

    @flow
    def main() -> None:
        seen.append(builtins.print)
        print("x")

    main()
    assert seen == [builtins.print]
    assert made.run.log_lines == 0


def test_a_task_that_asks_for_it_inside_a_flow_that_does_not_keeps_only_its_own(made: Any) -> None:
    @task(log_prints=True)
    def loud() -> None:
        print("loud")

    @flow
    def main() -> None:
        print("before")
        loud()
        print("after")

    main()
    assert (printed(made), printed(made, "loud")) == ([], ["loud"])


def test_threads_print_into_their_own_runs(made: Any) -> None:
    @task
    def step(n: int) -> None:
        for _ in range(50):
            print(f"{n} " * 3)

    @flow(log_prints=True)
    def main() -> None:
        threads = [threading.Thread(target=step, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    plain = builtins.print
    main()
    assert builtins.print is plain
    for run in made.runs[1:]:
        assert made.lines(run) == [f"{run.parameters['n']} " * 3] * 50


def test_a_replacement_of_the_users_stays_and_is_used(made: Any) -> None:
    plain, calls = builtins.print, []

    def louder(*values: Any, **options: Any) -> None:
        calls.append(values)
        plain(*values, **options)

    builtins.print = louder
    try:
        flow(name="main", log_prints=True)(lambda: print("x"))()
        assert builtins.print is louder
    finally:
        builtins.print = plain
    assert (calls, printed(made)) == ([("x",)], ["x"])


def test_a_replacement_that_is_made_inside_a_flow_is_not_taken_away(made: Any) -> None:
    plain = builtins.print

    @flow(log_prints=True)
    def main() -> None:
        builtins.print = lambda *values, **options: None

    main()
    mine, builtins.print = builtins.print, plain
    assert mine is not plain


def test_print_is_itself_again_after_a_failure(made: Any) -> None:
    plain = builtins.print

    @flow(log_prints=True)
    def main() -> None:
        print("before")
        raise ValueError

    with pytest.raises(ValueError):
        main()
    assert builtins.print is plain
    assert printed(made) == ["before"]


def test_generators_keep_what_they_print_and_not_what_their_consumer_prints(made: Any) -> None:
    @flow(log_prints=True)
    def main() -> Iterator[int]:
        for n in range(3):
            print("inside", n)
            yield n

    for n in main():
        print("outside", n)
    assert printed(made) == ["inside 0", "inside 1", "inside 2"]


def test_redirected_output_goes_where_it_is_redirected_to(
    made: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    @flow(log_prints=True)
    def main() -> str:
        with redirect_stdout(io.StringIO()) as file:
            print("caught")
        return file.getvalue()

    assert main() == "caught\n"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("wrong", [{"sep": 1}, {"end": b"x"}, {"nonsense": 1}])
def test_a_wrong_print_fails_as_print_does(made: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        flow(name="main", log_prints=True)(lambda: print("x", **wrong))()
    assert made.run.state == "FAILED"


# --- loggers -------------------------------------------------------------------------------------------------


@pytest.fixture
def root() -> Iterator[tuple[logging.Logger, list[str]]]:
    """The root logger with a handler of the user's; nothing of it may change."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger()
    held = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.WARNING)
    yield logger, lines
    assert (logger.level, logger.handlers.count(handler)) == (logging.WARNING, 1)
    assert not [each for each in logger.handlers if type(each).__module__.startswith("holter")]
    logger.removeHandler(handler)
    logger.setLevel(held)


def test_a_run_logger_keeps_every_level_and_shows_what_the_root_shows(made: Any, root: Any) -> None:
    @flow
    def main() -> None:
        logger = get_run_logger()
        logger.debug("d %s", 1)
        logger.info("i")
        logger.warning("w")
        try:
            raise KeyError("k")
        except KeyError:
            logger.exception("e")

    main()
    logs = made.logs(made.run)
    assert [(log.level, log.text.partition("\n")[0]) for log in logs] == [
        ("DEBUG", "d 1"),
        ("INFO", "i"),
        ("WARNING", "w"),
        ("ERROR", "e"),
    ]
    assert "KeyError: 'k'" in logs[-1].text
    assert root[1] == ["w", "e"]


def test_outside_a_run_a_run_logger_is_a_plain_one(root: Any) -> None:
    get_run_logger().warning("outside")
    get_run_logger().info("quiet")
    assert root[1] == ["outside"]


def test_asking_for_the_logger_again_does_not_double_its_lines(made: Any, root: Any) -> None:
    @flow
    def main() -> None:
        for _ in range(3):
            get_run_logger().error("once")

    main()
    assert [log.text for log in made.logs(made.run)] == ["once"] * 3
    assert root[1] == ["once"] * 3


def test_a_named_run_logger_also_reaches_the_handlers_between_it_and_the_root(made: Any, root: Any) -> None:
    between: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: between.append(record.getMessage())  # type: ignore[method-assign]
    parent = logging.getLogger("billing")
    parent.addHandler(handler)
    try:
        flow(name="main")(lambda: get_run_logger("billing.load").error("x"))()
    finally:
        parent.removeHandler(handler)
    assert (between, root[1]) == (["x"], ["x"])
    assert [log.text for log in made.logs(made.run)] == ["x"]
