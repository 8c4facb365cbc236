"""Generators of both kinds: their run spans the iteration, from the first `next` to exhaustion, an error or `close`.

The current run is set only while the generator's body executes: between two steps the context is its consumer's.
"""

from __future__ import annotations

from contextlib import ExitStack

from . import recorder
from .engine import begin, end_badly, end_well, leave, listen, running
from .spec import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from typing import Any


def drive_generator(spec: Spec) -> Callable[..., Generator[Any, Any, Any]]:
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        run = begin(spec, args, kwargs, recorder._current.get())
        listening = ExitStack()
        try:
            inner = spec.fn(*args, **kwargs)
            step, value = inner.send, None
            listen(run, listening)
            running(spec, run)
            while True:
                mark = recorder._current.set(run)
                try:
                    item = step(value)
                except StopIteration as stop:
                    if run.crew is not None:
                        run.crew.finish()
                    end_well(spec, run, stop.value)
                    return stop.value
                finally:
                    leave(mark)
                try:
                    step, value = inner.send, (yield item)
                except GeneratorExit:
                    inner.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown into the generator
                    step, value = inner.throw, error
        except BaseException as error:
            end_badly(spec, run, error)
            if run.crew is not None:
                run.crew.abandon(error)
            raise
        finally:
            listening.close()

    return call


def drive_async_generator(spec: Spec) -> Callable[..., AsyncGenerator[Any, Any]]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        run = begin(spec, args, kwargs, recorder._current.get())
        listening = ExitStack()
        try:
            inner = spec.fn(*args, **kwargs)
            step, value = inner.asend, None
            listen(run, listening)
            running(spec, run)
            while True:
                mark = recorder._current.set(run)
                try:
                    item = await step(value)
                except StopAsyncIteration:
                    if run.crew is not None:
                        await run.crew.finish_later()
                    end_well(spec, run, None)
                    return
                finally:
                    leave(mark)
                try:
                    step, value = inner.asend, (yield item)
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - thrown into the generator
                    step, value = inner.athrow, error
        except BaseException as error:
            end_badly(spec, run, error)
            if run.crew is not None:
                await run.crew.abandon_later(error)
            raise
        finally:
            listening.close()

    return call
