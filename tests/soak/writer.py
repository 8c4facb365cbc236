"""Records runs, and tells a file of its own what was recorded: `writer.py NAME TRUTH STOP STEPS ROUNDS`.

Each word of the truth is one `write` after the recording call returned, so that it holds after SIGKILL too; only the
last line may be torn. STEPS is the usual number of steps of a run. ROUNDS is the number of runs, 0 for as many as come
until the file STOP is there; a last one that fails is the end of the script, as of any script.

    life PID                          first of all
    begin ROOT                        the run has begun
    did ROOT N MICROSECONDS AT        the task ROOT.N began, logged `line N` in so many, and completed
    will ROOT STATE                   the last word of the function: it will end so
    end ROOT STATE                    the call has returned, or raised
"""

from __future__ import annotations

import os
import random
import sys
import time
from typing import Any

from holter import current_run, flow, task
from holter.agent import shipper

FAILS = 0.03  # of all runs
PAUSE = 0.4  # seconds between two steps, on average
shipper.ROTATE_AT = 20_000  # bytes: so that it happens some ten times in a minute


class AsPlannedError(Exception):
    """How a run fails here."""


@task
def step(number: int) -> int:
    run: Any = current_run()
    began = time.perf_counter_ns()
    run.log(f"line {number}")
    return (time.perf_counter_ns() - began) // 1000


class Script:
    """What happens in each run, and in which run (`root`) it is."""

    def __init__(self, truth: str, stop: str, steps: str) -> None:
        self._said = os.open(truth, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._stop, self._steps = stop, int(steps)
        self.chance = random.Random(os.getpid())
        self.root = ""

    def say(self, *words: object) -> None:
        os.write(self._said, (" ".join(map(str, words)) + "\n").encode())

    @property
    def told_to_stop(self) -> bool:
        return os.path.exists(self._stop)

    def body(self, fails: bool) -> None:
        run: Any = current_run()
        self.root = run.id
        self.say("begin", self.root)
        for number in range(1, self.chance.randint(1, 2 * self._steps) + 1):
            self.say("did", self.root, number, step(number), time.time())
            time.sleep(self.chance.uniform(0, 2 * PAUSE))
            if self.told_to_stop:
                break
        self.say("will", self.root, "FAILED" if fails else "COMPLETED")
        if fails:
            raise AsPlannedError(self.root)


def main(name: str, truth: str, stop: str, steps: str, rounds: str) -> None:
    script, left = Script(truth, stop, steps), int(rounds) or sys.maxsize

    @flow(name=name)
    def work(fails: bool) -> None:
        script.body(fails)

    script.say("life", os.getpid())
    while left and not script.told_to_stop:
        left -= 1
        try:
            work(script.chance.random() < FAILS)
        except AsPlannedError:
            script.say("end", script.root, "FAILED")
            if not left:
                raise
        else:
            script.say("end", script.root, "COMPLETED")


if __name__ == "__main__":
    main(*sys.argv[1:])
