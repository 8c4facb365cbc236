"""What Python knows of something that can be called, read from its code: `inspect` would cost 13 ms of import."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_STARRED, _GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x04, 0x20, 0x80, 0x200  # flags of a code object


def innermost(fn: Any) -> Any:
    """The function whose code runs: under `functools.partial`, or a callable object's `__call__`."""
    fn = _without_partials(fn)
    if not hasattr(fn, "__code__") and callable(fn) and not hasattr(fn, "__func__"):
        call = type(fn).__call__
        return call if hasattr(call, "__code__") else fn
    return getattr(fn, "__func__", fn)


def name_of(fn: Any) -> str:
    """The function's name, or that of a callable object's class."""
    fn = _without_partials(fn)
    return getattr(fn, "__name__", type(fn).__name__)


def _without_partials(fn: Any) -> Any:
    while hasattr(fn, "func") and hasattr(fn, "keywords"):
        fn = fn.func
    return fn


def shape_of(inner: Any) -> str:
    """How the function (the innermost one) runs: `plain`, `coroutine`, `generator` or `async generator`."""
    flags = getattr(getattr(inner, "__code__", None), "co_flags", 0)
    if flags & _COROUTINE:
        return "coroutine"
    if flags & _ASYNC_GENERATOR:
        return "async generator"
    return "generator" if flags & _GENERATOR else "plain"


def is_plain_function(value: Any) -> bool:
    return callable(value) and shape_of(innermost(value)) == "plain"


def parameters_of(fn: Any) -> tuple[tuple[str, ...], dict[str, Any], str]:
    """Names of the positional parameters of a call, by name the values of those that it may leave out, and the name of
    those that are beyond."""
    inner = innermost(fn)
    code = getattr(inner, "__code__", None)
    if code is None:
        return (), {}, "args"
    names = code.co_varnames[: code.co_argcount]
    positional = inner.__defaults__ or ()
    values = dict(zip(names[len(names) - len(positional) :], positional)) | (inner.__kwdefaults__ or {})
    if _without_partials(fn) is not inner:  # a bound method or a callable object: `self` is given already
        names = names[1:]
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    while hasattr(fn, "func") and hasattr(fn, "keywords"):
        args, keywords, fn = fn.args + args, fn.keywords | keywords, fn.func
    values |= dict(zip(names, args)) | keywords
    rest = code.co_varnames[code.co_argcount + code.co_kwonlyargcount] if code.co_flags & _STARRED else "args"
    return names[len(args) :], values, rest
