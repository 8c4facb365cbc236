"""What services take and how they read it, where Apprise leaves that to its caller. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from json import dumps

from attrs import frozen

from ...backends.records import Json
from .fitting import TITLE, fitted, printable, title_of


def _as_is(text: str) -> str:
    return text


@frozen
class Dialect:
    """`room` for title and body together and `heading` for the title alone, both measured by `size`; `title` and `body`
    make plain text of what the service would take for markup or for a mention."""

    room: int
    size: Callable[[str], int] = len
    title: Callable[[str], str] = _as_is
    body: Callable[[str], str] = _as_is
    heading: int = 4 * TITLE

    def texts(self, alert: Json) -> tuple[str, str]:
        """The alert's title and body as the service is to get them, within its room."""
        most = TITLE
        while self.size(title := self.title(title_of(alert, most))) > self.heading:
            most -= 10
        room = self.room - self.size(title) - 2  # some put both into one text

        def size(text: str) -> int:
            return self.size(self.body(text))

        return title, self.body(fitted(printable(alert["body"]), room, size))


def dialect_of(scheme: str, room: int) -> Dialect:
    """The dialect of a service by the scheme of its Apprise URL; of an unknown one, which may read markup: a text in
    `room` characters that calls nobody, and of which Apprise may escape any."""
    unknown = Dialect(room, lambda text: len(text) + _marks(text), uncalled, uncalled)
    return _DIALECTS.get(scheme.lower(), unknown)


def is_known(scheme: str) -> bool:
    return scheme.lower() in _DIALECTS


def uncalled(text: str) -> str:
    """The text in which an invisible space parts what chats take for a call of everybody, or of somebody."""
    return re.sub(_CALLS, "\\g<0>\u200b", text)


_CALLS = r"@(?=everyone|here|(?:all|channel|room|team)\b|\*\*)|<(?=[@#!:/]|users/)"


def _unmarked(text: str) -> str:
    """A title as it is written: Apprise escapes none."""
    return re.sub(r"([\\*_~`|\[\]])", r"\\\1", text)


def _discord_title(text: str) -> str:
    return uncalled(_unmarked(text))


def _discord_body(text: str) -> str:
    """A block of code: it shows a log as it is."""
    return "```\n" + re.sub("`(?=`)", "`\u200b", uncalled(text)) + "\n```"


def _teams_body(text: str) -> str:
    """A card begins a new line only after two line feeds."""
    return text.replace("\n", "\n\n")


def _escaped(text: str) -> int:
    return len(html.escape(text))


def _marks(text: str) -> int:
    return len(re.findall(r"[!-/:-@\[-`{-~]", text))


def _as_json(text: str) -> int:
    """Bytes, with a backslash before each character of markup."""
    return len(dumps(text)) + 2 * _marks(text)


def _encoded(text: str) -> int:
    return len(text.encode())


_TEAMS = Dialect(20_000, _as_json, _unmarked, _teams_body)  # of a message's 28 KB; the card around it is 1 KB
_PLAIN = Dialect(32_768)
_NTFY = Dialect(4096, _encoded)  # more becomes an attachment
_DIALECTS = {
    "slack": Dialect(3000, _escaped, uncalled, uncalled, TITLE),  # of a section, and of a header
    "discord": Dialect(2000, title=_discord_title, body=_discord_body),
    "workflows": _TEAMS,
    "workflow": _TEAMS,
    "msteams": _TEAMS,
    "ntfy": _NTFY,
    "ntfys": _NTFY,
    **dict.fromkeys(("mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms"), _PLAIN),
}
