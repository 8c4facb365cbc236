"""The command line, top floor: parse, call, print. What a verb needs is imported inside it, to start fast."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from . import __version__
from .agent.terminal import reading, screen
from .agent.terminal.alerting import alerts
from .agent.terminal.assisting import mcp
from .agent.terminal.cancelling import cancel
from .agent.terminal.checks import checks
from .agent.terminal.copying import copy
from .agent.terminal.crontabs import crontab
from .agent.terminal.explaining import explain
from .agent.terminal.installing import install
from .agent.terminal.measuring import metrics
from .agent.terminal.opening import ui
from .agent.terminal.options import DURATION, RUN_HELP, AnyCase, as_json, run_argument
from .agent.terminal.rerunning import rerun
from .agent.terminal.serving import serve, token
from .agent.terminal.slotting import slots
from .agent.terminal.top import top
from .backends.errors import HolterError
from .backends.states import ENDINGS

SIGPIPE, SIGINT = 128 + 13, 128 + 2  # exit codes, as a shell counts them


class Verbs(click.Group):
    """A verb answers with its exit code (None: 0). Errors are a line on stderr and 1, or 2 for bad input."""

    def main(self, *args: Any, **extra: Any) -> Any:
        extra["standalone_mode"] = False
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # whoever started us had closed it
                setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for as long as we live
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors=screen.IN_ASCII)
        try:
            code = super().main(*args, **extra)
        except click.Abort:
            code = SIGINT
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            code = error.exit_code
        except click.ClickException as error:
            screen.say(_usage(error))
            code = error.exit_code
        except HolterError as error:
            screen.say(str(error))
            code = 2 if isinstance(error, ValueError | LookupError) else 1
        except OSError as error:
            screen.say(f"{error.strerror}: {error.filename}" if error.filename else str(error))
            code = 1
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
            return code
        except BrokenPipeError:  # as from `holter runs | head`: what is left must not be tried again at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return SIGPIPE
        except KeyboardInterrupt:
            return SIGINT

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order in which one meets them


def _usage(error: click.ClickException) -> str:
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message} (`{context.command_path} --help` says more)" if context else message


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="holter %(version)s")
def cli() -> None:
    """Records every run of your scripts, notices every death, tells you. No server.

    `holter run -- CMD` or `@flow` records, `holter runs` shows, `holter watch` alerts.
    """


@cli.command()
def demo() -> int:
    """See it all in a minute: real scripts, one killed, its alert."""
    from .agent.terminal.demo import demo as play

    return play()


@cli.command()
@click.option("--system", is_flag=True, help="Of a system-wide home, for scripts of several users.")
@click.option("--group", default="holter", show_default=True, help="With --system: whose users may record.")
def init(system: bool, group: str) -> None:
    """Write a holter.yaml with every setting explained."""
    from .agent.terminal.beginning import begin

    begin(system, group)


@cli.command(context_settings={"allow_interspersed_args": False})
@click.option("--name", metavar="JOB", help="The job's name (else the command and its first arguments).")
@click.option("--retries", type=click.IntRange(0), default=0, metavar="N", help="Try so many more times.")
@click.option(
    "--retry-delay", type=DURATION, default="0s", metavar="10s", help="Wait so long before each of them."
)
@click.option(
    "--retry-on", default="any", metavar="WORDS", help="After what: crash, exit, exit:N, timeout, any."
)
@click.option(
    "--timeout", type=DURATION, metavar="1h", help="End it, and all that it started, after so long."
)
@click.option("--limit", metavar="NAME[:N]", help="Hold a slot of this limit, one of N, while it runs.")
@click.option(
    "--on-busy",
    type=AnyCase("wait", "skip", "fail"),
    default="wait",
    help="What to do while no slot is free.",
)
@click.option(
    "--needs",
    multiple=True,
    metavar="'JOB within 26h'",
    help="Only if this job completed; may be given again.",
)
@click.option("--on-unmet", type=AnyCase("refuse", "wait", "warn"), help="What to do if it did not [refuse].")
@click.option("--needs-wait", type=DURATION, metavar="1h", help="Wait so long at most for what it needs.")
@click.option("--tag", "tags", multiple=True, help="Tag the run; may be given again.")
@click.option("--env-file", metavar="FILE", help="Lines of KEY=VALUE for the command's environment.")
@click.option("--as-prefect", is_flag=True, help="CMD is a script whose `import prefect` Holter serves.")
@click.option("-m", "module", is_flag=True, help="With --as-prefect: CMD is a module, as for python -m.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD [ARG]...")
def run(command: tuple[str, ...], retry_on: str, as_prefect: bool, module: bool, **options: Any) -> int:
    """Run a command and record it; exit with its code."""
    from .agent.command import job_name, parse_retry_on, run_command

    argv = list(command)
    if module and not as_prefect:
        raise click.UsageError("-m goes with --as-prefect (else write: holter run -- python -m MODULE)")
    if as_prefect:
        options["name"] = options["name"] or job_name(argv[1:] if argv[0] == "-m" else argv)
        options["through"] = [sys.executable, "-Pm", "holter.agent.prefect", *(["-m"] if module else [])]
    return run_command(argv, retry_on=parse_retry_on(retry_on), **options)


@click.command()
@click.option("--once", is_flag=True, help="One pass, then exit; for hosts where cron is all there is.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve metrics to a Prometheus on this host; 0: any port.",
)
def watch(once: bool, metrics_port: int | None) -> int:
    """Watch: notice deaths, judge live runs, send alerts."""
    from .agent.settings import load
    from .agent.watchdog.daemon import watch as go

    if once and metrics_port is not None:
        raise click.UsageError(
            "--once has no time to serve metrics: `holter metrics --output FILE` writes them"
        )
    return go(load(), once=once, metrics_port=metrics_port)


@click.command(epilog=RUN_HELP)
@run_argument
@click.argument("state", type=AnyCase(*ENDINGS), metavar="STATE")
@click.option("--reason", metavar="TEXT", default="", help="Why; it is recorded with your name.")
def mark(run: str, state: str, reason: str) -> None:
    """Say by hand how a run ended that cannot say so itself.

    STATE is COMPLETED, FAILED, TIMED_OUT, CANCELLED, CRASHED or SKIPPED.
    """
    from .agent.lookup import find_run
    from .agent.terminal.desk import opened
    from .agent.watchdog.marking import mark as judge

    with opened() as desk:
        desk.refresh()
        settings = desk.settings
        found = find_run(desk.backend, run)
        marked = judge(desk.backend, settings.home, settings.project, found, state, reason)
    inside = f", and so are {len(marked) - 1} runs inside it" if marked[1:] else ""
    click.echo(f"{marked[0].id} is {marked[0].state}{inside}")


@click.command()
@click.option(
    "--days",
    type=click.IntRange(0),
    metavar="N",
    help="Forget runs older than this, not as the settings say.",
)
@click.option("--dry-run", is_flag=True, help="Only say how many that would be.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune(days: int | None, dry_run: bool, yes: bool) -> None:
    """Forget old runs and lines, as the retention settings say."""
    from attrs import evolve

    from .agent.reports import forecast
    from .agent.terminal.desk import opened
    from .agent.watchdog.tidy import forget, retention_of, size_of

    if not (dry_run or yes or sys.stdin.isatty()):
        raise click.UsageError("prune asks first, and nobody is there to answer: give --yes or --dry-run")
    with opened() as desk:
        desk.refresh()
        kept = desk.settings.retention
        if days is not None:
            kept = evolve(kept, days=days, logs_days=min(days, kept.logs_days))
        retention = retention_of(evolve(desk.settings, retention=kept), desk.now)
        click.echo(
            f"{forecast(desk.backend, retention):,} runs older than {kept.days:g} days, "
            f"with all inside them, and lines older than {kept.logs_days:g} days"
        )
        if kept.max_bytes is not None and (size := size_of(desk.backend)) is not None:
            click.echo(
                f"The store takes {size:,} bytes, of {kept.max_bytes:,} at most{_too_much(size, kept.max_bytes)}"
            )
        if dry_run or not (yes or click.confirm("Forget them?")):
            return
        with screen.busy("Forgetting"):
            gone = forget(desk.backend, evolve(desk.settings, retention=kept))
    click.echo(f"Forgot {gone.runs:,} runs (their tasks counted) and {gone.logs:,} lines.")


def _too_much(size: int, most: int) -> str:
    return ": the oldest runs go until it is less" if size > most else ""


@click.command()
@click.option("--alert", is_flag=True, help="Send a test alert through every channel too.")
@as_json
def doctor(alert: bool, as_json: bool) -> int:
    """Check this installation, and say what to do about each fault."""
    from .agent.watchdog.doctor import examine

    findings = list(examine(alert=alert))
    if as_json:
        screen.as_json([finding.to_json() for finding in findings])
    else:
        from .agent.terminal.tables import findings_table

        screen.show(findings_table(findings))
    return 1 if any(finding.level == "fail" for finding in findings) else 0


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes holter's words in your shell."""
    from click.shell_completion import get_completion_class

    if made := get_completion_class(shell):
        click.echo(made(cli, {}, "holter", "_HOLTER_COMPLETE").source())


for _verb in (
    *reading.VERBS,
    top,
    slots,
    watch,
    alerts,
    checks,
    crontab,
    explain,
    rerun,
    cancel,
    mark,
    prune,
    ui,
    serve,
    token,
    mcp,
    metrics,
    copy,
    doctor,
    install,
    completion,
):
    cli.add_command(_verb)


def main() -> None:
    """The console script `holter`."""
    cli(prog_name="holter")
