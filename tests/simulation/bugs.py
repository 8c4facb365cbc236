"""Bugs to plant, each a change of one line or two, and how soon the simulation finds them.

python -m simulation.bugs            # every one of them, with the seed that caught it
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.planting import Defect, planted

TESTS = Path(__file__).parent.parent


@dataclass(frozen=True)
class Bug:
    """In `file`, `right` becomes `wrong`."""

    name: str
    file: str
    right: str
    wrong: str
    within: int = 400  # histories in which it is caught


BUGS = (
    Bug(
        "the lock is ignored",
        "agent/watchdog/remains.py",
        "identity.alive(header) is False\n",
        "True\n",
    ),
    Bug(
        "start times are ignored: a recycled pid is taken for the old process",
        "agent/identity.py",
        'ticks == header.get("start_ticks") != 0',
        "ticks != 0",
    ),
    Bug(
        "PID namespaces are ignored",
        "agent/identity.py",
        ' or header.get("namespace") != namespace()',
        "",
    ),
    Bug(
        "a restart of the host goes unnoticed",
        "agent/identity.py",
        'and header["boot"] != mine',
        "and False",
    ),
    Bug(
        "no grace after the clocks jumped",
        "agent/watchdog/sightings.py",
        "if self._jumped(clock):",
        "if False:",
    ),
    Bug(
        "one missed beat is silence",
        "agent/watchdog/reconcile.py",
        "> MISSED_BEATS * beat",
        "> beat",
    ),
    Bug(
        "who went on in a new journal is judged by the old one",
        "agent/watchdog/reconcile.py",
        "in far.here.items()",
        "in ()",
    ),
    Bug(
        "the journal goes before the store has it",
        "agent/watchdog/adopt.py",
        "        size, stood = os.fstat(fd).st_size, self._offset(journal)\n",
        "        os.rename(path, path := f'{path}.gone')\n"
        "        size, stood = os.fstat(fd).st_size, self._offset(journal)\n",
    ),
    Bug(
        "a torn line swallows the verdict",
        "agent/watchdog/adopt.py",
        'b"\\n" * ahead or end_of_torn(fd, size)',
        'b""',
    ),
    Bug(
        "the cursor moves on before the alerts are there",
        "agent/watchdog/notify.py",
        '    cursor = _cursor(backend, clock)\n    rows = backend.transitions(cursor.value["seq"], _BATCH)\n',
        '    cursor = _cursor(backend, clock)\n    rows = backend.transitions(cursor.value["seq"], _BATCH)\n'
        '    if rows:\n        backend.put(*CURSOR, {**cursor.value, "seq": rows[-1].seq}, cursor.version)\n',
    ),
    Bug(
        "the dedupe key is another each time",
        "agent/watchdog/rules.py",
        'key = f"{run.id}:{event}"',
        'key = f"{run.id}:{event}:{id(object())}"',
    ),
    Bug(
        "what may have arrived is sent again for ever",
        "agent/watchdog/delivery.py",
        "bool(error and error.ambiguous)",
        "0",
    ),
    Bug(
        "a host that is heard is called lost",
        "agent/watchdog/afar.py",
        "patience = max(self.lost_after, MISSED_BEATS * voice.beat)",
        "patience = voice.beat / 2",
    ),
)  # fmt: skip


def hunt(bug: Bug, histories: int = 300, first: int = 0) -> str | None:
    """Plant the bug in a copy of the package, and play histories on it. What was found, None where nothing was."""
    with tempfile.TemporaryDirectory(prefix="holter-bug-") as folder:
        path = planted(Defect(bug.file, bug.right, bug.wrong), Path(folder))
        command = [
            sys.executable,
            "-m",
            "simulation.replay",
            "--first",
            str(first),
            "--count",
            str(histories),
        ]
        environ = {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{TESTS}", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, env=environ, cwd=folder, capture_output=True, text=True)
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


if __name__ == "__main__":
    missed = 0
    for each in BUGS:
        found = hunt(each, each.within)
        missed += found is None
        print(f"{'caught' if found else 'MISSED'}  {each.name}: {found}", flush=True)
    sys.exit(missed)
