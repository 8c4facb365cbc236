"""What flows and tasks have in common: a function with options, hooks and a name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import update_wrapper
from importlib import import_module
from typing import Any, ClassVar, Self

from . import driving
from .calls import Call
from .refusals import refuse

# Whether what is pickled now goes to a process that has this one's `__main__`.
names_reach: ContextVar[bool] = ContextVar("holter_prefect_names_reach", default=False)


class Decorated:
    """A function under `@flow` or `@task`: `fn`, `name`, `description`, `tags`, `version`, `retries`, ..."""

    kind: ClassVar[str]
    known: ClassVar[frozenset[str]]
    hook_names: ClassVar[tuple[str, ...]]
    servers: ClassVar[dict[str, str]]  # methods that need a server, and what to use instead
    validates = False
    task_runner: Any = None

    def __init__(self, fn: Callable[..., Any], **options: Any) -> None:
        for name in options:
            if name not in self.known:
                raise TypeError(f"{self.kind}() got an unexpected keyword argument {name!r}")
        if not callable(fn):
            raise TypeError(f"'fn' must be callable; @{self.kind} was put on {fn!r}")
        self.options = options
        self.name: str = options.get("name") or self._default_name(fn)
        self.version = None if options.get("version") is None else str(options["version"])
        self.description = options.get("description") or inspect.getdoc(fn)
        self.tags: set[str] = set(options.get("tags") or ())
        self.timeout_seconds = options.get("timeout_seconds") or None
        self.log_prints = options.get("log_prints")
        self.persist_result = options.get("persist_result")
        self.run_name = options.get(f"{self.kind}_run_name")
        self.retry_condition = options.get("retry_condition_fn")
        self._hooks = {name: list(options.get(name) or ()) for name in self.hook_names}
        for name, hooks in self._hooks.items():
            if not all(map(callable, hooks)):
                raise TypeError(f"Expected callables in {name!r}")
        update_wrapper(self, fn, updated=())
        self._take(fn)

    def _take(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.signature = inspect.signature(fn)
        self.shape, self.recorded = driving.recorded(self, fn)
        self.isasync = self.shape in ("coroutine", "async generator")
        self.isgenerator = "generator" in self.shape

    @staticmethod
    def _default_name(fn: Any) -> str:
        return getattr(fn, "__name__", type(fn).__name__)

    def options_for_holter(self) -> dict[str, Any]:
        """What Holter's own decorator is told: it does the retrying, the timing and the naming."""
        given = self.options
        told: dict[str, Any] = {
            "name": self.name,
            "version": self.version,
            "tags": sorted(self.tags),
            "timeout_seconds": self.timeout_seconds,
            "retries": self.retries,
            "retry_delay_seconds": given.get("retry_delay_seconds"),
            "retry_jitter_factor": given.get("retry_jitter_factor"),
        }
        if self.retries:
            told["retry_condition_fn"] = _may_retry
        if self.run_name:
            told[f"{self.kind}_run_name"] = _run_name
        return {name: value for name, value in told.items() if value}

    @property
    def retries(self) -> int:
        given = self.options.get("retries")
        return self.default_retries() if given is None else int(given)

    def default_retries(self) -> int:
        return 0

    def hooks(self, name: str) -> list[Callable[..., Any]]:
        return self._hooks.get(name, [])

    def transaction_of(self, call: Call) -> Any:
        return None

    # --- calling ---

    def call(self, args: Any, kwargs: Any, wait_for: Any = None) -> Call:
        return Call(self, args, kwargs, wait_for)

    def call_with(self, arguments: dict[str, Any], wait_for: Any = None) -> Call:
        given = self.signature.bind_partial()
        given.arguments.update(arguments)
        return self.call(given.args, given.kwargs, wait_for)

    def __call__(self, *args: Any, return_state: bool = False, wait_for: Any = None, **kwargs: Any) -> Any:
        return driving.run(self.call(args, kwargs, wait_for), return_state)

    def state_of(self, call: Call) -> Any:
        return driving.state_of(call)

    def __get__(self, instance: object, owner: Any = None) -> Self:
        if instance is None:
            return self
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound._take(self.fn.__get__(instance, owner))
        return bound

    def with_options(self, **changes: Any) -> Self:
        """The same function with some options changed; hooks that were added by decorator stay."""
        return type(self)(self.fn, **{**self.options, **self._hooks, **changes})

    def __getattr__(self, name: str) -> Any:
        servers = type(self).servers
        if name in servers:
            return lambda *args, **kwargs: refuse(f"{self.kind}.{name}()", servers[name])
        if name.endswith("_hooks") and name[: -len("_hooks")] in type(self).hook_names:
            return self._hooks[name[: -len("_hooks")]]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _add_hook(self, name: str, fn: Callable[..., Any]) -> Callable[..., Any]:
        self._hooks[name].append(fn)
        return fn

    def on_completion(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """Decorates a hook that is called once a run has completed, with this object, the run and its state."""
        return self._add_hook("on_completion", fn)

    def on_failure(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        return self._add_hook("on_failure", fn)

    def on_running(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        return self._add_hook("on_running", fn)

    def __reduce__(self) -> Any:
        """By name, where another process finds it under its name; else by what it was made from."""
        module = self.__module__
        found: Any = sys.modules.get(module)
        for part in self.__qualname__.split("."):
            found = getattr(found, part, None)
        if found is self and (module != "__main__" or names_reach.get()):
            return _named, (module, self.__qualname__)
        return _remade, (type(self), self.fn, {**self.options, **self._hooks})

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


def _named(module: str, name: str) -> Any:
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _remade(kind: Any, fn: Any, options: dict[str, Any]) -> Any:
    return kind(fn, **options)


def _may_retry(error: BaseException) -> bool:
    from . import context

    return bool(context.current_call().may_retry(error))


def _run_name() -> str:
    from . import context

    return str(context.current_call().run.name)


def decorate(kind: Any, fn: Any, options: dict[str, Any]) -> Any:
    """With or without parentheses, on functions, static methods and class methods."""
    if fn is None:
        return lambda given: decorate(kind, given, options)
    if isinstance(fn, staticmethod | classmethod):
        return type(fn)(decorate(kind, fn.__func__, options))
    return kind(fn, **options)
