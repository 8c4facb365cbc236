"""Flow runs and task runs as hooks, loggers and `prefect.runtime` see them. `id` is the run's id in Holter's record."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from .states import Pending, State, StateType

__all__ = ["FlowRun", "State", "StateType", "TaskRun", "made_up_name"]

_ADJECTIVES = (
    "amber bold brisk calm clever daring eager fuzzy gentle happy "
    "jolly keen lively mellow nimble quiet rapid sunny swift wise"
).split()
_ANIMALS = (
    "badger beaver bison crane dolphin falcon ferret fox gecko heron "
    "ibex lemur lynx marmot otter owl panda raven seal wombat"
).split()


def made_up_name() -> str:
    """Two words for a flow run that nobody named, such as `swift-otter`."""
    return f"{random.choice(_ADJECTIVES)}-{random.choice(_ANIMALS)}"


class _Run:
    """`id`, `name`, `state`, `tags`, `parameters`, `run_count`, `start_time`, `end_time`, `total_run_time`."""

    def __init__(self, name: str, **fields: Any) -> None:
        self.id: str = ""
        self.name = name
        self.state: State = Pending()
        self.tags: list[str] = []
        self.parameters: dict[str, Any] = {}
        self.run_count = 0
        self.created = self.expected_start_time = datetime.now(UTC)
        self.start_time: datetime | None = None
        self.end_time: datetime | None = None
        self.flow_run_id: str | None = None
        self.__dict__.update(fields)

    @property
    def state_name(self) -> str:
        return self.state.name

    @property
    def state_type(self) -> StateType:
        return self.state.type

    @property
    def total_run_time(self) -> timedelta:
        if self.start_time is None:
            return timedelta(0)
        return (self.end_time or datetime.now(UTC)) - self.start_time

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, name={self.name!r}, state={self.state})"


class FlowRun(_Run):
    """A run of a flow: also `flow_name`, `flow_version`, `parent_flow_run_id`; `deployment_id` is None."""

    flow_name = ""
    flow_version: str | None = None
    parent_flow_run_id: str | None = None
    root_flow_run_id: str | None = None
    deployment_id = None
    deployment_version = None
    work_queue_name = None
    job_variables: Any = None

    @classmethod
    def model_construct(cls, **fields: Any) -> FlowRun:
        return cls(fields.pop("name", ""), **fields)


class TaskRun(_Run):
    """A run of a task: also `task_name`, `flow_run_id`, `cache_key`."""

    task_name = ""
    task_key = ""
    cache_key: str | None = None

    @classmethod
    def model_construct(cls, **fields: Any) -> TaskRun:
        return cls(fields.pop("name", ""), **fields)
