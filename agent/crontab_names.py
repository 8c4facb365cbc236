"""A job's name from a shell command, as a person would say it: `nice -n 10 /srv/bin/backup.sh --full` is `backup`.

A guess: the first program that is no wrapper or `cd`, the script where it is an interpreter's, and one plain word
behind it (`manage.py clearsessions` is `manage-clearsessions`). No option and nothing with a digit, a slash or an `=`
is taken from the arguments: passwords look like that.
"""

from __future__ import annotations

import re
import shlex

LONGEST = 40  # characters
DEEPEST = 3  # shells inside shells that are looked into
# Options that take a word, and how many words come before the command.
_WRAPPERS: dict[str, tuple[str, int]] = {
    **dict.fromkeys(
        "env nohup setsid exec command time chronic cronic doas systemd-run stdbuf".split(), ("", 0)
    ),
    "nice": ("-n --adjustment", 0),
    "ionice": ("-c -n --class --classdata", 0),
    "sudo": ("-u -g --user --group", 0),
    "runuser": ("-u", 0),
    "systemd-cat": ("-t -p", 0),
    "timeout": ("-k -s --kill-after --signal", 1),
    "flock": ("-w -E --timeout --conflict-exit-code", 1),
    "chrt": ("", 1),
    "taskset": ("", 1),
}
_ASIDE = frozenset(
    "cd test [ [[ true : sleep . source export set ulimit umask if then else ! eval trap".split()
)
_SHELLS = re.compile(r"(ba|da|z|k|mk|a)?sh")
_INTERPRETERS = re.compile(r"(python|pypy|perl|ruby|php|node|lua|Rscript)[0-9.]*|(ba|da|z|k|mk|a)?sh")
_ENDINGS = re.compile(r"\.(sh|bash|py|pl|rb|php|js|mjs|lua|R|cgi)$")
_PLAIN = re.compile(r"[a-z][a-z_:-]{1,19}")
_BETWEEN = "();<>|&{}\n"  # what ends a simple command, near enough


def base_name(command: str) -> str:
    """The name, of letters, digits and `-_.`; "job" where there is nothing to go by."""
    return _slug(_name(command, DEEPEST)) or "job"


def _name(command: str, depth: int) -> str:
    for words in _simple_commands(command):
        words = _past_wrappers(words)
        if words and words[0].rpartition("/")[2] not in _ASIDE:
            return _told(words, depth)
    return ""


def _simple_commands(command: str) -> list[list[str]]:
    lexer = shlex.shlex(command, posix=True, punctuation_chars=_BETWEEN)
    lexer.whitespace_split = True
    lexer.commenters = ""
    found: list[list[str]] = [[]]
    try:
        for token in lexer:
            if set(token) <= set(_BETWEEN):
                found.append([])
            else:
                found[-1].append(token)
    except ValueError:  # a quote without its end: as far as it went
        pass
    return [words for words in found if words]


def _past_wrappers(words: list[str]) -> list[str]:
    """Without leading NAME=VALUE, and without programs that only run another one."""
    while words:
        wrapper = words[0].rpartition("/")[2]
        if re.fullmatch(r"\w+=.*", words[0], re.DOTALL):
            words = words[1:]
        elif wrapper in _WRAPPERS and len(words) > 1:
            valued, before = _WRAPPERS[wrapper]
            words = _past_options(words[1:], valued.split())[before:]
        else:
            break
    return words


def _past_options(words: list[str], valued: list[str]) -> list[str]:
    while words and words[0].startswith("-"):
        words = words[2:] if words[0] in valued else words[1:]
    return words


def _told(words: list[str], depth: int) -> str:
    """The program's name, or the script's that an interpreter runs, with one plain word behind it."""
    program, rest = words[0].rpartition("/")[2], words[1:]
    if words[0] == "-c":  # of `flock FILE -c "..."`
        return _name(rest[0], depth - 1) if rest and depth else ""
    if _SHELLS.fullmatch(program) and len(rest) > 1 and re.fullmatch(r"-[a-z]*c", rest[0]):
        return _name(rest[1], depth - 1) if depth else program
    if _INTERPRETERS.fullmatch(program):
        program, rest = _script(program, rest)
    program = _ENDINGS.sub("", program)
    return f"{program}-{rest[0]}" if rest and _PLAIN.fullmatch(rest[0]) else program


def _script(interpreter: str, rest: list[str]) -> tuple[str, list[str]]:
    """The script or module, and what is behind it; the interpreter itself where the text is on its command line."""
    if "-m" in rest[:3] and len(rest) > rest.index("-m") + 1:
        place = rest.index("-m") + 1
        return rest[place], rest[place + 1 :]
    behind = _past_options(rest, [])
    inline = {"-c", "-e", "-r"} & set(rest[: len(rest) - len(behind)])
    return (behind[0].rpartition("/")[2], behind[1:]) if behind and not inline else (interpreter, [])


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:LONGEST].rstrip("-.")
