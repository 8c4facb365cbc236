"""A Holter backend in one file, `onefile:///history.jsonl`: each change is a line, and readers play the lines back."""

from __future__ import annotations

import os
from collections.abc import Collection
from json import dumps, loads
from typing import Any

from holter.backends.clock import SYSTEM, Clock, token
from holter.backends.errors import StorageError
from holter.backends.file_format import make_folder
from holter.backends.gate import Gate
from holter.backends.lines import whole
from holter.backends.memory import MemoryBackend
from holter.backends.queries import LogQuery, Retention, RunQuery
from holter.backends.records import (
    Bucket,
    Document,
    JobRuns,
    JobSummary,
    Json,
    Listing,
    Log,
    Process,
    Pruned,
    Run,
    Transition,
)
from holter.backends.urls import path_of, redacted


class Then(Clock):
    """The time at which a change was made first: played back, it must mean the same."""

    at = 0.0

    def wall(self) -> float:
        return self.at


class OneFile:
    """Holds all of its history in memory: for thousands of runs, not for millions."""

    def __init__(self, url: str, *, home: str, clock: Clock = SYSTEM, timeout: float | None = 10.0) -> None:
        self.url, self.path, self._clock = redacted(url), path_of(url, home), clock
        self._forget()
        try:
            make_folder(os.path.dirname(self.path))
            self._gate = Gate(f"{self.path}.lock", timeout)  # the kernel frees it when its holder dies
        except OSError as error:
            raise StorageError(f"cannot open {self.path}: {error.strerror}") from error

    def close(self) -> None:
        self._gate.close()

    def check(self) -> dict[str, Any]:
        return {"ok": True, "detail": f"{self.path}, {len(self.runs(RunQuery(limit=None)))} runs"}

    # --- changes ---

    def append(self, journal: str, offset: int, data: bytes) -> int:
        return int(self._change("append", journal, offset, data.decode("latin-1")))

    def prune(self, retention: Retention) -> Pruned:
        kept = (retention.runs_before, retention.failures_before, retention.logs_before)
        return Pruned(*self._change("prune", *kept))

    def put(self, kind: str, key: str, value: Json, expect_version: int) -> int | None:
        version: int | None = self._change("put", kind, key, value, expect_version)
        return version

    def delete(self, kind: str, key: str, expect_version: int) -> bool:
        return bool(self._change("delete", kind, key, expect_version))

    def _change(self, verb: str, *words: Any) -> Any:
        """One change, decided in memory, then written in one line: there whole after a kill, or not at all."""
        with self._gate.held():
            self._catch_up()
            at = self._clock.wall()
            answer = self._play(at, verb, *words)  # raises OffsetMismatch or ValueError, and changes nothing
            line = f"{dumps([at, verb, *words])}\n".encode()
            try:
                fd = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
                try:
                    os.ftruncate(fd, self._seen)  # what a kill or a full disk left of a line
                    if os.pwrite(fd, line, self._seen) != len(line):
                        raise OSError(28, "the disk is full")
                finally:
                    os.close(fd)
            except OSError as error:
                self._forget()  # memory is ahead of the file: read again
                raise StorageError(f"{self.path}: {error.strerror}") from error
            self._seen += len(line)
            return answer

    def _play(self, at: float, verb: str, *words: Any) -> Any:
        self._then.at = at
        if verb == "append":
            return self._memory.append(words[0], words[1], words[2].encode("latin-1"))
        if verb == "prune":
            gone = self._memory.prune(Retention(*words))
            return gone.runs, gone.logs
        return getattr(self._memory, verb)(*words)

    def _catch_up(self) -> None:
        """Play back what was written since, by whomever."""
        if os.path.exists(self.path):
            with open(self.path, "rb") as file:
                file.seek(self._seen)
                data = file.read()
            for line in data[: whole(data)].splitlines():
                self._play(*loads(line))
            self._seen += whole(data)

    def _forget(self) -> None:
        self._then, self._seen = Then(), 0
        self._memory = MemoryBackend(f"memory:{token(16)}", clock=self._then)

    # --- questions ---

    def _now(self) -> MemoryBackend:
        with self._gate.held():
            self._catch_up()
        return self._memory

    def runs(self, query: RunQuery) -> list[Run]:
        return self._now().runs(query)

    def run(self, run_id: str) -> Run | None:
        return self._now().run(run_id)

    def events(self, run_id: str) -> list[Json]:
        return self._now().events(run_id)

    def logs(self, query: LogQuery) -> list[Log]:
        return self._now().logs(query)

    def summarize(self, query: RunQuery) -> list[JobSummary]:
        return self._now().summarize(query)

    def newest(self, query: RunQuery, each: int) -> list[JobRuns]:
        return self._now().newest(query, each)

    def timeline(self, query: RunQuery, every: float) -> list[Bucket]:
        return self._now().timeline(query, every)

    def transitions(self, after: int, limit: int = 500) -> list[Transition]:
        return self._now().transitions(after, limit)

    def processes(self, *, open_only: bool = True, journals: Collection[str] | None = None) -> list[Process]:
        return self._now().processes(open_only=open_only, journals=journals)

    def get(self, kind: str, key: str) -> Document | None:
        return self._now().get(kind, key)

    def list(self, kind: str) -> Listing:
        return self._now().list(kind)
