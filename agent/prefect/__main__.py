"""`python -m holter.agent.prefect script.py`: what `holter run --as-prefect` runs.

It replaces itself with the command; this process and all Python that it starts find Holter under the name `prefect`.
Not guaranteed: a child that ignores PYTHONPATH (`python -I`, `-E`), or gets another one, does not.
"""

from __future__ import annotations

import os
import sys

NOT_FOUND, REFUSED = 127, 126
SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "site")


def command_of(words: list[str]) -> list[str]:
    """`script.py ...` and `-m module ...` run under this Python; anything else is a command as it stands."""
    if words[0] == "-m" or words[0].endswith((".py", ".pyz")):
        return [sys.executable, *words]
    return words


def main() -> int:
    words = sys.argv[1:]
    if not words or words == ["-m"]:
        sys.stderr.write("holter: nothing to run (write script.py, -m MODULE or a command)\n")
        return 2
    kept = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each and each != SITE]
    os.environ["PYTHONPATH"] = os.pathsep.join([SITE, *kept])
    argv = command_of(words)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - what the user wrote, as they wrote it
    except FileNotFoundError:
        sys.stderr.write(f"holter: command not found: {argv[0]}\n")
        return NOT_FOUND
    except OSError as error:
        sys.stderr.write(f"holter: cannot execute {argv[0]}: {error.strerror}\n")
        return REFUSED


if __name__ == "__main__":
    sys.exit(main())
