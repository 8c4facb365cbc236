"""Defects planted into the recorder: the checks of this family find each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .breaking import KILLED, Breaker, Done, Fault
from .test_a_script import JOB, Left, assert_the_job_is_unhurt, check

pytestmark = pytest.mark.proof

URL = "sqlite:///holter.db"
PLANTED = {
    "an event that the disk refused is forgotten": (
        "import holter.agent.tape as t; t._hold_back = lambda line, keep, error: None",
        "fail",
    ),
    "a failed write reaches the job": (
        "import holter.agent.tape as t\ndef raises(*a): raise SystemExit(3)\nt._hold_back = raises",
        "fail",
    ),
    "events are kept in memory for a while": (
        "import holter.agent.tape as t; t.write = lambda fd, line: len(line)",
        "after",
    ),
}


def look(done: Done, expected: Done, said: Path, home: Path) -> None:
    if done.code != KILLED:
        assert_the_job_is_unhurt(done, expected)
    check(done, said.read_text().splitlines(), Left(home, URL))


def test_each_planted_defect_is_found(breaker: Breaker, proof: Any) -> None:
    script, said = breaker.folder / "job.py", breaker.folder / "said"
    argv = [str(script), str(said)]
    script.write_text(JOB)
    expected = breaker.run(argv, breaker.new_home(), HOLTER_BACKEND=URL)
    writes = [call.number for call in expected.calls if call.name == "write" and call.path.endswith(".jsonl")]
    for prefix, do in PLANTED.values():
        script.write_text(f"{prefix}\n{JOB}")
        home: Path = breaker.new_home()
        said.unlink()
        at = writes[2] if do == "fail" else writes[1]
        done = breaker.run(argv, home, Fault(at=at, do=do), HOLTER_BACKEND=URL)
        assert done.hit(), prefix
        with pytest.raises(AssertionError):
            look(done, expected, said, home)
    proof.count(len(PLANTED), "planted defects found")
