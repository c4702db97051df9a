"""The demo's tools: what its server does, how agents call it, and what is told of when they began."""

import asyncio
import io
import subprocess
import sys

import msgspec
import pytest
from mcp import Client
from rich.console import Console

from turnwise.proxy.demo import corpus, fleet, report
from turnwise.proxy.demo.drive import CallRecord
from turnwise.proxy.demo.tool_server import server
from turnwise.proxy.demo.tools import ToolError, Tools
from turnwise.tools_gateway.settings_sources import load


@pytest.fixture
def pages(tmp_path):
    """The pages, which take no time."""
    corpus.write(tmp_path)
    (tmp_path / corpus.INDEX).write_bytes(msgspec.json.encode([0.0] * corpus.NUM_PAGES))
    return tmp_path


async def run(pages, *calls):
    """What an agent of the demo gets for some tool calls of one answer."""
    async with Client(server(pages)) as client:
        tools = Tools(client, (await client.list_tools()).tools)
        functions = [{"function": {"name": name, "arguments": msgspec.json.encode(given).decode()}} for name, given in calls]
        return tools.functions, await tools.run(functions)


def test_the_pages_are_the_same_in_every_run(tmp_path):
    said = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        corpus.write(tmp_path / name)
        said.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert said[0] == said[1]
    assert len(said[0]) == corpus.NUM_PAGES + 1


def test_every_tool_does_what_it_says(pages):
    text = corpus.path_of(pages, 3).read_text()
    word = max(text.split(), key=len)
    question = f"Where is {word} to be found? " + "And what else is there that has to do with it at all, and why is that so?"
    calls = [
        ("page", {"number": 3}),
        ("search", {"question": question}),
        ("count", {"number": 3}),
        ("note", {"text": "x" * 20}),
    ]
    functions, (read, found, counted, noted) = asyncio.run(run(pages, *calls))
    assert [tool["function"]["name"] for tool in functions] == ["page", "search", "count", "note"]
    assert read == text
    assert "page 3, line" in found
    assert counted == f"page 3: {len(text.splitlines())} lines, {len(text.split())} words"
    assert noted == "noted"
    assert (pages / "notes.txt").read_text() == "x" * 20 + "\n"


def test_a_tool_that_fails_fails_the_demo(pages):
    with pytest.raises(ExceptionGroup) as raised:
        asyncio.run(run(pages, ("page", {"number": 99})))
    assert raised.group_contains(ToolError, match="page")


def test_the_operators_file_of_the_demo_lets_only_what_reads_run_early(tmp_path):
    file = tmp_path / "tools.toml"
    file.write_text(fleet.operators_file(tmp_path / 'so "called".sock', tmp_path))
    (upstream,) = load(file, {}).upstreams
    assert {name for name, marks in upstream.tools.items() if marks.early} == {"page", "search", "count"}
    assert load(file, {}).front.socket == str(tmp_path / 'so "called".sock')


def test_the_tool_server_is_a_program_of_its_own(pages):
    request = b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    request += b'"clientInfo":{"name":"t","version":"1"}}}\n'
    command = [sys.executable, "-m", fleet.TOOL_SERVER, str(pages)]
    done = subprocess.run(command, input=request, capture_output=True, check=True)
    assert msgspec.json.decode(done.stdout.splitlines()[0])["result"]["serverInfo"]["name"] == "corpus"


def call(turn, tools, tool_s):
    return CallRecord(
        program="p",
        turn=turn,
        began_s=0.0,
        first_token_s=0.1,
        ended_s=1.0,
        prompt_tokens=100,
        cached_tokens=50,
        tools=tools,
        tool_s=tool_s,
        placement={},
    )


def test_the_wait_for_tools_is_the_mean_over_the_turns_that_called_some():
    records = [[call(1, ("read", "search"), 0.4), call(2, ("read",), 0.2), call(3, (), 0.0)]]
    summary = report.summarize(records)
    assert summary.tool_wait_mean_s == pytest.approx(0.3)
    console = Console(width=100, file=io.StringIO())
    console.print(report.tools_comparison({"when asked": (summary, [])}))
    assert " 300 " in console.file.getvalue()
