"""When to try again. A policy answers; the drivers in `flows` and `command` only obey."""

from __future__ import annotations

from ..backends.clock import uniform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Delays = float | Sequence[float] | Callable[[int], float | Sequence[float]]


LONGEST = 1e9  # seconds: more is more than a timer of the system takes


class RetryPolicy:
    """`retries` more attempts after the first. `delays` is seconds, a list (its last item repeats) or a function of the
    number of retries that gives either. With `jitter` f a delay d becomes a random one from d to d * (1 + f).
    `condition` sees the exception and says whether to try again.

    Raises ValueError for negative numbers and those that no clock can wait for, TypeError for other types.
    """

    __slots__ = ("condition", "delays", "jitter", "retries")

    def __init__(
        self,
        retries: int,
        delays: Delays | None = None,
        jitter: float | None = None,
        condition: Callable[[BaseException], bool] | None = None,
    ) -> None:
        if isinstance(retries, bool) or not isinstance(retries, int):
            raise TypeError(f"retries is a whole number, not {retries!r}")
        self.retries = retries
        self.delays = _delays(delays, retries)
        self.jitter = float(jitter or 0.0)
        self.condition = condition
        if retries < 0 or not 0 <= self.jitter <= LONGEST:
            raise ValueError("retries, delays and jitter are not negative")
        if not all(0 <= delay * (1 + self.jitter) <= LONGEST for delay in self.delays):
            raise ValueError(
                f"retries, delays and jitter are not negative, nor a delay endless: {self.delays}"
            )

    def delay_after(self, attempt: int, error: BaseException | None) -> float | None:
        """Seconds to wait before the next attempt, or None: attempt number `attempt` (1..) was the last.

        Exits and interrupts (anything that is not an `Exception`) are never tried again.
        """
        if attempt > self.retries or (error is not None and not isinstance(error, Exception)):
            return None
        if error is not None and self.condition is not None and not self.condition(error):
            return None
        delay = self.delays[min(attempt, len(self.delays)) - 1] if self.delays else 0.0
        return delay * uniform(1.0, 1.0 + self.jitter) if self.jitter else delay


def _delays(delays: Delays | None, retries: int) -> tuple[float, ...]:
    if callable(delays):
        delays = delays(retries)
    if delays is None:
        return ()
    if isinstance(delays, int | float):
        return (float(delays),)
    if isinstance(delays, str | bytes):  # "10" would be a delay of 1 second, then of 0
        raise TypeError(f"retry_delay_seconds is a number, a list or a function, not {delays!r}")
    return tuple(float(delay) for delay in delays)
