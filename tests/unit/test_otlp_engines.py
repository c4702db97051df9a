"""What engines tell of our calls reaches the ledger, and what they send that is something else does no harm."""

import gzip
import math

import pytest
from tests.sink.engine import DECODE_S, LATENCIES, PREFILL_S, QUEUED_S, engine_request, engine_request_of
from tests.sink.records import call, key

from turnwise import span_names
from turnwise.errors import ClientFault
from turnwise.proxy.export.otlp import wire
from turnwise.proxy.export.otlp.engines import MAX_BYTES, MAX_CALLS, EngineSpans
from turnwise.proxy.programs.values import EngineTimes

KEY = key()


class Ledger:
    """Remembers what it was told of calls that it knows."""

    def __init__(self, *known):
        self.known = known
        self.told = {}
        self.sent_on = []

    def tell(self, program, call_id, times):
        self.told[program, call_id] = times
        return call_id in self.known

    def spans(self, *, is_heard=True):
        spans = EngineSpans(self.tell, self.sent_on.append)
        if is_heard:
            spans.take(engine_request())
            self.sent_on.clear()
        return spans


def test_the_engines_times_reach_the_ledger_of_the_call():
    ledger = Ledger(call().call_id)
    spans = ledger.spans()
    spans.call_ended(KEY, call())
    spans.take(engine_request_of(call()))
    assert ledger.told == {(KEY.id, call().call_id): EngineTimes(QUEUED_S, PREFILL_S, DECODE_S)}
    assert (spans.heard.matched, spans.heard.unmatched) == (1, 0)


def test_the_span_of_a_later_attempt_is_that_attempts():
    ledger = Ledger(call().call_id)
    spans = ledger.spans()
    spans.call_ended(KEY, call(attempt=1))
    spans.take(engine_request_of(call(attempt=0)))
    assert spans.heard.unmatched == 1
    spans.take(engine_request_of(call(attempt=1)))
    assert spans.heard.matched == 1


def test_calls_are_remembered_only_once_an_engine_was_heard():
    ledger = Ledger(call().call_id)
    spans = ledger.spans(is_heard=False)
    spans.call_ended(KEY, call())
    spans.take(engine_request_of(call()))
    assert spans.heard.unmatched == 1
    assert ledger.told == {}


def test_a_span_that_comes_twice_counts_once():
    spans = Ledger(call().call_id).spans()
    spans.call_ended(KEY, call())
    spans.take(engine_request_of(call()))
    spans.take(engine_request_of(call()))
    assert (spans.heard.matched, spans.heard.unmatched) == (1, 1)


def test_a_call_that_is_not_remembered_any_more_is_unmatched():
    spans = Ledger().spans()
    spans.call_ended(KEY, call())
    spans.take(engine_request_of(call()))
    assert (spans.heard.matched, spans.heard.unmatched) == (0, 1)


def test_remembered_calls_are_bounded_and_the_oldest_go_first():
    ledger = Ledger(*(call(number).call_id for number in range(MAX_CALLS + 10)))
    spans = ledger.spans()
    for number in range(MAX_CALLS + 10):
        spans.call_ended(KEY, call(number))
    spans.take(engine_request_of(call(9), call(10)))
    assert (spans.heard.matched, spans.heard.unmatched) == (1, 1)
    assert len(spans._calls) == MAX_CALLS - 1


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -1.0, None])
@pytest.mark.parametrize("name", [span_names.ENGINE_QUEUE, span_names.ENGINE_PREFILL, span_names.ENGINE_DECODE])
def test_times_that_are_no_durations_are_not_believed(name, wrong):
    ledger = Ledger(call().call_id)
    spans = ledger.spans()
    spans.call_ended(KEY, call())
    told = (
        {**LATENCIES, name: wrong}
        if wrong is not None
        else {known: value for known, value in LATENCIES.items() if known != name}
    )
    spans.take(engine_request_of(call(), latencies=told))
    assert ledger.told == {}
    assert spans.heard.unmatched == 1


def test_spans_of_other_things_are_only_sent_on():
    ledger = Ledger(call().call_id)
    spans = ledger.spans()
    body = engine_request(b"P" * 8, name="load_model")
    spans.take(body)
    assert (spans.heard.other, spans.heard.unmatched) == (1, 0)
    assert ledger.sent_on == [body]


def test_a_sibling_may_have_sent_it_on_already():
    ledger = Ledger(call().call_id)
    spans = ledger.spans()
    spans.call_ended(KEY, call())
    spans.take(engine_request_of(call()), sends_on=False)
    assert spans.heard.matched == 1
    assert ledger.sent_on == []


def test_an_empty_request_is_fine_and_nothing_to_send_on():
    ledger = Ledger()
    ledger.spans().take(b"")
    assert ledger.sent_on == []


@pytest.mark.parametrize("body", [b"{}", b"\xff" * 20, engine_request(b"P" * 8)[:-3]])
def test_what_is_no_request_of_otlp_is_refused_and_counted(body):
    ledger = Ledger()
    spans = ledger.spans()
    with pytest.raises(ClientFault, match="no ExportTraceServiceRequest"):
        spans.take(body)
    assert spans.heard.malformed == 1
    assert ledger.sent_on == []


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (b"\x1f\x8bnot gzip", "gzip", "no gzip"),
        (gzip.compress(engine_request(b"P" * 8))[:-4], "gzip", "ends too soon"),
        (gzip.compress(bytes(MAX_BYTES + 1)), "gzip", "larger than"),
        (b"", "zstd", "zstd"),
    ],
)
def test_what_cannot_be_unpacked_is_refused_and_counted(body, encoding, said):
    spans = Ledger().spans()
    with pytest.raises(ClientFault, match=said):
        spans.take(body, encoding)
    assert spans.heard.malformed == 1


def test_a_packed_request_is_sent_on_unpacked():
    ledger = Ledger()
    ledger.spans().take(gzip.compress(engine_request(b"P" * 8)), "gzip")
    assert ledger.sent_on == [engine_request(b"P" * 8)]


def test_our_own_spans_do_not_go_in_a_circle():
    ledger = Ledger()
    spans = ledger.spans()
    ours = wire.request(wire.resource({}), wire.scope_spans(span_names.SCOPE, "1", span_names.SCHEMA_URL, []))
    with pytest.raises(ClientFault, match="its own endpoint"):
        spans.take(ours)
    assert ledger.sent_on == []


def test_calls_that_engines_were_told_not_to_trace_are_not_remembered():
    spans = Ledger(call().call_id).spans()
    spans.call_ended(key(is_sampled=False), call())
    assert spans._calls == {}
