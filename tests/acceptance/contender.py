"""A nursery of processes that contend for a limit: `contender.py HOME AUDIT SLOTS`.

Each line on stdin (`OCCUPY ROUNDS`, 0 for: 1 or 2 at random, for ever) forks one, whose pid is the answer. A
contender writes into the audit file when it is inside: `<ns> + <pid> <slots>` after it took them, `<ns> - <pid>`
before it gives them back. So what the file shows as held is held.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Iterator

from holter.agent.slots import Slots

LIMIT = "database"


def say(audit: int, text: str) -> None:
    os.write(audit, f"{time.monotonic_ns()} {text}\n".encode())


def wait(slots: Slots) -> Slots:
    for pause in slots.collect():
        time.sleep(pause)
    return slots


def rounds(number: int) -> Iterator[int]:
    nursery = os.getppid()
    count = 0
    while os.getppid() == nursery and (number == 0 or count < number):
        yield count
        count += 1


def contend(home: str, audit: int, slots: int, occupy: int, number: int) -> None:
    chance = random.Random()
    for _ in rounds(number):
        mine = wait(Slots(home, LIMIT, slots, occupy or 1 + (chance.random() < 0.25)))
        say(audit, f"+ {os.getpid()} {','.join(map(str, mine.numbers))}")
        time.sleep(chance.uniform(0.005, 0.030))
        say(audit, f"- {os.getpid()}")
        mine.release()


def main(home: str, path: str, slots: str) -> None:
    audit = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are not left as zombies
    for line in sys.stdin:
        occupy, number = map(int, line.split())
        pid = os.fork()
        if pid == 0:
            contend(home, audit, int(slots), occupy, number)
            os._exit(0)
        print(pid, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
