"""Secrets: a canary goes in by every way that there is, and is in no byte that is written, said or sent."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Leak(NamedTuple):
    """A way for a secret to get out: a script that has it as `secret`, in a URL as `url`, and another one as `other`.
    Variables `environ` have it as their value and the command line has it for {}; `shape` is how it looks."""

    text: str
    environ: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    shape: str = "{0}"
    settings: str = ""


def given(body: str) -> str:
    """A flow that gets the secret as a parameter with a telling name."""
    lines = "\n    ".join(body.splitlines())
    return f"@flow(log_prints=True, log_records=True)\ndef job(password):\n    {lines}\njob(secret)\n"


def unaware(body: str) -> str:
    """A flow that nobody told what is secret."""
    lines = "\n    ".join(body.splitlines())
    return f"@flow(log_prints=True, log_records=True)\ndef job():\n    {lines}\njob()\n"


CONFIG = """
from dataclasses import dataclass
@dataclass
class Config:
    user: str
    db_password: str
@flow(log_prints=True)
def job(config):
    print(config)
    raise ValueError(config)
job(Config("u", secret))
"""
HOOK = """
def fails(run): raise ValueError(secret)
@flow(on_completion=[fails])
def job(password): pass
job(secret)
"""
LATE = """
os.environ["NEW_TOKEN"] = secret
@flow(log_prints=True)
def job():
    print(secret)
    os.environ["LATE_TOKEN"] = other
    print(other)
job()
"""
GONE = """
@flow(log_prints=True)
def job(): print(secret)
@flow
def first(): os.environ.pop("API_TOKEN")
first()
job()
"""
LEAKS = {
    # --- where a value has a name ---
    "a parameter": Leak(given("pass")),
    "a parameter's default": Leak("@flow\ndef job(password=secret): pass\njob()"),
    "a keyword-only parameter": Leak("@flow\ndef job(*, api_key): pass\njob(api_key=secret)"),
    "a free keyword": Leak("@flow\ndef job(**options): pass\njob(authToken=secret)"),
    "a method's parameter": Leak("class A:\n    @flow\n    def job(self, token): pass\nA().job(secret)"),
    "a partial's parameter": Leak(
        "from functools import partial\ndef job(a, token): print(token)\n"
        "flow(log_prints=True)(partial(job, token=secret))(1)"
    ),
    "a nested dict": Leak("@flow\ndef job(config): print(secret)\njob({'db': [{'Password': secret}]})"),
    "a secret that is a dict itself": Leak(
        "@flow\ndef job(credentials): print(secret)\njob({'a': [secret]})"
    ),
    "a secret of bytes": Leak("@flow(log_prints=True)\ndef job(token): print(token)\njob(secret.encode())"),
    "a dataclass": Leak(CONFIG),
    "a result": Leak(given("return {'session': {'token': password}, 'text': f'got {password}', 'url': url}")),
    "a result that has it twice": Leak(unaware("return {'text': f'got {secret}', 'token': secret}")),
    "a parameter before it": Leak("@flow\ndef job(*all, token): pass\njob(secret, [secret], token=secret)"),
    "a name that the settings call secret": Leak(
        "@flow(log_prints=True)\ndef job(patient_ssn): print(patient_ssn)\njob(secret)",
        settings="redact: ['*_ssn']",
    ),
    # --- where it is said ---
    "a print": Leak(given("print('using', password)")),
    "a print in pieces": Leak(given("print(password[:9], end=''); print(password[9:], 'is used')")),
    "a log line": Leak(given("logging.error('login with %s', password)")),
    "a run logger's line": Leak(given("get_run_logger().error('login with %s', password)")),
    "a loguru line": Leak(given("loguru.logger.error('login with {}', password)")),
    "a logged traceback": Leak(
        given("try: raise ValueError(password)\nexcept ValueError: logging.exception('failed')")
    ),
    "a traceback of loguru": Leak(
        given("try: raise ValueError(password)\nexcept ValueError: loguru.logger.exception('x')")
    ),
    "a local variable that loguru knows": Leak(
        unaware("here = other\ntry: here.x\nexcept Exception: loguru.logger.exception('x')")
    ),
    "an exception": Leak(given("raise ValueError(f'cannot log in with {password}')")),
    "an exception's repr": Leak(given("raise KeyError(password)")),
    "an exception's note": Leak(
        given("error = ValueError('x'); error.add_note(f'with {password}'); raise error")
    ),
    "a chained exception": Leak(
        given("try: raise OSError(password)\nexcept OSError as e: raise ValueError('x') from e")
    ),
    "an exception's context": Leak(
        given("try: raise OSError(password)\nexcept OSError: raise ValueError('x')")
    ),
    "a group": Leak(
        given("raise ExceptionGroup('g', [OSError(password), ExceptionGroup('in', [OSError(password)])])")
    ),
    "an attempt that failed": Leak(given("@task(retries=1)\ndef step(): raise OSError(password)\nstep()")),
    "an exit": Leak(given("sys.exit(f'no login with {password}')")),
    "a hook that fails": Leak(HOOK),
    "progress": Leak(given("progress(1, 2, f'with {password}')")),
    "an artifact's words": Leak(given("artifact(password, markdown=password, description=password)")),
    "an artifact's table": Leak(given("artifact('a', table=[{'token': other, 'x': [password]}])")),
    "an artifact's link": Leak(unaware("artifact('a', link=url)")),
    "a tag": Leak(given("with tags(password, 'eu'): task(tags=[password])(lambda: 1)()")),
    "a run's name": Leak(given("task(task_run_name=lambda: f'with {password}')(lambda: 1)()")),
    "a run's name from its parameters": Leak(
        "@flow(flow_run_name='{config} {password}')\ndef job(config, password): pass\njob({'x': secret}, secret)"
    ),
    "a key of a dict": Leak(given("return {password: 1, url: 2}")),
    # --- where nobody gave it a name ---
    "the environment": Leak(unaware("print(secret)\nraise ValueError(secret)"), ("API_TOKEN",)),
    "the environment, changed meanwhile": Leak(LATE),
    "the environment, taken away meanwhile": Leak(GONE, ("API_TOKEN",)),
    "a URL in the environment": Leak(unaware("print(secret)"), ("DATABASE_URL",)),
    "a URL": Leak(unaware("print(url)\nreturn [url, {'url': url}]")),
    "a URL in an exception": Leak(unaware("raise ConnectionError(f'cannot connect to {url}')")),
    "a URL with odd signs in its password": Leak(
        unaware("print(f'postgres://u:{secret}@{secret}/{secret}@host/db')")
    ),
    "a URL whose user is a token": Leak(
        unaware("print(f'https://{secret}@host/x https://{secret}:x-oauth-basic@host/x')")
    ),
    "the query of a URL": Leak(
        unaware("print(f'https://h/x?a=1&api_key={secret}&b=2 https://h?X-Amz-Signature={secret}')")
    ),
    "the command line": Leak(unaware("print(secret)"), args=("--token", "{}")),
    "the command line in one word": Leak(unaware("print(secret)"), args=("--api-key={}",)),
    "an assignment on the command line": Leak(unaware("print(secret)"), args=("DB_PASSWORD={}",)),
    "a URL on the command line": Leak(unaware("print(secret)"), args=("--db", "postgres://u:{}@host/db")),
    "a header on the command line": Leak(unaware("print(secret)"), args=("-H", "Authorization: Bearer {}")),
    # --- where a limit would cut it in two: each leaves 15 of its 28 characters ---
    "a long parameter": Leak(
        "@flow\ndef job(password, text): pass\njob(secret, 'x' * 985 + secret + 'x' * 100)"
    ),
    "a long message": Leak(given("raise ValueError('x' * 3985 + password + 'x' * 9000)")),
    "a long first line": Leak(given("raise ValueError('x' * 473 + password + 'x' * 9000)")),
    "a longer first line": Leak(given("raise ValueError('x' * 1973 + password + 'x' * 9000)")),
    "a long attempt": Leak(
        given("@task(retries=1)\ndef step(): raise OSError('x' * 476 + password)\nstep()")
    ),
    "a long traceback": Leak(given("raise ValueError('x' * 9500 + password * 40 + 'x' * 9500)")),
    "a long log line": Leak(given("get_run_logger().error('x' * (2**15 - 15) + password)")),
    "a huge log line": Leak(
        given(
            "get_run_logger().error('x' * (2**19 - 15) + password + 'x' * 2**20 + password + 'x' * (2**19 - 15))"
        )
    ),
    "a long line in pieces": Leak(
        given("print('x' * 99_985, end=''); print(password, end=''); print('x' * 99_985)")
    ),
    "a long exit": Leak(given("sys.exit('x' * 1979 + password)")),
    "long progress": Leak(given("progress(1, 2, 'x' * 185 + password)")),
    "a long artifact": Leak(
        given("artifact('x' * 185 + password, markdown='x' * 32_000 + (password + ' ') * 2000)")
    ),
    "a long run name": Leak(given("task(task_run_name=lambda: 'x' * 285 + password)(lambda: 1)()")),
    "a long key": Leak(given("return {'x' * 185 + password: 1}")),
    "a long word on the command line": Leak(unaware("pass"), ("API_TOKEN",), args=("x" * 985 + "{}",)),
    # --- where it looks different ---
    "several lines": Leak(
        unaware("print(secret)\nraise ValueError(secret)"),
        ("PRIVATE_KEY",),
        shape="-- KEY --\n{0}\n{1}\n--\n",
    ),
    "odd signs": Leak(
        unaware("print(secret, [secret])\nraise KeyError(secret)"),
        ("DB_PASSWORD",),
        shape="pä\"ss\\{0}/ {1}@'%",
    ),
    "odd signs in a URL": Leak(
        unaware("from urllib.parse import quote\nprint(quote(secret, safe=''))"),
        ("DB_PASSWORD",),
        shape="pä/ss {0}@%{1}",
    ),
}
TOOLS = """
import logging, loguru, os, sys
from holter import artifact, get_run_logger, progress, tags
loguru.logger.remove()
logging.root.addHandler(logging.NullHandler())
secret, other = open("secret").read(), open("other").read()
url = f"postgres://user:{secret}@host/db"
"""


def canary(name: str) -> str:
    return "cnry" + hashlib.sha256(name.encode()).hexdigest()[:24]


def found(name: str, text: bytes) -> list[str]:
    """Which of the row's secrets are in there, whole or cut in two."""
    secrets = [canary(name), canary(f"{name}, again"), canary(f"{name}, other")]
    parts = [part for each in secrets for part in (each[:12], each[-12:])]
    return [part for part in parts if part.encode() in text]


def written(home: Any) -> bytes:
    return b"\n".join(text for _, text in home.files())


@pytest.mark.parametrize("name", LEAKS)
def test_a_secret_gets_into_no_byte_that_is_written(home: Any, name: str) -> None:
    row = LEAKS[name]
    secret = row.shape.format(canary(name), canary(f"{name}, again"))
    (home.folder / "secret").write_text(secret)
    (home.folder / "other").write_text(canary(f"{name}, other"))
    home.settings(row.settings)
    environ = {
        each: f"postgres://u:{secret}@host/db" if each.endswith("URL") else secret for each in row.environ
    }
    done = home.run(TOOLS + row.text, *(word.format(secret) for word in row.args), **environ)
    ours = "\n".join(line for line in done.err.splitlines() if line.startswith("holter: "))
    assert "job" in home.runs, done.err
    assert found(name, written(home)) == []
    assert found(name, ours.encode()) == []


@pytest.fixture
def hook() -> Iterator[tuple[str, list[bytes]]]:
    """A webhook on this host: its URL, and the bodies that arrived."""
    bodies: list[bytes] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(
                repr(self.headers.items()).encode() + self.rfile.read(int(self.headers["Content-Length"]))
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", bodies
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_secret_gets_into_no_alert(home: Any, hook: tuple[str, list[bytes]]) -> None:
    """An alert has the error, the reason and the last lines of a run: the places where a secret would be."""
    url, bodies = hook
    # A busy machine is alerted, too.
    home.settings(f"channels: {{hook: {{webhook: '{url}'}}}}\nhost: {{load: 10000}}")
    (home.folder / "secret").write_text(canary("alert"))
    (home.folder / "other").write_text(canary("alert, other"))
    body = """
print(f'using {password} of {os.environ["API_TOKEN"]} at {url}')
raise ConnectionError(f'{password} is not good for {url}, nor is {os.environ["API_TOKEN"]}')
"""
    home.run(TOOLS + given(body.strip()), API_TOKEN=canary("alert, again"))
    process = home.start([sys.executable, "-m", "holter", "watch", "--once"])
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    (sent,) = bodies
    alert = json.loads(sent[sent.index(b"{") :])
    assert alert["error"]["message"] == "*** is not good for postgres://user:***@host/db, nor is ***"
    assert "using *** of *** at postgres://user:***@host/db" in str(alert["log_tail"])
    assert found("alert", sent + out.encode() + err.encode() + written(home)) == []


def test_a_secret_of_a_command_gets_into_no_byte_that_is_written(home: Any) -> None:
    reading = "open('secret').read()"
    script = home.script(f"print(sys.argv, os.environ['API_TOKEN'], {reading}); sys.exit({reading})")
    (home.folder / "secret").write_text(canary("command"))
    (home.folder / "env").write_text(f"DB_PASSWORD={canary('command, other')}\n")
    command = [
        sys.executable,
        script,
        "--password",
        canary("command"),
        f"postgres://u:{canary('command')}@host/db",
    ]
    holter = [
        sys.executable,
        "-m",
        "holter",
        "run",
        "--name",
        "job",
        "--env-file",
        Path("env"),
        "--",
        *command,
    ]
    process = home.start(holter, API_TOKEN=canary("command, again"))
    process.communicate(timeout=30)
    assert process.returncode == 1
    run = home.runs["job"]
    assert run.argv[-2:] == ("***", "postgres://u:***@host/db")
    assert [log.text for log in home.logs(run)]
    assert found("command", written(home)) == []


WORDS = {"tokenizer": "gpt2-large", "sort_key": "created_at", "author": "Ada Lovelace", "monkey": "business"}


def test_what_only_looks_like_a_secret_does_not_vanish_from_what_is_said(home: Any) -> None:
    """A key may be blank where it stands, but a common word must stay in the log."""
    urls = "https://host:8080/a@b?page=2&sort=key ssh://git@host/x postgres://me:me@host/me"
    home.run(f"""
        @flow(log_prints=True)
        def job(**words): print(*words.values(), {urls!r})
        job(**{WORDS!r})
    """)
    run = home.runs["job"]
    (line,) = [log.text for log in home.logs(run)]
    assert line == " ".join(WORDS.values()) + " " + urls.replace("me:me@", "me:***@")
    assert run.parameters == {**WORDS, "sort_key": "***"}
