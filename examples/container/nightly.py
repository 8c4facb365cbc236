"""A job that takes its time: the watchdog beside it says so when it is killed."""

import time

from holter import flow, progress


@flow
def nightly(seconds: int = 60) -> int:
    for done in range(seconds):
        progress(done, total=seconds)
        time.sleep(1)
    return seconds


if __name__ == "__main__":
    nightly()
