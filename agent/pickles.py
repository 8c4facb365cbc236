"""Calls and answers as bytes: by name where the other process can look it up, by value where it cannot.

The pickling is ours and not the executor's, so that what cannot be sent is one failed task with a hint, in whatever
executor; some break as a whole where a call cannot be unpacked, or where an error cannot.
"""

from __future__ import annotations

import pickle
from io import BytesIO
from typing import Any

from ..backends.errors import FarError, NotPicklable
from .failure import describe

MAIN = b"__main__"


def pack(what: Any, of: str, by_value: bool) -> bytes:
    """`what` as bytes. `by_value`: what is defined in `__main__` is sent whole, for a process that has another one.

    Raises NotPicklable where neither pickle nor cloudpickle can send it; `of` names it in the message.
    """
    try:
        data = _by_name(what)
    except Exception as error:  # noqa: BLE001 - objects refuse with whatever error they like
        try:
            return _by_value(what)
        except Exception as worse:  # noqa: BLE001
            refused = error if isinstance(worse, ModuleNotFoundError) else worse
            raise NotPicklable(f"{of} cannot be sent to another process: {refused}") from refused
    if by_value and MAIN in data:
        try:
            return _by_value(what)
        except ModuleNotFoundError:  # an executor that needs it brings it along
            return data
    return data


def unpack(data: bytes, of: str) -> Any:
    """What was packed. Raises NotPicklable where this process lacks what it names."""
    try:
        return pickle.loads(data)  # noqa: S301 - sent by our own process, through its own executor
    except Exception as error:
        message = f"{of} arrived in a process that cannot unpack it: {error}"
        raise NotPicklable(
            message, hint="define it in a module that this process can import, or install cloudpickle"
        ) from error


def pack_error(error: BaseException, of: str, by_value: bool) -> bytes:
    """An error with its traceback as text. One that does not survive the way becomes a FarError that tells of it."""
    trace = str(describe(error).get("traceback") or "")
    data = _survives((error, trace), of, by_value)
    if data is None:
        told = FarError(f"{type(error).__qualname__}: {error}", type_name=type(error).__qualname__)
        data = pack((told, trace), of, by_value=False)
    return data


def _survives(what: tuple[BaseException, str], of: str, by_value: bool) -> bytes | None:
    try:
        data = pack(what, of, by_value)
        return data if type(pickle.loads(data)[0]) is type(what[0]) else None  # noqa: S301 - packed on the line above
    except Exception:  # noqa: BLE001 - whatever an error's own methods do when it is taken apart and put together
        return None


class FarTraceback(Exception):
    """The cause of an error that came from another process: its traceback there, as text."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def _by_name(what: Any) -> bytes:
    from multiprocessing.reduction import ForkingPickler  # knows locks, pipes and shared memory

    file = BytesIO()
    ForkingPickler(file, pickle.HIGHEST_PROTOCOL).dump(what)
    return file.getvalue()


def _by_value(what: Any) -> bytes:
    import cloudpickle

    data: bytes = cloudpickle.dumps(what)
    return data
