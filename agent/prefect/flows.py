"""`@flow` with Prefect's options."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .decorated import Decorated, decorate
from .refusals import CRON, PLACE, refuse
from .runs import FlowRun
from .states import State
from .task_runners import TaskRunner, ThreadPoolTaskRunner

__all__ = ["Flow", "FlowRun", "State", "deploy", "flow", "serve"]


class Flow(Decorated):
    """A function whose calls are recorded as flow runs. Parameters are brought to the types that it names, unless
    `validate_parameters=False`. `task_runner` runs what it submits."""

    kind = "flow"
    known = frozenset(
        "name version flow_run_name retries retry_delay_seconds task_runner description timeout_seconds "
        "validate_parameters persist_result result_storage result_serializer cache_result_in_memory log_prints "
        "on_completion on_failure on_cancellation on_crashed on_running".split()
    )
    hook_names = ("on_completion", "on_failure", "on_cancellation", "on_crashed", "on_running")
    servers = {  # noqa: RUF012 - declared as a ClassVar by the base
        "serve": CRON,
        "deploy": CRON,
        "to_deployment": CRON,
        "ato_deployment": CRON,
        "from_source": PLACE,
        "afrom_source": PLACE,
        "visualize": "`holter show RUN` draws a run that was",
    }

    def __init__(self, fn: Callable[..., Any], **options: Any) -> None:
        runner = options.get("task_runner") or ThreadPoolTaskRunner()
        if isinstance(runner, type):
            runner = runner()
        if not isinstance(runner, TaskRunner):
            raise TypeError(f"task_runner is a TaskRunner, not {runner!r}")
        self.task_runner = runner
        self.validates = options.get("validate_parameters") is not False
        super().__init__(fn, **options)

    @staticmethod
    def _default_name(fn: Any) -> str:
        return Decorated._default_name(fn).replace("_", "-")

    @classmethod
    def from_source(cls, *args: Any, **kwargs: Any) -> Any:
        refuse("flow.from_source()", PLACE)

    def default_retries(self) -> int:
        return int(os.environ.get("PREFECT_FLOWS_DEFAULT_RETRIES") or 0)

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters as the signature's types want them. Raises ParameterTypeError."""
        from .coercion import coerced

        return coerced(self.fn, parameters)

    def on_cancellation(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        return self._add_hook("on_cancellation", fn)

    def on_crashed(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        return self._add_hook("on_crashed", fn)


class _FlowDecorator:
    """`@flow`, `@flow(...)`, and `flow.from_source`, which is refused."""

    def __call__(self, fn: Any = None, /, **options: Any) -> Any:
        return decorate(Flow, fn, options)

    from_source = Flow.from_source


flow = _FlowDecorator()


def serve(*args: Any, **kwargs: Any) -> None:
    refuse("serve()", CRON)


def deploy(*args: Any, **kwargs: Any) -> None:
    refuse("deploy()", CRON)
