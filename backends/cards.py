"""A run as a card of HTML, for notebooks: escaped, self-contained, readable in light and dark."""

from __future__ import annotations

from html import escape
from typing import Any

_COLOURS = {"COMPLETED": "#1a7f37", "FAILED": "#cf222e", "TIMED_OUT": "#cf222e", "CRASHED": "#cf222e"}
_BOX = "font-family:sans-serif;border-left:4px solid {};padding:.3em .8em;margin:.3em 0"
_TEXT_LIMIT = 2000  # characters of an error


def card(run: Any, seconds: float | None = None) -> str:
    """The card of a `Run`, or of a run of this process (`current_run()`), which took `seconds` so far."""
    colour = _COLOURS.get(run.state, "#57606a")
    took = "" if seconds is None else f" in {seconds:.3g} s"
    name = escape(run.run_name or run.name)
    attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
    tags = "".join(f" <code>{escape(tag)}</code>" for tag in run.tags)
    parts = [
        f"<b>{escape(run.kind)} {name}</b> <span style='color:{colour}'>{escape(run.state)}</span>{took}{attempt}{tags}"
    ]
    if run.error:
        told = f"{run.error.get('type', '')}: {run.error.get('message', '')}"[:_TEXT_LIMIT]
        parts.append(f"<pre style='margin:.3em 0;white-space:pre-wrap'>{escape(told)}</pre>")
    parts.append(f"<small><code>holter show {escape(run.id)}</code></small>")
    return f"<div style='{_BOX.format(colour)}'>{'<br>'.join(parts)}</div>"
