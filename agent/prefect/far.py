"""Task runners whose tasks run in other processes: the call is prepared here, made there, and answers with its state.

The task's run is recorded there, as a part of the flow's run. What is set around it here does not go along:
`prefect.runtime.flow_run` and the transactions of the flow are this process's own.
"""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextvars import copy_context
from importlib import import_module
from typing import Any

from ...backends.errors import HolterError
from ..errands import Errand
from ..pools import takes_names
from . import states
from .calls import NotReady
from .decorated import names_reach
from .futures import PrefectFuture
from .states import State
from .task_runners import MANY, TaskRunner


class FarTaskRunner(TaskRunner):
    """Threads here wait for what each call needs, and then for its answer from the executor that `_open` gives."""

    _waiting: ThreadPoolExecutor | None = None

    def start(self, call: Any) -> PrefectFuture[Any]:
        if self._executor is None or self._waiting is None:
            self._executor = self._open()
            self._waiting = ThreadPoolExecutor(MANY, "holter-prefect")
        executor = self._executor
        inner: Future[State] = self._waiting.submit(copy_context().run, made_there, call, executor)
        return PrefectFuture(call, inner)

    def close(self, *, cancel: bool = False) -> None:
        if self._waiting is not None:
            self._waiting.shutdown(wait=True, cancel_futures=cancel)
            self._waiting = None
        if self._executor is not None:
            self._executor.shutdown(wait=True)
            self._executor = None


class ProcessPoolTaskRunner(FarTaskRunner):
    """Fresh processes of this host, at most `max_workers` (default: one for each core)."""

    def __init__(self, max_workers: int | None = None, **_: Any) -> None:
        super().__init__()
        self._max_workers = max_workers

    def duplicate(self) -> ProcessPoolTaskRunner:
        return type(self)(self._max_workers)

    def _open(self) -> Executor:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        return ProcessPoolExecutor(self._max_workers, mp_context=get_context("spawn"))


class DaskTaskRunner(FarTaskRunner):
    """A Dask cluster: the one at `address`, or one that is started for the flow's run with `cluster_kwargs`."""

    def __init__(
        self,
        cluster: Any = None,
        address: str | None = None,
        cluster_class: Any = None,
        cluster_kwargs: dict[str, Any] | None = None,
        client_kwargs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        super().__init__()
        self._given = (cluster, address, cluster_class, cluster_kwargs, client_kwargs)
        self._opened: list[Any] = []

    def duplicate(self) -> DaskTaskRunner:
        return type(self)(*self._given)

    def _open(self) -> Executor:
        cluster, address, kind, options, client_options = self._given
        try:
            distributed = import_module("distributed")
        except ImportError:
            raise HolterError("DaskTaskRunner needs Dask", hint="pip install distributed") from None
        if cluster is None and address is None:
            cluster = (kind or distributed.LocalCluster)(**(options or {}))
            self._opened.append(cluster)
        client = distributed.Client(cluster or address, **(client_options or {}))
        self._opened.append(client)
        return client.get_executor()  # type: ignore[no-any-return]

    def close(self, *, cancel: bool = False) -> None:
        super().close(cancel=cancel)
        while self._opened:
            self._opened.pop().close()


def made_there(call: Any, executor: Executor) -> State:
    """The state of a call that `executor` carries out in another process. Never raises an Exception."""
    try:
        with call.inside():
            args, kwargs = call.prepare()
        if call.refused is not None:
            raise call.refused
        by_name = takes_names(executor)
        mark = names_reach.set(by_name)
        try:
            what = (call.what, args, kwargs, call.log_prints)
            errand = Errand(arrive, what, {}, copy_context(), by_value=not by_name).packed()
        finally:
            names_reach.reset(mark)
        call.run.id, call.run.state = executor.submit(errand).result().open()
    except NotReady:
        pass
    except Exception as error:  # noqa: BLE001 - a process that died, or what cannot be sent: the future tells
        call.run.state = states.Crashed(message=f"{type(error).__name__}: {error}", data=error)
    return call.run.state  # type: ignore[no-any-return]


def arrive(what: Any, args: Any, kwargs: Any, log_prints: bool) -> tuple[str, State]:
    """In the other process: the call, and how it ended."""
    call = what.call(args, kwargs)
    call.log_prints, call.flow_call = log_prints, None
    state = what.state_of(call)
    return call.run.id, state
