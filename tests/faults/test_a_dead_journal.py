"""A process was killed, and of whoever looks first every call to the file system fails once, or is its last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from .breaking import KILLED, NOTHING, Breaker, Done, Fault, each_call, events
from .test_a_script import JOB, STORES, Left, check

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]

VERBS = {"runs": ["-m", "holter", "runs", "--json"], "watch": ["-m", "holter", "watch", "--once"]}


def killed(breaker: Breaker, url: str) -> tuple[Path, Done, list[str]]:
    """A home with a journal whose process is gone, what that process did, and what it said."""
    script, said = breaker.folder / "job.py", breaker.folder / "said"
    script.write_text(JOB)
    argv = [str(script), str(said)]
    calls = breaker.run(argv, breaker.new_home(), HOLTER_BACKEND=url).calls
    writes = [call.number for call in calls if call.name == "write" and call.path.endswith(".jsonl")]
    said.unlink()
    home = breaker.new_home()
    done = breaker.run(argv, home, Fault(at=writes[6], do="after"), HOLTER_BACKEND=url)
    assert done.code == KILLED
    assert len(list((home / "journals").glob("*.jsonl"))) == 1
    return home, done, said.read_text().splitlines()


@pytest.mark.parametrize("way", ["fails", "killed"])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("url", STORES.values(), ids=STORES)
def test_who_looks_first_fails_in_a_line_or_succeeds_and_the_next_one_sees_everything_once(
    breaker: Breaker, proof: Any, url: str, verb: str, way: str
) -> None:
    template, dead, said = killed(breaker, url)
    roots = [event["run"] for event in events(dead.calls) if event.get("kind") == "flow"]
    homes: list[Path] = []

    def once(fault: Fault) -> Done:
        homes.append(breaker.new_home(template))
        return breaker.run(VERBS[verb], homes[-1], fault, HOLTER_BACKEND=url)

    assert once(NOTHING).code in (0, 1)
    tried = hit = 0
    for done in each_call(proof.of(97, 1), proof.of(False, True), way, once):
        try:
            assert "Traceback" not in done.err
            assert done.code in ((KILLED,) if way == "killed" and done.hit() else (0, 1, 2))
            lines = [line for line in done.err.splitlines() if "nobody watches" not in line]
            if verb == "runs":
                assert len(lines) <= 1
            if verb == "runs" and done.code == 0 and not lines:
                assert [run["id"] for run in json.loads(done.out)] == roots
            check(dead, said, Left(homes[-1], url))
        except AssertionError as error:
            raise AssertionError(f"after {[str(call) for call in done.hit()[:3]]}\n{done.err}") from error
        tried += 1
        hit += bool(done.hit())
        shutil.rmtree(homes.pop())
    assert hit > 2
    proof.count(tried, "calls of who looks failed" if way == "fails" else "kills of who looks")
