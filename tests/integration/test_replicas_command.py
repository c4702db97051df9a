"""`turnwise replicas` before a proxy, and before what is none."""

import asyncio
import contextlib
import io
import socket

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console

from turnwise.events import DRAM, ReplicaFacts
from turnwise.index import DomainKey, KvIndex
from turnwise.proxy import replicas
from turnwise.proxy.admin.api import AdminApi
from turnwise.proxy.commands import main
from turnwise.proxy.export.audit import Audit
from turnwise.proxy.export.prometheus import Metrics
from turnwise.proxy.export.record import Recorder
from turnwise.proxy.fleet import Fleet
from turnwise.proxy.states import EXPLAINED, State
from turnwise.proxy.workers.pages import merged_replicas
from turnwise.settings import Replica, Settings


@contextlib.asynccontextmanager
async def admin_port(change=lambda _fleet: None):
    """The admin port of a proxy whose fleet nobody watches."""
    settings = Settings(replicas=tuple(Replica(url=f"http://127.0.0.1:{port}", name=f"gpu-{port}") for port in (1, 2)))
    index, metrics = KvIndex(settings.index), Metrics()
    fleet = Fleet(settings, index)
    for name in fleet.members:
        index.add_replica(name, DomainKey("m", 16, "sha256"), num_blocks=10, has_events=True)
    change(fleet)
    recorder = Recorder(index, fleet, metrics, Audit(), lambda: 0.0)
    api = AdminApi(settings, fleet, metrics, recorder, index, clock=lambda: 0.0)
    async with TestServer(api.application()) as server:
        yield str(server.make_url(""))


def stale(fleet):
    """One that is well, and one whose events have gone."""
    for member in fleet.members.values():
        member.facts = ReplicaFacts(models=("m",))
        member.is_healthy = True
        member.feed = "live"
    fleet.members["gpu-2"].feed = "stale"


def printed(rows, width):
    console = Console(width=width, file=io.StringIO())
    console.print(replicas.shown(rows))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 140])
async def test_a_row_a_replica_and_below_what_is_amiss_with_the_way_out(width):
    async with admin_port(stale) as url:
        rows = await asyncio.to_thread(replicas.asked, url)
    lines = printed(rows, width).splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [["gpu-1", "ready", "live"], ["gpu-2", "ready", "stale"]]
    assert all(len(line) <= width for line in lines)
    text = " ".join(" ".join(lines).split())
    said = EXPLAINED[State.STALE]
    assert f"stale gpu-2 {said.means} {said.does} → {said.remedy}" in text


async def test_how_fast_a_replica_was_seen_to_bring_up_blocks_has_a_line_and_a_setting_has_none():
    def seen(fleet):
        for _ in range(3):
            fleet.members["gpu-2"].loading.learn(DRAM, 1 / 12_000)

    async with admin_port(seen) as url:
        rows = await asyncio.to_thread(replicas.asked, url)
    assert rows[1]["transfer"]["dram"] == {"tokens_per_s": pytest.approx(12_000), "num_calls": 3}
    said = [line for line in printed(rows, 100).splitlines() if "brings up" in line]
    assert said == ["gpu-2  brings up 12,000 tokens a second from DRAM  by 3 calls"]


async def test_json_is_what_the_admin_port_says(capsys):
    async with admin_port(stale) as url:
        assert await asyncio.to_thread(main, ["replicas", "--json", "--admin", url]) == 0
    rows = msgspec.json.decode(capsys.readouterr().out)
    assert [(row["name"], [state["state"] for state in row["states"]]) for row in rows] == [("gpu-1", []), ("gpu-2", ["stale"])]


def test_json_is_not_printed_anew_again_and_again(capsys):
    with pytest.raises(SystemExit):
        main(["replicas", "--json", "--watch"])
    assert "not allowed with" in capsys.readouterr().err


async def test_the_admin_port_is_the_one_that_is_set(capsys, tmp_path):
    async with admin_port(stale) as url:
        file = tmp_path / "t.toml"
        file.write_text(f"[server]\nadmin_port = {url.rstrip('/').rpartition(':')[2]}\n")
        assert await asyncio.to_thread(main, ["replicas", "--config", str(file)]) == 0
    assert "gpu-1" in capsys.readouterr().out


def test_where_no_proxy_answers_it_says_so_and_what_to_check(capsys):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert main(["replicas", "--admin", url]) == 1
    said = capsys.readouterr().err
    assert f"no proxy answers at {url}" in said
    assert "--admin" in said


@pytest.mark.parametrize("url", ["nonsense", "http://", "http://[::1"])
def test_an_address_that_is_none_is_said_with_how_to_write_one(capsys, url):
    assert main(["replicas", "--admin", url]) == 1
    assert capsys.readouterr().err == f"turnwise: --admin {url}: write http://host:port\n"


CLIENT_PORT = (
    '{"error":{"message":"there is no /v1/replicas here","type":"not_found_error","param":null,"code":"unknown_path"}}'
)


@pytest.mark.parametrize(
    ("status", "answer"), [(200, '{"replicas": 3}'), (200, "<html>"), (200, '{"other": []}'), (404, CLIENT_PORT), (404, "no")]
)
async def test_what_is_no_admin_port_is_told_apart(capsys, status, answer):
    async def other(_request):
        return web.Response(text=answer, status=status)

    app = web.Application()
    app.add_routes([web.get("/v1/replicas", other)])
    async with TestServer(app) as server:
        assert await asyncio.to_thread(main, ["replicas", "--admin", str(server.make_url(""))]) == 1
    said = capsys.readouterr().err
    assert "is no proxy's admin port" in said
    assert said.count("\n") == 1


async def test_a_fault_of_the_admin_port_is_told_by_its_status(capsys):
    async def broken(_request):
        return web.Response(status=503)

    app = web.Application()
    app.add_routes([web.get("/v1/replicas", broken)])
    async with TestServer(app) as server:
        assert await asyncio.to_thread(main, ["replicas", "--admin", str(server.make_url(""))]) == 1
    assert "503 Service Unavailable; is `turnwise serve` running" in capsys.readouterr().err


async def test_a_replica_without_a_name_of_its_own_has_one_line_of_80_cells():
    async with admin_port(stale) as url:
        rows = await asyncio.to_thread(replicas.asked, url)
    rows[1]["name"] = "10.20.30.40:8000"
    assert printed(rows, 80).splitlines()[2].startswith("10.20.30.40:8000  ready ")


async def test_several_workers_tell_every_state_that_any_of_them_finds():
    async with admin_port(stale) as url, admin_port() as other:
        pages = [await asyncio.to_thread(replicas.asked, asked) for asked in (other, url)]
    merged = merged_replicas(pages)
    assert [[state["state"] for state in row["states"]] for row in merged] == [[], ["stale"]]
    assert printed(merged, 100)


async def test_trust_is_that_of_the_source_most_calls_went_by_and_accuracy_is_of_all():
    async with admin_port(stale) as url:
        rows = await asyncio.to_thread(replicas.asked, url)
    loop = [
        {"source": "confirmed", "num_calls": 30, "weight": 0.75, "prompt_tokens": 9000, "error_tokens": 600},
        {"source": "predicted", "num_calls": 2, "weight": 1.0, "prompt_tokens": 1000, "error_tokens": 400},
    ]
    rows[0]["cache"]["loop"] = loop
    first, second = (line.split() for line in printed(rows, 120).splitlines()[1:3])
    assert first[6:8] == ["0.75", "90.0%"]
    assert second[6:8] == ["-", "-"]
