"""One thing that `holter doctor` found."""

from __future__ import annotations

from attrs import frozen

from ...backends.records import Json


@frozen
class Finding:
    """`level` is `ok`, `warn` or `fail`; `todo` is what to type or change, "" where nothing is to be done."""

    level: str
    about: str
    detail: str
    todo: str = ""

    def to_json(self) -> Json:
        return {"level": self.level, "about": self.about, "detail": self.detail, "todo": self.todo}
