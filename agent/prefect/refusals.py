"""What means nothing without Prefect's server: it is named in one line that says what to use instead."""

from __future__ import annotations

import os
import sys

from ...backends.errors import PrefectOnly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, NoReturn

CRON = "start the script from cron or a systemd timer; `holter checks add` says when it is expected"
BLOCKS = "read it from the environment, os.environ, which `holter run --env-file` can fill"
STORE = "`holter runs --json`, `holter show` and `holter logs` read what was recorded"
PLACE = "run the script where it should run, under `holter run`"
ALERTS = "write it under `alerts:` in holter.yaml"
PAUSE = "ask with input(), or make two scripts of it"
ADVICE = {  # the longest name that fits counts
    "prefect.automations": ALERTS,
    "prefect.blocks": BLOCKS,
    "prefect.client": STORE,
    "prefect.deployments": CRON,
    "prefect.docker": PLACE,
    "prefect.events": ALERTS,
    "prefect.filesystems": "read and write files with open(), or with the storage's own package",
    "prefect.flow_runs": PAUSE,
    "prefect.infrastructure": PLACE,
    "prefect.input": PAUSE,
    "prefect.runner": CRON,
    "prefect.schedules": CRON,
    "prefect.server": STORE,
    "prefect.task_worker": "a task that was delayed runs in the process that delayed it",
    "prefect.worker": PLACE,
    "prefect.workers": PLACE,
}


def advice(module: str) -> str | None:
    """What to use instead of a module of Prefect; None for one that is not known."""
    while module:
        if module in ADVICE:
            return ADVICE[module]
        module = module.rpartition(".")[0]
    return None


def refuse(what: str, instead: str) -> NoReturn:
    """Raise PrefectOnly; where nobody catches it, it is one line and no traceback."""
    if sys.excepthook is not _say:
        _before.append(sys.excepthook)
        sys.excepthook = _say
    raise PrefectOnly(f"{what} means nothing without a Prefect server", hint=instead)


class _Refusing(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        refuse(f"{cls.__name__}.{name}", cls._instead)


class Refused(metaclass=_Refusing):
    """Stands for a class or function that needs a server: it may be imported, named and inherited from, not used."""

    _instead = ""

    def __new__(cls, *args: object, **kwargs: object) -> Refused:
        refuse(cls.__name__, cls._instead)


def stand_in(name: str, module: str, instead: str = "") -> Any:
    return _Refusing(name, (Refused,), {"__module__": module, "_instead": instead or advice(module) or STORE})


_before: list[Any] = []


def _say(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not isinstance(error, PrefectOnly):
        return _before[-1](kind, error, trace)  # type: ignore[no-any-return]
    place = ""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith(_PACKAGE) and not file.startswith("<"):
            place = f"{os.path.basename(file)}:{trace.tb_lineno}: "
        trace = trace.tb_next
    sys.stderr.write(f"holter: {place}{error}\n")


_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
