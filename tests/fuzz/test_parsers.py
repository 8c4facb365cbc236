"""Whatever a parser is given, it answers, or refuses with an error of Holter's; and within seconds."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from holter.agent import crontab
from holter.agent.settings_yaml import read
from holter.agent.terminal.text import clean, line
from holter.agent.web.pings import address
from holter.agent.web.refusals import Refusal
from holter.backends.errors import HolterError
from holter.backends.expected import Expectation
from holter.backends.http_place import HttpPlace
from holter.backends.lines import decode, encode, seal
from holter.backends.memory import MemoryBackend
from holter.backends.queries import RunQuery
from holter.backends.schedule import (
    Schedule,
    clock_time,
    parse_deadline,
    parse_duration,
    parse_need,
    parse_rate,
)
from holter.backends.urls import path_of, redacted
from tests.prove import Proof

from .fields import WRONG, specimen

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]

_words = st.sampled_from(
    "* */5 0 59 61 1-5 5-1 1,2 L 5#3 W MON mon-fri @daily @reboot every 15m 1h30m 1e9 - . per within 06:00 ²".split()
)
_texts = st.text(max_size=40) | st.lists(_words | st.text(max_size=4), max_size=7).map(" ".join)
_anything = st.sampled_from(WRONG) | st.floats() | st.binary(max_size=9) | _texts
_keys = st.sampled_from(
    "project backend heartbeat channels alerts checks limits retention watchdog host redact schedule timezone grace "
    "to on log slack webhook command slots scope job days logs_days quiet_hours from max_duration after remind".split()
)
_yaml = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _texts | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(_keys | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
_urls = st.builds(
    "".join,
    st.tuples(
        st.sampled_from("http:// https:// http: //  sqlite:/// file:/// postgresql:// memory: x".split(" ")),
        st.text(st.sampled_from("ab:@/?#[]%&=.;\\ \x00\u00e9\ud800127"), max_size=30) | st.text(max_size=20),
        st.sampled_from(["", ":99999", ":-1", ":x", "?insecure=true", "?token_file=x", "#", "?a=1&a=2"]),
    ),
)
_cron_lines = st.lists(
    st.binary(max_size=40) | _texts.map(lambda text: text.encode("utf-8", "replace")), max_size=6
)


def held(proof: Proof, what: str, strategy: Any, attempt: Callable[[Any], object], short: int = 150) -> None:
    """`attempt` with many values: it returns or raises an error of ours."""
    tried = 0

    @settings(
        max_examples=proof.of(short, 20_000),
        deadline=5000,
        derandomize=proof.size == "short",
        database=None,
        suppress_health_check=[*HealthCheck],
    )
    @given(strategy)
    def one(value: Any) -> None:
        nonlocal tried
        tried += 1
        try:
            attempt(value)
        except (HolterError, Refusal):
            return

    one()
    proof.count(tried, what)


def test_lines_are_events_or_damage(proof: Proof) -> None:
    bodies = st.binary(max_size=60) | st.builds(lambda text: f"{{{text}".encode("utf-8", "replace"), _texts)
    data = st.lists(
        bodies | bodies.map(seal) | st.dictionaries(_texts, _yaml, max_size=3).map(_encoded), max_size=5
    )

    def attempt(parts: list[bytes]) -> None:
        for _, event in decode(b"\n".join(parts) + b"\n"):
            assert event is None or isinstance(event["event"], str)

    held(proof, "journals of anything", data, attempt)


def _encoded(event: dict[str, Any]) -> bytes:
    try:
        return encode({**event, "event": "start", "run": "r"})
    except ValueError:  # NaN is no JSON
        return b""


def test_the_fold_takes_any_event(proof: Proof) -> None:
    kinds = st.sampled_from([event["event"] for event in specimen("r", "job", 1.0)])
    names = st.sampled_from(sorted({name for event in specimen("r", "job", 1.0) for name in event}))
    events = st.lists(
        st.tuples(kinds, st.dictionaries(names, _anything | st.just("r"), max_size=6)), max_size=5
    )
    number = iter(range(10**9))

    def attempt(made: list[tuple[str, dict[str, Any]]]) -> None:
        store = MemoryBackend(f"memory:fold{next(number)}", home="")
        start = encode({"event": "start", "run": "r", "at": 1.0, "kind": "flow", "name": "job"})
        store.append("j", 0, start + b"".join(_of_run(kind, rest) for kind, rest in made))
        for run in store.runs(RunQuery(limit=None)):
            run.to_json()
        store.summarize(RunQuery())

    held(proof, "events of anything", events, attempt)


def _of_run(kind: str, rest: dict[str, Any]) -> bytes:
    try:
        return encode({"run": "r", "at": 2.0, **rest, "event": kind})
    except ValueError:
        return b""


def test_settings_of_anything_are_taken_or_refused_in_a_line(tmp_path: Any, proof: Proof) -> None:
    path = tmp_path / "holter.yaml"
    written = st.dictionaries(_keys, _yaml, max_size=4).map(lambda value: yaml.safe_dump(value).encode())

    def attempt(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read(str(path), required=True)
        except HolterError as error:
            assert "\n" not in str(error)  # noqa: PT017 - whichever of ours it is
            raise

    held(
        proof,
        "settings files",
        written | st.binary(max_size=80) | _texts.map(lambda t: t.encode("utf-8", "replace")),
        attempt,
    )


def test_durations_schedules_and_rates_of_anything(proof: Proof) -> None:
    for parse in (parse_duration, parse_rate, parse_deadline, parse_need, clock_time):
        held(proof, "durations, rates, needs", _anything, parse, 60)

    def attempt(pair: tuple[Any, Any]) -> None:
        schedule = Schedule.parse(*pair)
        at = schedule.next_after(1_795_000_000.0)
        assert at is None or at > 1_795_000_000.0
        schedule.last_before(1_795_000_000.0)

    zones = st.sampled_from(
        [None, "UTC", "Europe/Berlin", "America/New_York", "../../etc/passwd", "\x00", "posix"]
    )
    held(proof, "schedules", st.tuples(_anything, zones | _texts), attempt)
    declared = st.dictionaries(st.sampled_from([*specimen("r", "j", 1.0)[1]["check"]]), _texts, max_size=4)
    held(
        proof, "expectations", declared, lambda check: Expectation.of({"schedule": "@daily", **check}).expects
    )


def test_urls_of_anything_name_a_place_or_are_refused(proof: Proof) -> None:
    def attempt(url: str) -> None:
        assert "secret" not in redacted(f"http://u:secret@h/{url}").replace(url, "")
        redacted(url)
        if url.startswith("http"):
            place = HttpPlace(url, "/home", {})
            assert place.host and 0 < place.port < 65536
        else:
            path_of(url, "/home")

    held(proof, "URLs", _urls, attempt)


def test_a_crontab_of_anything_is_itself_again_when_unwrapped(proof: Proof) -> None:
    runner = crontab.Runner("/usr/bin/holter", {"HOLTER_HOME": "/srv/a b%"})

    def attempt(lines: list[bytes]) -> None:
        text = b"\n".join(lines)
        found = [*crontab.parse(text)]
        assert b"".join(each.text for each in found) == text
        if not any(each.name for each in found):
            wrapped = b"".join(change.text for change in crontab.wrap(found, lambda _: runner))
            assert crontab.unwrap(wrapped) == text

    job = st.tuples(st.sampled_from(["0 2 * * * ", "@daily ", "*/5 * * * * "]), _texts).map("".join)
    jobs = st.lists(job.map(lambda text: text.replace("\n", "").encode("utf-8", "replace")), max_size=4)
    held(proof, "crontabs", _cron_lines | jobs, attempt)


_STEERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_nothing_that_was_recorded_steers_a_terminal(proof: Proof) -> None:
    codes = st.sampled_from(
        ["\x1b[31m", "\x1b]0;title\x07", "\x9b", "\x1bP", "\x1b\\", "\r", "\x08", "\u202e", "\x1b", "["]
    )
    texts = st.lists(codes | st.text(max_size=6), max_size=12).map("".join)

    def attempt(text: str) -> None:
        assert not _STEERS.search(clean(text))
        assert not _STEERS.search(line(text)) and "\n" not in line(text)
        console = Console(file=io.StringIO(), width=80)
        console.print(Text(clean(text)))
        assert not _STEERS.search(console.file.getvalue())  # type: ignore[attr-defined]

    held(proof, "texts for a terminal", texts, attempt)


def test_ping_addresses_of_anything(proof: Proof) -> None:
    uuid = st.just("b1f0c0de-0000-4000-8000-000000000001")
    parts = st.lists(
        uuid | st.sampled_from(["start", "fail", "log", "0", "255", "256", "-1", "²"]) | _texts, max_size=4
    )

    def attempt(found: list[str]) -> None:
        said = address("/".join(found))
        assert said.exit_code is None or 0 <= said.exit_code <= 255

    held(proof, "ping addresses", parts, attempt)
