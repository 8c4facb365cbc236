"""`holter demo`: the product in a minute, on real work, against a throw-away home.

Scripts of `examples/` run as processes of their own, with a watchdog beside them and a webhook for its alerts. One is
killed half-way, one waits for a slot that another holds. All that is told was seen: what does not happen is an error.
Not guaranteed: that nothing is left behind by a demo that is itself killed with SIGKILL.
"""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from ...backends.queries import RunQuery
from ...backends.records import Run
from ..slots import Place, holders, waiters
from .demo_stage import Missing, Screen, Stage, Webhook, ending_at_sigterm, share

PACKAGE = Path(__file__).absolute().parents[2]
EXAMPLES = PACKAGE / "examples"
LIMIT = "symbols.db"  # what index_symbols.py holds
HALF_WAY = 0.4  # the store is told twice a second: by then it is about a half


def demo() -> int:
    """Run the demo, print it, and return 0; in about ten seconds. Raises Missing for what it had to show and could not.

    Its folder is kept and named, so that one can look around. After Ctrl-C or SIGTERM it is removed.
    """
    folder = Path(mkdtemp(prefix="holter-demo-"))
    screen = Screen()
    screen.say(
        "Real scripts, a watchdog beside them in a process of its own, and a webhook for its alerts.\n"
    )
    try:
        with ending_at_sigterm(), Webhook() as webhook, Stage(folder, webhook.url, screen) as stage:
            with screen:
                facts = play(stage, webhook)
            stage.show("runs")
            stage.show("report")
    except Missing as missing:
        raise Missing(f"the demo failed: {missing}", hint=f"what its processes said is in {folder}") from None
    except BaseException:
        rmtree(folder, ignore_errors=True)
        raise
    screen.say("\nSeen:\n" + "\n".join(f"  {fact}" for fact in facts) + f"\n\n{where_to_look(folder)}")
    return 0


def play(stage: Stage, webhook: Webhook) -> list[str]:
    """The story. Returns what it showed, a line each; raises Missing for the first thing that it could not."""
    tell = stage.screen.tell
    watchdog = stage.start("watch", "-m", "holter", "watch")
    stage.until("the watchdog began to watch", lambda: stage.backend.list("pulse"))
    tell(f"the watchdog is watching (pid {watchdog.pid})")

    table = stage.folder / "line_counts.csv"
    counting = stage.start("count", f"{EXAMPLES}/count_lines.py", str(table))
    backup = stage.start("backup", f"{EXAMPLES}/nightly_backup.py")
    first = stage.start("index", f"{EXAMPLES}/index_symbols.py")
    tell("count_lines.py, nightly_backup.py and index_symbols.py started, on Python's standard library")
    stage.until("index_symbols.py held its slot", lambda: _pids(holders, stage) == [first.pid])
    second = stage.start("index-holter", f"{EXAMPLES}/index_symbols.py", str(PACKAGE / "agent"))
    stage.until(
        "the second index_symbols.py waited for the slot", lambda: _pids(waiters, stage) == [second.pid]
    )
    tell(f"a second index_symbols.py waits for the slot of {LIMIT} (pid {first.pid} holds it)")

    victim = stage.until("nightly_backup.py was half-way", lambda: _half_way(stage.run_of(backup)))
    killed = stage.kill("backup")
    tell(f"kill -9 {backup.pid}: nightly_backup.py dies at {share(victim):.0%}")
    arrived, alert = stage.until("the webhook got the alert", lambda: webhook.about(victim.id))
    latency = f"{(arrived - killed) * 1000:.0f} ms after the kill"
    tell(f"the webhook got the alert, {latency}: {alert['title']}")

    counted, held, waited = (_end_of(stage, process) for process in (counting, first, second))
    tell("the other scripts are done")
    return [
        _counted(stage, counted, table),
        _crashed(stage, victim.id),
        f"alert '{alert['event']}' received {latency}",
        _waited(held, waited),
    ]


def where_to_look(folder: Path) -> str:
    return f"""\
The record of it is in {folder}; nothing else was left behind. Look around:
  export HOLTER_HOME={folder}/home
  holter show last:nightly-backup
  holter logs last:count-lines
  holter alerts
and remove it: unset HOLTER_HOME; rm -r {folder}

The scripts are in {EXAMPLES}
Now yours: put @flow above a function, or type `holter run -- your-command`; then start `holter watch`."""


def _pids(places: Callable[[str, str], list[Place]], stage: Stage) -> list[int | None]:
    """Who holds (or waits for) the limit now."""
    return [place.pid for place in places(str(stage.home), LIMIT) if place.held]


def _half_way(run: Run | None) -> Run | None:
    if run and run.ended:
        raise Missing("nightly_backup.py ended before it could be killed")
    return run if run and share(run) >= HALF_WAY else None


def _end_of(stage: Stage, process: subprocess.Popen[bytes]) -> Run:
    def ended() -> Run | None:
        run = stage.run_of(process)
        return run if run and run.ended else None

    return stage.until("the other scripts ended", ended)


def _counted(stage: Stage, run: Run, table: Path) -> str:
    """The CSV file is there and holds what the run gave as its result."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    total = sum(int(row["lines"]) for row in rows)
    if not total or (run.state, run.result) != ("COMPLETED", total):
        raise Missing(f"{table} holds {total} lines, and count-lines {run.state} with {run.result}")
    tasks = stage.backend.runs(RunQuery(root_id=run.id, kinds=("task",), limit=None))
    return f"{table.name} written: {total:,} lines in {len(rows)} modules, by {len(tasks)} tasks"


def _crashed(stage: Stage, run_id: str) -> str:
    run = stage.backend.run(run_id)
    if run is None or run.state != "CRASHED":
        raise Missing(f"nightly-backup is {run and run.state}, not CRASHED")
    return f"nightly-backup is CRASHED: {run.reason}"


def _waited(first: Run, second: Run) -> str:
    """The second script began when the first was done, and both did their work."""
    seconds = sum(slot["waited"] for slot in second.slots)
    if (first.state, second.state) != ("COMPLETED", "COMPLETED") or not seconds:
        raise Missing(f"index-symbols ended {first.state} and {second.state}, after {seconds:g} s of waiting")
    return f"the second index-symbols waited {seconds:.1f} s for its slot"
