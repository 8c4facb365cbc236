"""`holter top`: what runs now, and what is wrong; live in a terminal, one picture anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from . import screen
from .options import DURATION, as_json
from .reading import of_job, of_kind, of_project

if TYPE_CHECKING:
    from subprocess import Popen

    from ...backends.queries import RunQuery
    from ..settings import Settings
    from .top_app import App
    from .top_reader import Reader

QUICKEST = 1.0  # seconds between two looks at the store
WIDTH = 160  # columns of a picture that goes into a pipe


@click.command()
@of_job
@of_kind
@click.option("--tag", "tags", multiple=True, help="Only runs with this tag; given again, with all of them.")
@click.option("--host", metavar="NAME", help="Only runs of this host; a shell pattern.")
@of_project
@click.option(
    "--interval",
    type=DURATION,
    default="1s",
    show_default=True,
    metavar="1s",
    help="Look so often; 1s at least.",
)
@as_json
def top(interval: float, as_json: bool, **asked: Any) -> int:
    """Live: what runs and how far it is, slots, alerts; keys to act."""
    from ...backends.queries import RunQuery
    from ..settings import load

    query = RunQuery(**asked, roots=not asked["kinds"])
    if not as_json and screen.live():
        return _live(load(), query, max(QUICKEST, interval))
    return _once(query, as_json)


def _once(query: RunQuery, as_json: bool) -> int:
    from .desk import reading
    from .top_picture import Observer
    from .top_view import ASCII, Signs, picture_lines

    with reading() as desk:
        picture = Observer(desk.settings, desk.backend, query).look(desk.now)
    if as_json:
        screen.as_json(picture.to_json())
    else:
        signs = Signs() if screen.blocks() else ASCII
        screen.show(*picture_lines(picture, WIDTH, None, signs=signs))
    return 0


def _live(settings: Settings, query: RunQuery, interval: float) -> int:
    from .full_screen import FullScreen
    from .top_app import App
    from .top_reader import Reader
    from .top_view import ASCII, Signs

    ending: list[Popen[str]] = []
    blocks = screen.blocks()
    with FullScreen() as terminal:
        app = App(terminal.render, lambda run: ending.append(_cancel(run)), Signs() if blocks else ASCII)
        reader = Reader(settings, query, interval, terminal.wake, blocks)
        reader.start()
        try:
            while not app.done:
                _news(app, reader, ending)
                terminal.draw(app.lines(*terminal.size))
                for key in terminal.keys(interval):
                    app.press(key)
                reader.want(app.wish)
        except EOFError:
            return 0
        finally:
            reader.close()
    return 0


def _news(app: App, reader: Reader, ending: list[Popen[str]]) -> None:
    """Take what was read, and the words of cancellations that are over. Raises what the store says while there is no
    picture yet, and whatever is no passing fault of it."""
    from .top_reader import known

    for wish, found, error in reader.answers():
        if error is None:
            app.take(wish, found)
        elif app.picture is None or not known(error):
            raise error
        else:
            app.fail(str(error))
    for each in [each for each in ending if each.poll() is not None]:
        ending.remove(each)
        out, _ = each.communicate()
        app.message = (out.strip().splitlines() or ["cancelled"])[-1]


def _cancel(run_id: str) -> Popen[str]:
    """`holter cancel` beside us: it may take seconds, and has its own words."""
    import sys
    from subprocess import DEVNULL, PIPE, STDOUT, Popen

    command = [
        sys.executable,
        "-m",
        __name__.partition(".")[0],
        "cancel",
        "--reason",
        "from holter top",
        run_id,
    ]
    return Popen(command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, text=True, start_new_session=True)
