"""Notebooks: `%load_ext holter`, and a cell that begins with `%%holter` is a run.

IPython loads this, so IPython is there; nothing else of Holter imports it.
"""

from __future__ import annotations

import ast

from .context import current_run
from .flows import flow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def install(shell: Any) -> None:
    """Register the cell magic in an IPython shell."""
    from IPython.core.magic import output_can_be_silenced

    @output_can_be_silenced  # by a semicolon at the end of the cell
    def holter(line: str, cell: str) -> Any:
        """%%holter [NAME] [--tag TAG]...: record this cell as a run, with what it prints, and show the run.

        The run is a flow NAME (default: cell). An exception goes on as ever, the last expression is the cell's value,
        and variables stay in the notebook. Tasks and flows that the cell calls belong to the run. `await` at the top of
        the cell does not work: call a flow that is `async def` from a plain cell instead.
        """
        name, tags = _words(line)
        try:
            return _record(shell, name, tags, cell)
        except BaseException as error:
            error.__traceback__ = _of_the_cell(shell, error.__traceback__)
            raise

    shell.register_magic_function(holter, magic_kind="cell")


def _of_the_cell(shell: Any, trace: Any) -> Any:
    """The part of a traceback that begins in the cell, so that nobody has to read past frames of ours."""
    at = trace
    while at is not None and at.tb_frame.f_globals is not shell.user_ns:
        at = at.tb_next
    return at or trace


def _words(line: str) -> tuple[str, list[str]]:
    from argparse import ArgumentError, ArgumentParser
    from shlex import split

    from IPython.core.error import UsageError

    parser = ArgumentParser(prog="%%holter", add_help=False, exit_on_error=False)
    parser.add_argument("name", nargs="?", default="cell")
    parser.add_argument("--tag", action="append", default=[])
    try:
        found, other = parser.parse_known_args(split(line))
    except (ArgumentError, ValueError) as error:
        raise UsageError(f"%%holter: {error} (%%holter [NAME] [--tag TAG]...)") from None
    if other:
        raise UsageError(f"%%holter does not know {' '.join(other)} (%%holter [NAME] [--tag TAG]...)")
    return found.name, found.tag


def _record(shell: Any, name: str, tags: list[str], cell: str) -> Any:
    from IPython.display import display

    made: list[Any] = []

    def run_cell() -> Any:
        made.append(current_run())
        return _execute(shell, cell)

    try:
        return flow(name=name, tags=tags, log_prints=True)(run_cell)()
    finally:
        display(*filter(None, made))  # type: ignore[no-untyped-call]


def _execute(shell: Any, cell: str) -> Any:
    """Run the text of a cell as the shell would, in the user's namespace; answers the value of a last expression."""
    source = shell.transform_cell(cell)
    place = shell.compile.cache(source, raw_code=cell)  # so that tracebacks show its lines
    tree = shell.transform_ast(shell.compile.ast_parse(source, filename=place))
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(shell.compile(tree, place, "exec"), shell.user_ns)  # noqa: S102 - what a notebook is for
    if last is not None:
        return eval(shell.compile(ast.Expression(last.value), place, "eval"), shell.user_ns)  # noqa: S307 - the cell that was typed
