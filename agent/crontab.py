"""A crontab's lines with `holter run` in front, and back again to the byte.

A line is changed in one place: its command becomes the last argument of `holter run ... -- SHELL -c '...'`. What stands
before it (schedule, user, blanks) and what cron itself reads behind it (from the first plain `%` on: the command's
standard input) stay as they are, and so does every other line. Cron's `\\%` stays inside the quotes: cron undoes it
before the shell sees the line.

Pure: bytes in, bytes out. A line whose way back would not lead to the same bytes is left as it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count

from attrs import evolve, field, frozen

from .crontab_names import base_name

TAG = "crontab"  # of every run that a wrapped line makes, and the mark by which `unwrap` knows the line
LONGEST = 998  # bytes of a command: what Debian's and Vixie's cron read of one, they cut the rest off without a word
SHELLS = frozenset("sh bash dash ash ksh ksh93 mksh zsh yash busybox".split())  # in which '\'' is a quote

_STEP = rb"(?:/\d+)?"
_POINT = rb"(?:\d+|[A-Za-z]{3})"
_PART = rb"(?:\*|%(p)b?~%(p)b?|%(p)b(?:-%(p)b)?)%(s)b" % {b"p": _POINT, b"s": _STEP}
_FIELD = rb"%(e)b(?:,%(e)b)*" % {b"e": _PART}
_TIMES = rb"(?:%b(?:[ \t]+%b){4}|@[a-z]+)" % (_FIELD, _FIELD)
_ENTRY = re.compile(rb"([ \t]*)(%b)([ \t]+)(.*)" % _TIMES, re.DOTALL)
_USER = re.compile(rb"([A-Za-z0-9_.+-]+\$?)([ \t]+)(.*)", re.DOTALL)
_VARIABLE = re.compile(rb"""[ \t]*(?:"([^"]*)"|'([^']*)'|([^ \t="'#]+))[ \t]*=[ \t]*(.*)""", re.DOTALL)
_PLAIN_PERCENT = re.compile(rb"(?:[^\\%]|\\.|\\\Z)*", re.DOTALL)
_WORD = rb"""(?:[^\s'"\\]|\\%|'[^']*'|"'")+"""
_WRAPPED = re.compile(
    rb"(?P<variables>(?:HOLTER_[A-Z]+=%(w)b )*)(?P<holter>%(w)b) run --tag crontab --name (?P<name>%(w)b) "
    rb"-- (?P<shell>%(w)b) -c '(?P<body>(?:[^']|'\\'')*)'(?P<rest>%%.*)?" % {b"w": _WORD},
    re.DOTALL,
)
_OURS = re.compile(rb"(?:^|[\s;&|(/])holter(?:\s|$)")


@frozen
class Line:
    """One line of a crontab, as `text` (bytes, with its newline where it has one).

    `kind`: "job" for one that cron runs, "variable" for NAME=VALUE, "other" for comments, blanks and what cron would
    not take. Of a job: `times` (five fields or @word), `user` ("" where there is no such column), `head` (all before
    the command), `command` (all after `head`, without the newline). `name` is its job's where it is wrapped, else "".
    `shell` and `zone` (CRON_TZ, "" unless set) are what the variables above it say; `variables` are all of them.
    """

    number: int
    text: bytes
    kind: str = "other"
    times: str = ""
    user: str = ""
    head: bytes = b""
    command: bytes = b""
    name: str = ""
    variables: dict[str, str] = field(factory=dict)

    @property
    def shell(self) -> str:
        return self.variables.get("SHELL", "/bin/sh")

    @property
    def zone(self) -> str:
        return self.variables.get("CRON_TZ", "")


@frozen
class Change:
    """What became of a line: `text` is the new one, `why` the reason where a job was left ("" where it was not)."""

    line: Line
    text: bytes
    name: str = ""
    why: str = ""


@frozen
class Runner:
    """How `holter run` is started from cron: the absolute path of `holter`, and `variables` that it needs."""

    holter: str
    variables: dict[str, str] = field(factory=dict)

    def words(self, name: str, shell: str) -> bytes:
        set_first = "".join(f"{key}={_word(value)} " for key, value in self.variables.items())
        said = f"{_word(self.holter)} run --tag {TAG} --name {_word(name)} -- {_word(shell)} -c "
        return (set_first + said).encode(errors="surrogateescape")


def _word(text: str) -> str:
    return shlex.quote(text).replace("%", r"\%")


def parse(text: bytes, system: bool = False) -> Iterator[Line]:
    """The lines of a crontab; `system`: with a user column, as in /etc/cron.d."""
    variables: dict[str, str] = {}
    for number, each in enumerate(_lines(text), 1):
        line = _parsed(Line(number, each, variables=dict(variables)), system)
        if line.kind == "variable" and (found := _variable(each)):
            variables[found[0]] = found[1]
        yield line


def _lines(text: bytes) -> list[bytes]:
    """Split at newlines only, which they keep: a carriage return is a part of its line for cron."""
    lines = [each + b"\n" for each in text.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return [each for each in lines if each]


def _parsed(line: Line, system: bool) -> Line:
    content = line.text.removesuffix(b"\n")
    if b"\0" in content or not content.strip() or content.lstrip(b" \t").startswith(b"#"):
        return line
    if _variable(content) is not None:
        return evolve(line, kind="variable")
    found = _ENTRY.fullmatch(content)
    if found is None:
        return line
    _, times, _, rest = found.groups()
    user = _USER.fullmatch(rest) if system else None
    if system and user is None:
        return line
    command = user[3] if user else rest
    head = content[: len(content) - len(command)]
    wrapped = _WRAPPED.fullmatch(command)
    return evolve(
        line,
        kind="job",
        times=b" ".join(times.split()).decode(),
        user=user[1].decode() if user else "",
        head=head,
        command=command,
        name=_name_of(wrapped["name"]) if wrapped else "",
    )


def _variable(content: bytes) -> tuple[str, str] | None:
    found = _VARIABLE.fullmatch(content.removesuffix(b"\n"))
    if found is None:
        return None
    value = found[4].strip()
    if len(value) > 1 and value[:1] in (b"'", b'"') and value[-1:] == value[:1]:
        value = value[1:-1]
    name = next(each for each in found.groups()[:3] if each is not None)
    return name.decode(errors="surrogateescape"), value.decode(errors="surrogateescape")


def _name_of(word: bytes) -> str:
    return "".join(shlex.split(word.replace(rb"\%", b"%").decode(errors="surrogateescape")))


def wrap(
    lines: Iterable[Line],
    runner: Callable[[Line], Runner | str],
    taken: Callable[[Line, str], bool] = lambda line, name: False,
    host: str = "",
) -> Iterator[Change]:
    """What becomes of every line. `runner` says how to run a job, or why it is to be left; `taken` whether a name is
    that of another job outside of this crontab already: then `host` is put behind it."""
    found = list(lines)
    names = {line.name for line in found if line.name}
    for line in found:
        if line.kind != "job":
            yield Change(line, line.text)
        elif line.name:
            yield Change(line, line.text, line.name, "wrapped already")
        else:
            made = _wrapped(line, runner(line), partial(_unique, names, partial(taken, line), host))
            names.add(made.name)
            yield made


def _wrapped(line: Line, runner: Runner | str, unique: Callable[[str], str]) -> Change:
    why = _left(line) or (runner if isinstance(runner, str) else "")
    if why or isinstance(runner, str):
        return Change(line, line.text, why=why)
    said = _PLAIN_PERCENT.match(line.command)
    own = said[0] if said else b""
    name = unique(base_name(own.replace(rb"\%", b"%").decode(errors="replace")))
    quoted = b"'" + own.replace(b"'", rb"'\''") + b"'"
    command = runner.words(name, line.shell) + quoted + line.command[len(own) :]
    text = line.head + command + (b"\n" if line.text.endswith(b"\n") else b"")
    if len(command) > LONGEST:
        return Change(line, line.text, why=f"longer than the {LONGEST} bytes that cron reads, once wrapped")
    if unwrap_line(text, bool(line.user)) != line.text:
        return Change(line, line.text, why="could not be brought back as it was")
    return Change(line, text, name)


def _left(line: Line) -> str:
    """Why a job's line cannot be wrapped; "" where it can."""
    if not line.command.strip() or line.command.startswith(b"%"):
        return "no command"
    if _OURS.search(line.command):
        return "runs holter itself"
    if line.shell.rpartition("/")[2] not in SHELLS or not line.shell.startswith("/"):
        return f"its SHELL is {line.shell}, whose quotes may be others than those of sh"
    return ""


def _unique(names: set[str], taken: Callable[[str], bool], host: str, base: str) -> str:
    if host and taken(base) and base not in names:
        base = f"{base}@{host}"
    numbered = (base if number == 1 else f"{base}-{number}" for number in count(1))
    return next(name for name in numbered if name not in names and not taken(name))


def unwrap_line(text: bytes, system: bool = False) -> bytes:
    """The line as it was before it was wrapped; any other line as it is."""
    line = next(parse(text, system), None)
    found = _WRAPPED.fullmatch(line.command) if line and line.name else None
    if line is None or found is None:
        return text
    command = found["body"].replace(rb"'\''", b"'") + (found["rest"] or b"")
    return line.head + command + text[len(line.head) + len(line.command) :]


def unwrap(text: bytes, system: bool = False) -> bytes:
    """The crontab with every wrapped line as it was before: `unwrap(wrapped) == text` for any text that had none."""
    return b"".join(unwrap_line(each, system) for each in _lines(text))
