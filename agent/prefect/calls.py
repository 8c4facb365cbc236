"""One call of a flow or task: its run, its parameters, and how it went, in Prefect's terms. Holter's own driver does
the running, with retries, time limit and record; this says what there is to tell about it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from ...backends.errors import RunTimeout
from .. import recorder
from ..tape import harmless
from . import context, states
from .coercion import coerced
from .exceptions import FailedRun, ParameterBindError, UpstreamTaskError
from .frames import of_the_script
from .futures import resolve_futures_to_states
from .loggers import prints_logged
from .parameters import bound, resolve, wait_for
from .runs import FlowRun, TaskRun, made_up_name
from .states import State
from .transactions import Transaction

HOOKS = {
    "COMPLETED": "on_completion",
    "FAILED": "on_failure",
    "CRASHED": "on_crashed",
    "CANCELLED": "on_cancellation",
}
YES = ("1", "true", "yes", "on")


class Declared(FailedRun):
    """A function returned a state that is no success."""

    def __init__(self, state: State) -> None:
        super().__init__(state.message or str(state))
        self.state = state


Declared.__qualname__ = "FailedRun"  # as the record names it


class NotReady(Exception):
    """Something that the task waits for did not complete, so it does not start."""


class Call:
    """`what` was called inside the call `outer`; `flow_call` is the innermost flow's; `refused` an error of its
    arguments, which is raised where the function would have been called."""

    def __init__(self, what: Any, args: Any, kwargs: Any, upstream: Any = None) -> None:
        self.what, self.args, self.kwargs, self.upstream = what, args, kwargs, upstream
        self.outer = outer = context.current_call()
        self.flow_call: Call | None = self if what.kind == "flow" else outer and outer.flow_call
        self.parameters: dict[str, Any] = {}
        self.run: Any = self._make_run()
        self.refused: Exception | None = None
        self.declared: State | None = None
        self.cached = False
        self.value: Any = None
        self.transaction: Transaction | None = None
        self.task_runner: Any = None
        self.log_prints: bool = _first(
            what.log_prints,
            outer and outer.log_prints,
            os.environ.get("PREFECT_LOGGING_LOG_PRINTS", "").lower() in YES,
        )

    def _make_run(self) -> FlowRun | TaskRun:
        tags = sorted({*recorder._tags.get(), *self.what.tags})
        if self.what.kind == "flow":
            parent = self.outer and self.outer.flow_call
            root = parent and (parent.run.root_flow_run_id or parent.run.id)
            above = {"parent_flow_run_id": parent and parent.run.id, "root_flow_run_id": root}
            return FlowRun(
                made_up_name(), tags=tags, flow_name=self.what.name, flow_version=self.what.version, **above
            )
        inside = self.flow_call and self.flow_call.run.id
        name = f"{self.what.name}-{os.urandom(2).hex()[:3]}" if inside else self.what.name
        return TaskRun(
            name, tags=tags, task_name=self.what.name, task_key=self.what.task_key, flow_run_id=inside
        )

    # --- before ---

    def prepare(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that the function gets. Raises NotReady, and ParameterBindError."""
        given = bound(self.what.signature, self.what.name, self.args, self.kwargs)
        try:
            wait_for(self.upstream)
            found = {name: resolve(value) for name, value in given.arguments.items()}
            if self.what.validates:
                found = coerced(self.what.fn, found)
            given.arguments.update(found)
            self.parameters = self.run.parameters = dict(given.arguments)
            self._name_run()
            return given.args, given.kwargs
        except UpstreamTaskError as error:
            self._enter(states.Pending(name="NotReady", message=str(error)))
            raise NotReady from error
        except Exception as error:  # noqa: BLE001 - the run is recorded as failed with it
            self.refused = error
            return self.args, self.kwargs

    def _name_run(self) -> None:
        template = self.what.run_name
        if callable(template):
            self.run.name = str(template())
        elif template:
            self.run.name = template.format(**self.parameters)

    def inside(self) -> ExitStack:
        """The context in which the function runs."""
        stack = ExitStack()
        stack.enter_context(context.entered(self))
        if self.log_prints:
            stack.enter_context(prints_logged())
        return stack

    def transact(self) -> Transaction | None:
        """The transaction that a task's run is; None where there is nothing to commit or to roll back."""
        if self.what.kind == "task" and self.refused is None:
            self.transaction = self.what.transaction_of(self)
        return self.transaction

    # --- what the body says ---

    def begin(self) -> bool:
        """An attempt begins, unless its result is cached: then False."""
        if self.refused is not None:
            raise self.refused
        now = recorder.current()
        if now is not None:
            self.run.id = now.id
        self.run.run_count += 1
        if self.run.run_count == 1:
            self.run.start_time = datetime.now(UTC)
            if self.transaction is not None and self.transaction.is_committed():
                self.cached, self.value = True, self.transaction.read()
                return False
        again = self.run.run_count > 1 and self.what.kind == "task"
        self._enter(states.Retrying() if again else states.Running())
        self._call_hooks("on_running")
        return True

    def took(self, value: Any) -> Any:
        """What the function returned, as its caller gets it. Raises Declared where that says that it failed."""
        if hasattr(value, "gi_frame"):  # a generator is no result: what it yields is
            value = list(value)
        if self.what.kind == "flow":
            value = resolve_futures_to_states(value)
        found = self._told_by(value)
        if found is not None and not found.is_completed():
            raise Declared(found)
        self.declared = found
        if found is value and self.what.kind == "flow":
            value = found.data if found is not None else None
        return value

    def _told_by(self, value: Any) -> State | None:
        """The state that a returned value is, or that returned states come to; None for any other value."""
        if isinstance(value, State):
            made_here = value.state_details.flow_run_id is None and value.state_details.task_run_id is None
            return value if made_here or self.what.kind == "task" else states.aggregate([value])
        return states.aggregate(value) if states.is_states(value) else None

    def may_retry(self, error: BaseException) -> bool:
        condition = self.what.retry_condition
        if error is self.refused or condition is None:
            return error is not self.refused
        return bool(condition(self.what, self.run, self._state_of(error)))

    # --- after ---

    def stage(self, value: Any) -> Any:
        """The function is through: its transaction has something to commit."""
        if self.transaction is not None and not self.cached:
            self.transaction.stage(value, self.what.hooks("on_rollback"), self.what.hooks("on_commit"))
        return value

    def succeeded(self, value: Any) -> None:
        self.value = value
        if self.cached:
            self._enter(states.Completed(name="Cached", data=value))
        elif self.declared is not None:
            self._enter(self.declared)
        else:
            self._enter(states.Completed(data=value))

    def failed(self, error: BaseException) -> None:
        if not isinstance(error, NotReady):
            self._enter(self._state_of(error))

    @contextmanager
    def settled(self) -> Iterator[None]:
        """What the function submits inside is waited for; where it fails, taken back as far as it has not begun."""
        failed = True
        try:
            yield
            failed = False
        finally:
            if self.task_runner is not None:
                self.task_runner.close(cancel=failed)

    def close(self) -> None:
        """The run has ended: the hooks are called."""
        self.run.end_time = datetime.now(UTC)
        if hook := HOOKS.get(self.run.state.type.value):
            self._call_hooks(hook)

    def answer(self, error: BaseException | None, return_state: bool) -> Any:
        """What the caller gets."""
        if isinstance(error, ParameterBindError) or (error is not None and not isinstance(error, Exception)):
            raise error.with_traceback(of_the_script(error.__traceback__))
        if return_state:
            return self.run.state
        if isinstance(error, NotReady):
            return None
        if isinstance(error, Declared):
            if self.what.kind == "task":
                return error.state
            raise states.exception_of(error.state)
        if error is not None:
            raise error.with_traceback(of_the_script(error.__traceback__))
        return self.value

    def pool(self) -> Any:
        """The task runner of this flow's run, opened on first use."""
        if self.task_runner is None:
            self.task_runner = self.what.task_runner.duplicate()
        return self.task_runner

    def _state_of(self, error: BaseException) -> State:
        if isinstance(error, Declared):
            return error.state
        kind = self.what.kind.capitalize()
        if isinstance(error, RunTimeout) and getattr(error, "run_id", None) == self.run.id:
            return states.Failed(
                name="TimedOut",
                message=f"{kind} run exceeded timeout of {float(self.what.timeout_seconds)} second(s)",
                data=error,
            )
        colon = ":" if kind == "Flow" else ""
        if isinstance(error, Exception):
            return states.Failed(
                message=f"{kind} run encountered an exception{colon} {type(error).__name__}: {error}",
                data=error,
            )
        return states.Crashed(message=f"Execution was interrupted by {type(error).__name__}.", data=error)

    def _enter(self, state: State) -> None:
        details = {
            f"{self.what.kind}_run_id": self.run.id,
            "flow_run_id": self.flow_call and self.flow_call.run.id,
        }
        state.state_details.__dict__.update(details)
        self.run.state = state

    def _call_hooks(self, name: str) -> None:
        """In the run's context, where they can use its logger; that a flow begins, hooks hear outside of it."""
        if not (hooks := self.what.hooks(name)):
            return
        outside = name == "on_running" and self.what.kind == "flow"
        with context.entered(self.outer) if outside else self.inside():
            for hook in hooks:
                _hook(hook, self.what, self.run, self.run.state)


@harmless
def _hook(hook: Any, what: Any, run: Any, state: State) -> None:
    result = hook(what, run, state)
    if hasattr(result, "__await__"):
        finish(result)


def finish(awaitable: Any) -> Any:
    """Await it from plain code, in a loop of its own; in a thread of its own where this one has a loop."""
    import asyncio

    async def wait() -> Any:
        return await awaitable

    if "asyncio" in sys.modules and asyncio._get_running_loop() is not None:
        from concurrent.futures import ThreadPoolExecutor
        from contextvars import copy_context

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(copy_context().run, asyncio.run, wait()).result()
    return asyncio.run(wait())


def _first(*values: Any) -> bool:
    """The first that is said at all."""
    return next((bool(value) for value in values if value is not None and value != ""), False)
