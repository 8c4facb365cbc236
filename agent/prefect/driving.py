"""How a call is driven, by the shape of its function. Holter's own drivers are inside: they record, try again, and keep
the time; around them stands what Prefect adds: states, hooks, transactions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any, Self

from ..drivers import DRIVERS
from ..spec import Spec
from . import context
from .calls import Call, finish
from .states import State


def recorded(what: Any, fn: Callable[..., Any]) -> tuple[str, Callable[..., Any]]:
    """The shape of `fn`, and `fn` as Holter runs it: with `what`'s options, and the parameters' names in the record."""
    spec = Spec(what.kind, fn, what.options_for_holter())
    if spec.shape == "plain":
        spec.fn = _body(what)
    elif spec.shape == "coroutine":
        spec.fn = _async_body(what)
    return spec.shape, DRIVERS[spec.shape](spec)


def _body(what: Any) -> Callable[..., Any]:
    def body(*args: Any, **kwargs: Any) -> Any:
        call = context.current_call()
        if not call.begin():
            return call.value
        with call.settled():
            return call.took(what.fn(*args, **kwargs))

    return body


def _async_body(what: Any) -> Callable[..., Any]:
    async def body(*args: Any, **kwargs: Any) -> Any:
        call = context.current_call()
        if not call.begin():
            return call.value
        with call.settled():
            return call.took(await what.fn(*args, **kwargs))

    return body


def run(call: Call, return_state: bool = False) -> Any:
    """Drive a call to its end, whatever its shape, and answer as its caller wants it."""
    return _BY_SHAPE[call.what.shape](call, return_state)


def state_of(call: Call) -> State:
    """Drive a call to its end from a thread of its own."""
    result = run(call, return_state=True)
    if hasattr(result, "__await__"):
        result = finish(result)
    elif hasattr(result, "__aiter__") or hasattr(result, "__next__"):
        raise TypeError(f"{call.what.name} is a generator: it cannot be submitted, only called")
    return result  # type: ignore[no-any-return]


class _Whole:
    """All of a call: what is raised inside is how it ended, and goes no further."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is not None:
            self._error = error
            self._call.failed(error)
        return True

    def end(self) -> BaseException | None:
        """The call is over; returns what was raised, and does not keep it: it holds the frame that holds this."""
        self._call.close()
        error, self._error = self._error, None
        return error


def _run_plain(call: Call, return_state: bool) -> Any:
    with _Whole(call) as whole:
        with call.inside() as stack:
            args, kwargs = call.prepare()
            if (transaction := call.transact()) is not None:
                stack.enter_context(transaction)
            value = call.stage(call.what.recorded(*args, **kwargs))
        call.succeeded(value)
    return call.answer(whole.end(), return_state)


async def _run_coroutine(call: Call, return_state: bool) -> Any:
    with _Whole(call) as whole:
        with call.inside() as stack:
            args, kwargs = call.prepare()
            if (transaction := call.transact()) is not None:
                stack.push(transaction)
                await transaction.__aenter__()
            value = call.stage(await call.what.recorded(*args, **kwargs))
        call.succeeded(value)
    return call.answer(whole.end(), return_state)


class _Step:
    """One step of a generator's body; what ends the body ends the call."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            return
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            self._call.succeeded(getattr(error, "value", None))
        else:
            self._call.failed(error)
        self._call.close()


def _opened(call: Call) -> Any:
    """The generator as Holter drives it."""
    with call.inside():
        args, kwargs = call.prepare()
        inner = call.what.recorded(*args, **kwargs)
    if call.refused is not None:
        raise call.refused
    return inner


def _run_generator(call: Call, return_state: bool) -> Generator[Any, Any, Any]:
    inner = _opened(call)
    step, value = inner.send, None
    while True:
        try:
            with _Step(call), call.inside():
                if not call.run.run_count:
                    call.begin()
                item = step(value)
        except StopIteration as stop:
            return stop.value
        try:
            step, value = inner.send, (yield item)
        except GeneratorExit:
            inner.close()
            raise
        except BaseException as error:  # noqa: BLE001 - thrown into the generator
            step, value = inner.throw, error


async def _run_async_generator(call: Call, return_state: bool) -> AsyncGenerator[Any, Any]:
    inner = _opened(call)
    step, value = inner.asend, None
    while True:
        try:
            with _Step(call), call.inside():
                if not call.run.run_count:
                    call.begin()
                item = await step(value)
        except StopAsyncIteration:
            return
        try:
            step, value = inner.asend, (yield item)
        except GeneratorExit:
            await inner.aclose()
            raise
        except BaseException as error:  # noqa: BLE001 - thrown into the generator
            step, value = inner.athrow, error


_BY_SHAPE: dict[str, Callable[[Call, bool], Any]] = {
    "plain": _run_plain,
    "coroutine": _run_coroutine,
    "generator": _run_generator,
    "async generator": _run_async_generator,
}
