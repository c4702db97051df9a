"""What spans a call and a program make: names, kinds, parents, links and what they say."""

import pytest
from tests.sink.otlp import spans_of
from tests.sink.records import EPOCH_NS, STARTED, call, key, times, wall_ns

from turnwise import span_names
from turnwise.proxy.export.otlp import wire
from turnwise.proxy.export.otlp.call_spans import call_spans
from turnwise.proxy.export.otlp.program_spans import MIN_GAP_S, program_spans
from turnwise.proxy.programs.spans import Part, attempt_span, span_id, tool_span
from turnwise.proxy.programs.values import Attempt, Ended, Link, LinkKind, Outcome, ToolRun
from turnwise.settings import ProgramSettings
from turnwise.types import DialectName

KEY = key()


def read(fields):
    scope = wire.scope_spans("turnwise", "1", span_names.SCHEMA_URL, fields)
    return {span.id: span for span in spans_of(wire.request(wire.resource({"service.name": "t"}), scope))}


def of_call(made, known=KEY):
    return list(read(call_spans(known, made, wall_ns)).values())


def of_program(calls, known=KEY, settings=None):
    ended = max((made.times.ended for made in calls), default=STARTED)
    return list(
        read(program_spans(Ended(known, Outcome.ASKED, tuple(calls), ended), settings or ProgramSettings(), wall_ns)).values()
    )


def named(spans, name):
    (found,) = [span for span in spans if span.name == name]
    return found


def test_a_call_makes_six_spans_with_the_call_under_the_root_and_its_steps_under_the_call():
    spans = of_call(call())
    assert [(span.name, span.kind) for span in spans] == [
        ("chat lab", "server"),
        ("turnwise.queue", "internal"),
        ("turnwise.route", "internal"),
        ("turnwise.upstream", "client"),
        ("turnwise.prefill", "internal"),
        ("turnwise.decode", "internal"),
    ]
    chat = spans[0]
    assert chat.parent == KEY.root_span.hex()
    assert {span.parent for span in spans[1:]} == {chat.id}
    assert {span.trace for span in spans} == {KEY.trace_id.hex()}
    assert len({span.id for span in spans}) == 6


def test_the_ids_of_spans_are_those_that_anyone_can_make():
    spans = of_call(call())
    call_id = call().call_id
    parts = (Part.CHAT, Part.QUEUE, Part.ROUTE, Part.ATTEMPT, Part.PREFILL, Part.DECODE)
    assert [span.id for span in spans] == [span_id(call_id, part).hex() for part in parts]
    assert named(spans, "turnwise.upstream").id == attempt_span(call_id, 0).hex()


def test_steps_lie_where_the_clock_of_the_call_says():
    spans = of_call(call())
    begins = {span.name: (span.start_ns - EPOCH_NS - int(STARTED * 1e9)) // 1_000_000 for span in spans}
    lasts = {span.name: round(span.duration_s, 3) for span in spans}
    assert begins == {
        "chat lab": 0,
        "turnwise.queue": 10,
        "turnwise.route": 30,
        "turnwise.upstream": 31,
        "turnwise.prefill": 40,
        "turnwise.decode": 300,
    }
    assert lasts == {
        "chat lab": 1.0,
        "turnwise.queue": 0.020,
        "turnwise.route": 0.001,
        "turnwise.upstream": 0.919,
        "turnwise.prefill": 0.260,
        "turnwise.decode": 0.650,
    }


@pytest.mark.parametrize(("start_ns", "end_ns"), [(-1, 5), (7, 1 << 70), (1 << 64, 5), (-(1 << 80), -1)])
def test_times_that_no_span_can_have_are_its_bounds(start_ns, end_ns):
    made = wire.span(wire.place(bytes(16), None), bytes(8), wire.span_name("odd"), start_ns, end_ns, b"")
    (span,) = read([made]).values()
    assert 0 <= span.start_ns <= span.end_ns < 1 << 64


def test_a_call_says_what_the_conventions_have_names_for():
    said = of_call(call(agent_name="planner"))[0].attributes
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.provider.name"] == "vllm"
    assert said["gen_ai.request.model"] == said["gen_ai.response.model"] == "lab"
    assert said["gen_ai.request.stream"] is True
    assert said["gen_ai.request.max_tokens"] == 256
    assert said["gen_ai.response.id"] == "chatcmpl-0"
    assert said["gen_ai.response.finish_reasons"] == ["stop"]
    assert said["gen_ai.response.time_to_first_chunk"] == pytest.approx(0.3)
    assert said["gen_ai.usage.input_tokens"] == 1200
    assert said["gen_ai.usage.output_tokens"] == 64
    assert said["gen_ai.usage.cache_read.input_tokens"] == 1024
    assert said["gen_ai.agent.name"] == "planner"
    assert said["http.response.status_code"] == 200
    assert "error.type" not in said


def test_a_call_says_where_it_went_and_why_it_is_in_this_program():
    spans = of_call(call(3, agent=2, cost_s=0.25))
    said = spans[0].attributes
    assert said["turnwise.call.id"] == call(3).call_id
    assert said["turnwise.request.id"] == "req-3"
    assert (said["turnwise.agent"], said["turnwise.turn"], said["turnwise.basis"]) == (2, 3, "lineage")
    assert (said["turnwise.dialect"], said["turnwise.replica"], said["turnwise.final"]) == ("chat", "replica-0", True)
    assert said["turnwise.time_to_first_visible"] == pytest.approx(0.4)
    route = named(spans, "turnwise.route").attributes
    assert (route["turnwise.hit.predicted_tokens"], route["turnwise.hit.reported_tokens"]) == (1000, 1024)
    assert route["turnwise.cost_s"] == 0.25


def test_every_span_names_its_conversation_session_and_program():
    spans = [*of_call(call(runs=(ToolRun("c", "search", "tw-1", STARTED, STARTED + 1),))), *of_program([call(), call(1)])]
    assert len(spans) == 9
    for span in spans:
        assert span.attributes["gen_ai.conversation.id"] == span.attributes["session.id"] == "s-1"
        assert span.attributes["turnwise.program.id"] == KEY.id


def test_a_program_without_a_session_is_its_own_conversation():
    (root,) = of_program([call()], key(session=""))
    assert root.attributes["gen_ai.conversation.id"] == KEY.id


def test_every_attribute_that_is_sent_is_one_of_the_names():
    known = {attribute.name for attribute in span_names.ATTRIBUTES}
    prefixes = tuple(name.partition("<")[0] for name in known if "<" in name)
    failed = Attempt(0, "replica-1", "connect_failed", None, STARTED + 0.02)
    made = call(
        runs=(ToolRun("c", "search", "tw-1", STARTED, STARTED + 1, is_inferred=False, predicted_s=1.0),),
        attempts=(failed,),
        cost_s=1.0,
        agent_name="a",
        reason="bug",
    )
    spans = [*of_call(made), *of_program([call(), call(1)], settings=ProgramSettings(replica_price_per_hour=2.0))]
    sent = {name for span in spans for name in span.attributes}
    assert {name for name in sent if name not in known and not name.startswith(prefixes)} == set()
    unsent = {name for name in known if name not in sent and "<" not in name}
    assert unsent == {"link.type", "turnwise.deps"} - sent


def test_a_completion_is_text_completion():
    (chat, *_) = of_call(call(dialect=DialectName.COMPLETIONS))
    assert chat.name == "text_completion lab"
    assert chat.attributes["gen_ai.operation.name"] == "text_completion"


def test_a_wait_for_admission_that_nobody_had_to_wait_has_no_span():
    spans = of_call(call(times=times(admitted=STARTED + 0.010)))
    assert "turnwise.queue" not in {span.name for span in spans}


def test_an_answer_in_one_piece_has_no_prefill_that_could_be_told_from_its_decode():
    spans = of_call(call(is_stream=False))
    assert "turnwise.prefill" not in {span.name for span in spans}
    assert named(spans, "turnwise.decode").duration_s == pytest.approx(0.910)
    assert "gen_ai.response.time_to_first_chunk" not in spans[0].attributes


def test_each_failed_attempt_has_a_span_that_says_why():
    tries = (
        Attempt(0, "replica-1", "connect_failed", None, STARTED + 0.015, STARTED + 0.011),
        Attempt(1, "replica-2", "engine_timeout", STARTED + 0.018, STARTED + 0.025, STARTED + 0.016),
    )
    spans = of_call(call(attempts=tries, attempt=2, times=times(admitted=STARTED + 0.010)))
    upstream = [span for span in spans if span.name == "turnwise.upstream"]
    assert [span.id for span in upstream] == [attempt_span(call().call_id, number).hex() for number in range(3)]
    assert [span.error for span in upstream] == ["connect_failed", "engine_timeout", None]
    assert [span.attributes["turnwise.replica"] for span in upstream] == ["replica-1", "replica-2", "replica-0"]
    assert [span.attributes["turnwise.attempt"] for span in upstream] == [0, 1, 2]
    assert upstream[0].attributes["error.type"] == "connect_failed"
    route = named(spans, "turnwise.route")
    assert route.start_ns == wall_ns(STARTED + 0.025)
    assert spans[0].error is None


def test_a_failed_call_is_an_error_with_its_reason():
    spans = of_call(call(reason="stream_broken", status=200, times=times(first_token=None, last_byte=None)))
    assert [(span.name, span.error) for span in spans if span.error] == [
        ("chat lab", "stream_broken"),
        ("turnwise.upstream", "stream_broken"),
    ]
    assert spans[0].attributes["error.type"] == "stream_broken"
    assert {"turnwise.prefill", "turnwise.decode"}.isdisjoint(span.name for span in spans)


def test_a_call_that_nobody_could_serve_is_one_span():
    unserved = call(
        replica=None, status=None, reason="no_replica", model=None, times=times(placed=STARTED, admitted=STARTED, sent=None)
    )
    (chat,) = of_call(unserved)
    assert (chat.name, chat.error) == ("chat unknown", "no_replica")
    assert "turnwise.replica" not in chat.attributes


@pytest.mark.parametrize("kind", list(LinkKind))
def test_a_link_leads_to_the_call_before_it_and_is_said_twice(kind):
    before = call(0).call_id
    (chat, *_) = of_call(call(1, links=(Link(kind, before),)))
    linked = span_id(before, Part.CHAT).hex()
    assert chat.links == [(KEY.trace_id.hex(), linked, kind.value)]
    assert chat.attributes["turnwise.deps"] == [f"{linked}:{kind.value}"]


def test_a_link_to_a_call_of_another_program_leads_into_its_trace():
    other = key("other")
    (chat, *_) = of_call(call(1, links=(Link(LinkKind.JOIN, call(0).call_id, other.id, other.trace_id),)))
    assert chat.links[0][0] == other.trace_id.hex()


def test_the_clients_own_trace_is_linked_where_it_is_not_joined():
    (chat, *_) = of_call(call(client_trace=b"T" * 16 + b"S" * 8))
    assert chat.links == [((b"T" * 16).hex(), (b"S" * 8).hex(), "client_trace")]
    assert chat.attributes["turnwise.deps"] == [f"{(b'S' * 8).hex()}:client_trace"]


def test_a_tool_run_stands_under_the_root_between_its_two_calls():
    run = ToolRun("call_1", "search", call(0).call_id, STARTED + 1.0, STARTED + 2.0)
    tool, chat, *_ = of_call(call(1, runs=(run,)))
    assert (tool.name, tool.kind, tool.parent) == ("execute_tool search", "internal", KEY.root_span.hex())
    assert tool.id == tool_span(run.caller, "call_1").hex()
    assert tool.duration_s == pytest.approx(1.0)
    assert tool.attributes["gen_ai.operation.name"] == "execute_tool"
    assert (tool.attributes["gen_ai.tool.name"], tool.attributes["gen_ai.tool.call.id"]) == ("search", "call_1")
    assert tool.attributes["turnwise.inferred"] is True
    assert tool.links == [(KEY.trace_id.hex(), span_id(run.caller, Part.CHAT).hex(), "tool_call")]
    assert chat.links == [(KEY.trace_id.hex(), tool.id, "tool_result")]
    assert chat.attributes["turnwise.deps"] == [f"{tool.id}:tool_result"]


def test_a_tool_run_that_a_gateway_told_of_is_not_inferred():
    tool, *_ = of_call(call(1, runs=(ToolRun("c", "search", "tw-1", STARTED, STARTED + 1, STARTED, is_inferred=False),)))
    assert tool.attributes["turnwise.inferred"] is False


def test_tool_runs_without_ids_have_spans_of_their_own():
    runs = tuple(ToolRun("", name, "tw-1", STARTED, STARTED + 1) for name in ("read", "read"))
    one, other, chat, *_ = of_call(call(1, runs=runs))
    assert one.id != other.id
    assert "gen_ai.tool.call.id" not in one.attributes
    assert [link[1] for link in chat.links] == [one.id, other.id]


def test_the_root_says_what_the_program_was():
    calls = [call(0, is_final=False), call(1, links=(Link(LinkKind.CONTINUE, call(0).call_id),))]
    *_, root = of_program(calls, settings=ProgramSettings(replica_price_per_hour=3.6))
    assert (root.name, root.kind, root.id, root.parent) == ("invoke_workflow nightly", "internal", KEY.root_span.hex(), "")
    assert (root.start_ns, root.duration_s) == (wall_ns(STARTED), pytest.approx(3.0))
    said = root.attributes
    assert said["gen_ai.workflow.name"] == "nightly"
    assert said["turnwise.program.outcome"] == "asked"
    assert said["turnwise.program.llm_calls"] == 2
    assert said["turnwise.program.makespan_s"] == pytest.approx(3.0)
    assert said["turnwise.program.ftr_s"] == pytest.approx(2.4)
    assert said["turnwise.program.input_tokens"] == 2400
    assert said["turnwise.program.kv_hit_tokens"] == 2048
    assert said["turnwise.program.output_tokens"] == 128
    assert said["turnwise.program.cost"] == pytest.approx(said["turnwise.program.engine_s"] / 1000)
    path = [value for name, value in said.items() if name.startswith("turnwise.program.cp.")]
    assert sum(path) == pytest.approx(said["turnwise.program.makespan_s"])
    assert said["turnwise.program.total.decode_s"] == pytest.approx(1.3)


def test_the_root_stands_under_the_span_of_the_client_whose_trace_it_joins():
    (root,) = of_program([call()], key(parent_span=b"P" * 8, trace_id=b"T" * 16))
    assert (root.trace, root.parent) == ((b"T" * 16).hex(), (b"P" * 8).hex())


def test_the_root_of_a_sessions_next_program_leads_to_the_one_before_it():
    before = key(epoch=0)
    (root,) = of_program([call()], key(epoch=1, follows=before.id, follows_trace=before.trace_id))
    assert root.links == [(before.trace_id.hex(), before.root_span.hex(), "follows")]
    assert root.attributes["turnwise.program.epoch"] == 1


def test_a_program_without_a_name_is_a_program():
    (root,) = of_program([call()], key(name=""))
    assert root.name == "invoke_workflow program"
    assert "gen_ai.workflow.name" not in root.attributes


def test_a_program_without_calls_has_a_root_all_the_same():
    (root,) = of_program([])
    assert root.duration_s == 0
    assert root.attributes["turnwise.program.llm_calls"] == 0


def test_time_that_was_the_clients_own_has_a_span_and_the_root_comes_after_it():
    calls = [call(0), call(1, links=(Link(LinkKind.CONTINUE, call(0).call_id),))]
    gap, root = of_program(calls)
    assert (gap.name, gap.parent, gap.duration_s) == ("turnwise.client_gap", root.id, pytest.approx(1.0))
    assert gap.id == span_id(call(1).call_id, Part.GAP).hex()


def test_a_client_that_merely_turns_around_has_no_gap():
    soon = call(1, links=(Link(LinkKind.CONTINUE, call(0).call_id),), times=times(STARTED + 1 + MIN_GAP_S / 2))
    (root,) = of_program([call(0), soon])
    assert root.name == "invoke_workflow nightly"


def test_the_time_before_and_after_a_tool_are_two_gaps():
    run = ToolRun("c", "search", call(0).call_id, STARTED + 1.3, STARTED + 1.6)
    one, other, _ = of_program(
        [call(0, is_final=False), call(1, links=(Link(LinkKind.CONTINUE, call(0).call_id),), runs=(run,))]
    )
    assert one.name == other.name == "turnwise.client_gap"
    assert one.id != other.id
    assert (round(one.duration_s, 3), round(other.duration_s, 3)) == (0.3, 0.4)
