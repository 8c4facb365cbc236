"""Options and arguments that several verbs share."""

from __future__ import annotations

from typing import Any

import click


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic only in recent versions of click
    """`90s`, `15m`, `24h`, `7d`, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from ...backends.schedule import parse_duration

        return parse_duration(value)


class AnyCase(click.Choice[str]):
    """One of a few words, in any case; the word as it is spelled here."""

    def __init__(self, *words: str) -> None:
        super().__init__(words, case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Whoever says it in another word is told ours."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            from difflib import get_close_matches

            said, words = str(value).lower(), [str(each) for each in self.choices]
            near = [_SAME.get(said, "").lower(), *get_close_matches(said, map(str.lower, words), n=1)]
            meant = next((word for word in words for each in near if word.lower() == each), None)
            hint = f"; did you mean {meant}?" if meant else ""
            self.fail(f"{value!r} is not one of {', '.join(words)}{hint}", param, ctx)


_SAME = {
    **dict.fromkeys(("finished", "done", "ok", "success", "succeeded", "complete"), "COMPLETED"),
    **dict.fromkeys(("error", "broken", "failure"), "FAILED"),
    **dict.fromkeys(("killed", "died", "dead"), "CRASHED"),
    **dict.fromkeys(("canceled", "stopped", "aborted"), "CANCELLED"),
    **dict.fromkeys(("timeout", "timedout"), "TIMED_OUT"),
}


DURATION = Duration()
RUN_HELP = "RUN is an id, the beginning of one, `last`, or `last:JOB`."

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")
run_argument = click.argument("run", metavar="RUN")
