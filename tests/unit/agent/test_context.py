"""What a script says about its run: progress, artifacts, which run it is."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from holter import artifact, current_run, flow, progress

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100


def test_outside_a_run_everything_does_nothing() -> None:
    assert current_run() is None
    progress(1, 2)
    assert list(progress([1, 2])) == [1, 2]
    artifact("x", markdown="# x")


def test_progress_is_kept_and_the_last_word_counts(made: Any) -> None:
    @flow
    def main() -> None:
        progress(1, 4, "one")
        time.sleep(0.25)
        progress(2.5, 4, "more")

    main()
    shown = {key: made.run.progress[key] for key in ("done", "total", "text")}
    assert shown == {"done": 2.5, "total": 4, "text": "more"}


def test_progress_is_written_five_times_a_second_at_most_and_always_at_the_end(
    python: Any, tmp_path: Path
) -> None:
    python("""
        import os, time
        from holter import flow, progress
        @flow
        def main():
            began = time.monotonic()
            n = 0
            while time.monotonic() - began < 0.7:
                progress(n := n + 1, 10**9)
            progress(10**9, 10**9)
            os._exit(0)
        main()
    """)
    (journal,) = (tmp_path / "home" / "journals").iterdir()
    written = [json.loads(line) for line in journal.read_text().splitlines() if '"progress"' in line]
    assert 2 <= len(written) <= 6
    assert written[-1]["done"] == 10**9


@pytest.mark.parametrize(
    ("items", "total"), [([1, 2, 3], 3), (range(3), 3), (iter([1, 2, 3]), None), ({}, None)]
)
def test_progress_over_items_gives_them_and_counts_them(made: Any, items: Any, total: int | None) -> None:
    expected = list(items) if not hasattr(items, "__next__") else [1, 2, 3]

    @flow
    def main() -> list[Any]:
        return list(progress(items))

    assert main() == expected
    said = made.run.progress
    assert said is None if not expected else said["total"] == total


def test_a_loop_that_is_left_early_leaves_what_was_done(made: Any) -> None:
    @flow
    def main() -> None:
        for item in progress([1, 2, 3, 4]):
            if item == 3:
                break

    main()
    assert made.run.progress["done"] <= 2


@pytest.mark.parametrize(
    ("given", "data"),
    [
        ({"markdown": "# Title"}, "# Title"),
        ({"table": [{"a": 1, "b": "x"}, {"a": 2}]}, [{"a": 1, "b": "x"}, {"a": 2}]),
        ({"table": [[1, 2], [3, 4]]}, [[1, 2], [3, 4]]),
        ({"link": "https://example.org/report"}, "https://example.org/report"),
    ],
)
def test_artifacts_are_kept_as_they_are(made: Any, given: dict[str, Any], data: Any) -> None:
    @flow
    def main() -> None:
        artifact("result", description="what came out", **given)

    main()
    (kept,) = made.run.artifacts
    assert (kept["key"], kept["type"], kept["data"]) == ("result", next(iter(given)), data)
    assert kept["description"] == "what came out"


def test_a_later_artifact_of_the_same_key_replaces_the_earlier(made: Any) -> None:
    @flow
    def main() -> None:
        for n in range(5):
            artifact("a", markdown=str(n))
            artifact(f"b{n}", markdown="x")

    main()
    assert {item["key"]: item["data"] for item in made.run.artifacts} == {
        "a": "4",
        **{f"b{n}": "x" for n in range(5)},
    }


def test_what_is_too_large_for_a_line_is_cut_and_says_so(made: Any) -> None:
    @flow
    def main() -> None:
        artifact("big", table=[{"n": n, "text": "\N{COLLISION SYMBOL}" * 20} for n in range(5000)])
        artifact("huge", markdown="\N{COLLISION SYMBOL}" * 10**6, description="\N{COLLISION SYMBOL}" * 10**4)

    main()
    run = made.run
    assert run.state == "COMPLETED"
    assert {item["key"] for item in run.artifacts} == {"big", "huge"}


def test_values_that_json_does_not_know_are_shown_as_text(made: Any) -> None:
    from datetime import date
    from decimal import Decimal

    @flow
    def main() -> None:
        artifact("a", table=[{"day": date(2026, 11, 23), "sum": Decimal("1.5"), "ratio": float("nan")}])

    main()
    (kept,) = made.run.artifacts
    assert (kept["data"][0]["day"], kept["data"][0]["sum"]) == ("2026-11-23", "1.5")


def test_an_image_is_copied_once_for_all_that_show_it(made: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)

    @flow
    def main() -> None:
        artifact("one", image=str(tmp_path / "a.png"))
        artifact("two", image=str(tmp_path / "a.png"))

    main()
    one, two = made.run.artifacts
    assert one["data"] == two["data"]
    copy = Path(made._home) / one["data"]["file"]
    assert copy.read_bytes() == PNG
    assert copy.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, TypeError),
        ({"markdown": "x", "link": "y"}, TypeError),
        ({"image": "/no/such.png"}, OSError),
        ({"image": __file__}, ValueError),
    ],
)
def test_what_is_no_artifact_is_refused(given: dict[str, Any], error: type[Exception]) -> None:
    @flow
    def main() -> None:
        artifact("x", **given)

    with pytest.raises(error):
        main()


def test_an_image_that_cannot_be_kept_is_no_error_of_the_jobs(python: Any, tmp_path: Path) -> None:
    """Storage is away; the picture can be read."""
    (tmp_path / "a.png").write_bytes(PNG)
    done = python(
        """
        from holter import flow, artifact
        @flow
        def main(): artifact("x", image="a.png"); return "done"
        print(main())
        """,
        HOLTER_HOME="/proc/no/such/place",
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
    assert done.stderr.count("\n") <= 1


def test_the_current_run_of_a_flow_is_itself_and_of_its_task_the_task(made: Any) -> None:
    from holter import task

    names = []

    def note() -> None:
        run = current_run()
        names.append(run.name if run else None)

    @task
    def inner() -> None:
        note()

    @flow
    def outer() -> None:
        note()
        inner()
        note()

    outer()
    note()
    assert names == ["outer", "inner", "outer", None]
    assert os.getpid() == made.runs[0].pid
