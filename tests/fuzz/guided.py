"""Parsers under libFuzzer, which looks for inputs that reach new code: `python guided.py TARGET FOLDER [OPTION...]`.

What a target raises that is no error of Holter's ends it with the input that did it; so does five seconds of one input.
Run by test_guided.py, with atheris installed. FOLDER is for files, and keeps what was found to reach new code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["holter", "yaml"]):
    from holter.agent import crontab
    from holter.agent.settings_yaml import read
    from holter.agent.terminal.text import clean, line
    from holter.backends.errors import HolterError
    from holter.backends.http_place import HttpPlace
    from holter.backends.lines import decode, seal
    from holter.backends.schedule import Schedule, parse_deadline, parse_duration, parse_need, parse_rate
    from holter.backends.urls import path_of, redacted

NOON = 1_795_000_000.0
STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
RUNNER = crontab.Runner("/usr/bin/holter", {"HOLTER_HOME": "/srv/a b%"})


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def journal(data: bytes) -> None:
    """Lines as they are, and with the checksum that they should have."""
    sealed = b"\n".join(seal(part) if part.startswith(b"{") else part for part in data.split(b"\n"))
    for form in (data, sealed):
        for _, event in decode(form + b"\n"):
            assert event is None or isinstance(event["event"], str)


def settings(data: bytes) -> None:
    path = f"{sys.argv[2]}/holter.yaml"
    with open(path, "wb") as file:
        file.write(data)
    try:
        read(path, required=True)
    except HolterError as error:
        assert "\n" not in str(error), str(error)  # noqa: PT017 - no test of pytest's


def cron(data: bytes) -> None:
    text, _, zone = text_of(data).partition("\n")
    for parse in (parse_duration, parse_rate, parse_deadline, parse_need):
        expected(parse, text)
    at = Schedule.parse(text, zone or None).next_after(NOON)
    assert at is None or at > NOON


def url(data: bytes) -> None:
    text = text_of(data)
    assert "secret" not in redacted(f"http://u:secret@h/{text}").replace(text, "")
    redacted(text)
    expected(lambda text: path_of(text, "/home"), text)
    place = HttpPlace(f"http{text}", "/home", {})
    assert place.host and 0 < place.port < 65536


def cron_file(data: bytes) -> None:
    found = [*crontab.parse(data)]
    assert b"".join(each.text for each in found) == data
    if not any(each.name for each in found):
        assert crontab.unwrap(b"".join(each.text for each in crontab.wrap(found, lambda _: RUNNER))) == data


def terminal(data: bytes) -> None:
    text = text_of(data)
    assert not STEERS.search(clean(text))
    assert not STEERS.search(line(text)) and "\n" not in line(text)


def expected(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except HolterError:
        return


TARGETS: dict[str, tuple[Callable[[bytes], None], tuple[bytes, ...]]] = {
    "journal": (journal, (b'{"event":"start","run":"r","at":1.0}', b'{"event":"log","text":"a"}\n{"event":')),
    "settings": (
        settings,
        (b"project: x\nlimits: {db: {slots: 2}}\n", b'checks: {a: {schedule: "0 2 * * *"}}'),
    ),
    "cron": (cron, (b"*/5 0-3 1,2 * mon#2\nEurope/Berlin", b"every 15m", b"@daily", b"3 per 1h")),
    "url": (
        url,
        (b"://u:p@h:1/a?insecure=true", b"sqlite:///a", b"s://h", b"file:////b", b"postgresql://u@/d"),
    ),
    "cron_file": (
        cron_file,
        (b"A=b\n*/5 * * * * run %in\n", b"@daily x # y\n\n# z", b"0 1 * * * echo 'a b' \\%c"),
    ),
    "terminal": (terminal, ("\x1b[31m\x9b\u202ea\r".encode(), b"\x1b]0;t\x07", b"\x1bP\x1b\\")),
}


def main() -> None:
    target, seeds = TARGETS[sys.argv[1]]
    for number, seed in enumerate(seeds):
        with open(f"{sys.argv[2]}/corpus/seed{number}", "wb") as file:
            file.write(seed)

    def one(data: bytes) -> None:
        try:
            target(data)
        except HolterError:
            return

    options = ["-print_final_stats=1", "-timeout=5", "-rss_limit_mb=2048", *sys.argv[3:]]
    atheris.Setup([sys.argv[0], f"{sys.argv[2]}/corpus", f"-artifact_prefix={sys.argv[2]}/", *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
