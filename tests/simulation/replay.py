"""`python -m simulation.replay`: play histories outside pytest.

python -m simulation.replay --count 1000 --first 0     # the histories of these seeds
python -m simulation.replay --seed 17                  # one of them, told step by step
python -m simulation.replay --plan 0a1b2c              # one by its bytes, as a failing test prints them
"""

from __future__ import annotations

import argparse
import sys
import time

from loguru import logger

from .histories import History, from_seed


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--plan")
    options = parser.parse_args()
    logger.disable("holter")
    if options.seed is not None or options.plan is not None:
        plan = from_seed(options.seed) if options.plan is None else bytes.fromhex(options.plan)
        try:
            History(plan, print).play()
        except AssertionError as error:
            print(f"broken: {error}")
            return 1
        return 0
    began, steps, passes = time.monotonic(), 0, 0
    for seed in range(options.first, options.first + options.count):
        history = History(from_seed(seed))
        try:
            passes += history.play().passes
        except Exception as error:
            print(f"seed {seed}: {type(error).__name__}: {error}", file=sys.stderr)
            return 1
        steps += history.steps
    seconds = time.monotonic() - began
    print(f"{options.count} histories, {steps} steps, {passes} passes in {seconds:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
