"""A script that somebody already has, two decorators, no configuration."""

from __future__ import annotations

from typing import Any

HELLO = """
    import sys
    from holter import flow, task

    @task
    def say_hello(name):
        print(f"Hello {name}!")
        return len(name)

    @flow(name="Hello World!", log_prints=True)
    def hello(name="Marvin", times=1):
        return sum(say_hello(name=name) for _ in range(times))

    if __name__ == "__main__":
        hello(*sys.argv[1:])
"""


def test_a_plain_script_needs_no_configuration(host: Any) -> None:
    done = host.run(host.script(HELLO))
    assert (done.code, done.out, done.err) == (0, "Hello Marvin!\n", "")

    top, step = sorted(host.json("runs", "--kind", "flow", "--kind", "task"), key=lambda run: run["id"])
    assert (top["name"], top["state"], top["result"]) == ("Hello World!", "COMPLETED", 6)
    assert top["parameters"] == {"name": "Marvin", "times": 1}
    assert (step["name"], step["state"], step["parameters"]) == ("say_hello", "COMPLETED", {"name": "Marvin"})
    assert (step["parent_id"], step["root_id"], top["parent_id"]) == (top["id"], top["id"], None)
    assert [run["id"] for run in host.json("runs")] == [top["id"]]

    (line,) = host.json("logs", "last")
    assert (line["text"], line["run_id"]) == ("Hello Marvin!", step["id"])
    assert "Hello Marvin!" in host.holter("logs", "last:Hello World!").out


def test_the_home_is_for_its_owner_only_and_nothing_is_left_in_the_working_directory(host: Any) -> None:
    script = host.script(HELLO)
    host.run(script)
    assert {path.name for path in host.folder.iterdir()} <= {"home", script.name, "__pycache__"}
    for path in [host.home, *host.home.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_script_from_standard_input_or_from_the_command_line_is_recorded_too(host: Any) -> None:
    import sys

    code = "from holter import flow\nflow(name='inline')(lambda: 1)()"
    assert host.spawn([sys.executable, "-c", code]).wait(20) == 0
    assert host.one("inline").state == "COMPLETED"
    assert host.one("inline").argv[-1].startswith("from holter")


def test_a_secret_is_nowhere_under_the_home(host: Any) -> None:
    """Canaries in parameters, defaults, prints, logs, exceptions, tags, names, artifacts, progress, the command line,
    and the URL of the backend; none may be in any byte that is kept."""
    canaries = {
        "API_TOKEN": "canary-env-token-4711",
        "DB_PASSWORD": 'canary "quoted" \\back\\ \u00fcml-4712',
        "MULTI_SECRET": "canary-line-one-4713\ncanary-line-two-4714",
    }
    script = host.script("""
        import os, sys, logging
        from dataclasses import dataclass
        from holter import flow, task, tags, artifact, progress, get_run_logger, current_run
        token, word, lines = (os.environ[name] for name in ("API_TOKEN", "DB_PASSWORD", "MULTI_SECRET"))

        @dataclass
        class Login:
            user: str
            password: str

        @task(retries=1, task_run_name="for {user} {api_key}")
        def step(user, api_key, login, headers, *rest, secret_word="canary-default-1", **more):
            raise KeyError(f"cannot log in with {word}", word)

        @flow(log_prints=True, log_records=True, flow_run_name="{url}")
        def main(url, words):
            print("token is", token, "and", word)
            print(lines)
            get_run_logger().error("word is %s", word)
            logging.getLogger("mine").warning("lines %s", lines.split())
            with tags(token):
                artifact("a", markdown=f"# {word} {token}", description=word)
                artifact("b", table=[{"x": word, "y": token}])
                artifact(token, link=f"https://me:canary-artifact-url@host/{token}")
                progress(1, 2, word)
                try:
                    step("u", "canary-argument-1", Login("u", "canary-dataclass-1"),
                         {"Authorization": "canary-header-1", "nested": [{"password": "canary-nested-1"}]},
                         token, pwd="canary-keyword-1")
                except KeyError:
                    pass
            current_run().log(f"see {url} {word}")
            raise RuntimeError(f"{url}: {token} {word} {lines!r}")

        main("https://me:canary-url-1@host/path", [token, word, {"k": word}])
        """)
    env = {**canaries, "HOLTER_BACKEND": f"sqlite:///{host.home}/other.db?password=canary-backend-1"}
    done = host.run(
        script, "--api-key", "canary-option-1", "--token=canary-option-2", canaries["API_TOKEN"], **env
    )
    assert done.code == 1
    kept = b"".join(path.read_bytes() for path in host.home.rglob("*") if path.is_file())
    assert b"cannot log in with ***" in kept
    at = kept.find(b"canary")
    assert at < 0, kept[max(0, at - 200) : at + 60]
