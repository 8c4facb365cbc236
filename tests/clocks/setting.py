"""A host whose clock can be set, or which slept: processes under shim.c see it at once."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

SECOND, HOUR, DAY, YEAR = 1.0, 3600.0, 86_400.0, 365.25 * 86_400
STEPS = (SECOND, -SECOND, 10.0, -10.0, HOUR, -HOUR, 8 * DAY, -8 * DAY, 5 * YEAR, -10 * YEAR)


def build(folder: Path) -> Path:
    """The shim as a library. Skips where there is no C compiler."""
    if shutil.which("gcc") is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler; install it: sudo apt-get install gcc libc6-dev")
    library = folder / "clocks.so"
    source = Path(__file__).with_name("shim.c")
    command = ["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "fatal error" in done.stderr:
        pytest.skip(f"the C library's headers are missing; install libc6-dev\n{done.stderr}")
    assert done.returncode == 0, done.stderr
    return library


class HostClock:
    """The clock of a host as its processes see it (`env`). `wall()` is what they take for the time."""

    def __init__(self, library: Path, folder: Path) -> None:
        self.file = folder / "ahead"
        self.ahead = self.slept = 0.0
        self._write()
        self.env = {"LD_PRELOAD": str(library), "CLOCKS_FILE": str(self.file)}

    def wall(self) -> float:
        return time.time() + self.ahead

    def set_by(self, seconds: float) -> None:
        """Somebody sets the clock, forward or back."""
        self.ahead += seconds
        self._write()

    def sleep_for(self, seconds: float) -> None:
        """The host was asleep for so long, and has just woken up."""
        self.slept += seconds
        self.set_by(seconds)

    def _write(self) -> None:
        said = struct.pack("qq", round(self.ahead * 1e9), round(self.slept * 1e9))
        with self.file.open("r+b" if self.file.exists() else "wb") as file:
            file.write(said)
