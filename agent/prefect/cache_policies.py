"""What makes two calls of a task the same: recipes for the key under which a result is kept."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from copy import copy
from hashlib import sha256
from typing import Any


class CachePolicy:
    """`compute_key` gives the key of a call, or None: not cached. Policies add up with `+`; `- "name"` leaves an input
    out. `configure` sets `key_storage` (a folder), `lock_manager` and `isolation_level`."""

    key_storage: Any = None
    lock_manager: Any = None
    isolation_level: Any = None

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
    ) -> str | None:
        raise NotImplementedError

    def configure(
        self, key_storage: Any = None, lock_manager: Any = None, isolation_level: Any = None
    ) -> CachePolicy:
        new = copy(self)
        given = {"key_storage": key_storage, "lock_manager": lock_manager, "isolation_level": isolation_level}
        new.__dict__.update((name, value) for name, value in given.items() if value is not None)
        return new

    @classmethod
    def from_cache_key_fn(cls, cache_key_fn: Callable[..., str | None]) -> CachePolicy:
        return CacheKeyFnPolicy(cache_key_fn)

    def __add__(self, other: CachePolicy) -> CachePolicy:
        if isinstance(self, _None) or isinstance(other, _None):
            return self if isinstance(other, _None) else other
        return CompoundCachePolicy([self, other])

    def __sub__(self, name: str) -> CachePolicy:
        return CompoundCachePolicy([self, Inputs(exclude=[name])])


class CacheKeyFnPolicy(CachePolicy):
    """The key is what a function of the task's context and its parameters says."""

    def __init__(self, cache_key_fn: Callable[..., str | None]) -> None:
        self.cache_key_fn = cache_key_fn

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
    ) -> str | None:
        return self.cache_key_fn(task_ctx, inputs)


class CompoundCachePolicy(CachePolicy):
    """All of several."""

    def __init__(self, policies: list[CachePolicy]) -> None:
        self.policies = policies
        for each in policies:
            self.__dict__.update(
                {
                    k: v
                    for k, v in each.__dict__.items()
                    if k in ("key_storage", "lock_manager", "isolation_level")
                }
            )

    def __sub__(self, name: str) -> CachePolicy:
        new = copy(self)
        new.policies = [
            each - name if isinstance(each, Inputs | CompoundCachePolicy) else each for each in self.policies
        ]
        return new

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
    ) -> str | None:
        keys = [each.compute_key(task_ctx, inputs, flow_parameters) for each in self.policies]
        return hash_of(*keys) if any(keys) else None


class _None(CachePolicy):
    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
    ) -> str | None:
        return None


class TaskSource(CachePolicy):
    """The text of the task's function."""

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
    ) -> str | None:
        fn = getattr(task_ctx.task.fn, "__func__", task_ctx.task.fn)
        try:
            return hash_of(inspect.getsource(fn))
        except (OSError, TypeError):
            return hash_of(fn.__code__.co_code.hex(), repr(fn.__code__.co_consts))


class FlowParameters(CachePolicy):
    """What the flow around it was called with."""

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
    ) -> str | None:
        return hash_of(flow_parameters) if flow_parameters else None


class RunId(CachePolicy):
    """The run of the flow around it."""

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
    ) -> str | None:
        return task_ctx.flow_run_id or None


class Inputs(CachePolicy):
    """What the task is called with."""

    def __init__(self, exclude: list[str] | None = None) -> None:
        self.exclude = exclude or []

    def __sub__(self, name: str) -> CachePolicy:
        new = copy(self)
        new.exclude = [*self.exclude, name]
        return new

    def compute_key(
        self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
    ) -> str | None:
        return hash_of({name: inputs[name] for name in sorted(inputs) if name not in self.exclude})


INPUTS = Inputs()
NONE = NO_CACHE = _None()
TASK_SOURCE = TaskSource()
FLOW_PARAMETERS = FlowParameters()
RUN_ID = RunId()
DEFAULT = INPUTS + TASK_SOURCE + RUN_ID


def hash_of(*values: Any) -> str:
    """The same text for equal values, in any process. Raises TypeError or PicklingError for what has no such text."""
    return sha256(json.dumps(values, sort_keys=True, default=_told).encode()).hexdigest()


def _told(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(hash_of(each) for each in value)
    import pickle  # only to write: what is hashed is never read back

    return [type(value).__qualname__, sha256(pickle.dumps(value, 4)).hexdigest()]
