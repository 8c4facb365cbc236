"""Locks on the keys of transactions: between the threads of this process, or between the processes of this host."""

from __future__ import annotations

import threading
from hashlib import sha256
from pathlib import Path

from ...backends.gate import Gate


class MemoryLockManager:
    """Locks that hold in this process. `try_acquire` takes one, or says that another holder has it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._holders: dict[str, str] = {}

    def try_acquire(self, key: str, holder: str) -> bool:
        with self._guard:
            return self._holders.setdefault(key, holder) == holder

    def release_lock(self, key: str, holder: str) -> None:
        with self._guard:
            if self._holders.get(key) == holder:
                del self._holders[key]

    def is_locked(self, key: str) -> bool:
        return key in self._holders

    def is_lock_holder(self, key: str, holder: str) -> bool:
        return self._holders.get(key) == holder


class FileSystemLockManager(MemoryLockManager):
    """Locks that hold on this host. The kernel frees them when their process dies."""

    def __init__(self, lock_files_directory: str | Path) -> None:
        super().__init__()
        self.lock_files_directory = Path(lock_files_directory).expanduser()
        self._gates: dict[str, Gate] = {}

    def try_acquire(self, key: str, holder: str) -> bool:
        if not super().try_acquire(key, holder):
            return False
        if key in self._gates:
            return True
        self.lock_files_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        gate = Gate(f"{self.lock_files_directory}/{sha256(key.encode()).hexdigest()}.lock")
        if gate.take(0.0):
            self._gates[key] = gate
            return True
        gate.close()
        super().release_lock(key, holder)
        return False

    def release_lock(self, key: str, holder: str) -> None:
        if self.is_lock_holder(key, holder) and (gate := self._gates.pop(key, None)) is not None:
            gate.close()
        super().release_lock(key, holder)
