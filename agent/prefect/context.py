"""Which call of a flow or task this context is in, in Prefect's terms. (Which run it is, Holter's recorder knows.)"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from .. import recorder
from .exceptions import MissingContextError

_call: ContextVar[Any] = ContextVar("holter_prefect_call", default=None)


def current_call() -> Any:
    """The innermost call of this context, or None."""
    return _call.get()


@contextmanager
def entered(call: Any) -> Iterator[None]:
    mark = _call.set(call)
    try:
        yield
    finally:
        _call.reset(mark)


class FlowRunContext:
    """`FlowRunContext.get()`: `flow`, `flow_run`, `parameters`, `task_runner`; None outside of a flow."""

    def __init__(self, call: Any) -> None:
        self.flow = call.what
        self.flow_run = call.run
        self.parameters = call.parameters
        self.task_runner = call.what.task_runner
        self.start_time = call.run.start_time

    @classmethod
    def get(cls) -> FlowRunContext | None:
        call = current_call()
        call = call and call.flow_call
        return cls(call) if call else None


class TaskRunContext:
    """`TaskRunContext.get()`: `task`, `task_run`, `parameters`; None outside of a task."""

    def __init__(self, call: Any) -> None:
        self.task = call.what
        self.task_run = call.run
        self.parameters = call.parameters
        self.start_time = call.run.start_time
        self.task_run_id = call.run.id
        self.flow_run_id = call.flow_call.run.id if call.flow_call else None

    @classmethod
    def get(cls) -> TaskRunContext | None:
        call = current_call()
        return cls(call) if call is not None and call.what.kind == "task" else None


def get_run_context() -> FlowRunContext | TaskRunContext:
    """The task's context, or else the flow's. Raises MissingContextError outside of both."""
    found = TaskRunContext.get() or FlowRunContext.get()
    if found is None:
        raise MissingContextError("No run context available. You are not in a flow or task run context.")
    return found


@contextmanager
def tags(*new_tags: str) -> Iterator[set[str]]:
    """Tags for every run that starts inside; gives all that hold here."""
    mark = recorder.tagged(new_tags)
    try:
        yield set(recorder._tags.get())
    finally:
        recorder.untag(mark)
