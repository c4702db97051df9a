import pytest

from turnwise.dialects import DIALECTS
from turnwise.errors import ClientFault
from turnwise.index.chains import prompt_chain
from turnwise.types import DialectName, Segment, SegmentKind

RESPONSES = DIALECTS[DialectName.RESPONSES]


def read(*members: bytes, given: bytes = b'"hi"'):
    return RESPONSES.read(b"{" + b",".join((b'"model":"m"', b'"input":' + given, *members)) + b"}", (), splice_usage=True)


def fault_of(body: bytes) -> ClientFault:
    with pytest.raises(ClientFault) as caught:
        RESPONSES.read(body, (), splice_usage=True)
    assert caught.value.status == 400
    return caught.value


def test_a_body_becomes_template_tools_instructions_and_items_in_order_and_raw():
    body = (
        b'{"input":[ {"role":"user","content":"q"}, {"type":"message","role":"developer","content":"d"},'
        b'{"type":"function_call","name":"f","arguments":"{}"},{"output":"18C","type":"function_call_output"}],'
        b'"instructions":"be brief","stream":true,"model":"m","tools":[ {"type":"function"} ],"max_output_tokens":7,'
        b'"reasoning":{"effort":"low"},"store":false}'
    )
    call = RESPONSES.read(body, (), splice_usage=True)
    assert (call.body, call.model, call.is_stream, call.max_tokens, call.adds_usage) == (body, "m", True, 7, False)
    assert (call.continues, call.is_stored) == ((), False)
    assert call.prompt.segments == (
        Segment(SegmentKind.TEMPLATE, b'"reasoning":{"effort":"low"}'),
        Segment(SegmentKind.TOOLS, b'[ {"type":"function"} ]'),
        Segment(SegmentKind.SYSTEM, b'"be brief"'),
        Segment(SegmentKind.USER, b'{"role":"user","content":"q"}'),
        Segment(SegmentKind.SYSTEM, b'{"type":"message","role":"developer","content":"d"}'),
        Segment(SegmentKind.ASSISTANT, b'{"type":"function_call","name":"f","arguments":"{}"}'),
        Segment(SegmentKind.TOOL, b'{"output":"18C","type":"function_call_output"}'),
    )


def test_bare_text_is_what_the_user_says():
    assert read().prompt.segments == (Segment(SegmentKind.USER, b'"hi"'),)


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (b'{"type":"message","role":"assistant"}', SegmentKind.ASSISTANT),
        (b'{"role":"system"}', SegmentKind.SYSTEM),
        (b'{"type":"reasoning"}', SegmentKind.ASSISTANT),
        (b'{"type":"custom_tool_call"}', SegmentKind.ASSISTANT),
        (b'{"type":"custom_tool_call_output"}', SegmentKind.TOOL),
        (b'{"type":"computer_call_output"}', SegmentKind.TOOL),
        (b'{"type":"item_reference","id":"x"}', SegmentKind.OTHER),
        (b'{"type":"of_tomorrow"}', SegmentKind.OTHER),
        (b"{}", SegmentKind.OTHER),
    ],
)
def test_an_item_is_what_its_type_or_role_says_and_unknown_ones_are_hashed_all_the_same(item, kind):
    assert read(given=b"[" + item + b"]").prompt.segments == (Segment(kind, item),)


@pytest.mark.parametrize(
    ("members", "continues"),
    [
        ((), ()),
        ((b'"previous_response_id":null', b'"conversation":null'), ()),
        ((b'"previous_response_id":"resp_1"',), ("resp_1",)),
        ((b'"conversation":"conv_1"',), ("conv_1",)),
        ((b'"conversation":{"id":"conv_1"}',), ("conv_1",)),
        ((b'"conversation":"conv_1"', b'"previous_response_id":"resp_1"'), ("resp_1", "conv_1")),
    ],
)
def test_the_state_that_a_call_continues_is_named_and_roots_its_prompt(members, continues):
    call = read(*members)
    assert call.continues == continues
    assert call.prompt.segments == read().prompt.segments
    assert (prompt_chain(call.prompt) == prompt_chain(read().prompt)) == (not continues)


def test_calls_that_continue_different_responses_share_no_digest():
    one, other = (read(b'"previous_response_id":"%b"' % name) for name in (b"resp_1", b"resp_2"))
    assert not set(prompt_chain(one.prompt).digests) & set(prompt_chain(other.prompt).digests)


@pytest.mark.parametrize(
    ("member", "is_stored"),
    [(b'"store":true', True), (b'"store":false', False), (b'"store":null', True), (b'"user":"u"', True)],
)
def test_an_answer_is_stored_unless_the_request_says_no(member, is_stored):
    assert read(member).is_stored is is_stored


def test_no_other_api_stores():
    body = b'{"model":"m","store":true,"messages":[{"role":"user"}]}'
    assert not DIALECTS[DialectName.CHAT].read(body, (), splice_usage=False).is_stored
    assert not DIALECTS[DialectName.MESSAGES].read(body, (), splice_usage=False).is_stored


@pytest.mark.parametrize(
    "member",
    [
        b'"chat_template":"t"', b'"chat_template_kwargs":{"a":1}', b'"reasoning":{"effort":"low"}', b'"tool_choice":"none"',
        b'"truncation":"auto"', b'"context_management":[]', b'"prompt":{"id":"p"}', b'"previous_input_messages":[{}]',
    ],
)  # fmt: skip
def test_an_argument_that_changes_the_rendering_comes_before_everything(member):
    assert read(member).prompt.segments == (Segment(SegmentKind.TEMPLATE, member), *read().prompt.segments)


@pytest.mark.parametrize(
    "member",
    [
        b'"tool_choice":"auto"', b'"truncation":"disabled"', b'"tools":null', b'"instructions":null', b'"store":false',
        b'"text":{"format":{"type":"json_object"}}', b'"include":[]', b'"client_metadata":{"id":"1"}', b'"background":true',
    ],
)  # fmt: skip
def test_defaults_nulls_and_what_only_shapes_the_output_leave_the_prompt_alone(member):
    assert read(member).prompt == read().prompt


@pytest.mark.parametrize(
    ("body", "param", "problem"),
    [
        (b"{", "body", "not valid JSON"),
        (b'{"model":"m","input":"\xff"}', "body", "not valid UTF-8"),
        (b'{"input":"x"}', "model", "is missing"),
        (b'{"model":"m","input":"x","input":"y"}', "input", "is given twice"),
        (b'{"model":"m"}', "input", "is missing"),
        (b'{"model":"m","input":null}', "input", "is missing"),
        (b'{"model":"m","input":[]}', "input", "must not be empty"),
        (b'{"model":"m","input":{}}', "input", "a list of items"),
        (b'{"model":"m","input":[' + b"{}," * 50_000 + b"{}]}", "input", "more than 50000 items"),
        (b'{"model":"m","input":[{},"x"]}', "input[1]", "an object"),
        (b'{"model":"m","input":[{"type":7}]}', "input[0]", "as strings"),
        (b'{"model":"m","input":"x","previous_response_id":7}', "previous_response_id", "a string"),
        (b'{"model":"m","input":"x","conversation":{}}', "conversation", "an object with an id"),
        (b'{"model":"m","input":"x","store":"no"}', "store", "true, false or null"),
        (b'{"model":"m","input":"x","max_output_tokens":1.5}', "max_output_tokens", "an integer"),
    ],
)
def test_a_wrong_body_is_a_400_that_names_the_field(body, param, problem):
    fault = fault_of(body)
    assert fault.param == param
    assert problem in fault.message


def test_a_large_text_is_cut_so_that_texts_which_part_late_share_their_start():
    one, other = (read(given=b'"' + b"x" * 9000 + tail + b'"').prompt.segments for tail in (b"a", b"b"))
    assert [len(segment.raw) for segment in one] == [4096, 4096, 9003 - 8192]
    assert one[:2] == other[:2]
    assert one[2] != other[2]
