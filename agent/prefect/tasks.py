"""`@task` with Prefect's options."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from typing import Any

from . import context
from .cache_policies import DEFAULT, NO_CACHE, CachePolicy, hash_of
from .calls import YES, Call
from .decorated import Decorated, decorate
from .futures import PrefectFuture, PrefectFutureList
from .parameters import bound, rows
from .refusals import ADVICE
from .results import ResultStore
from .runs import TaskRun
from .states import State
from .task_runners import TaskRunner, outside
from .transactions import Transaction

__all__ = ["State", "Task", "TaskRun", "exponential_backoff", "task", "task_input_hash"]


class Task(Decorated):
    """A function whose calls are recorded as steps of a flow, or by themselves.

    A result is kept, and found again, where `cache_policy`, `cache_key_fn` or `persist_result` asks for it."""

    kind = "task"
    known = frozenset(
        "name description tags version cache_policy cache_key_fn cache_expiration task_run_name retries "
        "retry_delay_seconds retry_jitter_factor persist_result result_storage result_storage_key result_serializer "
        "cache_result_in_memory timeout_seconds log_prints refresh_cache on_completion on_failure on_running "
        "on_rollback on_commit retry_condition_fn viz_return_value asset_deps".split()
    )
    hook_names = ("on_completion", "on_failure", "on_running", "on_rollback", "on_commit")
    servers = {"serve": ADVICE["prefect.task_worker"]}  # noqa: RUF012 - declared as a ClassVar by the base

    def __init__(self, fn: Callable[..., Any], **options: Any) -> None:
        super().__init__(fn, **options)
        source = f"{getattr(fn, '__module__', '')}.{getattr(fn, '__qualname__', self.name)}"
        self.task_key = f"{self.name}-{sha256(source.encode()).hexdigest()[:8]}"
        self.cache_expiration: timedelta | None = options.get("cache_expiration")
        self.cache_policy: CachePolicy = self._policy()

    def _policy(self) -> CachePolicy:
        if (fn := self.options.get("cache_key_fn")) is not None:
            return CachePolicy.from_cache_key_fn(fn)
        if "cache_policy" in self.options:
            return self.options["cache_policy"] or NO_CACHE
        return NO_CACHE if self.options.get("result_storage_key") else DEFAULT

    def default_retries(self) -> int:
        environ = os.environ
        return int(
            environ.get("PREFECT_TASKS_DEFAULT_RETRIES") or environ.get("PREFECT_TASK_DEFAULT_RETRIES") or 0
        )

    # --- caching ---

    def _persists(self, call: Call) -> bool:
        if self.persist_result is not None:
            return bool(self.persist_result)
        asked = ("cache_policy", "cache_key_fn", "result_storage", "result_storage_key", "result_serializer")
        if any(self.options.get(name) is not None for name in asked):
            return True
        if call.flow_call is not None and call.flow_call.what.persist_result is not None:
            return bool(call.flow_call.what.persist_result)
        return os.environ.get("PREFECT_RESULTS_PERSIST_BY_DEFAULT", "").lower() in YES

    def transaction_of(self, call: Call) -> Transaction:
        policy = self.cache_policy
        refresh = self.options.get("refresh_cache")
        if refresh is None:
            refresh = os.environ.get("PREFECT_TASKS_REFRESH_CACHE", "").lower() in YES
        return Transaction(
            self._key(call) if self._persists(call) else None,
            store=ResultStore(policy.lock_manager, policy.key_storage or self.options.get("result_storage")),
            isolation_level=policy.isolation_level,
            overwrite=bool(refresh),
            expires_in=self.cache_expiration,
        )

    def _key(self, call: Call) -> str | None:
        around = call.flow_call.parameters if call.flow_call else {}
        try:
            return self.cache_policy.compute_key(context.TaskRunContext(call), call.parameters, around)
        except Exception as error:  # noqa: BLE001 - the user's function, or an argument that has no hash
            from .loggers import logger_of

            logger_of("task", call.run).warning("No cache key, so nothing is cached: %s", error)
            return None

    # --- elsewhere ---

    def _runner(self) -> TaskRunner:
        call = context.current_call()
        return call.flow_call.pool() if call is not None and call.flow_call is not None else outside()

    def submit(self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any) -> Any:
        """Start it in the flow's task runner; gives a future, or its state once it has ended."""
        future = self._runner().start(self.call(args, kwargs, wait_for))
        return future.inner.result() if return_state else future

    def map(
        self,
        *args: Any,
        return_state: bool = False,
        wait_for: Any = None,
        deferred: bool = False,
        **kwargs: Any,
    ) -> Any:
        """One call for each row of the iterables among the arguments; all others go to each."""
        given = bound(self.signature, self.name, args, kwargs, defaults=False).arguments
        runner = outside() if deferred else self._runner()
        futures = [runner.start(self.call_with(row, wait_for)) for row in rows(self.signature, given)]
        if return_state:
            return [future.inner.result() for future in futures]
        return PrefectFutureList(futures)

    def delay(self, *args: Any, **kwargs: Any) -> PrefectFuture[Any]:
        """Start it in a thread of this process, which waits for it at its end: there is no worker elsewhere."""
        return outside().start(self.call(args, kwargs))

    def apply_async(
        self, args: Any = (), kwargs: dict[str, Any] | None = None, wait_for: Any = None, **_: Any
    ) -> PrefectFuture[Any]:
        return outside().start(self.call(args, kwargs or {}, wait_for))

    def on_rollback(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Decorates a hook that takes the transaction, and undoes what the task did."""
        return self._add_hook("on_rollback", fn)

    def on_commit(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        return self._add_hook("on_commit", fn)


def task(fn: Any = None, /, **options: Any) -> Any:
    """`@task` or `@task(...)`."""
    return decorate(Task, fn, options)


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Delays that double: for `retry_delay_seconds`."""
    return lambda retries: [backoff_factor * max(0, 2**number) for number in range(retries)]


def task_input_hash(context: Any, arguments: dict[str, Any]) -> str | None:
    """A `cache_key_fn`: the same task with the same arguments is the same."""
    return hash_of(context.task.task_key, context.task.fn.__code__.co_code.hex(), arguments)
