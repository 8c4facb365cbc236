"""`create_markdown_artifact` and the like: artifacts of the current run, shown by `holter show`."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from ..context import artifact, progress
from .refusals import STORE, stand_in
from .soon import either

Artifact = stand_in("Artifact", __name__, STORE)
_progress: dict[UUID, str | None] = {}


def create_markdown_artifact(markdown: str, key: str | None = None, description: str | None = None) -> Any:
    return _made(key, "markdown", {"markdown": markdown}, description)


def create_table_artifact(table: Any, key: str | None = None, description: str | None = None) -> Any:
    """`table` is a list of dicts, a list of lists, or a dict of lists."""
    if isinstance(table, dict):
        table = [dict(zip(table, row)) for row in zip(*table.values())]
    return _made(key, "table", {"table": table}, description)


def create_link_artifact(
    link: str, link_text: str | None = None, key: str | None = None, description: str | None = None
) -> Any:
    return _made(key, "link", {"link": link}, description or link_text)


def create_image_artifact(image_url: str, key: str | None = None, description: str | None = None) -> Any:
    """The image stays where it is: its address is recorded, as a link."""
    return _made(key, "image", {"link": image_url}, description)


def create_progress_artifact(progress: float, key: str | None = None, description: str | None = None) -> Any:
    """`progress` in percent. It is the run's progress, which `holter top` shows."""
    made = uuid4()
    _progress[made] = description
    _say(made, progress)
    return either(made)


def update_progress_artifact(
    artifact_id: UUID, progress: float, key: str | None = None, description: str | None = None
) -> Any:
    _progress[artifact_id] = description or _progress.get(artifact_id)
    _say(artifact_id, progress)
    return either(artifact_id)


def _say(made: UUID, percent: float) -> None:
    progress(percent, 100, _progress[made])


def _made(key: str | None, kind: str, what: dict[str, Any], description: str | None) -> Any:
    made = uuid4()
    artifact(key or f"{kind}-{made.hex[:6]}", description=description, **what)
    return either(made)


async def acreate_markdown_artifact(
    markdown: str, key: str | None = None, description: str | None = None
) -> UUID:
    return await _value(create_markdown_artifact(markdown, key, description))


async def acreate_table_artifact(table: Any, key: str | None = None, description: str | None = None) -> UUID:
    return await _value(create_table_artifact(table, key, description))


async def acreate_link_artifact(
    link: str, link_text: str | None = None, key: str | None = None, description: str | None = None
) -> UUID:
    return await _value(create_link_artifact(link, link_text, key, description))


async def acreate_image_artifact(
    image_url: str, key: str | None = None, description: str | None = None
) -> UUID:
    return await _value(create_image_artifact(image_url, key, description))


async def acreate_progress_artifact(
    progress: float, key: str | None = None, description: str | None = None
) -> UUID:
    return await _value(create_progress_artifact(progress, key, description))


async def aupdate_progress_artifact(
    artifact_id: UUID, progress: float, key: str | None = None, description: str | None = None
) -> UUID:
    return await _value(update_progress_artifact(artifact_id, progress, key, description))


async def _value(made: Any) -> UUID:
    return await made  # type: ignore[no-any-return]
