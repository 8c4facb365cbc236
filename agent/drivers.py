"""How plain and coroutine functions run: thin drivers that call, sleep and await as the engine says.

`recorder` is named by its module here: cloudpickle sends a decorated function of a script together with the globals
that it names, and a context variable cannot be sent.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

from ..backends.errors import RunTimeout, SlotTimeout
from . import recorder
from .active import ActiveRun
from .engine import Skipped, again, begin, busy, call_hooks, claim, employ, end_badly, leave, listen, running
from .generators import drive_async_generator, drive_generator
from .spec import Spec
from .timeouts import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from typing import Any

    from .engine import Args, Kwargs


def drive_plain(spec: Spec) -> Callable[..., Any]:
    fn, simple = spec.fn, spec.simple

    def call(*args: Any, **kwargs: Any) -> Any:
        run, outer = None, recorder._current.get()
        try:  # round all of it: a Ctrl-C or an alarm that meets us must not leave the run open
            run = begin(spec, args, kwargs, outer)
            recorder._current.set(run)
            easy = simple and spec.needs is None
            result = fn(*args, **kwargs) if easy else _attempts(spec, run, args, kwargs)
            if run.crew is not None:
                run.crew.finish()
            run.end("COMPLETED", result)
        except BaseException as error:
            if run is not None:
                end_badly(spec, run, error)
                if run.crew is not None:
                    run.crew.abandon(error)
            if isinstance(error, Skipped):
                return None
            raise
        finally:
            recorder._current.set(outer)
        if not simple:
            call_hooks(spec, "on_completion", run)
        return result

    return call


def _attempts(spec: Spec, run: ActiveRun, args: Args, kwargs: Kwargs) -> Any:
    with ExitStack() as stack:
        listen(run, stack)
        if spec.needs is not None:
            for pause in _meet(spec, run):
                time.sleep(pause)
        if spec.limit is not None:
            stack.enter_context(_slot(spec))
        if spec.executor is not None:
            employ(spec, run, stack)
        running(spec, run)
        while True:
            try:
                return _attempt(spec, run, args, kwargs)
            except BaseException as error:
                delay = again(spec, run, error)
                if delay is None:
                    raise
                if run.crew is not None:
                    run.crew.abandon(error)
                    run.crew = None
            time.sleep(delay)
            run.try_again(run.attempt + 1)


def _meet(spec: Spec, run: ActiveRun) -> Iterator[float]:
    from .needs import meet

    assert spec.needs is not None
    return meet(spec.needs, run)


def _attempt(spec: Spec, run: ActiveRun, args: Args, kwargs: Kwargs) -> Any:
    if spec.timeout is None:
        return _whole(spec, run, args, kwargs)
    deadline = Deadline(spec.timeout)
    try:
        with deadline:
            return _whole(spec, run, args, kwargs)
    except RunTimeout as error:
        claim(error, deadline, run)
        raise


def _whole(spec: Spec, run: ActiveRun, args: Args, kwargs: Kwargs) -> Any:
    """The call and, inside its deadline, all that it submitted."""
    result = spec.fn(*args, **kwargs)
    if run.crew is not None:
        run.crew.finish()
    return result


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
        run = mark = None
        try:
            run = begin(spec, args, kwargs, recorder._current.get())
            mark = recorder._current.set(run)
            easy = simple and spec.needs is None
            result = await (fn(*args, **kwargs) if easy else _async_attempts(spec, run, args, kwargs))
            if run.crew is not None:
                await run.crew.finish_later()
            run.end("COMPLETED", result)
        except BaseException as error:
            if run is not None:
                end_badly(spec, run, error)
                if run.crew is not None:
                    await run.crew.abandon_later(error)
            if isinstance(error, Skipped):
                return None
            raise
        finally:
            leave(mark)
        call_hooks(spec, "on_completion", run)
        return result

    return call


async def _async_attempts(spec: Spec, run: ActiveRun, args: Args, kwargs: Kwargs) -> Any:
    import asyncio
    from contextlib import AsyncExitStack

    async with AsyncExitStack() as stack:
        listen(run, stack)
        if spec.needs is not None:
            for pause in _meet(spec, run):
                await asyncio.sleep(pause)
        if spec.limit is not None:
            await _async_slot(spec, stack)
        if spec.executor is not None:
            employ(spec, run, stack)
        running(spec, run)
        while True:
            try:
                return await _async_attempt(spec, run, args, kwargs)
            except BaseException as error:
                delay = again(spec, run, error)
                if delay is None:
                    raise
                if run.crew is not None:
                    await run.crew.abandon_later(error)
                    run.crew = None
            await asyncio.sleep(delay)
            run.try_again(run.attempt + 1)


async def _async_attempt(spec: Spec, run: ActiveRun, args: Args, kwargs: Kwargs) -> Any:
    if spec.timeout is None:
        return await _async_whole(spec, run, args, kwargs)
    import asyncio

    deadline, cause = Deadline(spec.timeout), None
    loop = asyncio.get_running_loop()
    end = loop.time() + spec.timeout
    scope = asyncio.timeout_at(end)
    try:
        async with scope:
            result = await _async_whole(spec, run, args, kwargs)
        if loop.time() < end:  # else it blocked the loop, which could not interrupt it
            return result
    except TimeoutError as error:
        if not scope.expired() or isinstance(error, RunTimeout):
            raise
        cause = error
    deadline.fired = True
    timeout = RunTimeout()
    claim(timeout, deadline, run)
    raise timeout from cause


async def _async_whole(spec: Spec, run: ActiveRun, args: Args, kwargs: Kwargs) -> Any:
    result = await spec.fn(*args, **kwargs)
    if run.crew is not None:
        await run.crew.finish_later()
    return result


async def _async_slot(spec: Spec, stack: Any) -> None:
    from .concurrency import concurrency

    assert spec.limit is not None
    try:
        await stack.enter_async_context(
            concurrency(spec.limit, timeout_seconds=None if spec.on_busy == "wait" else 0)
        )
    except SlotTimeout:
        raise busy(spec) from None


DRIVERS = {
    "plain": drive_plain,
    "coroutine": drive_coroutine,
    "generator": drive_generator,
    "async generator": drive_async_generator,
}
