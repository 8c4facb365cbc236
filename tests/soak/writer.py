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


def main(name: str, truth: str, stop: str, steps: str, rounds: str) -> None:
    said = os.open(truth, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    chance = random.Random(os.getpid())

    def say(*words: object) -> None:
        os.write(said, (" ".join(map(str, words)) + "\n").encode())

    @task
    def step(number: int) -> int:
        run: Any = current_run()
        began = time.perf_counter_ns()
        run.log(f"line {number}")
        return (time.perf_counter_ns() - began) // 1000

    @flow(name=name)
    def work(fails: bool) -> None:
        root = runs[0] = current_run().id
        say("begin", root)
        for number in range(1, chance.randint(1, 2 * int(steps)) + 1):
            say("did", root, number, step(number), time.time())
            time.sleep(chance.uniform(0, 2 * PAUSE))
            if os.path.exists(stop):
                break
        say("will", root, "FAILED" if fails else "COMPLETED")
        if fails:
            raise AsPlannedError(root)

    runs, left = [""], int(rounds) or sys.maxsize
    say("life", os.getpid())
    while left and not os.path.exists(stop):
        left -= 1
        fails = chance.random() < FAILS
        try:
            work(fails)
        except AsPlannedError:
            say("end", runs[0], "FAILED")
            if not left:
                raise
        else:
            say("end", runs[0], "COMPLETED")


if __name__ == "__main__":
    main(*sys.argv[1:])
