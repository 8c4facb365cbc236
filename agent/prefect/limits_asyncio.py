"""`prefect.concurrency.asyncio`: as `limits`, for coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from ..concurrency import concurrency as slots
from .limits import AcquireConcurrencySlotTimeoutError, ConcurrencySlotAcquisitionError, known, translated
from .rates import pauses

__all__ = [
    "AcquireConcurrencySlotTimeoutError",
    "ConcurrencySlotAcquisitionError",
    "concurrency",
    "rate_limit",
]


@asynccontextmanager
async def concurrency(
    names: str | list[str],
    occupy: int = 1,
    timeout_seconds: float | None = None,
    max_retries: int | None = None,
    lease_duration: float = 300,
    strict: bool = False,
    **_: Any,
) -> AsyncIterator[None]:
    """Hold slots of limits that holter.yaml names, without stopping the event loop."""
    async with AsyncExitStack() as held:
        with translated():
            if found := known(names, strict):
                await held.enter_async_context(slots(found, occupy, timeout_seconds))
        yield


async def rate_limit(
    names: str | list[str], occupy: int = 1, timeout_seconds: float | None = None, strict: bool = False
) -> None:
    """Wait until the limits' slots, which come back one after the other, allow it."""
    with translated():
        for pause in pauses(known(names, strict), occupy, timeout_seconds):
            await asyncio.sleep(pause)
