"""A submitted call on its way: run in a thread, in the context of who sent it, or in another process as a part of its
run. Nobody has to say which: what is pickled goes far.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import Context
from typing import Any

from ..backends.clock import token
from ..backends.errors import NotPicklable
from .afar import Sender, part_of, sender
from .flows import decorated
from .pickles import FarTraceback, pack, pack_error, unpack


class Errand:
    """The call of one task. Called here, it answers as the task does; pickled, it arrives as a FarErrand."""

    def __init__(
        self,
        call: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: Context,
        by_value: bool,
    ) -> None:
        self.__name__ = getattr(call, "__name__", "task")  # what an executor's own pages show
        self._call, self._args, self._kwargs = call, args, kwargs
        self._context, self._by_value = context, by_value
        self._packed: FarErrand | None = None
        self._token = token(16)
        # Why it could not be packed: executors say so in words of theirs.
        self.refused: NotPicklable | None = None

    def __call__(self) -> Any:
        return self._context.run(finished, self._call, self._args, self._kwargs)

    def __dask_tokenize__(self) -> str:
        """Dask takes two calls that look alike for one, which it makes once."""
        return self._token

    def packed(self) -> FarErrand:
        """The same for another process. Raises NotPicklable."""
        if self._packed is None:
            what = (*_reference(self._call), self._args, self._kwargs)
            try:
                data = pack(what, f"a call of {self.__name__}", self._by_value)
            except NotPicklable as error:
                self.refused = error
                raise
            self._packed = FarErrand(
                data, self.__name__, self._context.run(sender, data), by_value=self._by_value
            )
        return self._packed

    def __reduce__(self) -> Any:
        return self.packed().__reduce__()


class FarErrand:
    """The call, in another process. It answers with a Reply, whatever the task does."""

    def __init__(self, data: bytes, name: str, sent_by: Sender, by_value: bool) -> None:
        self.__name__ = name
        self._data, self._sender, self._by_value = data, sent_by, by_value

    def __reduce__(self) -> Any:
        return FarErrand, (self._data, self.__name__, self._sender, self._by_value)

    def __call__(self) -> Reply:
        try:
            with part_of(self._sender):
                *reference, args, kwargs = unpack(self._data, f"a call of {self.__name__}")
                result = finished(_callee(*reference), args, kwargs)
            return Reply(pack(result, f"the result of {self.__name__}", self._by_value), well=True)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is asked for
            return Reply(pack_error(error, f"the error of {self.__name__}", self._by_value), well=False)


class Reply:
    """What came of a call in another process, as bytes."""

    def __init__(self, data: bytes, well: bool) -> None:
        self._data, self._well = data, well

    def __reduce__(self) -> Any:
        return Reply, (self._data, self._well)

    def open(self) -> Any:
        """The result. Raises the task's error, with its traceback there as the cause."""
        if self._well:
            return unpack(self._data, "a result")
        error, trace = unpack(self._data, "an error")
        error.__cause__ = FarTraceback(trace)
        raise error


def _reference(call: Any) -> tuple[Any, str, dict[str, Any]]:
    """What another process needs to have the same decorated function: it, what it is a variation of, or what it was
    made from."""
    if not _has_its_name(call) and hasattr(call, "base"):
        return call.base[0], "", call.base[1]
    if not _has_its_name(call) and hasattr(call, "spec"):
        return call.fn, call.spec.kind, dict(call.spec.options)
    return call, "", {}


def _callee(call: Any, kind: str, options: dict[str, Any]) -> Any:
    if kind:
        return decorated(kind, call, options)
    return call.with_options(**options) if options else call


def _has_its_name(call: Any) -> bool:
    """Whether its module has it under its name, so that pickle finds it again."""
    found: Any = sys.modules.get(getattr(call, "__module__", None) or "")
    for part in getattr(call, "__qualname__", "").split("."):
        found = getattr(found, part, None)
    return found is call


def finished(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of a call; that of a coroutine function after an event loop of its own has run it."""
    result = call(*args, **kwargs)
    if hasattr(result, "__await__"):
        import asyncio

        return asyncio.run(_awaited(result))
    return result


async def _awaited(result: Any) -> Any:
    return await result
