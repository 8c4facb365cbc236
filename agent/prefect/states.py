"""States: how a run stands, as hooks, `return_state=True` and futures show it."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Any
from uuid import uuid4

from .exceptions import CancelledRun, CrashedRun, FailedRun, MissingResult, PausedRun, UnfinishedRun


class StateType(str, Enum):  # noqa: UP042 - prints as StateType.COMPLETED
    """What a state's name comes down to."""

    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    CRASHED = "CRASHED"
    PAUSED = "PAUSED"
    CANCELLING = "CANCELLING"


FINAL = (StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED)
_ERRORS = {"FAILED": FailedRun, "CRASHED": CrashedRun, "CANCELLED": CancelledRun, "PAUSED": PausedRun}


class StateDetails:
    """`flow_run_id`, `task_run_id`, `cache_key`; any other detail is None."""

    def __init__(self, **details: Any) -> None:
        self.__dict__.update(details)

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class State:
    """`type`, `name` (often the same word), `message`, `data` (result or exception), `timestamp`, `id`."""

    def __init__(
        self,
        type: StateType | str,  # noqa: A002 - Prefect's name
        name: str | None = None,
        message: str | None = None,
        data: Any = None,
        timestamp: datetime | None = None,
        state_details: Any = None,
        **_: Any,
    ) -> None:
        self.type = StateType(type)
        self.name = name or self.type.value.capitalize()
        self.message = message
        self.data = data
        self.timestamp = timestamp or datetime.now(UTC)
        self.state_details = state_details or StateDetails()
        self.id = uuid4()

    def is_scheduled(self) -> bool:
        return self.type is StateType.SCHEDULED

    def is_pending(self) -> bool:
        return self.type is StateType.PENDING

    def is_running(self) -> bool:
        return self.type is StateType.RUNNING

    def is_completed(self) -> bool:
        return self.type is StateType.COMPLETED

    def is_failed(self) -> bool:
        return self.type is StateType.FAILED

    def is_crashed(self) -> bool:
        return self.type is StateType.CRASHED

    def is_cancelled(self) -> bool:
        return self.type is StateType.CANCELLED

    def is_cancelling(self) -> bool:
        return self.type is StateType.CANCELLING

    def is_paused(self) -> bool:
        return self.type is StateType.PAUSED

    def is_final(self) -> bool:
        return self.type in FINAL

    def result(self, raise_on_failure: bool = True, **_: Any) -> Any:
        """What the run returned. A failed run's exception is raised, or given where `raise_on_failure` is false."""
        if self.is_completed():
            return self.data
        error = exception_of(self)
        if raise_on_failure:
            raise error
        return error

    async def aresult(self, raise_on_failure: bool = True, **_: Any) -> Any:
        return self.result(raise_on_failure)

    def __str__(self) -> str:
        said = [repr(self.message)] if self.message else []
        if self.type.value.capitalize() != self.name:
            said.append(f"type={self.type.value}")
        return f"{self.name}({', '.join(said)})"

    def __repr__(self) -> str:
        shown = f"message={self.message!r}, type={self.type.value}, result={self.data!r}"
        return f"{self.name}({shown})"


def exception_of(state: State) -> BaseException:
    """What to raise for a state that is no success. For one of several states that of the first that failed."""
    if isinstance(state.data, BaseException):
        return state.data
    if isinstance(state.data, State):
        return exception_of(state.data)
    if is_states(state.data):
        return next(exception_of(each) for each in state.data if not each.is_completed())
    if not state.is_final() and not state.is_paused():
        return UnfinishedRun(f"Run is in {state.type.value} state, its result is not available.")
    kind = _ERRORS[state.type.value]
    said = state.data if isinstance(state.data, str) else state.message
    return kind(said or f"Run {state.name.lower()}.")


def get_state_exception(state: State) -> BaseException:
    if state.is_completed():
        raise ValueError(f"Expected failed or crashed state got {state!r}.")
    return exception_of(state)


def raise_state_exception(state: State) -> None:
    if state.is_failed() or state.is_crashed() or state.is_cancelled():
        raise exception_of(state)


def get_state_result(state: State, raise_on_failure: bool = True) -> Any:
    return state.result(raise_on_failure)


def is_states(value: Any) -> bool:
    """Whether it is a list, tuple or set of nothing but states."""
    return isinstance(value, list | tuple | set) and bool(value) and all(isinstance(v, State) for v in value)


def aggregate(states: Any) -> State:
    """One state for several: COMPLETED if all of them are."""
    bad = [each for each in states if not each.is_completed()]
    if not bad:
        return Completed(message="All states completed.", data=states)
    return Failed(message=f"{len(bad)}/{len(states)} states failed.", data=states)


def Completed(cls: Any = State, **fields: Any) -> State:  # noqa: N802 - Prefect's names, as all below
    return _made(cls, StateType.COMPLETED, fields)


def Failed(cls: Any = State, **fields: Any) -> State:  # noqa: N802
    return _made(cls, StateType.FAILED, fields)


def Crashed(cls: Any = State, **fields: Any) -> State:  # noqa: N802
    return _made(cls, StateType.CRASHED, fields)


def Cancelled(cls: Any = State, **fields: Any) -> State:  # noqa: N802
    return _made(cls, StateType.CANCELLED, fields)


def Cancelling(cls: Any = State, **fields: Any) -> State:  # noqa: N802
    return _made(cls, StateType.CANCELLING, fields)


def Running(cls: Any = State, **fields: Any) -> State:  # noqa: N802
    return _made(cls, StateType.RUNNING, fields)


def Retrying(cls: Any = State, **fields: Any) -> State:  # noqa: N802
    return _made(cls, StateType.RUNNING, {"name": "Retrying", **fields})


def Pending(cls: Any = State, **fields: Any) -> State:  # noqa: N802
    return _made(cls, StateType.PENDING, fields)


def Scheduled(cls: Any = State, scheduled_time: datetime | None = None, **fields: Any) -> State:  # noqa: N802
    details = StateDetails(scheduled_time=scheduled_time or datetime.now(UTC))
    return _made(cls, StateType.SCHEDULED, {"state_details": details, **fields})


def AwaitingRetry(cls: Any = State, **fields: Any) -> State:  # noqa: N802
    return Scheduled(cls, **{"name": "AwaitingRetry", **fields})


def Late(cls: Any = State, **fields: Any) -> State:  # noqa: N802
    return Scheduled(cls, **{"name": "Late", **fields})


def Paused(cls: Any = State, **fields: Any) -> State:  # noqa: N802
    return _made(cls, StateType.PAUSED, fields)


def Suspended(cls: Any = State, **fields: Any) -> State:  # noqa: N802
    return _made(cls, StateType.PAUSED, {"name": "Suspended", **fields})


def _made(cls: Any, kind: StateType, fields: dict[str, Any]) -> State:
    return cls(type=kind, **fields)  # type: ignore[no-any-return]


__all__ = [
    "AwaitingRetry",
    "Cancelled",
    "Cancelling",
    "Completed",
    "Crashed",
    "Failed",
    "Late",
    "MissingResult",
    "Paused",
    "Pending",
    "Retrying",
    "Running",
    "Scheduled",
    "State",
    "StateDetails",
    "StateType",
    "Suspended",
    "aggregate",
    "exception_of",
    "get_state_exception",
    "get_state_result",
    "is_states",
    "raise_state_exception",
]
