"""`turnwise tools top`, as somebody who runs it sees it."""

import argparse
import asyncio
import io
import json

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console
from tests.unit.tools_facts import Gateway, session, tool

from turnwise.admin import showing
from turnwise.tools_gateway.cli import top
from turnwise.tools_gateway.export.admin import AdminApi
from turnwise.tools_gateway.export.rows import tools_page
from turnwise.tools_gateway.messages import How, Void
from turnwise.tools_gateway.values import Called, Fate, ToolState


def busy_gateway():
    gateway = Gateway()
    read, write, _ = gateway.tools
    gateway.ran(read, 0.012, 100)
    gateway.ran(write, 1.5)
    gateway.busy(write, 3, 2)
    for _ in range(4):
        gateway.meter.called(read, Called(How.ASKED, Fate.SUCCESS, None, 0.0, 0.012))
    gateway.meter.called(read, Called(How.EARLY, Fate.SUCCESS, None, 0.0, 0.012, saved_s=0.5))
    gateway.meter.called(write, Called(How.ASKED, Fate.SUCCESS, None, 0.0, 60.0))
    gateway.meter.early_ended(read, Void.LENGTH)
    return gateway


def lines(page, width=80, limit=None):
    console = Console(width=width, file=io.StringIO())
    console.print(top.shown(page, limit))
    return console.file.getvalue().splitlines()


def parsed(*argv):
    parser = argparse.ArgumentParser()
    top.add_arguments(parser)
    return parser.parse_args(argv)


async def ran(*argv):
    """The command's status, while the loop goes on."""
    return await asyncio.to_thread(top.run, parsed(*argv))


@pytest.fixture
async def admin():
    gateway = busy_gateway()
    server = TestServer(AdminApi(gateway.sources, not_ready=lambda: "").application())
    async with server:
        yield str(server.make_url("/"))


def test_the_tool_that_takes_most_time_comes_first_with_all_that_eighty_columns_hold():
    head, first, second, *_ = lines(tools_page(busy_gateway().sources))
    assert head.split() == ["tool", "p50", "p90", "p99", "runs", "ok", "now", "early", "time"]
    assert first.split() == ["files__write", *["1.50", "s"] * 3, "40", "100%", "3+2", "0%", "1", "min", "0", "s"]
    assert second.split() == ["files__read", *["12", "ms"] * 3, "100", "100%", "0", "20%", "60", "ms"]


def test_nothing_is_wider_than_the_terminal_however_long_names_are():
    gateway = busy_gateway()
    gateway.tools.append(tool("x" * 60))
    gateway.ran(gateway.tools[-1], 250.0)
    for width in (60, 80, 120):
        page = lines(tools_page(gateway.sources), width)
        assert max(map(len, page)) <= width
        assert {"p50", "p90", "runs", "now", "early"} <= set(page[0].split())
    assert "p99" in lines(tools_page(gateway.sources), 80)[0].split()


def test_what_is_amiss_is_said_below_with_what_to_do():
    gateway = busy_gateway()
    gateway.tools += [tool("mv", state=ToolState.QUARANTINED), tool("rm", state=ToolState.QUARANTINED)]
    gateway.sessions.append(session("build", state="broken", last_fault="its program ended"))
    gateway.complaints = ["web has no tool fecth, of which the operator's file says something"]
    text = "\n".join(lines(tools_page(gateway.sources), 200))
    assert "2 tools of files: quarantined; `turnwise tools approve files` shows" in text
    assert "web__fetch: drifted, its definition changed" in text
    assert "web (0a1b2c3d): down, refused; again in 2.50 s" in text
    assert "build (0a1b2c3d): broken, its program ended" in text
    assert "web has no tool fecth" in text
    assert "5 tools, 3 upstreams; 6 calls, 1 joined a run under way; 1 early run for nothing; 500 ms saved" in text


def test_names_cannot_command_the_terminal():
    gateway = Gateway()
    gateway.sessions = [session("web", state="down", last_fault="\x1b[2Jgone")]
    assert "\x1b" not in "\n".join(lines(tools_page(gateway.sources)))


def test_a_tool_that_has_not_run_has_no_times():
    fetch = next(line for line in lines(tools_page(Gateway().sources)) if line.startswith("web__fetch"))
    assert fetch.split()[1:4] == ["-", "-", "-"]


def test_a_gateway_without_tools_says_how_they_come():
    gateway = Gateway()
    gateway.tools = gateway.sessions = []
    assert "name upstreams in the operator's file" in lines(tools_page(gateway.sources))[0]


def test_as_many_tools_are_listed_as_there_is_room_for():
    page = lines(tools_page(busy_gateway().sources), limit=1)
    assert page[1].startswith("files__write")
    assert page[2] == ""


async def test_the_list_is_printed_once_where_nobody_watches(admin, capsys):
    assert await ran("--admin", admin) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("files__write")


async def test_json_is_what_the_gateway_says(admin, capsys):
    assert await ran("--admin", admin, "--json", "--upstream", "web") == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)["tools"]] == ["web__fetch"]


async def test_the_port_is_found_where_the_settings_put_it(admin, capsys):
    port = admin.rstrip("/").rpartition(":")[2]
    assert await ran("--set", "front.admin_host=0.0.0.0", "--set", f"front.admin_port={port}") == 0
    assert "files__write" in capsys.readouterr().out


async def test_an_unknown_upstream_is_an_error_that_names_those_there_are(admin, capsys):
    assert await ran("--admin", admin, "--upstream", "wbe") == 1
    assert capsys.readouterr().err == "turnwise: no upstream `wbe`; there are: files, web\n"


async def test_where_no_gateway_answers_the_error_says_what_to_look_at(unused_tcp_port, capsys):
    assert await ran("--admin", f"http://127.0.0.1:{unused_tcp_port}") == 1
    said = capsys.readouterr().err
    assert said.startswith("turnwise: no tools gateway answers at")
    assert "is `turnwise tools serve` running" in said
    assert said.count("\n") == 1


async def test_another_server_is_not_taken_for_the_gateway(capsys):
    async def page(_):
        return web.json_response({"hello": "world"})

    app = web.Application()
    app.router.add_get("/tools", page)
    async with TestServer(app) as server:
        assert await ran("--admin", str(server.make_url("/"))) == 1
    assert "is no tools gateway's admin port" in capsys.readouterr().err


async def test_a_list_that_is_watched_ends_with_an_error_when_the_gateway_goes(capsys, monkeypatch):
    monkeypatch.setattr(showing, "WATCH_S", 0.0)
    page = msgspec.json.encode(tools_page(busy_gateway().sources))
    answers = [web.Response(body=page), web.Response(body=page), web.Response(status=503)]

    async def tools(_):
        return answers.pop(0)

    app = web.Application()
    app.router.add_get("/tools", tools)
    async with TestServer(app) as server:
        assert await ran("--admin", str(server.make_url("/")), "--watch") == 1
    said = capsys.readouterr()
    assert answers == []
    assert "files__write" in said.out
    assert "503" in said.err
