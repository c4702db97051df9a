"""`turnwise serve` with a backend of traces: what arrives there, what the replica is told, and how it ends."""

import asyncio
import contextlib
import gzip
import os
import signal
import socket
import sys

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.sink.engine import engine_request
from tests.sink.otlp import Sink

PROTOBUF = {"content-type": "application/x-protobuf"}
LIMIT_S = 30
DRAIN = ("--set", "server.drain_delay_s=0")


@pytest.fixture
def sink():
    with Sink() as running:
        yield running


@pytest.fixture
async def http():
    async with httpx.AsyncClient(timeout=LIMIT_S, trust_env=False) as client:
        yield client


def to(sink, *more):
    return [*DRAIN, "--set", f"traces.endpoint={sink.url}", *more]


async def call(http, proxy, faulty, **headers):
    answer = await http.post(f"{proxy.url}/v1/chat/completions", json=faulty.CHAT, headers=headers)
    assert answer.status_code == 200


async def until(condition, sink):
    await asyncio.to_thread(sink.wait_for, condition)


async def ended(proxy):
    proxy.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(LIMIT_S):
        await proxy.process.wait()


async def figures(http, proxy):
    text = (await http.get(f"{proxy.admin_url}/metrics")).text
    found = {}
    for sample in (sample for family in text_string_to_metric_families(text) for sample in family.samples):
        labels = tuple(value for name, value in sample.labels.items() if name != "worker")
        found[sample.name, *labels] = found.get((sample.name, *labels), 0) + sample.value
    return found


def traceparents(replica):
    return [fields["traceparent"].split("-") for _, fields, _ in replica.paths]


async def test_the_engine_is_given_our_attempt_as_its_parent_and_its_spans_and_ours_are_one_trace(serve, faulty, sink, http):
    replica = await faulty.Replica("one", faulty.answer_well).start()
    proxy = await serve(replica, arguments=to(sink))
    await call(http, proxy, faulty)
    await until(lambda sink: sink.named("turnwise.upstream"), sink)
    ((version, trace, parent, flags),) = traceparents(replica)
    assert (version, flags) == ("00", "01")
    assert (sink.one("turnwise.upstream").trace, sink.one("turnwise.upstream").id) == (trace, parent)

    answer = await http.post(
        f"{proxy.admin_url}/v1/traces",
        content=gzip.compress(engine_request(bytes.fromhex(parent), trace=bytes.fromhex(trace))),
        headers={**PROTOBUF, "content-encoding": "gzip"},
    )
    assert (answer.status_code, answer.content) == (200, b"")
    await until(lambda sink: sink.named("llm_request"), sink)
    (shown,) = sink.jaeger(trace)["data"]
    references = {span["operationName"]: span["references"] for span in shown["spans"]}
    assert references["llm_request"] == [{"refType": "CHILD_OF", "traceID": trace, "spanID": parent}]


async def test_a_retried_calls_engine_spans_would_stand_under_the_attempt_that_served(serve, faulty, sink, http):
    async def close(_replica, _writer):
        return False

    bad = await faulty.Replica("bad", close).start()
    good = await faulty.Replica("good", faulty.answer_well).start()
    proxy = await serve(bad, good, arguments=to(sink, "--policy", "round_robin"))
    for _ in range(2):
        await call(http, proxy, faulty)
    await until(lambda sink: len(sink.named("turnwise.upstream")) == 3, sink)
    told = {parent for replica in (bad, good) for _, _, parent, _ in traceparents(replica)}
    upstream = sink.named("turnwise.upstream")
    assert {span.id for span in upstream} == told
    assert [span.attributes["turnwise.replica"] for span in upstream if span.error] == ["bad"]


async def test_the_root_comes_last_when_the_process_is_told_to_stop(serve, faulty, sink, http):
    replica = await faulty.Replica("one", faulty.answer_well).start()
    proxy = await serve(replica, arguments=to(sink))
    await call(http, proxy, faulty)
    await ended(proxy)
    assert proxy.process.returncode == 0
    root = sink.spans[-1]
    assert root.name.startswith("invoke_workflow")
    assert root.attributes["turnwise.program.outcome"] == "shutdown"
    (chat,) = sink.named("chat")
    assert (chat.trace, chat.parent) == (root.trace, root.id)
    assert root.start_ns <= chat.start_ns <= chat.end_ns <= root.end_ns
    assert root.resource["service.name"] == "turnwise"


async def test_a_proxy_that_starts_again_writes_into_the_trace_of_a_named_program(serve, faulty, sink, http):
    replica = await faulty.Replica("one", faulty.answer_well).start()
    for _ in range(2):
        proxy = await serve(replica, arguments=to(sink))
        await call(http, proxy, faulty, **{"x-turnwise-program": "nightly"})
        await ended(proxy)
    roots = sink.named("invoke_workflow")
    assert len(sink.named("chat")) == len(roots) == 2
    assert {span.trace for span in sink.spans} == {roots[0].trace}
    assert roots[0].id == roots[1].id


async def test_a_backend_that_is_down_slows_neither_calls_nor_the_end(serve, faulty, http):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        replica = await faulty.Replica("one", faulty.answer_well).start()
        arguments = [*DRAIN, "--set", f"traces.endpoint={url}", "--set", "traces.flush_timeout_s=0.5"]
        proxy = await serve(replica, arguments=arguments)
        for _ in range(20):
            await call(http, proxy, faulty)
        assert (await figures(http, proxy))["turnwise_spans_exported_total",] == 0
        await ended(proxy)
    assert proxy.process.returncode == 0


async def test_a_backend_that_never_answers_does_not_hold_up_the_end(serve, faulty, sink, http):
    sink.answers.extend([lambda _handler: sink.released.wait()] * 5)
    replica = await faulty.Replica("one", faulty.answer_well).start()
    proxy = await serve(replica, arguments=to(sink, "--set", "traces.flush_timeout_s=0.5", "--set", "traces.timeout_s=600"))
    await call(http, proxy, faulty)
    await until(lambda sink: sink.num_batches == 1, sink)
    await call(http, proxy, faulty)
    await ended(proxy)
    assert proxy.process.returncode == 0


async def test_without_an_endpoint_engines_are_heard_all_the_same(serve, faulty, http):
    replica = await faulty.Replica("one", faulty.answer_well).start()
    proxy = await serve(replica)
    await http.post(f"{proxy.admin_url}/v1/traces", content=engine_request(), headers=PROTOBUF)
    await call(http, proxy, faulty)
    _, trace, parent, _ = traceparents(replica)[0]
    body = engine_request(bytes.fromhex(parent), trace=bytes.fromhex(trace))
    await http.post(f"{proxy.admin_url}/v1/traces", content=body, headers=PROTOBUF)
    told = await figures(http, proxy)
    assert told["turnwise_engine_spans_total", "matched"] == 1


@pytest.mark.parametrize(
    ("content", "headers", "status", "said"),
    [
        (b"not protobuf", PROTOBUF, 400, "no ExportTraceServiceRequest"),
        (b"\x1f\x8bnot gzip", {**PROTOBUF, "content-encoding": "gzip"}, 400, "no gzip"),
        (b"{}", {"content-type": "application/json"}, 415, "application/x-protobuf"),
        (b"x" * 2_000_000, PROTOBUF, 413, ""),
    ],
)
async def test_what_is_no_request_of_engines_is_refused_with_the_reason(serve, faulty, http, content, headers, status, said):
    replica = await faulty.Replica("one", faulty.answer_well).start()
    proxy = await serve(replica)
    answer = await http.post(f"{proxy.admin_url}/v1/traces", content=content, headers=headers)
    assert answer.status_code == status
    assert said in answer.text
    assert (await figures(http, proxy))["turnwise_engine_span_requests_refused_total",] == (status == 400)
    await call(http, proxy, faulty)


async def test_all_workers_hear_engines_and_one_sends_their_spans_on(serve, faulty, sink, http):
    replica = await faulty.Replica("one", faulty.answer_well).start()
    proxy = await serve(replica, arguments=to(sink, "--workers", "2"))
    for _ in range(2):
        answer = await http.post(f"{proxy.admin_url}/v1/traces", content=engine_request(b"P" * 8), headers=PROTOBUF)
        assert answer.status_code == 200
    refused = await http.post(f"{proxy.admin_url}/v1/traces", content=b"not protobuf", headers=PROTOBUF)
    assert refused.status_code == 400
    await call(http, proxy, faulty)
    _, trace, parent, _ = traceparents(replica)[0]
    body = engine_request(bytes.fromhex(parent), trace=bytes.fromhex(trace))
    await http.post(f"{proxy.admin_url}/v1/traces", content=body, headers=PROTOBUF)
    told = await figures(http, proxy)
    assert told["turnwise_engine_spans_total", "matched"] == 1
    await ended(proxy)
    assert len(sink.named("llm_request")) == 3
    assert len(sink.named("chat")) == 1


async def refused_to_start(*arguments, **variables):
    """How a proxy that must not start says so."""
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "turnwise.proxy",
            "serve",
            "--port",
            "0",
            "--admin-port",
            "0",
            "--replica",
            "http://127.0.0.1:9",
        ),
        *arguments,
        env=os.environ | variables,
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            _, said = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    return process.returncode, said.decode()


async def test_a_variable_that_cannot_be_used_refuses_to_start():
    status, said = await refused_to_start(OTEL_EXPORTER_OTLP_ENDPOINT="nowhere")
    assert status == 2
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in said


async def test_grpc_without_its_extra_refuses_to_start_and_names_it(tmp_path):
    (tmp_path / "grpc.py").write_text("raise ModuleNotFoundError(\"No module named 'grpc'\", name='grpc')\n", encoding="utf-8")
    arguments = ("--set", "traces.protocol=grpc", "--set", "traces.endpoint=http://127.0.0.1:4317")
    status, said = await refused_to_start(*arguments, PYTHONPATH=str(tmp_path))
    assert status == 2
    assert "turnwise[grpc]" in said
