"""One thread per worker process writes: what many clients sent meanwhile becomes one transaction of the store.

Each batch is answered after the commit, and by itself: one that is refused costs no other.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

from attrs import define
from loguru import logger

from ...backends.base import Backend
from ...backends.errors import StorageError
from ...backends.many import append_many
from .bindings import Projects
from .parcels import Bounds, Parcel, opened
from .refusals import refusal_of

GROUP_BYTES = 2**20  # inflated, of one transaction: some 6,000 events
GROUP_PARCELS = 256

Answer = int | Exception


@define(eq=False)
class Waiting:
    """A parcel, and the future of whoever waits for its answer."""

    parcel: Parcel
    future: asyncio.Future[int]


class Writer:
    """`append` from the event loop; `close` writes what waits, then ends the thread."""

    def __init__(self, open_store: Callable[[], Backend], bounds: Bounds, projects: Projects) -> None:
        self._open_store, self._bounds, self._projects = open_store, bounds, projects
        self._queue: SimpleQueue[Waiting | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._store: Backend | None = None
        self._thread = threading.Thread(target=self._run, name="holter-write", daemon=True)
        self._thread.start()

    async def append(self, parcel: Parcel) -> int:
        """The journal's offset after the commit. Raises Refusal."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._queue.put(Waiting(parcel, future))
        try:
            return await future
        finally:
            # Its error knows this frame: in a circle they would keep the parcel until the garbage goes.
            del future

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            going = self._turn(self._queue.get())
        if self._store is not None:
            self._store.close()

    def _turn(self, first: Waiting | None) -> bool:
        """Write one group; False where the end of the queue was reached."""
        group: list[Waiting] = []
        batches: list[tuple[str, int, bytes]] = []
        answers: list[tuple[Waiting, Answer]] = []
        size, item = 0, first
        while item is not None:
            try:
                data = opened(item.parcel, self._bounds, self._projects, self._opened)
            except Exception as error:  # noqa: BLE001 - it is told to the one who sent this
                answers.append((item, error.with_traceback(None)))  # as above
            else:
                group.append(item)
                batches.append((item.parcel.journal, item.parcel.offset, data))
                size += len(data)
            if self._queue.empty() or size >= GROUP_BYTES or len(group) >= GROUP_PARCELS:
                break
            item = self._queue.get()
        for waiting, answer in zip(group, self._written(batches), strict=True):
            parcel = waiting.parcel
            if parcel.project is not None and not parcel.offset and isinstance(answer, int):
                self._projects.arrived(parcel.journal, parcel.project)
            answers.append((waiting, answer))
        self._loop.call_soon_threadsafe(_tell, answers)
        return item is not None

    def _written(self, batches: list[tuple[str, int, bytes]]) -> list[Answer]:
        if not batches:
            return []
        try:
            return list(append_many(self._opened(), batches))
        except StorageError as error:
            return [error] * len(batches)
        except Exception as error:  # noqa: BLE001 - no batch may end the thread that writes all others
            if len(batches) > 1:
                return [answer for batch in batches for answer in self._written([batch])]
            logger.opt(exception=error).error("journal {} at {}: not applied", *batches[0][:2])
            return [error]

    def _opened(self) -> Backend:
        if self._store is None:
            self._store = self._open_store()
        return self._store


def _tell(answers: list[tuple[Waiting, Answer]]) -> None:
    """In the event loop. Whoever has gone meanwhile is not told."""
    for waiting, answer in answers:
        if waiting.future.done():
            continue
        if isinstance(answer, int):
            waiting.future.set_result(answer)
        else:
            waiting.future.set_exception(refusal_of(answer))
