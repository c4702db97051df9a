"""Backends of traces that are down, slow, refusing or talk nonsense: nothing waits for them, and what is lost is counted."""

import contextlib
import socket
import threading

import grpc
import pytest
from msgspec.structs import replace
from tests.sink.otlp import Sink
from tests.sink.records import call, key, wall_ns

from turnwise.proxy.export import otlp
from turnwise.proxy.export.otlp import wire
from turnwise.proxy.export.otlp.exporter import CALL_BYTES, Exporter, Loss
from turnwise.proxy.export.otlp.sending import Verdict
from turnwise.proxy.programs.values import Ended, Outcome
from turnwise.settings import Settings, TraceSettings

KEY = key()


@pytest.fixture
def sink():
    with Sink() as running:
        yield running


def exporter(url, variables=(), **traces):
    settings = Settings(traces=TraceSettings(endpoint=url, **traces))
    found = otlp.find_target(settings.traces, dict(variables))
    return Exporter(settings, otlp.open_sender(found), found.timeout_s, wire.resource({"service.name": "turnwise"}), wall_ns)


def send(made, calls, *, ended=True):
    """A program of so many calls, from its first to its end."""
    records = [call(number) for number in range(calls)]
    for record in records:
        made.call_ended(KEY, record)
    if ended:
        made.program_ended(Ended(KEY, Outcome.ASKED, tuple(records), records[-1].times.ended))


def dead_url():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{held.getsockname()[1]}"


def test_spans_arrive_with_the_root_last_and_all_of_them_count(sink):
    made = exporter(sink.url)
    made.start()
    send(made, 3)
    made.stop()
    assert [span.name for span in sink.spans].count("chat lab") == 3
    assert sink.spans[-1].name == "invoke_workflow nightly"
    assert made.num_exported == len(sink.spans) == 3 * 6 + 2 + 1
    assert made.pending_bytes == 0
    assert set(made.lost.values()) == {0}
    assert {span.scope for span in sink.spans} == {"turnwise"}
    assert sink.spans[0].resource == {"service.name": "turnwise"}
    assert sink.heads[0]["content-type"] == "application/x-protobuf"


def test_spans_are_sent_without_waiting_for_the_end_of_anything(sink):
    made = exporter(sink.url)
    made.start()
    send(made, 1, ended=False)
    sink.wait_for(lambda sink: len(sink.spans) == 6)
    made.stop()


def test_what_is_not_sampled_is_not_sent(sink):
    made = exporter(sink.url)
    made.start()
    unsampled = replace(KEY, is_sampled=False)
    made.call_ended(unsampled, call())
    made.program_ended(Ended(unsampled, Outcome.ASKED, (call(),), 0.0))
    made.stop()
    assert sink.num_batches == 0


def test_batches_are_bounded(sink):
    made = exporter(sink.url)
    send(made, 300)
    made.start()
    made.stop()
    sizes = [sum(span.batch == number for span in sink.spans) for number in range(sink.num_batches)]
    assert sum(sizes) == made.num_exported
    assert max(sizes) < 512 + 6 + 299
    assert len(sizes) >= 4


def test_headers_and_gzip_are_as_the_variables_say(sink):
    variables = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=one%20two", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    made = exporter(sink.url, variables)
    made.start()
    send(made, 2)
    made.stop()
    assert (sink.heads[0]["api-key"], sink.heads[0]["content-encoding"]) == ("one two", "gzip")
    assert len(sink.spans) == made.num_exported > 0


def test_grpc_carries_the_same(sink):
    sink.serve_grpc()
    made = exporter(f"http://{sink.grpc_address}", {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=one"}, protocol="grpc")
    made.start()
    send(made, 2)
    made.stop()
    assert len(sink.spans) == made.num_exported == 2 * 6 + 1 + 1
    assert sink.heads[0]["api-key"] == "one"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_backend_that_is_busy_gets_the_batch_again(sink, status):
    sink.answers.append((status, {"retry-after": "0"}, b""))
    made = exporter(sink.url)
    made.start()
    send(made, 1)
    sink.wait_for(lambda sink: sink.spans)
    made.stop()
    assert sink.num_batches == 2
    assert (made.num_failed_batches, made.lost[Loss.UNANSWERED]) == (0, 0)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 413, 500])
def test_a_batch_that_is_refused_is_dropped_and_counted_and_the_next_one_goes_on(sink, status):
    sink.answers.append((status, {"location": "http://elsewhere"}, b"no"))
    made = exporter(sink.url)
    made.start()
    send(made, 1, ended=False)
    sink.wait_for(lambda sink: sink.num_batches == 1)
    send(made, 1, ended=False)
    sink.wait_for(lambda sink: sink.num_batches == 2)
    made.stop()
    assert (made.num_failed_batches, made.lost[Loss.REFUSED], made.num_exported) == (1, 1, 6)
    assert made.pending_bytes == 0


def test_spans_that_the_backend_left_out_are_counted(sink):
    # ExportTraceServiceResponse{partial_success{rejected_spans: 2}}
    sink.answers.append((200, None, b"\x0a\x02\x08\x02"))
    made = exporter(sink.url)
    made.start()
    send(made, 1)
    made.stop()
    assert made.num_rejected == 2


def close_at_once(handler):
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def nonsense(handler):
    handler.close_connection = True
    handler.wfile.write(b"\x00\xff not http\r\n\r\n")


def too_much(handler):
    handler.close_connection = True
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(OSError):  # until the other side leaves
        for _ in range(100_000):
            handler.wfile.write(b"x" * 65536)


@pytest.mark.parametrize("answer", [close_at_once, nonsense])
def test_a_backend_that_breaks_off_or_talks_nonsense_may_get_the_batch_again(sink, answer):
    sink.answers.append(answer)
    sender = otlp.open_sender(otlp.find_target(TraceSettings(endpoint=sink.url), {}))
    assert sender.send(b"", 5.0).verdict is Verdict.LATER
    assert sender.send(b"", 5.0).verdict is Verdict.TAKEN
    sender.close()


def test_an_answer_without_end_is_not_read_to_its_end(sink):
    sink.answers.append(too_much)
    made = exporter(sink.url)
    made.start()
    send(made, 1)
    made.stop()
    assert made.num_exported == 7


def test_a_connection_that_was_closed_while_idle_costs_nothing(sink):
    found = otlp.find_target(TraceSettings(endpoint=sink.url), {})
    sender = otlp.open_sender(found)
    assert sender.send(b"", 5.0).verdict is Verdict.TAKEN
    sender._connection.sock.shutdown(socket.SHUT_RDWR)
    assert sender.send(b"", 5.0).verdict is Verdict.TAKEN
    sender.close()


def test_without_a_backend_memory_is_bounded_and_the_path_never_waits():
    made = exporter(dead_url(), max_pending_bytes=100_000, flush_timeout_s=0.1)
    made.start()
    for number in range(10_000):
        made.call_ended(KEY, call(number))
    assert made.pending_bytes <= 100_000
    assert made.lost[Loss.FULL] >= 10_000 - 100_000 // CALL_BYTES
    made.stop()
    assert made.num_exported == 0
    lost = made.lost
    assert lost[Loss.FULL] + lost[Loss.UNANSWERED] + lost[Loss.STOPPED] == 10_000


def test_a_backend_that_never_answers_holds_up_neither_the_path_nor_the_end(sink):
    asked = threading.Event()

    def never(_handler):
        asked.set()
        sink.released.wait()

    sink.answers.extend([never] * 10)
    made = exporter(sink.url, max_pending_bytes=100_000, flush_timeout_s=0.2, timeout_s=60.0)
    made.start()
    send(made, 64, ended=False)
    assert asked.wait(20)
    send(made, 1000, ended=False)
    assert made.pending_bytes <= 100_000
    made.stop()
    made._thread.join(20)
    assert not made._thread.is_alive()


def test_a_record_that_cannot_be_made_into_spans_is_counted_and_the_others_go_on(sink, caplog):
    made = exporter(sink.url)
    made.start()
    made.call_ended(KEY, call(times=None))
    send(made, 1)
    made.stop()
    assert made.lost[Loss.BROKEN] == 1
    assert made.num_exported == 7
    assert "could not be made" in caplog.text


def test_requests_of_engines_are_sent_on_as_they_are(sink):
    theirs = wire.request(
        wire.resource({"service.name": "vllm"}),
        wire.scope_spans(
            "vllm",
            "",
            "",
            [
                wire.span(
                    wire.place(b"T" * 16, b"P" * 8), b"S" * 8, wire.span_name("llm_request", kind=wire.Kind.SERVER), 1, 2, b""
                )
            ],
        ),
    )
    made = exporter(sink.url)
    made.start()
    send(made, 1, ended=False)
    made.forward(theirs)
    made.forward(theirs)
    made.stop()
    assert sink.num_batches == 1
    assert [span.resource["service.name"] for span in sink.spans] == ["turnwise"] * 6 + ["vllm"] * 2


@pytest.mark.parametrize(
    ("code", "is_again"),
    [("UNAVAILABLE", True), ("DEADLINE_EXCEEDED", True), ("INVALID_ARGUMENT", False), ("RESOURCE_EXHAUSTED", False)],
)
def test_grpc_statuses_mean_what_otlp_says(sink, code, is_again):
    sink.serve_grpc()
    sink.answers.append((grpc.StatusCode[code], "no"))
    sender = otlp.open_sender(otlp.find_target(TraceSettings(endpoint=f"http://{sink.grpc_address}", protocol="grpc"), {}))
    answer = sender.send(b"", 10.0)
    assert answer.verdict is (Verdict.LATER if is_again else Verdict.REFUSED)
    assert code in answer.why
    assert sender.send(b"", 10.0).verdict is Verdict.TAKEN
    sender.close()


def test_two_proxies_write_one_trace(sink):
    before = call(0)
    for records in ([before], [call(1)]):
        made = exporter(sink.url)
        made.start()
        for record in records:
            made.call_ended(key(), record)
        made.stop()
    last = exporter(sink.url)
    last.start()
    last.program_ended(Ended(key(), Outcome.ASKED, (before, call(1)), call(1).times.ended))
    last.stop()
    (trace,) = sink.jaeger(KEY.trace_id.hex())["data"]
    names = [span["operationName"] for span in trace["spans"]]
    assert names.count("chat lab") == 2
    assert names.count("invoke_workflow nightly") == 1
    known = {span["spanID"] for span in trace["spans"]}
    parents = [reference["spanID"] for span in trace["spans"] for reference in span["references"]]
    assert set(parents) <= known
