"""`prefect.concurrency.sync`: Holter's limits. As with Prefect, a limit that nobody has set limits nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ...backends.errors import SlotTimeout, UnknownLimit
from ..concurrency import concurrency as slots
from ..knobs import knobs
from .exceptions import PrefectException
from .rates import pauses


class ConcurrencySlotAcquisitionError(PrefectException):
    """No slots can be had."""


class AcquireConcurrencySlotTimeoutError(ConcurrencySlotAcquisitionError, TimeoutError):
    """No slots became free in time."""


def known(names: str | list[str], strict: bool) -> list[str]:
    """Those of the limits that are set. Raises ConcurrencySlotAcquisitionError if `strict` and one is not."""
    wanted = [names] if isinstance(names, str) else list(names)
    limits = knobs().limits
    missing = [name for name in wanted if name not in limits]
    if strict and missing:
        raise ConcurrencySlotAcquisitionError(
            f"Concurrency limits {missing!r} must be created before acquiring slots: "
            f"write `limits: {{{missing[0]}: 1}}` into holter.yaml"
        )
    return [name for name in wanted if name in limits]


@contextmanager
def concurrency(
    names: str | list[str],
    occupy: int = 1,
    timeout_seconds: float | None = None,
    max_retries: int | None = None,
    lease_duration: float = 300,
    strict: bool = False,
    **_: Any,
) -> Iterator[None]:
    """Hold slots of limits that holter.yaml names; the kernel frees them when this process dies, whatever the lease."""
    with ExitStack() as held:
        with translated():
            if found := known(names, strict):
                held.enter_context(slots(found, occupy, timeout_seconds))
        yield


@contextmanager
def translated() -> Iterator[None]:
    """Holter's errors as Prefect's."""
    try:
        yield
    except SlotTimeout as error:
        raise AcquireConcurrencySlotTimeoutError(str(error)) from None
    except (UnknownLimit, ValueError) as error:
        raise ConcurrencySlotAcquisitionError(str(error)) from None


def rate_limit(
    names: str | list[str], occupy: int = 1, timeout_seconds: float | None = None, strict: bool = False
) -> None:
    """Wait until the limits' slots, which come back one after the other, allow it. See `rates`."""
    import time

    with translated():
        for pause in pauses(known(names, strict), occupy, timeout_seconds):
            time.sleep(pause)
