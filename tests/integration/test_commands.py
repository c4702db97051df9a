"""The command line as its users meet it."""

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys

import httpx
import msgspec
import pytest
from tests.sink.otlp import Sink

from turnwise.engines.sim.api import SimEngine
from turnwise.engines.sim.options import SimOptions
from turnwise.engines.sim.server import serve_sim
from turnwise.events import EventSourceInfo, ReplicaFacts
from turnwise.proxy import doctor, examples
from turnwise.proxy.commands import command_line, main
from turnwise.settings import Replica, Settings, ToolSettings, TraceSettings
from turnwise.tools_gateway.link import Link


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """`serve` sets logging up for its process, which here is everybody's."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def run(capsys, *argv):
    try:
        status = main(argv)
    except SystemExit as exit_:
        status = exit_.code
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize("command", [(), ("serve",), ("config",), ("doctor",), ("sim",), ("demo",)])
def test_every_command_explains_itself(capsys, command):
    status, out, _ = run(capsys, *command, "--help")
    assert status == 0
    assert out.startswith("usage: turnwise")
    assert len(out.splitlines()) > 8


EXAMPLES = [
    line.strip() for text in (examples.BEGIN, examples.SERVE, examples.REPLAY, examples.LINT) for line in text.splitlines()
]


@pytest.mark.parametrize("command", [(), ("serve",), ("replay",), ("lint",)])
def test_examples_keep_their_lines_in_a_terminal_of_80(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run(capsys, *command, "--help")
    shown = {line.strip() for line in out.splitlines()}
    assert len(shown & {line for line in EXAMPLES if "turnwise " in line}) >= 2
    assert all(len(line) <= 80 for line in out.splitlines() if "{kv_aware" not in line)


@pytest.mark.parametrize("example", [line for line in EXAMPLES if line.startswith("turnwise ")])
def test_an_example_of_the_help_is_a_command_that_there_is(example):
    _, *words = example.split()
    args, unknown = command_line().parse_known_args(words)
    assert not unknown
    assert callable(args.run)


def test_a_wrong_flag_says_so_and_exits_2(capsys):
    status, _, err = run(capsys, "serve", "--replcia", "http://127.0.0.1:1")
    assert status == 2
    assert "--replcia" in err
    assert "did you mean `--replica`?" in err


@pytest.mark.parametrize(("command", "flag", "meant"), [("sim", "--even-port", "--events-port"), ("config", "--sett", "--set")])
def test_a_wrong_flag_is_answered_with_the_commands_own(capsys, command, flag, meant):
    status, _, err = run(capsys, command, flag, "1")
    assert status == 2
    assert err.startswith(f"usage: turnwise {command}")
    assert f"`{meant}`" in err


@pytest.mark.parametrize("flag", ["--seeds", "--programs", "--live"])
@pytest.mark.parametrize("number", ["0", "-3", "x"])
def test_a_demo_of_nothing_is_refused(capsys, flag, number):
    status, _, err = run(capsys, "demo", f"{flag}={number}")
    assert status == 2
    assert "must be a whole number from 1" in err


def test_a_reader_of_the_output_that_leaves_is_no_crash():
    script = "import sys; from turnwise.proxy.commands import main; sys.exit(main(['config']))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-u", "-c", script], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.returncode == 141
    assert done.stderr == b""


def test_a_wrong_setting_says_what_was_meant(capsys):
    status, _, err = run(capsys, "config", "--set", "policy.mis_weight=2")
    assert status == 2
    assert "policy.mis_weight" in err
    assert "policy.miss_weight" in err


def test_a_value_out_of_range_names_its_key_and_source(capsys, tmp_path):
    file = tmp_path / "t.toml"
    file.write_text("[server]\nport = 99999\n")
    status, _, err = run(capsys, "config", "--config", str(file))
    assert status == 2
    assert "server.port" in err
    assert "t.toml" in err


def test_serving_nothing_is_refused_with_the_way_out(capsys):
    status, _, err = run(capsys, "serve")
    assert status == 2
    assert "--replica" in err


def test_config_prints_each_value_with_its_source(capsys, tmp_path):
    file = tmp_path / "t.toml"
    file.write_text('[[replicas]]\nurl = "http://127.0.0.1:8001"\n[policy]\nmiss_weight = 2.0\n')
    status, out, _ = run(capsys, "config", "--config", str(file), "--port", "1234")
    assert status == 0
    line_of = {line.split(" = ")[0].strip(): line for line in out.splitlines() if " = " in line}
    assert "2.0" in line_of["miss_weight"]
    assert "t.toml" in line_of["miss_weight"]
    assert "1234" in line_of["port"]
    assert "default" in line_of["queue_weight"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "proxy.internal"])
def test_an_admin_port_that_others_reach_is_warned_of(capsys, host):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        admin = ("--set", f"server.admin_host={host}")
        _, _, err = run(capsys, "serve", "--replica", "http://127.0.0.1:9", "--port", port, *admin)
        _, _, local = run(capsys, "serve", "--replica", "http://127.0.0.1:9", "--port", port)
    assert f"the admin port listens on {host} and asks nobody who they are" in err
    assert "`server.admin_host`" in err
    assert "asks nobody" not in local


def test_a_taken_port_is_said_in_one_line(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, _, err = run(capsys, "serve", "--replica", "http://127.0.0.1:9", "--port", port, "--admin-port", "0")
    assert (status, err) == (
        1,
        f"turnwise: cannot listen: 127.0.0.1:{port}: Address already in use; see `server.host` and `server.port`\n",
    )


def test_a_host_that_nobody_knows_is_named_with_its_setting(capsys):
    where = ("--port", "0", "--admin-port", "0", "--set", "server.admin_host=nobody.invalid")
    status, _, err = run(capsys, "serve", "--replica", "http://127.0.0.1:9", *where)
    assert status == 1
    said = err.splitlines()[-1]
    assert said.startswith("turnwise: cannot listen: nobody.invalid:0: ")
    assert said.endswith("; see `server.admin_host` and `server.admin_port`")


async def examine(engine=None, *, settings=None, **options):
    async with contextlib.AsyncExitStack() as stack:
        address = await stack.enter_async_context(serve_sim(engine or SimEngine(SimOptions(**options))))
        replica = msgspec.structs.replace(Replica(url=address.url, name="r"), **(settings or {}))
        checks, facts = await doctor.examine_one(replica)
    return {check.name: check for check in checks}, facts


async def test_the_doctor_finds_a_good_replica_good():
    checks, facts = await examine()
    assert {check.mark for check in checks.values()} == {doctor.Mark.OK}
    assert facts.load.block_size == 16


async def test_the_doctor_names_the_flag_for_missing_usage_details():
    checks, _ = await examine(reports_cached_tokens=False)
    assert checks["prompt_tokens_details"].mark == doctor.Mark.FAIL
    assert "--enable-prompt-tokens-details" in checks["prompt_tokens_details"].advice


async def test_the_doctor_names_the_flag_for_missing_events():
    checks, _ = await examine(publishes_events=False)
    assert checks["KV events"].mark == doctor.Mark.WARN
    assert "--kv-events-config" in checks["KV events"].advice


async def test_the_doctor_says_when_nobody_is_there():
    checks, facts = await doctor.examine_one(Replica(url="http://127.0.0.1:9", name="r"))
    assert [(check.name, check.mark) for check in checks] == [("reachable", doctor.Mark.FAIL)]
    assert facts is None


@pytest.mark.parametrize("is_there", [True, False])
async def test_the_doctor_says_whether_the_tools_gateway_answers(is_there, tmp_path, capsys):
    path = str(tmp_path / "tools.sock")
    async with contextlib.AsyncExitStack() as stack:
        if is_there:
            link = Link(path, "the gateway")
            await link.open(None)
            stack.push_async_callback(link.close)
        address = await stack.enter_async_context(serve_sim(SimEngine(SimOptions())))
        settings = Settings(replicas=(Replica(url=address.url, name="r"),), tools=ToolSettings(socket=path))
        assert await doctor.check_all(settings) == (0 if is_there else 1)
    said = " ".join(capsys.readouterr().out.split())
    assert ("the gateway answers" if is_there else "is `turnwise tools serve` running") in said


async def test_the_doctor_takes_a_base_url_that_ends_in_a_slash():
    async with serve_sim(SimEngine(SimOptions())) as address:
        checks, _ = await doctor.examine_one(Replica(url=address.url + "/", name="r"))
    assert {check.mark for check in checks} == {doctor.Mark.OK}


async def test_the_doctor_goes_to_the_replica_whatever_proxy_the_environment_names(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    checks, _ = await examine()
    assert {check.mark for check in checks.values()} == {doctor.Mark.OK}


@pytest.mark.parametrize(("refusal", "status", "said"), [((), 0, "takes spans"), ([(401, None, b"")], 1, "HTTP 401")])
def test_the_doctor_says_whether_the_endpoint_of_traces_takes_spans(capsys, refusal, status, said):
    async def examine_all(url):
        async with serve_sim(SimEngine(SimOptions())) as address:
            settings = Settings(replicas=(Replica(url=address.url, name="r"),), traces=TraceSettings(endpoint=url))
            return await doctor.check_all(settings)

    with Sink() as sink:
        sink.answers.extend(refusal)
        assert asyncio.run(examine_all(sink.url)) == status
    assert said in capsys.readouterr().out
    assert sink.spans == []


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:port", "nonsense"])
async def test_the_doctor_finds_an_address_of_events_that_is_none(endpoint):
    checks, _ = await examine(settings={"events_endpoint": endpoint, "replay_endpoint": endpoint})
    assert checks["KV events"].mark != doctor.Mark.OK
    assert checks["replay"].mark == checks["stamped events"].mark == doctor.Mark.FAIL
    assert checks["prompt_tokens_details"].mark == doctor.Mark.OK


async def test_the_doctor_listens_to_no_events_that_are_off():
    checks, _ = await examine(settings={"events": "off"})
    assert "off by setting" in checks["KV events"].found
    assert "replay" not in checks


async def test_the_doctor_asks_the_replay_endpoint_that_is_set():
    checks, _ = await examine(settings={"replay_endpoint": "nonsense"})
    assert checks["replay"].mark == doctor.Mark.FAIL
    assert "nonsense" in checks["replay"].found
    assert checks["stamped events"].mark == doctor.Mark.OK


class Odd:
    """An adapter and a transport for a replica that answers as no engine does."""

    def __init__(self, answer=b"{}", sources=()):
        self.answer = answer
        self.sources = sources

    async def discover(self, _http, _base_url):
        return ReplicaFacts(models=("m",), event_sources=self.sources)

    async def examine(self):
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=self.answer))
        async with httpx.AsyncClient(transport=transport) as http:
            checks, _ = await doctor.examine(Replica(url="http://h:1", name="r"), self, http)
        return {check.name: check for check in checks}


async def test_the_doctor_says_that_several_ranks_are_predicted():
    sources = tuple(EventSourceInfo(rank, f"tcp://h:{rank + 1}", None) for rank in range(2))
    check = (await Odd(sources=sources).examine())["KV events"]
    assert check.mark == doctor.Mark.WARN
    assert "predicted: several ranks" in check.found


@pytest.mark.parametrize(
    "answer",
    [
        b"[]",
        b"<html>",
        b'"x"',
        b"null",
        b"\xff",
        b'{"usage": 3}',
        b'{"usage": {"prompt_tokens_details": {}}}',
        b'{"usage": []}',
    ],
)
async def test_the_doctor_survives_an_answer_that_is_none(answer):
    assert (await Odd(answer=answer).examine())["prompt_tokens_details"].mark == doctor.Mark.FAIL


async def test_the_doctor_prints_what_looks_like_markup(capsys):
    async with serve_sim(SimEngine(SimOptions(model="[/b] [red]m"))) as address:
        settings = Settings(replicas=(Replica(url=address.url, name="r"),))
        assert await asyncio.to_thread(doctor.run, settings) == 0
    assert capsys.readouterr().out.count("[/b] [red]m") == 2


def test_the_doctor_fails_as_a_command_where_a_check_fails(capsys):
    status, out, _ = run(capsys, "doctor", "--replica", "gone=http://127.0.0.1:9")
    assert status == 1
    assert "gone" in out


def test_replicas_that_agree_are_shown_as_one_domain():
    async def both():
        async with contextlib.AsyncExitStack() as stack:
            engines = [SimEngine(SimOptions(block_size=size)) for size in (16, 16, 32)]
            addresses = [await stack.enter_async_context(serve_sim(engine)) for engine in engines]
            replicas = [Replica(url=address.url, name=f"r{n}") for n, address in enumerate(addresses)]
            return [(replica.name, (await doctor.examine_one(replica))[1]) for replica in replicas]

    lines = doctor.domains(asyncio.run(both()))
    assert len(lines) == 2
    assert lines[0].endswith(": r0, r1")
    assert lines[1].endswith(": r2")
