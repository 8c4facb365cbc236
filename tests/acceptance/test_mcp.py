"""`holter mcp`, asked by the SDK's own client over a real pipe."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from .conftest import HOLTER, Host

mcp = pytest.importorskip("mcp", reason="pip install mcp")

SCRIPT = """
    import sys
    from holter import flow, task

    @task
    def load(day):
        print("loading", day)
        if sys.argv[1] == "fail":
            raise ValueError("no rows of " + day)

    @flow(name="etl", log_prints=True)
    def etl(day, password):
        load(day)

    etl(sys.argv[2], "canary-secret")
"""


@pytest.fixture
def recorded(host: Host) -> Host:
    script = host.script(SCRIPT)
    host.run(script, "end", "2026-11-22")
    host.run(script, "fail", "2026-11-23")
    return host


def talk(host: Host, conversation: Callable[[Any], Awaitable[Any]]) -> Any:
    async def begin() -> Any:
        server = mcp.StdioServerParameters(command=HOLTER[0], args=["mcp"], env=host.env)
        async with mcp.Client(server, read_timeout_seconds=20) as client:
            return await conversation(client)

    return asyncio.run(begin())


async def ask(client: Any, tool: str, **given: Any) -> Any:
    answer = await client.call_tool(tool, given)
    assert not answer.is_error, answer.content[0].text
    return json.loads(answer.content[0].text)


def test_an_assistant_sees_jobs_runs_lines_and_why_a_run_failed(recorded: Host) -> None:
    async def conversation(client: Any) -> None:
        tools = (await client.list_tools()).tools
        assert {each.name for each in tools} == {"status", "jobs", "runs", "run", "logs", "explain"}
        assert all(each.annotations.read_only_hint and each.description for each in tools)
        (job,) = (await ask(client, "jobs"))["jobs"]
        assert (job["name"], job["by_state"]) == ("etl", {"COMPLETED": 1, "FAILED": 1})
        assert [each["well"] for each in (await ask(client, "status"))["jobs"]] == [False]
        (failed,) = (await ask(client, "runs", state="failed"))["runs"]
        assert "no rows of 2026-11-23" in failed["error"]
        whole = await ask(client, "run", run=failed["id"])
        assert "raise ValueError" in whole["error"]["traceback"]
        assert [each["name"] for each in whole["steps"]] == ["load"]
        assert "canary-secret" not in json.dumps(whole)
        lines = (await ask(client, "logs", run="last:etl", text="loading"))["lines"]
        assert [each["text"] for each in lines] == ["loading 2026-11-23"]
        told = await ask(client, "explain", run="last")
        assert "parameter day is 2026-11-23, and was 2026-11-22 in the last success" in told["changes"]

    talk(recorded, conversation)


def test_what_cannot_be_answered_says_what_to_do(recorded: Host) -> None:
    async def conversation(client: Any) -> str:
        answer = await client.call_tool("run", {"run": "no-such-run"})
        assert answer.is_error
        return str(answer.content[0].text)

    assert "`holter runs` lists" in talk(recorded, conversation)
