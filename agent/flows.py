"""`@flow` and `@task`: the decorators that people put on functions they already have."""

from __future__ import annotations

from functools import wraps

from .callables import innermost, name_of
from .drivers import DRIVERS
from .spec import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, Unpack, overload

    from .spec import Options

    P = ParamSpec("P")
    Q = ParamSpec("Q")
    R = TypeVar("R")
    R_co = TypeVar("R_co", covariant=True)

    class Recorded(Protocol[P, R_co]):
        """A decorated function: it is called as before, and has a few attributes more."""

        __name__: str
        __qualname__: str

        @property
        def fn(self) -> Callable[P, R_co]:
            """The function as it was."""

        @overload
        def __get__(self, instance: None, owner: Any = None, /) -> Recorded[P, R_co]: ...
        @overload
        def __get__(
            self: Recorded[Concatenate[Any, Q], R_co], instance: object, owner: Any = None, /
        ) -> Recorded[Q, R_co]: ...

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

        def with_options(self, **options: Unpack[Options]) -> Recorded[P, R_co]:
            """The same function with some options changed."""

        @overload
        def submit(self, *args: P.args, **kwargs: P.kwargs) -> Future[Any]: ...
        @overload
        def submit(self, *args: Any, wait_for: Iterable[Any], **kwargs: Any) -> Future[Any]: ...
        def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:
            """Call it beside the others, inside the current run: on the `executor` of the flow, else in a thread.

            Futures among the arguments, also in lists, tuples, sets and dicts, are replaced by their results, and
            those of `wait_for` waited for, before it starts; where one of them failed, it is not called and fails
            with that exception (`allow_failure` changes that). A coroutine function has an event loop of its own.
            The future is a `concurrent.futures.Future`. Raises what the function raises that makes the executor.
            """

        def map(
            self, *columns: Any, wait_for: Iterable[Any] | None = None, **constants: Any
        ) -> list[Future[Any]]:
            """Submit one call for each row of `columns`; `constants`, and columns that are `unmapped(value)`, are the
            same for every call. Raises ValueError where the columns differ in length."""
else:

    def overload(signature: Any) -> Any:  # typing costs 3 ms to import
        return signature


@overload
def flow(fn: Callable[P, R], /) -> Recorded[P, R]: ...
@overload
def flow(fn: None = None, /, **options: Unpack[Options]) -> Callable[[Callable[P, R]], Recorded[P, R]]: ...
def flow(fn: Any = None, /, **options: Any) -> Any:
    """Record every call of a function as a run; tasks and flows that it calls belong to it.

    Works on functions, coroutine functions, generators of both kinds, methods, partials and callable objects. A call
    returns what the function returns and raises what it raises.

    * `name` (default: the function's), `description`, `version`, `tags`;
      `flow_run_name` (for tasks `task_run_name`): text with `{parameter}` or a function without parameters.
    * `retries` (default 0) more attempts after an `Exception`; `retry_delay_seconds`: a number, a list (its last item
      repeats) or a function of `retries`; `retry_jitter_factor` f turns a delay d into a random one from d to
      d * (1 + f); `retry_condition_fn(exception)` says whether to try again. Slots of `limit` are kept meanwhile.
    * `timeout_seconds` for each attempt: raises `RunTimeout` (a TimeoutError), state TIMED_OUT. What never comes back
      to Python cannot be interrupted from inside: five seconds later the watchdog ends the whole process.
    * `log_prints`: keep printed lines with the run; tasks and subflows inherit it unless they say otherwise.
    * `log_records`: keep the records of the standard `logging` and of loguru with the run, in order with its prints;
      inherited likewise. Handlers, levels and formatters stay as they are.
    * `on_running`, `on_completion`, `on_failure`, `on_cancellation`: lists of functions that take the run. An error in
      one of them is reported once and changes nothing. They run in this process: no hook runs after a `kill -9`,
      alerts do that.
    * `limit`: hold a slot of this limit during the call; `on_busy`: `wait` (default), `skip` (the call returns None,
      state SKIPPED) or `fail` (raises LimitBusy).
    * `executor`: what carries the calls that are submitted: a `concurrent.futures.Executor`, which stays yours, or a
      function that makes one for each attempt, closed with it. Default: threads of this process. The flow ends when
      all that it submitted has ended; where it fails, what has not started is cancelled.
    * `needs`: jobs that must have completed before this one starts, as "extract within 26h" or "extract" (a text or a
      list); `on_unmet`: `refuse` (default: raises NeedsUnmet, state SKIPPED), `wait` for `needs_wait` at most (default
      1h), or `warn`. Where the store cannot be asked within 2 s, it runs with a warning.
    * Expectations for the watchdog: `schedule` (cron text or "every 15m"), `timezone`, `grace`, `max_duration`,
      `min_duration`, `stall_after`, `fresh_within` (durations: seconds or text like "15m"), `finish_by` ("06:00" or
      "3h"), `max_runs_per` ("3 per 1h"), `max_times_median` (a number). `on_overdue`: `alert` (default), or `kill`: a
      watchdog on its host ends a run that passes its `max_duration`.

    Raises TypeError or ValueError at decoration for what cannot work, such as retries of a generator.
    """
    return decorated("flow", fn, options)


@overload
def task(fn: Callable[P, R], /) -> Recorded[P, R]: ...
@overload
def task(fn: None = None, /, **options: Unpack[Options]) -> Callable[[Callable[P, R]], Recorded[P, R]]: ...
def task(fn: Any = None, /, **options: Any) -> Any:
    """Record every call of a function as a step of the flow that calls it. Options as for `flow`.

    In a thread that has no run of its own, a task belongs to the only flow that is open in the process; outside
    any flow it is a run by itself.
    """
    return decorated("task", fn, options)


def decorated(kind: str, fn: Any, options: Any) -> Any:
    """What `flow` and `task` make of a function and their keywords."""
    if fn is None:
        Spec(kind, _nothing, options)  # a wrong option is refused where it is written
        return lambda given: decorated(kind, given, options)
    if isinstance(fn, staticmethod | classmethod):
        return type(fn)(decorated(kind, fn.__func__, options))
    if not callable(fn):
        raise TypeError(
            f"@{kind} goes on a function, not on {fn!r} (options are keywords: @{kind}(name=...))"
        )
    spec = Spec(kind, fn, options)
    call = wraps(fn)(DRIVERS[spec.shape](spec))
    # A partial or a callable object: what a function must have comes from inside it.
    if not hasattr(fn, "__name__"):
        inner = innermost(fn)
        call.__name__ = call.__qualname__ = name_of(fn)
        call.__module__, call.__annotations__ = inner.__module__, getattr(inner, "__annotations__", {})
    call.fn = fn  # type: ignore[attr-defined]
    call.spec = spec  # type: ignore[attr-defined]
    call.with_options = lambda **changes: _varied(call, changes)  # type: ignore[attr-defined]
    call.submit = lambda *args, wait_for=None, **kwargs: _futures().submit(  # type: ignore[attr-defined]
        call, args, kwargs, wait_for
    )
    call.map = lambda *columns, wait_for=None, **constants: _futures().map_rows(  # type: ignore[attr-defined]
        call, columns, constants, wait_for
    )
    return call


def _varied(call: Any, changes: dict[str, Any]) -> Any:
    varied = decorated(call.spec.kind, call.fn, {**call.spec.options, **changes})
    whole, before = getattr(call, "base", (call, {}))
    varied.base = (whole, {**before, **changes})  # how another process finds it
    return varied


def _nothing() -> None:
    """Stands in for the function that a decorator with options will get."""


def _futures() -> Any:
    from . import futures

    return futures
