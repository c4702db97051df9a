"""What engines are known to write wrongly (vLLM's issues by number), and that none of it is used."""

import pytest
from tests.unit.tool_streams import (
    CHAT,
    DONE,
    MESSAGE_STOP,
    MESSAGES,
    block,
    body,
    chunk,
    hear,
    input_delta,
    message_end,
    piece,
    tool_use,
)  # fmt: skip

CITY = '{"city":"Paris","unit":"c"}'


def used(tokens):
    return {"prompt_tokens": 9, "completion_tokens": tokens}


def end(reason="tool_calls", tokens=20):
    return chunk(finish=reason, usage=used(tokens)) + DONE


def call(*texts, name="f", index=0, call_id="a"):
    return [chunk(piece("", name=name, index=index, call_id=call_id)), *(chunk(piece(text, index=index)) for text in texts)]


LIMITED = body(CHAT, max_tokens=20)
TAIL_AT_END = chunk(piece('c"}'), finish="tool_calls", usage=used(9)) + DONE
ERROR = b'data: {"error":{"code":500}}\n\n' + DONE
NO_REASON = [chunk(usage=used(9)), DONE]
AT_0 = [*call(CITY), *call("{}", name="g", call_id="b")]
CASES = {
    "53269: tool_calls though max_tokens cut the arguments": ([*call(CITY[:9]), end()], LIMITED, [], [], "length"),
    "53269: the same where the cut came behind a whole call": ([*call(CITY), end()], LIMITED, [CITY], [], "length"),
    "53269: the same and nobody limited the tokens": ([*call(CITY[:9]), end()], None, [], ["malformed"], "malformed"),
    "10781: the closing brace is dropped": ([*call(CITY[:-1]), end()], None, [], ["malformed"], "malformed"),
    "48342: closing quote and brace are dropped": ([*call(CITY[:-2]), end()], None, [], ["malformed"], "malformed"),
    "50461: the tail is repeated": ([*call(CITY, CITY[-5:]), end()], None, [CITY], ["drift"], "clean"),
    "48852: the tail comes again with the end": ([*call(CITY), TAIL_AT_END], None, [CITY], ["drift"], "clean"),
    "17585: all of it comes again": ([*call(CITY, CITY), end()], None, [CITY], ["drift"], "clean"),
    "55082, 48294: empty arguments are told as none, for the schema": ([*call(""), end()], None, ["{}"], [], "clean"),
    "27572: no finish_reason": ([*call(CITY), *NO_REASON], None, [CITY], [], "broken"),
    "37937: an exception within the stream": ([*call(CITY), ERROR], None, [CITY], [], "broken"),
    "9209: stop in place of tool_calls": ([*call(CITY), end("stop")], None, [CITY], [], "clean"),
    "litellm 37792: every call at index 0": ([*AT_0, end()], None, [CITY, "{}"], [], "clean"),
}


@pytest.mark.parametrize(("reads", "given", "filled", "voided", "why"), CASES.values(), ids=CASES)
def test_what_a_stream_of_chat_is_known_to_do_wrong(reads, given, filled, voided, why):
    ear = hear(CHAT, *reads, given=given)
    assert [text for _, text in ear.filled] == filled
    assert [void for _, void in ear.voided] == voided
    assert ear.end == why


def test_34887_the_first_letters_of_arguments_are_lost_in_messages():
    ear = hear(MESSAGES, tool_use("f"), input_delta(CITY[2:]), block("stop"), message_end("tool_use") + MESSAGE_STOP)
    assert (ear.filled, ear.voided, ear.end) == ([], [(0, "malformed")], "clean")
