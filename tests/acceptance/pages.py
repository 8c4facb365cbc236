"""A reader who follows a page of the documentation: its blocks one after the other, in a throw-away home.

What is done with a block is said by its language, and for the few that need it by a comment before it:

    <!-- not run: REASON -->   it cannot run here; what is in it is still checked as far as that goes
    <!-- goes on -->           it does not end by itself: it runs beside what follows, and must live when the page ends
    <!-- NAME.py -->           it is this file in the reader's folder (so is a block that begins with `# NAME.py`)
"""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import yaml
from attrs import define, field, frozen
from markdown_it import MarkdownIt

from holter.agent import settings
from holter.cli import cli

ROOT = Path(__file__).parents[2]
SETTINGS = ".holter/holter.yaml"  # in the reader's home
NAME = r"([\w./~-]+\.\w+)"
COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)
SECONDS = 60.0  # for one block
QUIET = {"COLUMNS": "80", "TERM": "dumb", "BROWSER": "true"}
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_QUIET": "1"}  # what a page installs is there already
VARIES = (  # what differs from run to run, and what stands for it
    (r".*\bKilled\b.*", "Killed"),  # a shell that is not interactive says more
    (r"\b1[0-9a-z]{15}\b(\.[0-9a-z]{8}-\d+)?", "<id>"),
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "<time>"),
    (r"\b\d\d:\d\d:\d\d(\.\d+)?\b", "<time>"),
    (r"<?\b(\d+m )?\d+(\.\d+)?(ms|s)\b", "<duration>"),
    (r"\bpid \d+", "pid <n>"),
    (r" +", " "),  # columns are as wide as what varies
)


@frozen
class Block:
    """A fenced block of a page: the `line` of its fence, its `language` ("" for none), and what comments say of it."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None = None
    goes_on: bool = False
    file: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> dict[str, Path]:
    found = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    return {path.relative_to(ROOT).as_posix(): path for path in found}


def blocks(path: Path) -> list[Block]:
    """The blocks of a page in their order. An indented block is one without a language."""
    page = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    found, said = [], ""
    for token in MarkdownIt().parse(path.read_text()):
        if token.type in ("fence", "code_block"):
            assert token.map is not None
            words = token.info.split()
            found.append(_block(page, token.map[0] + 1, words[0] if words else "", token.content, said))
        if token.type == "html_block":
            said = token.content
        elif token.nesting >= 0 and token.type != "list_item_open":
            said = ""
    return found


def _block(page: str, line: int, language: str, text: str, said: str) -> Block:
    comments = COMMENT.findall(said)
    names = [name[1] for each in comments if (name := re.fullmatch(NAME, each))]
    if first := re.match(rf"#\s*{NAME}\n", text):
        names.append(first[1])
    reasons = [each.partition(":")[2].strip() for each in comments if each.startswith("not run:")]
    return Block(
        page,
        line,
        language,
        text,
        not_run=" ".join(reasons[0].split()) if reasons else None,
        goes_on="goes on" in comments,
        file=names[0] if names else None,
    )


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console block (`$ `, further lines of it `> `), with what it is said to print."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        more = 1
        while more < len(lines) and lines[more].startswith("> "):
            more += 1
        yield lines[0] + "".join(line[2:] for line in lines[1:more]), "".join(lines[more:])


def alike(text: str) -> list[str]:
    for pattern, instead in VARIES:
        text = re.sub(pattern, instead, text)
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def fits(printed: str, shown: str) -> bool:
    """Whether a command printed what the page shows: `...` on a line of its own stands for any lines, in a line for
    anything."""
    wanted = "".join(
        r"(?:[^\n]*\n)*" if line.strip() == "..." else re.escape(line).replace(r"\.\.\.", r"[^\n]*") + "\n"
        for line in alike(shown)
    )
    return re.fullmatch(wanted, "".join(f"{line}\n" for line in alike(printed))) is not None


@define
class Reader:
    """Somebody with an empty home who follows a page. `close` ends what goes on."""

    folder: Path
    later: str = ""  # the text of the blocks that are still to come
    _going_on: list[tuple[Block, subprocess.Popen[bytes]]] = field(factory=list)
    _groups: list[int] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        for name in ("home", "work"):
            self.folder.joinpath(name).mkdir()
        self.folder.joinpath("state.sh").write_text("")

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def follow(self, page: list[Block]) -> None:
        for number, block in enumerate(page):
            self.later = "".join(each.text for each in page[number + 1 :])
            HOW[block.language](self, block)
        for block, process in self._going_on:
            assert process.poll() is None, f"{block.place} ended: {self._said(process.pid)}"

    def close(self) -> None:
        for group in self._groups:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(group, number)
                    time.sleep(0.05)
                except ProcessLookupError:
                    break
        for _, process in self._going_on:
            process.wait()

    # --- languages ---

    def shell(self, block: Block) -> None:
        check_options(block, block.text)
        if block.not_run is not None:
            subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
        elif block.goes_on:
            process = self._start(block.text, str(block.line))
            self._going_on.append((block, process))
            until = time.monotonic() + 5.0
            while not self._said(process.pid) and process.poll() is None and time.monotonic() < until:
                time.sleep(0.05)
        else:
            code, said = self._bash(f"set -e\n{block.text}")
            assert code == 0, f"{block.place} exits with {code}:\n{said}"

    def console(self, block: Block) -> None:
        for command, shown in commands(block.text):
            check_options(block, command)
            if block.not_run is not None:
                continue
            code, said = self._bash(command)
            place = f"{block.place} $ {command}"
            assert code == 0 or shown.strip(), f"{place}exits with {code}:\n{said}"
            assert not shown.strip() or fits(said, shown), (
                f"{place}printed\n{said}\nand the page shows\n{shown}"
            )

    def python(self, block: Block) -> None:
        if block.not_run is None:
            ast.parse(block.text)
        name = block.file or f"block_{block.line}.py"
        self.work.joinpath(name).write_text(block.text)
        if block.not_run is None and not (block.file and Path(name).name in self.later):
            code, said = self._bash(f"python {name}")
            assert code == 0, f"{block.place} exits with {code}:\n{said}"

    def yaml(self, block: Block) -> None:
        if block.not_run is not None:
            return
        if block.file and Path(block.file).name != "holter.yaml":
            list(yaml.safe_load_all(block.text))
            self.work.joinpath(block.file).write_text(block.text)
            return
        home = self.folder / ("home/.holter" if block.file else f"settings_{block.line}")
        home.mkdir(exist_ok=True)
        home.joinpath("holter.yaml").write_text(block.text)
        home.joinpath("holter.yaml").chmod(0o600)
        settings.load(str(home), environ={})

    def crontab(self, block: Block) -> None:
        for line in block.text.splitlines():
            if "holter " in line and not line.startswith("#"):
                check_options(block, line[line.index("holter ") :])

    def file(self, block: Block) -> None:
        """What is read by something else: written where it says, and parsed where that can be done."""
        parse = PARSERS.get(block.language, lambda text: None)
        parse(block.text)
        if block.file:
            self.work.joinpath(block.file).write_text(block.text)

    def nothing(self, block: Block) -> None:
        """Text to read: what something prints, or looks like."""

    # --- the shell of the page ---

    def _bash(self, text: str) -> tuple[int, str]:
        """Run it as the next lines of one session: variables and folder are those that the block before left."""
        process = self._start(text, "said")
        try:
            code = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise AssertionError(f"{text!r} did not end in {SECONDS:g} s:\n{self._said('said')}") from None
        return code, self._said("said")

    def _start(self, text: str, name: str) -> subprocess.Popen[bytes]:
        state = shlex.quote(str(self.folder / "state.sh"))
        kept = f'{{ declare -px; printf "cd %q\\n" "$PWD"; }} > {state}'
        self.folder.joinpath(f"out-{name}").unlink(missing_ok=True)  # what goes on may write into the old one
        with open(self.folder / f"out-{name}", "wb") as out:
            process = subprocess.Popen(
                ["bash", "-c", f". {state}\ntrap '{kept}' EXIT\n{text}"],
                cwd=self.work,
                env=self._environ(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if name != "said":
            self.folder.joinpath(f"out-{name}").rename(self.folder / f"out-{process.pid}")
        self._groups.append(process.pid)
        return process

    def _environ(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("HOLTER_", "PYTEST_"))
        }
        here = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent)]
        path = os.pathsep.join([*here, os.environ["PATH"]])
        return {**kept, "PATH": path, "HOME": str(self.folder / "home"), **QUIET, **OFFLINE}

    def _said(self, name: object) -> str:
        said = self.folder.joinpath(f"out-{name}").read_text(errors="replace")
        return said.replace(str(self.folder / "home"), "~").replace(socket.gethostname(), "web-1")


def busy(found: dict[str, list[Block]]) -> list[str]:
    """The pages in which there is something to do."""
    return [name for name, page in found.items() if any(block.language != "text" for block in page)]


def follow(page: list[Block], folder: Path) -> None:
    reader = Reader(folder)
    try:
        reader.follow(page)
    finally:
        reader.close()


def check_options(block: Block, text: str) -> None:
    """Every `holter VERB --option` in a text is one that exists."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"[;&|]+|\$\(", line.partition(" #")[0]):
            words = _words(part)
            while words and re.match(r"\w+=", words[0]):
                words.pop(0)
            if words[:1] == ["holter"] and len(words) > 1 and not words[1].startswith("-"):
                _check_command(block, cli, words[1:])


def _check_command(block: Block, group: click.Group, words: list[str]) -> None:
    command = group.commands.get(words[0])
    assert command is not None, f"{block.place}: there is no `holter {words[0]}`"
    own = _own(command, words[1:])
    if isinstance(command, click.Group) and own and own[0] in command.commands:
        return _check_command(block, command, own)
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = {word.partition("=")[0] for word in own if word.startswith("--")} - known - {"--help"}
    assert not unknown, f"{block.place}: `holter {words[0]}` has no {', '.join(unknown)}"


def _own(command: click.Command, words: list[str]) -> list[str]:
    """The words that are the command's own, and not those of what it runs."""
    flags = {name for each in command.params if getattr(each, "is_flag", False) for name in each.opts}
    loose = command.context_settings.get("allow_interspersed_args", True)
    own: list[str] = []
    for word in words:
        value = own and own[-1].startswith("--") and "=" not in own[-1] and own[-1] not in flags
        if word == "--" or not (value or word.startswith("-") or loose):
            break
        own.append(word)
    return own


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote that goes on in the next line
        return text.split()


def _ini(text: str) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)


PARSERS: dict[str, Callable[[str], object]] = {"json": json.loads, "toml": tomllib.loads, "ini": _ini}
HOW: dict[str, Callable[[Reader, Block], None]] = {
    "sh": Reader.shell,
    "bash": Reader.shell,
    "console": Reader.console,
    "python": Reader.python,
    "yaml": Reader.yaml,
    "crontab": Reader.crontab,
    "text": Reader.nothing,
    **dict.fromkeys(("json", "toml", "ini", "sql", "nginx", "caddy", "dockerfile", "promql"), Reader.file),
}
RUNS = ("sh", "bash", "console", "python")  # languages whose blocks do something
