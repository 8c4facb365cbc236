"""The values of a flow's parameters, brought to the types that its signature names, by pydantic's lax rules.

Plain types are done here; for all others pydantic is asked, where it is installed. Without it they pass as they are.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from datetime import date, datetime
from typing import Any, Union

from .exceptions import ParameterTypeError

PLAIN = (int, float, str, bool, datetime, date, type(None))
TRUE, FALSE = ("true", "t", "yes", "y", "on", "1"), ("false", "f", "no", "n", "off", "0")


class _Wrong(ValueError):
    """A value does not fit; the text says why."""


def coerced(fn: Callable[..., Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters as the annotations of `fn` want them. Raises ParameterTypeError, naming each that does not fit."""
    wrong: list[str] = []
    hints = _hints(fn)
    out = dict(parameters)
    for name, value in parameters.items():
        if name in hints:
            try:
                out[name] = _fit(value, hints[name])
            except _Wrong as error:
                wrong.append(f" - {name}: {error}")
            except ValueError as error:
                wrong += _of_pydantic(name, error)
    if wrong:
        raise ParameterTypeError("Flow run received invalid parameters:\n" + "\n".join(wrong))
    return out


def _hints(fn: Any) -> dict[str, Any]:
    import inspect

    fn = getattr(fn, "__func__", fn)
    try:
        hints = typing.get_type_hints(fn, include_extras=True)
    except (NameError, TypeError, AttributeError):  # annotations of names that are not there at run time
        hints = {
            name: hint
            for name, hint in getattr(fn, "__annotations__", {}).items()
            if not isinstance(hint, str)
        }
    many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    stars = {name for name, each in inspect.signature(fn).parameters.items() if each.kind in many}
    return {name: hint for name, hint in hints.items() if name != "return" and name not in stars}


def _fit(value: Any, hint: Any) -> Any:
    if hint is Any or isinstance(hint, typing.TypeVar):
        return value
    if hint in PLAIN:
        return _plain(value, hint)
    if typing.get_origin(hint) in (Union, types.UnionType) and all(h in PLAIN for h in typing.get_args(hint)):
        return _one_of(value, typing.get_args(hint))
    try:
        from pydantic import ConfigDict, TypeAdapter
        from pydantic.errors import PydanticUserError
    except ImportError:
        return value
    try:
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # a model has a configuration of its own
        adapter = TypeAdapter(hint)
    return adapter.validate_python(value)


def _one_of(value: Any, hints: tuple[Any, ...]) -> Any:
    if type(value) in hints:
        return value
    errors = []
    for hint in hints:
        try:
            return _plain(value, hint)
        except _Wrong as error:
            errors.append(str(error))
    raise _Wrong("; ".join(errors))


def _plain(value: Any, hint: Any) -> Any:
    if hint is None or hint is type(None):
        if value is not None:
            raise _Wrong("Input should be None")
        return None
    if isinstance(value, hint) and not (isinstance(value, bool) and hint in (int, float)):
        return value
    return _CONVERSIONS[hint](value)


def _int(value: Any) -> int:
    if isinstance(value, bool | float) and float(value).is_integer():
        return int(value)
    if isinstance(value, str):
        try:
            return int(value.strip())
        except ValueError:
            raise _Wrong("Input should be a valid integer, unable to parse string as an integer") from None
    more = ", got a number with a fractional part" if isinstance(value, float) else ""
    raise _Wrong(f"Input should be a valid integer{more}")


def _float(value: Any) -> float:
    if isinstance(value, int | str):
        try:
            return float(value)
        except ValueError:
            raise _Wrong("Input should be a valid number, unable to parse string as a number") from None
    raise _Wrong("Input should be a valid number")


def _str(value: Any) -> str:
    raise _Wrong("Input should be a valid string")


def _bool(value: Any) -> bool:
    shown = value.lower() if isinstance(value, str) else str(int(value)) if value in (0, 1) else ""
    if shown in TRUE or shown in FALSE:
        return shown in TRUE
    raise _Wrong("Input should be a valid boolean")


def _datetime(value: Any) -> datetime:
    if isinstance(value, int | float) and not isinstance(value, bool):
        from datetime import UTC

        return datetime.fromtimestamp(value, UTC)
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _Wrong("Input should be a valid datetime") from None


def _date(value: Any) -> date:
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise _Wrong("Input should be a valid date") from None


_CONVERSIONS: dict[Any, Callable[[Any], Any]] = {
    int: _int,
    float: _float,
    str: _str,
    bool: _bool,
    datetime: _datetime,
    date: _date,
}


def _of_pydantic(name: str, error: ValueError) -> list[str]:
    errors = getattr(error, "errors", None)
    if errors is None:
        return [f" - {name}: {error}"]
    return [f" - {'.'.join([name, *map(str, each['loc'])])}: {each['msg']}" for each in errors()]
