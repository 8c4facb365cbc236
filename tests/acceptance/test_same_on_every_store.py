"""Every store tells the same story of the same scripts, to people and as JSON."""

from __future__ import annotations

import re
from json import dumps
from pathlib import Path
from typing import Any

import pytest

from holter.testing.places import SITES

STORY = """
    import sys, time
    from holter import flow, task, tags, progress, artifact, get_run_logger, current_run

    calls = []

    @task(retries=2, retry_delay_seconds=[0.01, 0.02], tags=["io"])
    def flaky(n):
        calls.append(n)
        if len(calls) < 3: raise ConnectionError(f"try {len(calls)}")
        return {"n": n, "list": [1, 2.5, None, "\\u00fc", True]}

    @task(log_prints=True)
    def shout(text):
        print("line one\\nline two")
        print(text, end="")

    @flow(name="sub", flow_run_name="sub-{day}")
    def sub(day, password="hunter2"):
        get_run_logger().warning("careful on %s", day)

    @flow(name="story", log_prints=True, version="2", max_duration="2h", schedule="0 2 * * *")
    def story(day="monday"):
        with tags("eu", "nightly"):
            flaky(7)
            sub(day)
        shout("no newline")
        progress(3, 4, "three of four")
        artifact("report", markdown="# Done", description="what was done")
        artifact("table", table=[{"a": 1}, {"a": 2}])
        artifact("link", link="https://example.org/x")

    @flow(name="sad")
    def sad():
        raise ValueError("so it goes")

    @flow(name="slow", timeout_seconds=0.05)
    def slow():
        time.sleep(5)

    @flow(name="leaves")
    def leaves():
        sys.exit(4)

    @flow(name="stopped")
    def stopped():
        raise KeyboardInterrupt

    story()
    for each in (sad, slow, stopped, leaves):
        try: each()
        except BaseException as error: print(type(error).__name__)
"""
KILLED = """
    import os, signal
    from holter import flow, task
    @task
    def inside(): os.kill(os.getpid(), signal.SIGKILL)
    @flow(name="killed")
    def killed(): inside()
    killed()
"""
ROOT = Path(__file__).parents[2]
EXAMPLES = (
    ("count_lines.py", "lines.csv"),
    ("index_symbols.py", str(ROOT / "examples"), "symbols.db"),
    ("nightly_backup.py", str(ROOT / "examples"), "backup.tar.xz"),
)
JOBS = ("count-lines", "index-symbols", "nightly-backup")
CHANGING = re.compile(
    r"(^run|^parent|seconds|^waited|^held|_at|^at|since|until|id|pid|host|cwd|argv|journal|max_rss_bytes|fingerprint|traceback|file|python)$"
)


def same(value: Any, key: str = "") -> Any:
    """Without ids, times, hosts, pids and durations; whether there is one stays."""
    if isinstance(value, dict):
        return {k: same(v, k) for k, v in value.items()}
    if isinstance(value, list) and key != "argv":
        return [same(item, key) for item in value]
    if CHANGING.search(key):
        return None if value is None else f"<{type(value).__name__}>"
    if isinstance(value, str):
        return re.sub(r"\S*/host\d+/", "", re.sub(r"pid \d+", "pid N", value))
    return value


def told_by(host: Any) -> dict[str, Any]:
    """What every reading verb says, without what must differ."""
    assert host.run(host.script(STORY)).code == 0
    assert host.run(host.script(KILLED, "killed.py")).code == -9
    assert (
        host.holter("run", "--name", "command", "--", "sh", "-c", "echo out; echo err >&2; exit 3").code == 3
    )
    for example, *args in EXAMPLES:
        assert host.run(ROOT / "examples" / example, *args).code == 0
    out = {
        "runs": host.json("runs"),
        "tasks": host.json("runs", "--kind", "task"),
        "failed": host.json("runs", "--state", "FAILED"),
        "tagged": host.json("runs", "--kind", "task", "--tag", "eu"),
        "none": host.json("runs", "--job", "nothing*"),
        "report": host.json("report"),
        "status": host.json("status"),
    }
    for job in (*JOBS, "story", "sad", "slow", "stopped", "leaves", "killed", "command"):
        out[f"show {job}"] = host.json("show", f"last:{job}")
        out[f"logs {job}"] = host.json("logs", f"last:{job}")
    out["grep"] = host.json("logs", "last:story", "--grep", "careful")
    return out


@pytest.fixture(scope="module")
def by_sqlite() -> dict[str, Any]:
    """What SQLite said, once it was asked; the others are compared with it."""
    return {}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long) if "postgres" in name else name
        for name, site in SITES.items()
        if site.shared
    ],
)
def test_the_same_scripts_give_the_same_answers_on_every_store(
    new_host: Any, tmp_path: Path, by_sqlite: dict[str, Any], name: str
) -> None:
    (folder := tmp_path / "store").mkdir()
    with SITES[name].found(str(folder)) as url:
        said = told_by(new_host(url))
    if name == "sqlite":
        by_sqlite["said"] = said
    elif not by_sqlite:  # the first of this worker
        (beside := tmp_path / "sqlite").mkdir()
        with SITES["sqlite"].found(str(beside)) as url:
            by_sqlite["said"] = told_by(new_host(url))
    first = by_sqlite["said"]
    assert first.keys() == said.keys()
    for question in said:
        here, there = (dumps(same(each[question]), indent=1).splitlines() for each in (said, first))
        assert here == there, question
    is_the_story(said)


def is_the_story(first: dict[str, Any]) -> None:
    assert [run["name"] for run in first["runs"]] == [
        *JOBS[::-1],
        "command",
        "killed",
        "leaves",
        "stopped",
        "slow",
        "sad",
        "story",
    ]
    states = {run["name"]: run["state"] for run in first["runs"]}
    assert states == {
        **dict.fromkeys(JOBS, "COMPLETED"),
        "story": "COMPLETED",
        "sad": "FAILED",
        "slow": "TIMED_OUT",
        "stopped": "CANCELLED",
        "leaves": "FAILED",
        "killed": "CRASHED",
        "command": "FAILED",
    }
    assert [line["text"] for line in first["logs story"]] == [
        "careful on monday",
        "line one\nline two",
        "no newline",
    ]
    assert len(first["tagged"]) == 1
    assert first["tagged"][0]["attempt"] == 3
