import json
import re

import pytest

from turnwise.dialects import DIALECTS
from turnwise.errors import ClientFault
from turnwise.types import DialectName, Segment, SegmentKind

CHAT, COMPLETIONS = DIALECTS[DialectName.CHAT], DIALECTS[DialectName.COMPLETIONS]
USER = b'{"role":"user","content":"hi"}'


def chat(*members: bytes):
    body = b"{" + b",".join((b'"model":"m"', b'"messages":[' + USER + b"]", *members)) + b"}"
    return CHAT.read(body, (), splice_usage=False)


def completion(prompt: bytes, *members: bytes):
    return COMPLETIONS.read(b"{" + b",".join((b'"model":"m"', b'"prompt":' + prompt, *members)) + b"}", (), splice_usage=False)


def fault_of(dialect, body: bytes) -> ClientFault:
    with pytest.raises(ClientFault) as caught:
        dialect.read(body, (), splice_usage=True)
    assert caught.value.status == 400
    return caught.value


def raws(call, kind=None) -> list[bytes]:
    return [segment.raw for segment in call.prompt.segments if kind in (None, segment.kind)]


def test_a_chat_body_becomes_template_tools_and_messages_in_order_and_raw():
    body = (
        b'{ "messages" : [{"role": "system","content":"s"}, {"content":"d","role":"developer"},\n'
        b'{"role":"user","content":"\xc3\xa9"},'
        b'{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]},{"role":"tool","content":"r"},{"role":"wizard"}],'
        b' "tools" : [ {"type":"function"} ] , "model":"m","chat_template_kwargs":{"a" : 1},"temperature":0}'
    )
    call = CHAT.read(body, (), splice_usage=True)
    assert call.body == body
    assert call.prompt.segments == (
        Segment(SegmentKind.TEMPLATE, b'"chat_template_kwargs":{"a" : 1}'),
        Segment(SegmentKind.TOOLS, b'[ {"type":"function"} ]'),
        Segment(SegmentKind.SYSTEM, b'{"role": "system","content":"s"}'),
        Segment(SegmentKind.SYSTEM, b'{"content":"d","role":"developer"}'),
        Segment(SegmentKind.USER, b'{"role":"user","content":"\xc3\xa9"}'),
        Segment(SegmentKind.ASSISTANT, b'{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]}'),
        Segment(SegmentKind.TOOL, b'{"role":"tool","content":"r"}'),
        Segment(SegmentKind.OTHER, b'{"role":"wizard"}'),
    )


def test_what_routing_acts_on_is_read():
    call = chat(b'"stream":true', b'"n":3', b'"max_tokens":5', b'"max_completion_tokens":7')
    assert (call.model, call.is_stream, call.num_choices, call.max_tokens, call.adds_usage) == ("m", True, 3, 7, False)
    call = chat(b'"stream":null', b'"n":null', b'"max_tokens":5')
    assert (call.is_stream, call.num_choices, call.max_tokens) == (False, 1, 5)


@pytest.mark.parametrize(
    "member",
    [b'"cache_salt":"s"', b'"mm_processor_kwargs":{"a":1}', b'"media_io_kwargs":{"a":1}', b'"model2":1'],
)
def test_the_root_isolates_by_salt_and_multimodal_policy_and_by_nothing_else(member):
    assert (chat(member).prompt.root != chat().prompt.root) == (b"model2" not in member)


def test_one_root_argument_cannot_stand_in_for_another():
    roots = {chat(b'"cache_salt":"x"').prompt.root, chat(b'"mm_processor_kwargs":"x"').prompt.root, chat().prompt.root}
    assert len(roots) == 3


@pytest.mark.parametrize(
    "member",
    [
        b'"chat_template":"t"', b'"chat_template_kwargs":{"enable_thinking":false}', b'"add_generation_prompt":false',
        b'"continue_final_message":true', b'"add_special_tokens":true', b'"documents":[{}]', b'"reasoning_effort":"high"',
        b'"tool_choice":"none"', b'"truncate_prompt_tokens":5', b'"truncation_side":"left"', b'"verbosity":"low"',
        b'"response_format":{"type":"json_object"}',
    ],
)  # fmt: skip
def test_an_argument_that_changes_the_rendering_comes_before_everything(member):
    assert chat(member).prompt.segments == (Segment(SegmentKind.TEMPLATE, member), *chat().prompt.segments)


@pytest.mark.parametrize(
    "member", [b'"tool_choice":"auto"', b'"tools":null', b'"chat_template":null', b'"parallel_tool_calls":false', b'"user":"u"']
)
def test_defaults_nulls_and_what_only_shapes_the_output_leave_the_prompt_alone(member):
    assert chat(member).prompt == chat().prompt


def test_the_order_of_arguments_in_the_body_does_not_change_the_prompt():
    one, other = b'"reasoning_effort":"low"', b'"chat_template":"t"'
    assert chat(one, other).prompt == chat(other, one).prompt


def test_legacy_functions_count_as_tools():
    assert raws(chat(b'"functions":[{"name":"f"}]'), SegmentKind.TOOLS) == [b'[{"name":"f"}]']


def test_a_large_message_is_cut_so_that_prompts_which_part_late_share_its_start():
    def long_message(tail: bytes):
        message = b'{"role":"user","content":"' + b"x" * 9000 + tail + b'"}'
        body = b'{"model":"m","messages":[' + message + b"," + USER + b"]}"
        call = CHAT.read(body, (), splice_usage=False)
        assert b"".join(raws(call)) == message + USER
        return call.prompt.segments

    one, other = long_message(b"one"), long_message(b"two")
    assert [len(segment.raw) for segment in one] == [4096, 4096, 9031 - 8192, len(USER)]
    assert one[:2] == other[:2]
    assert one[2] != other[2]


@pytest.mark.parametrize(
    ("body", "param", "problem"),
    [
        (b"", "body", "not valid JSON"),
        (b"[]", "body", "must be a JSON object"),
        (b"null", "body", "must be a JSON object"),
        (b'{"model":"m","messages":[1,]}', "body", "trailing comma in array (byte 27)"),
        (b'{"model":"m","messages":[', "body", "ends inside a value, or in half of a surrogate pair (byte 25)"),
        (b'{"model":"m"} x', "body", "trailing characters (byte 15)"),
        (b'{"model":"m","messages":["\xff"]}', "body", "not valid UTF-8 (byte 26)"),
        (b'{"model":"m","x":' + b"[" * 1_000_000, "body", "nested too deeply"),
        (b"{" + b",".join(b'"%d":1' % i for i in range(300)) + b"}", "body", "more than 256 members"),
        (b'{"messages":[{"role":"user"}]}', "model", "is missing"),
        (b'{"model":null,"messages":[{"role":"user"}]}', "model", "is missing"),
        (b'{"model":"","messages":[{"role":"user"}]}', "model", "non-empty string"),
        (b'{"model":5,"messages":[{"role":"user"}]}', "model", "non-empty string"),
        (b'{"model":"m"}', "messages", "is missing"),
        (b'{"model":"m","messages":[]}', "messages", "must not be empty"),
        (b'{"model":"m","messages":{}}', "messages", "a list of messages"),
        (b'{"model":"m","messages":[' + b"{}," * 50_000 + b"{}]}", "messages", "more than 50000"),
        (b'{"model":"m","messages":[{"role":"user"},"x"]}', "messages[1]", "an object"),
        (b'{"model":"m","messages":[{"role":"user"},{"content":"x"}]}', "messages[1].role", "a string"),
        (b'{"model":"m","messages":[{"role":3}]}', "messages[0].role", "a string"),
        (b'{"model":"m","messages":[{"role":"user"}],"stream":"yes"}', "stream", "true, false or null"),
        (b'{"model":"m","messages":[{"role":"user"}],"n":"2"}', "n", "an integer"),
        (b'{"model":"m","messages":[{"role":"user"}],"max_tokens":1.5}', "max_tokens", "an integer"),
        (b'{"model":"m","messages":[{"role":"user"}],"max_completion_tokens":[]}', "max_completion_tokens", "an integer"),
    ],
)  # fmt: skip
def test_a_wrong_chat_body_is_a_400_that_names_the_field(body, param, problem):
    fault = fault_of(CHAT, body)
    assert fault.param == param
    assert problem in fault.message


@pytest.mark.parametrize(
    ("first", "second"),
    [(b"1", b"1"), (b"12", b"1"), (b"1", b"12"), (b'"a"', b'"b"'), (b"[1]", b"[2]"), (b"null", b"{}")],
)
@pytest.mark.parametrize("second_key", [b'"stream"', b'"stre\\u0061m"'])
def test_a_member_given_twice_is_refused_by_name(first, second, second_key):
    for between in (b"", b'"x":1,'):
        body = b'{"model":"m","stream":' + first + b"," + between + second_key + b":" + second + b"}"
        fault = fault_of(CHAT, body)
        assert (fault.param, fault.message) == ("stream", "`stream` is given twice")


def test_a_hidden_second_messages_list_is_refused():
    decoy = b'[{"role":"user","content":",\\"messages\\":"}]'
    assert fault_of(CHAT, b'{"model":"m","messages":' + decoy + b',"messages":[' + USER + b"]}").param == "messages"


def test_whatever_only_the_engine_judges_passes():
    orphan = b'{"model":"m","messages":[{"role":"tool","tool_call_id":"nobody","content":7}],"temperature":"hot"}'
    assert CHAT.read(orphan, (), splice_usage=False).body == orphan


def test_text_prompts_are_cut_at_fixed_bytes_and_extension_keeps_all_but_the_last_piece():
    text = json.dumps("word " * 1000).encode()
    longer = json.dumps("word " * 1000 + "more").encode()
    segments, extended = completion(text).prompt.segments, completion(longer).prompt.segments
    assert b"".join(segment.raw for segment in segments) == text
    assert {segment.kind for segment in segments} == {SegmentKind.TEXT}
    assert len(segments) == 5
    assert segments[:-1] == extended[:4]


def test_a_prompt_is_never_equal_to_the_start_of_a_longer_one():
    exact = b'"' + b"x" * 1023 + b'"'
    longer = b'"' + b"x" * 1024 + b'"'
    assert completion(longer).prompt.segments[: len(completion(exact).prompt.segments)] != completion(exact).prompt.segments


@pytest.mark.parametrize("separator", [",", ", "])
def test_token_ids_are_cut_at_commas(separator):
    ids = ("[" + separator.join(str(i * 7919 % 150_000) for i in range(3000)) + "]").encode()
    call = completion(ids)
    assert b"".join(raws(call)) == ids
    assert {segment.kind for segment in call.prompt.segments} == {SegmentKind.TOKENS}
    assert all(raw.endswith(b",") and 512 < len(raw) <= 1024 for raw in raws(call)[:-1])
    longer = completion(ids[:-1] + b",1,2]")
    assert raws(longer)[: len(raws(call)) - 1] == raws(call)[:-1]


def test_numbers_too_long_for_a_piece_are_kept_whole():
    ids = b"[" + b"1" * 3000 + b"," + b"2" * 3000 + b"]"
    assert raws(completion(ids)) == [ids[:3002], ids[3002:]]


def test_of_several_prompts_the_first_leads_and_the_rest_is_one_more_segment():
    call = completion(b'[ "one", "two","three"]', b'"n":2')
    assert call.prompt.segments == (
        Segment(SegmentKind.TEXT, b'"one"'),
        Segment(SegmentKind.OTHER, b'"two","three"'),
    )
    assert call.num_choices == 6
    lists = completion(b"[[1,2],[3]]")
    assert lists.prompt.segments == (Segment(SegmentKind.TOKENS, b"[1,2]"), Segment(SegmentKind.OTHER, b"[3]"))
    assert completion(b'["one"]').prompt == completion(b'"one"').prompt


def test_embeddings_in_place_of_a_prompt_are_placed_by_load_alone():
    call = COMPLETIONS.read(b'{"model":"m","prompt_embeds":"AAAA"}', (), splice_usage=False)
    assert (call.model, call.prompt) == ("m", None)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"model":"m"}', "is missing"),
        (b'{"model":"m","prompt":null}', "is missing"),
        (b'{"model":"m","prompt":[]}', "must not be empty"),
        (b'{"model":"m","prompt":[ ]}', "must not be empty"),
        (b'{"model":"m","prompt":[' + b'"",' * 50_000 + b'""]}', "more than 50000"),
        (b'{"model":"m","prompt":3}', "must be a string, a list"),
        (b'{"model":"m","prompt":{}}', "must be a string, a list"),
    ],
)
def test_a_wrong_prompt_is_a_400_that_names_it(body, problem):
    fault = fault_of(COMPLETIONS, body)
    assert fault.param == "prompt"
    assert problem in fault.message


def test_cache_control_goes_from_messages_and_tools_with_its_comma_and_nothing_else():
    def marked(*markers: bytes) -> bytes:
        first, last, tool = markers
        return (
            b'{"model":"m","tools":[{"name":"t","cache_control_":1' + tool + b'}],"messages":[{"role":"user","content":[{'
            + first + b'"type": "text","text":"say \\"cache_control\\": null" ' + last + b"}]}]}"
        )  # fmt: skip

    plain = CHAT.read(marked(b"", b"", b""), (), splice_usage=False)
    ephemeral = b'"cache_control": {"type":"ephemeral", "ttl": "1h"}'
    call = CHAT.read(marked(ephemeral + b" , ", b"," + ephemeral, b',"cache_control":null'), (), splice_usage=False)
    assert raws(call) == raws(plain)
    assert re.search(rb'\\"cache_control\\"', b"".join(raws(call)))


def test_a_tool_parameter_named_cache_control_is_no_marker():
    def tools(kind: bytes) -> bytes:
        return b'"tools":[{"properties":{"cache_control":{"type":"' + kind + b'"}}}]'

    assert raws(chat(tools(b"string"))) != raws(chat(tools(b"number")))
    assert b"cache_control" in raws(chat(tools(b"string")))[0]
