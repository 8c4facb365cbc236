"""What services take and how they read it, where Apprise leaves that to its caller. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from json import dumps

from attrs import frozen

from ...backends.records import Json
from .fitting import fitted, printable, title_of


def _as_is(text: str) -> str:
    return text


@frozen
class Dialect:
    """`room` for title and body together, measured by `size`; `title` and `body` make plain text of what the service
    would take for markup or for a mention."""

    room: int
    size: Callable[[str], int] = len
    title: Callable[[str], str] = _as_is
    body: Callable[[str], str] = _as_is

    def texts(self, alert: Json) -> tuple[str, str]:
        """The alert's title and body as the service is to get them, within its room."""
        title = self.title(title_of(alert))
        room = self.room - self.size(title) - 2  # some put both into one text

        def size(text: str) -> int:
            return self.size(self.body(text))

        return title, self.body(fitted(printable(alert["body"]), room, size))


def dialect_of(scheme: str) -> Dialect | None:
    """The dialect of a service by the scheme of its Apprise URL, where it is known."""
    return _DIALECTS.get(scheme.lower())


def uncalled(text: str) -> str:
    """The text in which an invisible space parts what Discord takes for a mention."""
    return re.sub(r"@(?=everyone|here)|<(?=[@#!:/])", "\\g<0>\u200b", text)


def _discord_title(text: str) -> str:
    return uncalled(re.sub(r"([\\*_~`|>\[\]])", r"\\\1", text).replace("\\>", ">"))


def _discord_body(text: str) -> str:
    """A block of code: it shows a log as it is."""
    return "```\n" + uncalled(text).replace("```", "`\u200b``") + "\n```"


def _teams_body(text: str) -> str:
    """A card begins a new line only after two line feeds."""
    return text.replace("\n", "\n\n")


def _escaped(text: str) -> int:
    return len(html.escape(text))


def _as_json(text: str) -> int:
    """Bytes; a backslash before each character of markup is to come."""
    return len(dumps(text)) + len(re.findall(r"[^\w\s]", text, re.ASCII))


def _encoded(text: str) -> int:
    return len(text.encode())


_TEAMS = Dialect(20_000, _as_json, body=_teams_body)  # of a message's 28 KB; the card around it is 1 KB
_NTFY = Dialect(4096, _encoded)  # more becomes an attachment
_DIALECTS = {
    "slack": Dialect(3000, _escaped),  # what a section takes; of an attachment 8,000 are shown
    "discord": Dialect(2000, title=_discord_title, body=_discord_body),
    "workflows": _TEAMS,
    "workflow": _TEAMS,
    "msteams": _TEAMS,
    "ntfy": _NTFY,
    "ntfys": _NTFY,
}
