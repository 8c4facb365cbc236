"""What a script can say about the run it is in: progress, artifacts, tags, and which run it is."""

from __future__ import annotations

from . import recorder
from .active import ActiveRun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, TypeVar, overload

    T = TypeVar("T")
else:

    def overload(signature: Any) -> Any:  # typing costs 3 ms to import
        return signature


def current_run() -> ActiveRun | None:
    """The innermost run of this context, or None. A thread without one belongs to the only open flow."""
    return recorder.current()


@overload
def progress(done: float, total: float | None = None, text: str | None = None) -> None: ...
@overload
def progress(done: Iterable[T], total: float | None = None, text: str | None = None) -> Iterator[T]: ...
def progress(done: Any, total: float | None = None, text: str | None = None) -> Any:
    """Say how far the run is: `progress(3, 10)`, or `for x in progress(items):` (total: their number, if known).

    Does nothing outside a run. Written at most five times a second.
    """
    if isinstance(done, int | float):
        run = recorder.current()
        return run.progress(done, total, text) if run else None
    return _each(done, total, text)


def _each(items: Any, total: float | None, text: str | None) -> Iterator[Any]:
    if total is None and hasattr(items, "__len__"):
        total = len(items)
    for number, item in enumerate(items, 1):
        yield item
        progress(number, total, text)


def artifact(
    key: str,
    *,
    markdown: str | None = None,
    table: list[Any] | None = None,
    link: str | None = None,
    image: str | None = None,
    description: str | None = None,
) -> None:
    """Attach something to look at to the current run: exactly one of `markdown` (text), `table` (list of dicts or of
    lists), `link` (URL) or `image` (path of a PNG, JPEG, GIF, SVG or WebP file, kept in HOLTER_HOME, at most 10 MB).

    A later artifact of the same key replaces the earlier one. Does nothing outside a run. Raises TypeError unless
    exactly one kind is given, OSError where the image cannot be read, ValueError where it is too large.
    """
    given = {"markdown": markdown, "table": table, "link": link, "image": image}
    kinds = [kind for kind, value in given.items() if value is not None]
    if len(kinds) != 1:
        raise TypeError("artifact() takes exactly one of markdown, table, link and image")
    data: Any = given[kinds[0]]
    run = recorder.current()
    if run is not None and image is not None:
        from .images import keep, load

        data = keep(image, load(image))
    if run is not None and data is not None:
        run.artifact(key, kinds[0], data, description)


class tags:
    """`with tags("nightly", "eu"):` adds tags to every run that starts inside, also in tasks and subflows."""

    __slots__ = ("_mark", "_names")

    def __init__(self, *names: str) -> None:
        self._names = names
        self._mark: Any = None

    def __enter__(self) -> None:
        self._mark = recorder.tagged(self._names)

    def __exit__(self, *error: object) -> None:
        recorder.untag(self._mark)
