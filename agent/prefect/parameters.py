"""The arguments of a call: bound to names, futures in them awaited, values brought to the types that a flow names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from .annotations import BaseAnnotation, allow_failure, opaque, quote
from .exceptions import ParameterBindError, UpstreamTaskError
from .futures import PrefectFuture, replaced
from .states import State


def bound(
    signature: inspect.Signature, name: str, args: Any, kwargs: Any, defaults: bool = True
) -> inspect.BoundArguments:
    """The arguments by name, defaults included. Raises ParameterBindError (a TypeError)."""
    try:
        given = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ParameterBindError(f"{name}(): {error}") from None
    if defaults:
        given.apply_defaults()
    return given


def resolve(value: Any) -> Any:
    """The value with the futures and states in it replaced by their results. Raises UpstreamTaskError."""
    if isinstance(value, quote):
        return value.value
    if isinstance(value, opaque):
        return _result(value.value, False)
    allowed = isinstance(value, allow_failure)
    if isinstance(value, BaseAnnotation):
        value = value.value
    return replaced(value, lambda found: _result(found, allowed))


def wait_for(upstream: Iterable[Any] | Any) -> None:
    """Until all of it has ended. Raises UpstreamTaskError where something did not complete."""
    if isinstance(upstream, Iterable) and not isinstance(upstream, str | State):
        for each in upstream:
            resolve(each)
    elif upstream is not None:
        resolve(upstream)


def _result(found: Any, failures_too: bool) -> Any:
    if isinstance(found, BaseAnnotation):  # inside a list
        return resolve(found)
    if not isinstance(found, PrefectFuture | State):
        return found
    state = found.inner.result() if isinstance(found, PrefectFuture) else found
    if state.is_completed():
        return state.result()
    if failures_too and state.is_final():
        return state.result(raise_on_failure=False)
    who = (
        found.task_run_id
        if isinstance(found, PrefectFuture)
        else getattr(state.state_details, "task_run_id", None)
    )
    raise UpstreamTaskError(f"Upstream task run '{who}' did not reach a 'COMPLETED' state.")


def rows(signature: inspect.Signature, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """The calls that a `map` stands for. What is no iterable, or is `unmapped`, or a default, goes to each.

    Raises MappingMissingIterable and MappingLengthMismatch.
    """
    from .annotations import unmapped
    from .exceptions import MappingLengthMismatch, MappingMissingIterable

    columns: dict[str, list[Any]] = {}
    same: dict[str, Any] = {}
    for name, value in arguments.items():
        marks: list[Callable[[Any], Any]] = []
        while isinstance(value, BaseAnnotation) and not isinstance(value, unmapped):
            marks.append(type(value))
            value = value.value
        if isinstance(value, PrefectFuture | State):
            value = resolve(value)
        if isinstance(value, unmapped) or not _is_column(value):
            inner = value.value if isinstance(value, unmapped) else value
            same[name] = _marked(inner, marks)
        else:
            columns[name] = [_marked(each, marks) for each in value]
    if not columns:
        raise MappingMissingIterable(
            "No iterable parameters were received. Parameters for map must include at least one iterable."
        )
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise MappingLengthMismatch(
            f"Expected iterable parameters with the same length, got { {n: len(c) for n, c in columns.items()} }"
        )
    return [
        {**same, **{name: column[row] for name, column in columns.items()}} for row in range(lengths.pop())
    ]


def _is_column(value: Any) -> bool:
    return (
        hasattr(value, "__iter__")
        and not isinstance(value, str | bytes | State | type)
        and not hasattr(value, "read")
    )


def _marked(value: Any, marks: list[Callable[[Any], Any]]) -> Any:
    for mark in reversed(marks):
        value = mark(value)
    return value
