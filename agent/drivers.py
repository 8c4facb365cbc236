"""How a decorated function runs: one engine of small decisions, and a thin driver for each shape of function.

The engine (`begin`, `again`, `end_badly`, `end_well`) decides and records; the drivers call, sleep and await.
Result, exception object and traceback are the user's own.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from ..backends.errors import LimitBusy, RunTimeout, SlotTimeout
from . import recorder
from .capture import prints
from .endings import ending_of
from .recorder import ActiveRun, _current, error_of, harmless, record_start
from .spec import Spec
from .timeouts import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from typing import Any

    Args = tuple[Any, ...]
    Kwargs = dict[str, Any]


class _Skipped(Exception):
    """All slots were taken and the flow said `on_busy="skip"`."""


# --- the engine ----------------------------------------------------------------------------------------------


def begin(spec: Spec, args: Args, kwargs: Kwargs) -> ActiveRun:
    """Record the start. Where recording itself fails there still is a run, so that retries and limits work."""
    run = _current.get()
    parent = run if run is not None or spec.kind == "flow" else recorder.sole_root()
    run = _start(spec, args, kwargs, parent)
    if run is None:
        run = ActiveRun(spec.kind, spec.name, parent)
    if spec.log_prints is not None:
        run.log_prints = spec.log_prints
    if spec.log_records is not None:
        run.log_records = spec.log_records
    return run


@harmless
def _start(spec: Spec, args: Args, kwargs: Kwargs, parent: ActiveRun | None) -> ActiveRun | None:
    name = None if spec.run_name is None else _run_name(spec, args, kwargs)
    parameters = spec.parameters(args, kwargs)
    return record_start(spec.kind, spec.name, parent, spec.head, parameters, spec.tags, name, spec.limit is not None)


@harmless
def _run_name(spec: Spec, args: Args, kwargs: Kwargs) -> str | None:
    return spec.name_of_run(args, kwargs)


def running(spec: Spec, run: ActiveRun) -> None:
    """The first attempt begins."""
    if run.state == "PENDING":
        run.try_again(1)
    call_hooks(spec, "on_running", run)


def listen(run: ActiveRun, stack: Any) -> None:
    """Keep what the run prints and logs, for as long as `stack` is open."""
    if run.log_prints:
        stack.enter_context(prints())
    if run.log_records:
        from .logcapture import records

        stack.enter_context(records())


def again(spec: Spec, run: ActiveRun, error: BaseException) -> float | None:
    """After a failed attempt: the seconds to wait for the next one, or None if there is none."""
    delay = spec.policy.delay_after(run.attempt, error)
    if delay is not None:
        run.retry(error_of(error), delay, ending_of(error).reason)
    return delay


def end_well(spec: Spec, run: ActiveRun, result: Any) -> None:
    run.end("COMPLETED", result)
    call_hooks(spec, "on_completion", run)


def end_badly(spec: Spec, run: ActiveRun, error: BaseException) -> None:
    """Record the ending that an exception means."""
    if isinstance(error, _Skipped):
        return run.end("SKIPPED", reason=str(error))
    ending = ending_of(error)
    if isinstance(error, RunTimeout) and getattr(error, "run_id", None) == run.id:
        run.end("TIMED_OUT", error=error_of(error), reason=error.message)
    elif ending.state == "COMPLETED":
        run.end("COMPLETED", reason=ending.reason, exit_code=0)
    else:
        details = error_of(error) if ending.state == "FAILED" and ending.exit_code is None else None
        run.end(ending.state, error=details, reason=ending.reason, exit_code=ending.exit_code, signal=ending.signal)
    hook = {"COMPLETED": "on_completion", "CANCELLED": "on_cancellation"}.get(run.state, "on_failure")
    call_hooks(spec, hook, run)


def call_hooks(spec: Spec, name: str, run: ActiveRun) -> None:
    for hook in spec.hooks[name]:
        _hook(hook, run)


@harmless
def _hook(hook: Callable[[ActiveRun], object], run: ActiveRun) -> None:
    hook(run)


def mine(error: BaseException, deadline: Deadline, run: ActiveRun) -> BaseException:
    """A time-out that this run's own deadline raised, marked as such: for the runs around it it is a plain failure."""
    if not (isinstance(error, RunTimeout) and deadline.fired) or hasattr(error, "run_id"):
        return error
    timeout = error if error.args else deadline.error()  # set on a thread, it comes without a message
    timeout.run_id = run.id  # type: ignore[attr-defined]
    return timeout


def busy(spec: Spec) -> Exception:
    """What a flow with `on_busy` other than wait does when no slot is free."""
    message = f"all slots of limit {spec.limit!r} are taken"
    return _Skipped(message) if spec.on_busy == "skip" else LimitBusy(message, hint="see `holter slots`")


# --- the drivers ---------------------------------------------------------------------------------------------


def drive_plain(spec: Spec) -> Callable[..., Any]:
    fn, simple = spec.fn, spec.simple

    def call(*args: Any, **kwargs: Any) -> Any:
        run = begin(spec, args, kwargs)
        mark = _current.set(run)
        try:
            result = fn(*args, **kwargs) if simple else _attempts(spec, run, args, kwargs)
        except BaseException as error:
            end_badly(spec, run, error)
            if isinstance(error, _Skipped):
                return None
            raise
        finally:
            _current.reset(mark)
        run.end("COMPLETED", result)
        if not simple:
            call_hooks(spec, "on_completion", run)
        return result

    return call


def _attempts(spec: Spec, run: ActiveRun, args: Args, kwargs: Kwargs) -> Any:
    with ExitStack() as stack:
        listen(run, stack)
        if spec.limit is not None:
            stack.enter_context(_slot(spec))
        running(spec, run)
        while True:
            try:
                return _attempt(spec, run, args, kwargs)
            except BaseException as error:
                delay = again(spec, run, error)
                if delay is None:
                    raise
            time.sleep(delay)
            run.try_again(run.attempt + 1)


def _attempt(spec: Spec, run: ActiveRun, args: Args, kwargs: Kwargs) -> Any:
    if spec.timeout is None:
        return spec.fn(*args, **kwargs)
    deadline = Deadline(spec.timeout)
    try:
        with deadline:
            return spec.fn(*args, **kwargs)
    except RunTimeout as error:
        raise mine(error, deadline, run).with_traceback(error.__traceback__) from error.__cause__


def _slot(spec: Spec) -> Any:
    from .concurrency import concurrency

    assert spec.limit is not None
    slot = concurrency(spec.limit, timeout_seconds=None if spec.on_busy == "wait" else 0)
    if spec.on_busy != "wait":
        try:
            slot.__enter__()
        except SlotTimeout:
            raise busy(spec) from None
        stack = ExitStack()
        stack.push(slot)
        return stack
    return slot


def drive_coroutine(spec: Spec) -> Callable[..., Coroutine[Any, Any, Any]]:
    fn, simple = spec.fn, spec.simple

    async def call(*args: Any, **kwargs: Any) -> Any:
        run = begin(spec, args, kwargs)
        mark = _current.set(run)
        try:
            result = await (fn(*args, **kwargs) if simple else _async_attempts(spec, run, args, kwargs))
        except BaseException as error:
            end_badly(spec, run, error)
            if isinstance(error, _Skipped):
                return None
            raise
        finally:
            _current.reset(mark)
        end_well(spec, run, result)
        return result

    return call


async def _async_attempts(spec: Spec, run: ActiveRun, args: Args, kwargs: Kwargs) -> Any:
    import asyncio
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:
        listen(run, stack)
        if spec.limit is not None:
            await _async_slot(spec, stack)
        running(spec, run)
        while True:
            try:
                return await _async_attempt(spec, run, args, kwargs)
            except BaseException as error:
                delay = again(spec, run, error)
                if delay is None:
                    raise
            await asyncio.sleep(delay)
            run.try_again(run.attempt + 1)


async def _async_attempt(spec: Spec, run: ActiveRun, args: Args, kwargs: Kwargs) -> Any:
    if spec.timeout is None:
        return await spec.fn(*args, **kwargs)
    import asyncio

    deadline = Deadline(spec.timeout)
    scope = asyncio.timeout(spec.timeout)
    try:
        async with scope:
            return await spec.fn(*args, **kwargs)
    except TimeoutError as error:
        if not scope.expired() or isinstance(error, RunTimeout):
            raise
        deadline.fired = True
        raise mine(deadline.error(), deadline, run) from error


async def _async_slot(spec: Spec, stack: Any) -> None:
    from .concurrency import concurrency

    assert spec.limit is not None
    try:
        await stack.enter_async_context(
            concurrency(spec.limit, timeout_seconds=None if spec.on_busy == "wait" else 0)
        )
    except SlotTimeout:
        raise busy(spec) from None


def drive_generator(spec: Spec) -> Callable[..., Generator[Any, Any, Any]]:
    """The run spans the iteration: from the first `next` to exhaustion, an error, or `close`."""

    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        run = begin(spec, args, kwargs)
        inner = spec.fn(*args, **kwargs)
        step, value = inner.send, None
        listening = ExitStack()
        try:
            listen(run, listening)
            running(spec, run)
            while True:
                mark = _current.set(run)  # only while the body executes: between steps the context is the consumer's
                try:
                    item = step(value)
                except StopIteration as stop:
                    end_well(spec, run, stop.value)
                    return stop.value
                finally:
                    _current.reset(mark)
                try:
                    step, value = inner.send, (yield item)
                except GeneratorExit:
                    inner.close()
                    raise
                except BaseException as error:
                    step, value = inner.throw, error
        except BaseException as error:
            end_badly(spec, run, error)
            raise
        finally:
            listening.close()

    return call


def drive_async_generator(spec: Spec) -> Callable[..., AsyncGenerator[Any, Any]]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        run = begin(spec, args, kwargs)
        inner = spec.fn(*args, **kwargs)
        step, value = inner.asend, None
        listening = ExitStack()
        try:
            listen(run, listening)
            running(spec, run)
            while True:
                mark = _current.set(run)
                try:
                    item = await step(value)
                except StopAsyncIteration:
                    end_well(spec, run, None)
                    return
                finally:
                    _current.reset(mark)
                try:
                    step, value = inner.asend, (yield item)
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as error:
                    step, value = inner.athrow, error
        except BaseException as error:
            end_badly(spec, run, error)
            raise
        finally:
            listening.close()

    return call


DRIVERS = {
    "plain": drive_plain,
    "coroutine": drive_coroutine,
    "generator": drive_generator,
    "async generator": drive_async_generator,
}
