"""What readers get of a line and of a journal, and which lines a search for words finds: the same in every store."""

from __future__ import annotations

import re

from .records import Json, Log, Process


def log_of(seq: int, run_id: str, event: Json) -> Log:
    """A log event as the line that readers get."""
    return Log(
        seq,
        run_id,
        event["at"],
        str(event.get("level") or "INFO"),
        str(event.get("stream") or "log"),
        str(event.get("text") or ""),
    )


def process_of(journal: str, offset: int, record: Json) -> Process:
    """A journal's record of the fold as readers get it."""
    return Process(
        journal=journal,
        offset=offset,
        header=record.get("header", {}),
        beat_at=record.get("beat_at"),
        beats=record.get("beats") or 0,
        received_at=record.get("received_at", 0.0),
        closed_at=record.get("closed_at"),
        damaged=record.get("damaged", 0),
        samples=tuple(
            {"at": at, "rss_bytes": rss, "cpu_seconds": cpu} for at, rss, cpu in record.get("samples", ())
        ),
        moved_to=record.get("moved_to"),
    )


def words_of(text: str) -> set[str]:
    """The words of a text as the search sees them: letters and digits, without regard to case."""
    return set(re.findall(r"[^\W_]+", text.lower()))


def has_words(words: set[str], text: str) -> bool:
    """Whether all of these (from `words_of`) are words of the text."""
    lower = text.lower()
    return all(word in lower for word in words) and words <= words_of(text)
