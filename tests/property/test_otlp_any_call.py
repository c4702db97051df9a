"""Any record of a call makes messages that the library of OTLP reads back as they were meant."""

from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.sink.otlp import spans_of
from tests.sink.records import key, wall_ns

from turnwise import span_names
from turnwise.proxy.export.otlp import wire
from turnwise.proxy.export.otlp.call_spans import call_spans
from turnwise.proxy.export.otlp.program_spans import program_spans
from turnwise.proxy.programs.values import Attempt, Basis, Call, Ended, Link, LinkKind, Outcome, Times, ToolRun
from turnwise.settings import ProgramSettings
from turnwise.types import DialectName

MOMENTS = st.floats(0, 1e7, allow_nan=False)
MAYBE = st.none() | MOMENTS
TEXTS = st.text(max_size=8) | st.just("x" * 600)
COUNTS = st.integers(0, 10**30)
RUNS = st.builds(ToolRun, TEXTS, TEXTS, st.just("tw-1"), MOMENTS, MOMENTS, MAYBE, st.booleans(), st.booleans())
LINKS = st.builds(Link, st.sampled_from(LinkKind), st.just("tw-2"), st.none(), st.none() | st.just(b"O" * 16))
TRIES = st.builds(Attempt, st.integers(0, 5), TEXTS, TEXTS, MAYBE, MOMENTS, MAYBE)
TIMES = st.builds(Times, MOMENTS, MOMENTS, MOMENTS, MOMENTS, MAYBE, MAYBE, MAYBE, MAYBE, MAYBE, MOMENTS, MAYBE)
CALLS = st.builds(
    Call,
    st.sampled_from(["tw-1", "tw-2", "tw-3"]),
    TEXTS,
    st.integers(0, 9),
    st.integers(0, 9),
    st.sampled_from(Basis),
    st.lists(LINKS, max_size=3).map(tuple),
    TIMES,
    st.sampled_from(DialectName),
    st.none() | TEXTS,
    st.none() | TEXTS,
    st.none() | st.integers(100, 599),
    TEXTS,
    st.booleans(),
    st.integers(0, 5),
    st.lists(TRIES, max_size=2).map(tuple),
    st.none() | TEXTS,
    st.none() | TEXTS,
    COUNTS,
    st.none() | COUNTS,
    COUNTS,
    st.none() | COUNTS,
    st.none() | COUNTS,
    st.just(()),
    st.lists(RUNS, max_size=2).map(tuple),
    st.booleans(),
    st.none() | st.binary(min_size=24, max_size=24),
    TEXTS,
)
KEYS = st.builds(
    lambda name, session, parent: key(name, session=session, parent_span=parent),
    TEXTS,
    TEXTS,
    st.none() | st.binary(min_size=8, max_size=8),
)


def bodies(fields):
    scope = wire.scope_spans(span_names.SCOPE, "1", span_names.SCHEMA_URL, fields)
    return wire.request(wire.resource({"service.name": "t"}), scope)


def clipped(text):
    return text[: wire.MAX_TEXT]


@settings(deadline=None)
@given(KEYS, CALLS)
def test_any_call_makes_a_valid_request(known, made):
    body = bodies(call_spans(known, made, wall_ns))
    spans = spans_of(body)
    assert all(span.start_ns <= span.end_ns for span in spans)
    assert all(span.trace == known.trace_id.hex() and len(span.id) == len(span.parent) == 16 for span in spans)
    (chat,) = [span for span in spans if span.kind == "server"]
    assert chat.attributes["turnwise.request.id"] == clipped(made.request_id)
    assert chat.attributes["gen_ai.usage.input_tokens"] == min(made.prompt_tokens, 2**63 - 1)
    assert len(chat.links) == len(made.links) + len(made.runs) + (made.client_trace is not None)
    assert [link[2] for link in chat.links] == [text.partition(":")[2] for text in chat.attributes.get("turnwise.deps", [])]


@settings(deadline=None)
@given(KEYS, st.lists(CALLS, max_size=5, unique_by=lambda made: made.call_id))
def test_any_program_ends_with_one_root(known, calls):
    calls.sort(key=lambda made: made.times.ended)
    ended = Ended(known, Outcome.AGE, tuple(calls), max((made.times.ended for made in calls), default=known.started_at))
    *gaps, root = spans_of(bodies(program_spans(ended, ProgramSettings(), wall_ns)))
    assert root.id == known.root_span.hex()
    assert root.attributes["turnwise.program.outcome"] == "age"
    assert {gap.name for gap in gaps} <= {"turnwise.client_gap"}
    assert len({gap.id for gap in gaps}) == len(gaps)


@settings(deadline=None)
@given(st.dictionaries(TEXTS.map(clipped), TEXTS | st.booleans() | st.integers() | st.floats(allow_nan=False), max_size=5))
def test_any_resource_can_be_read(attributes):
    (group,) = ExportTraceServiceRequest.FromString(wire.request(wire.resource(attributes), b"")).resource_spans
    assert {pair.key for pair in group.resource.attributes} == set(attributes)
