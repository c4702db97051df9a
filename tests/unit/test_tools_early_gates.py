"""What the gateway is told that forbids an early run, and whose call it is."""

import pytest
from tests.unit.tool_streams import (
    CHAT,
    DONE,
    RESPONSES,
    Ear,
    arguments_event,
    body,
    chunk,
    hear,
    item,
    piece,
    request,
    response_end,
)  # fmt: skip

from turnwise.proxy.dispatch import Combination, Dispatch
from turnwise.proxy.dispatch.drift import MAX_DRIFTS, OTHER, QUIET_CALLS, Drifts
from turnwise.proxy.programs import Programs
from turnwise.settings import ProgramSettings, TraceSettings
from turnwise.tools_gateway.messages import Announced
from turnwise.types import DialectName

USED = {"prompt_tokens": 9, "completion_tokens": 5}
END = chunk(finish="tool_calls", usage=USED) + DONE
WHOLE = chunk(piece('{"x":1}', name="f", call_id="a"))
DRIFTING = chunk(piece('{"x":1}}', name="f", call_id="a"))
DRIFTING_ITEM = [item("added"), arguments_event("delta", '{"x":1}}'), response_end()]
WHO = Combination("vllm 0.32.0", "m", DialectName.CHAT)


def announced(*reads, path=CHAT, **how):
    (told,) = hear(path, *(reads or (WHOLE, END)), **how).of(Announced)
    return told


def test_a_call_that_nothing_forbids_may_be_early():
    assert announced().not_early is None


@pytest.mark.parametrize("fields", [{"n": 2}, {"best_of": 2}, {"use_beam_search": True}])
def test_nothing_is_early_where_one_of_several_answers_will_be_taken(fields):
    assert announced(given=body(CHAT, **fields)).not_early == "several_choices"


@pytest.mark.parametrize("fields", [{"n": 1}, {"best_of": 1}, {"use_beam_search": False}, {"best_of": "x"}])
def test_one_answer_is_one_however_that_is_said(fields):
    assert announced(given=body(CHAT, **fields)).not_early is None


def test_the_calls_of_several_choices_are_calls_of_their_own():
    reads = [chunk(piece('{"x":1}', name="f", call_id=f"id{choice}"), choice=choice) for choice in (0, 1)]
    ear = hear(
        CHAT, *reads, chunk(finish="stop", choice=0), chunk(finish="length", choice=1, usage=USED), DONE, given=body(CHAT, n=2)
    )
    assert (ear.announced, ear.end) == ([(0, "f", "id0"), (1, "f", "id1")], "length")


@pytest.mark.parametrize("fields", [{"tools": body(CHAT, "g")["tools"]}, {"tool_choice": "none"}])
def test_a_tool_that_was_not_offered_is_not_early(fields):
    assert announced(given={**body(CHAT), **fields}).not_early == "not_offered"


def test_a_call_bears_tenant_program_and_trace_of_its_turn():
    programs = Programs(ProgramSettings(), TraceSettings())
    turn = programs.begin(request(CHAT), {b"authorization": b"Bearer x"}, 0.0)
    told = announced(turn=turn)
    assert (told.tenant, told.program) == (turn.key.tenant, turn.key.id)
    version, trace, span, flags = told.traceparent.split("-")
    assert (version, trace, len(span), flags) == ("00", turn.key.trace_id.hex(), 16, f"0{int(turn.key.is_sampled)}")
    alone = announced()
    assert (alone.tenant, alone.program, alone.traceparent) == ("", "", "")


def test_who_drifts_too_often_is_early_no_more_and_others_are():
    ear, off = Ear(), []
    dispatch = Dispatch(ear, off.append)
    for _ in range(MAX_DRIFTS):
        assert off == []
        hear(CHAT, DRIFTING, END, ear=ear, dispatch=dispatch)
    assert off == [WHO]
    hear(CHAT, WHOLE, END, ear=ear, dispatch=dispatch)
    hear(CHAT, WHOLE, END, ear=ear, dispatch=dispatch, given=body(CHAT, model="adapter"))
    assert [told.not_early for told in ear.of(Announced)[-2:]] == ["drift", None]
    assert off == [WHO]


def test_models_that_the_replica_does_not_serve_are_one():
    off = []
    dispatch = Dispatch(Ear(), off.append)
    for number in range(MAX_DRIFTS):
        hear(RESPONSES, *DRIFTING_ITEM, dispatch=dispatch, given=body(RESPONSES, model=f"m{number}", previous_response_id="r"))
    who = Combination("vllm 0.32.0", OTHER, DialectName.RESPONSES)
    assert (off, dict(dispatch.drifts.totals)) == ([who], {who: MAX_DRIFTS})


def test_what_became_of_calls_is_counted():
    ear = Ear()
    dispatch = Dispatch(ear, lambda _: None)
    other = chunk(piece("{}", name="g", index=1, call_id="b"))
    for reads in ((WHOLE, other, END), (DRIFTING, other, END), (WHOLE, chunk(finish="length", usage=USED), DONE)):
        hear(CHAT, *reads, ear=ear, dispatch=dispatch)
    assert dispatch.fates == {("chat", "clean"): 3, ("chat", "drift"): 1, ("chat", "length"): 1}


def test_drifts_far_apart_are_accidents():
    off = []
    drifts = Drifts(off.append)
    for _ in range(5 * MAX_DRIFTS):
        drifts.wrote(WHO, 1, 1)
        drifts.wrote(WHO, QUIET_CALLS, 0)
    assert (off, drifts.off, drifts.totals) == ([], set(), {WHO: 5 * MAX_DRIFTS})
    drifts.wrote(WHO, 1, 1)
    drifts.wrote(WHO, QUIET_CALLS - 1, 0)
    drifts.wrote(WHO, 2, MAX_DRIFTS - 1)
    assert off == [WHO]
    drifts.wrote(WHO, QUIET_CALLS, 0)
    assert drifts.off == {WHO}
