"""A store in which every field that a client can write holds the same hostile text."""

from __future__ import annotations

import time
from typing import Any

from holter.agent.watchdog import outbox
from holter.agent.watchdog.incidents import Board, Incident
from holter.backends.base import Backend
from holter.testing.tapes import Tape


def write(store: Backend, text: str, run: str = "r1", artifact: tuple[Any, ...] = ()) -> None:
    """One failed root run with a step, lines, artifacts, progress, slots, attempts and a verdict; an incident, a snooze
    and a live run beside it. `artifact` are more (type, data)."""
    now = time.time()
    error = {"type": text, "message": text, "traceback": text, "fingerprint": text}
    about = {"packages": {text: text}, "environ": [text]}
    for name, ends in ((run, True), (f"{run}live", False)):
        tape = Tape(
            f"j{name}", project=text, host=text, user=text, python=text, argv=[text], cwd=text, at=now
        )
        start = {"tags": [text], "parameters": {text: text}, "code": {"file": text, "git_commit": text}}
        cause = {"by": text, "alert": text, "run_id": text, "rerun_of": text}
        facts = {"argv": [text], "cwd": text, "cause": cause}
        tape.start(
            name, name=text, run_name=text, **start, **facts, check={"schedule": text, "timezone": text}
        )
        tape.start(f"{name}.1", name=text, kind="task", run_name=text)
        for level in ("INFO", "ERROR", text):
            tape.say("log", run=name, level=level, stream=text, text=text)
        tape.say("retry", run=f"{name}.1", attempt=1, delay=1.0, reason=text, error=error)
        for kind, data in (
            ("markdown", text),
            ("table", [{text: text}, [text], text]),
            ("link", text),
            *artifact,
        ):
            tape.say("artifact", run=name, key=f"{kind}{text}", type=kind, description=text, data=data)
        tape.say(
            "artifact", run=name, key=text, type=text, description=text, data={"file": f"artifacts/{text}"}
        )
        tape.say(
            "artifact", run=name, key="image", type="image", data={"file": f"artifacts/{text}", "name": text}
        )
        tape.say("progress", run=name, done=1, total=2, text=text)
        tape.say("slot", run=name, limit=text, occupy=1, waited=0.1)
        if ends:
            tape.end(f"{name}.1", "FAILED", error=error, reason=text)
            tape.end(name, "FAILED", error=error, result=text, signal=text, reason=text, about=about)
        tape.send(store)
    Board(store).settle(run, [Incident("late", f"{run}:{text}", text, now, text, text, text)], now)
    outbox.snooze(store, text, now + 3600, by=text)
    outbox.snooze(store, None, now + 3600, by=text, host=text)
