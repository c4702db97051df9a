"""Whatever a model means and an engine makes of it, cut anywhere: each thing is told once, in time, and right.

`TURNWISE_FUZZ_CASES` sets the number of answers in each API, half of it.
"""

import json
import os

import msgspec
import pytest
from tests.property.tool_plans import LIMIT, plan
from tests.unit.tool_streams import CHAT, MESSAGES, RESPONSES, Carried, body, hear

from turnwise.tools_gateway.messages import Announced, Filled, Settled, Voided

NUM_CASES = 2 * int(os.environ.get("TURNWISE_FUZZ_CASES", "250"))
LIMITS = {CHAT: "max_tokens", MESSAGES: "max_tokens", RESPONSES: "max_output_tokens"}


def heard(made, reads, *, is_whole):
    given = body(made.path, **{LIMITS[made.path]: LIMIT})
    carried = Carried(is_complete=is_whole, is_client_gone=made.is_client_gone)
    return hear(made.path, *reads, given=given, carried=carried)


def timeless(ear):
    """What was told, each call's in its order, but for ids of our own and when."""
    told = [msgspec.structs.replace(message, at=0.0, turn="") for message in ear.told if type(message) is not Settled]
    told = [msgspec.structs.replace(message, traceparent="") if type(message) is Announced else message for message in told]
    return told, [message.why for message in ear.of(Settled)]


def check(made):
    reads = made.reads[: made.num_delivered]
    ear = heard(made, reads, is_whole=made.is_whole)
    announced, filled, voided = ({message.index: message for message in ear.of(kind)} for kind in (Announced, Filled, Voided))
    assert (len(announced), len(filled), len(voided)) == tuple(len(ear.of(kind)) for kind in (Announced, Filled, Voided))
    assert set(filled) | set(voided) <= set(announced)
    assert not announced or type(ear.told[-1]) is Settled
    assert len(ear.of(Settled)) == bool(announced)
    delivered = [0]
    for data in reads:
        delivered.append(delivered[-1] + len(data))
    for index, message in filled.items():
        call = made.calls[index]
        assert (announced[index].tool, announced[index].id) == (call.name, call.id)
        assert bytes(message.arguments).decode() == (call.text or "{}")
        json.loads(bytes(message.arguments))
        assert call.is_good or index in voided or call.defect in {"drift", "renamed", "final text differs"}
        if call.is_good and message.at < len(reads):
            # All of its characters had come, but perhaps for the empty line behind them.
            assert delivered[int(message.at) + 1] >= call.closes_at - 2
    if announced:
        assert ear.end == end_of(made)
    if made.is_whole and end_of(made) == "clean":
        assert set(announced) == set(range(len(made.calls)))
        assert set(filled) - set(voided) == {index for index, call in enumerate(made.calls) if call.is_good}
        assert all(voided[index].why == why_void(call) for index, call in enumerate(made.calls) if not call.is_good)
    whole = b"".join(reads)
    assert timeless(heard(made, [whole], is_whole=made.is_whole)) == timeless(ear)


def end_of(made):
    if made.is_client_gone:
        return "client_gone"
    if not made.is_whole:
        return "broken"
    if made.why == "clean" and any(call.defect == "open" for call in made.calls):
        return "malformed"
    return made.why


def why_void(call):
    return "drift" if call.defect in {"drift", "renamed", "final text differs"} else "malformed"


@pytest.mark.parametrize("path", [CHAT, MESSAGES, RESPONSES])
def test_fuzz_each_call_is_told_once_not_before_its_end_and_as_it_was_meant(path):
    for seed in range(NUM_CASES):
        made = plan(seed, path)
        try:
            check(made)
        except Exception as error:
            error.add_note(f"seed {seed} of {path}")
            raise
