import json

import pytest

from turnwise.dialects import DIALECTS
from turnwise.errors import ClientFault
from turnwise.index.chains import prompt_chain
from turnwise.types import DialectName, Segment, SegmentKind

MESSAGES = DIALECTS[DialectName.MESSAGES]
USER = b'{"role":"user","content":"hi"}'
RESULT = b'{"type":"tool_result","tool_use_id":"t","content":"18C"}'


def read(*members: bytes, messages: bytes = USER):
    body = b"{" + b",".join((b'"model":"m"', b'"max_tokens":9', b'"messages":[' + messages + b"]", *members)) + b"}"
    return MESSAGES.read(body, (), splice_usage=True)


def kinds(*messages: bytes) -> list[SegmentKind]:
    return [segment.kind for segment in read(messages=b",".join(messages)).prompt.segments]


def user(*blocks: bytes) -> bytes:
    return b'{"role":"user","content":[' + b",".join(blocks) + b"]}"


def fault_of(body: bytes) -> ClientFault:
    with pytest.raises(ClientFault) as caught:
        MESSAGES.read(body, (), splice_usage=True)
    assert caught.value.status == 400
    return caught.value


def test_a_body_becomes_template_tools_system_and_messages_in_order_and_raw():
    body = (
        b'{"max_tokens":5,"messages":[ {"role":"user","content":"\xc3\xa9"},\n'
        b'{"content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"tool_use","id":"t","input":{}}],'
        b'"role":"assistant"}, {"role":"user","content":['
        + RESULT
        + b']}],"stream":true,"system":[{"type":"text","text":"s"}],'
        b'"model":"m" ,"tools":[ {"name":"f"} ],"thinking":{"type":"enabled","budget_tokens":4},"metadata":{"user_id":"u"}}'
    )
    call = MESSAGES.read(body, (), splice_usage=True)
    assert (call.body, call.model, call.is_stream, call.max_tokens, call.adds_usage) == (body, "m", True, 5, False)
    assert call.prompt.segments == (
        Segment(SegmentKind.TEMPLATE, b'"thinking":{"type":"enabled","budget_tokens":4}'),
        Segment(SegmentKind.TOOLS, b'[ {"name":"f"} ]'),
        Segment(SegmentKind.SYSTEM, b'[{"type":"text","text":"s"}]'),
        Segment(SegmentKind.USER, b'{"role":"user","content":"\xc3\xa9"}'),
        Segment(
            SegmentKind.ASSISTANT,
            b'{"content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"tool_use","id":"t","input":{}}],'
            b'"role":"assistant"}',
        ),
        Segment(SegmentKind.TOOL, b'{"role":"user","content":[' + RESULT + b"]}"),
    )


def test_system_may_be_bare_text():
    assert read(b'"system":"be brief"').prompt.segments[0] == Segment(SegmentKind.SYSTEM, b'"be brief"')


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (user(RESULT), SegmentKind.TOOL),
        (user(RESULT, RESULT), SegmentKind.TOOL),
        (user(RESULT, b'{"type":"text","text":"and now?"}'), SegmentKind.USER),
        (b'{"role":"user","content":"a \\"tool_result\\" of old"}', SegmentKind.USER),
        (b'{"role":"user","content":["tool_result"]}', SegmentKind.USER),
        (b'{"role":"assistant","content":[' + RESULT + b"]}", SegmentKind.ASSISTANT),
        (b'{"role":"system","content":"x"}', SegmentKind.SYSTEM),
        (b'{"role":"narrator","content":"x"}', SegmentKind.OTHER),
    ],
)
def test_a_message_is_a_tools_where_it_consists_of_results_and_else_its_speakers(message, kind):
    assert kinds(USER, message) == [SegmentKind.USER, kind]


@pytest.mark.parametrize(
    "member",
    [
        b'"thinking":{"type":"disabled"}', b'"output_config":{"effort":"low"}', b'"tool_choice":{"type":"none"}',
        b'"chat_template_kwargs":{"a":1}', b'"context_management":{"edits":[]}', b'"container":"c"', b'"mcp_servers":[{}]',
    ],
)  # fmt: skip
def test_an_argument_that_changes_the_rendering_comes_before_everything(member):
    assert read(member).prompt.segments == (Segment(SegmentKind.TEMPLATE, member), *read().prompt.segments)


@pytest.mark.parametrize(
    "member",
    [
        b'"tool_choice":{"type":"auto"}', b'"tool_choice": {"type": "auto"}', b'"tools":null', b'"system":null',
        b'"thread":null', b'"metadata":{"user_id":"u"}', b'"service_tier":"auto"', b'"temperature":1', b'"stream":true',
        b'"cache_control":{"type":"ephemeral"}',
    ],
)  # fmt: skip
def test_defaults_nulls_and_what_never_reaches_the_template_leave_the_prompt_alone(member):
    assert read(member).prompt == read().prompt


def test_the_salt_isolates_prompts():
    assert read(b'"cache_salt":"s"').prompt.root != read().prompt.root


def test_equal_messages_of_two_apis_share_no_digest():
    body = b'{"model":"m","messages":[' + USER + b"]}"
    one, other = (DIALECTS[name].read(body, (), splice_usage=False) for name in (DialectName.CHAT, DialectName.MESSAGES))
    assert one.prompt.segments == other.prompt.segments
    assert prompt_chain(one.prompt).digests != prompt_chain(other.prompt).digests


def test_a_marker_that_moves_to_the_newest_message_changes_no_digest():
    def body(*marked: int) -> bytes:
        def block(position: int, text: str) -> dict:
            marker = {"cache_control": {"type": "ephemeral", "ttl": "1h"}} if position in marked else {}
            return {"type": "text", "text": text, **marker}

        tools = [{"name": "f", **({"cache_control": {"type": "ephemeral"}} if 9 in marked else {})}]
        system = [block(0, "a"), block(1, "b")]
        messages = [{"role": "user", "content": [block(position, "x" * 5000)]} for position in (2, 3)]
        return json.dumps({"model": "m", "system": system, "tools": tools, "messages": messages}).encode()

    chains = {
        prompt_chain(MESSAGES.read(body(*marked), (), splice_usage=False).prompt) for marked in ((), (0,), (1, 2), (9, 3))
    }
    assert len(chains) == 1


def test_a_thread_is_refused_in_the_words_that_make_its_sdk_send_the_whole_conversation():
    for thread in ({"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}):
        body = json.dumps({"model": "m", "messages": [], "thread": thread}).encode()
        fault = fault_of(body)
        answer = json.loads(MESSAGES.error(fault))
        assert (answer["type"], answer["error"]["type"]) == ("error", "invalid_request_error")
        assert answer["error"]["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}


@pytest.mark.parametrize(
    ("body", "param", "problem"),
    [
        (b"[]", "body", "must be a JSON object"),
        (b'{"model":"m","messages":["\xff"]}', "body", "not valid UTF-8"),
        (b'{"messages":[]}', "model", "is missing"),
        (b'{"model":"m","model":"n","messages":[]}', "model", "is given twice"),
        (b'{"model":"m"}', "messages", "is missing"),
        (b'{"model":"m","messages":[]}', "messages", "must not be empty"),
        (b'{"model":"m","messages":"hi"}', "messages", "a list of messages"),
        (b'{"model":"m","messages":[' + b"{}," * 50_000 + b"{}]}", "messages", "more than 50000 messages"),
        (b'{"model":"m","messages":[7]}', "messages[0]", "an object"),
        (b'{"model":"m","messages":[{"role":"user"},{}]}', "messages[1].role", "a string"),
        (b'{"model":"m","messages":[{"role":"user"}],"stream":1}', "stream", "true, false or null"),
        (b'{"model":"m","messages":[{"role":"user"}],"max_tokens":"9"}', "max_tokens", "an integer"),
    ],
)
def test_a_wrong_body_is_a_400_that_names_the_field(body, param, problem):
    fault = fault_of(body)
    assert fault.param == param
    assert problem in fault.message
    assert "details" not in json.loads(MESSAGES.error(fault))["error"]


def test_a_large_tool_list_is_cut_so_that_lists_which_part_late_share_their_start():
    def tools(last: bytes):
        return read(b'"tools":[{"name":"' + b"x" * 20_000 + last + b'"}]').prompt.segments

    one, other = tools(b"a"), tools(b"b")
    assert one[:4] == other[:4]
    assert one[4] != other[4]
    assert all(len(segment.raw) <= 4096 for segment in one[:5])
