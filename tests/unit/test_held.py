import msgspec
import pytest

from turnwise.errors import ClientFault, Reason
from turnwise.proxy.held import HeldState, Holder, lost
from turnwise.types import CallId, DialectName, ReplicaId, Request

R0, R1 = Holder(ReplicaId("r0"), 1), Holder(ReplicaId("r1"), 1)


def continuing(*ids, dialect=DialectName.RESPONSES):
    return Request(
        call_id=CallId("tw-1"),
        request_id="req-1",
        dialect=dialect,
        method="POST",
        target="/v1/responses",
        headers=(),
        body=b"",
        arrived_at=0.0,
        read_at=0.0,
        continues=ids,
    )


def held(limit=10, **holders):
    state = HeldState(limit)
    for response_id, holder in holders.items():
        state.put(response_id, holder)
    return state


def refusal(state, request):
    with pytest.raises(ClientFault) as caught:
        state.holder(request)
    return caught.value


def test_an_id_leads_to_the_replica_that_kept_it():
    state = held(resp_a=R0, resp_b=R1)
    assert [state.holder(continuing(name)) for name in ("resp_a", "resp_b")] == [R0, R1]


def test_an_id_kept_anew_leads_to_its_last_holder():
    state = held(resp_a=R0)
    state.put("resp_a", R1)
    assert state.holder(continuing("resp_a")) == R1
    assert len(state) == 1


def test_beyond_the_limit_the_id_used_longest_ago_is_forgotten():
    state = held(2, resp_a=R0, resp_b=R0)
    state.holder(continuing("resp_a"))
    state.put("resp_c", R0)
    assert len(state) == 2
    assert state.holder(continuing("resp_a")) == R0
    assert refusal(state, continuing("resp_b")).reason is Reason.UNKNOWN_RESPONSE


@pytest.mark.parametrize(
    ("response_id", "dialect", "param", "message"),
    [
        ("resp_x", DialectName.RESPONSES, "previous_response_id", "Response with id 'resp_x' not found."),
        ("conv_x", DialectName.RESPONSES, "conversation", "Conversation with id 'conv_x' not found."),
        ("resp_x", DialectName.STORED, "response_id", "Response with id 'resp_x' not found."),
    ],
)
def test_an_unknown_id_is_a_404_that_names_it_and_its_field(response_id, dialect, param, message):
    fault = refusal(held(resp_a=R0), continuing(response_id, dialect=dialect))
    assert (fault.status, fault.reason, fault.param, fault.message) == (404, Reason.UNKNOWN_RESPONSE, param, message)


def test_a_call_that_continues_two_things_goes_where_both_are():
    assert held(resp_a=R0, conv_a=R0).holder(continuing("resp_a", "conv_a")) == R0


def test_a_call_that_would_need_two_replicas_is_refused():
    fault = refusal(held(resp_a=R0, conv_a=R1), continuing("resp_a", "conv_a"))
    assert (fault.status, fault.param) == (400, "previous_response_id")


def test_two_lives_of_one_replica_do_not_hold_together():
    state = held(resp_a=R0, conv_a=msgspec.structs.replace(R0, life=2))
    assert refusal(state, continuing("resp_a", "conv_a")).status == 400


def test_a_lost_holder_is_named():
    fault = lost(continuing("resp_a"), R0.replica, "has restarted since")
    assert (fault.status, fault.reason, fault.param) == (404, Reason.HOLDER_LOST, "previous_response_id")
    assert "resp_a" in fault.message
    assert "r0, has restarted since" in fault.message
