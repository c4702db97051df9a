"""What arguments and results must pass."""

import json

import msgspec
import pytest
from tests.unit.tools_registry import ME, A, definition, registry, settings, upstream

from turnwise.tools_gateway.settings import Limits, Trust
from turnwise.tools_gateway.trust.guard import PinnedGuard
from turnwise.tools_gateway.trust.results import CUT, UNTRUSTED
from turnwise.tools_gateway.values import Fault, ToolFault

SCHEMA = {
    "type": "object",
    "properties": {
        "query": {"type": "string"},
        "limit": {"type": "integer", "minimum": 1},
        "where": {"type": "object", "properties": {"id": {"type": "string", "pattern": "^a"}}},
        "sort": {"enum": ["up", "down"]},
    },
    "required": ["query"],
    "additionalProperties": False,
}
GITHUB = "ghp_" + "a1B2" * 9
TOLD = settings(upstream(trusted=True, max_result_bytes=2048), limits=Limits(max_argument_bytes=4096, max_depth=8))


def tool(schema=SCHEMA):
    tools = registry(TOLD)
    tools.learn(A, [definition(inputSchema=schema)])
    (found,) = tools.tools(ME)
    return found


def guard(told=TOLD):
    return PinnedGuard(told)


def refusal(raw, of=None, told=TOLD):
    with pytest.raises(ToolFault) as caught:
        guard(told).arguments(of or tool(), raw)
    return caught.value


def text(result):
    return result["content"][0]["text"]


def block(said):
    return {"content": [{"type": "text", "text": said}]}


def test_arguments_that_hold_are_given_back_as_they_were_written():
    raw = b' {"query":"\\u00e9","limit":3,"where":{"id":"ab"}} '
    assert guard().arguments(tool(), raw) == {"query": "é", "limit": 3, "where": {"id": "ab"}}
    guard().check(tool(), {"query": "x"})


@pytest.mark.parametrize(
    ("raw", "part"),
    [
        (b'{"query":"a","query":"b"}', "`query` is given twice"),
        (b'{"query":"a","where":{"id":"a","id":"a"}}', "`where.id` is given twice"),
        (b'{"query":"a","limit":NaN}', "`limit` is NaN"),
        (b'{"query":"a","limit":-Infinity}', "`limit` is -Infinity"),
        (b'{"query":"a","limit":1e999}', "`limit` is 1e999"),
        (b'{"query":"a","limit":' + b"9" * 2000 + b"}", "`limit` is a number of 2000 digits"),
        (b'{"query":"\\ud83d"}', "`query` holds half of a character"),
        (b'{"query":["\\uDE00"]}', "`query[0]` holds half of a character"),
        (b'{"query":"a","\\ud800":1}', "name"),
        (b'{"query":"a"', "no JSON"),
        (b"", "no JSON"),
        (b'{"query":"a"}{}', "no JSON"),
        (b"{'query':'a'}", "no JSON"),
        (b'{"query":"\xff"}', "not in UTF-8"),
        (b'"query"', "no JSON object"),
        (b"[]", "no JSON object"),
        (b'{"query":"' + b"x" * 5000 + b'"}', "at most 4096"),
        (b'{"query":' + b"[" * 9 + b"]" * 9 + b"}", "deeper than 8"),
        (b"[" * 2000 + b"]" * 2000, "deeper than 8"),
        (b"[" * 4000, "cannot be used"),  # too deep or no JSON: how deep a parser goes differs between versions of Python
    ],
)
def test_arguments_that_could_be_read_otherwise_are_refused_by_member(raw, part):
    fault = refusal(raw)
    assert fault.fault is Fault.BAD_ARGUMENTS
    assert part in fault.message
    assert fault.message.startswith("The arguments of a__echo cannot be used: ")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({}, "`query` is missing"),
        ({"query": "a", "where": 3}, '`where`: the value is not of type "object"'),
        ({"query": 3}, '`query`: the value is not of type "string"'),
        ({"query": "a", "limit": 0}, "`limit`: the value is less than the minimum of 1"),
        ({"query": "a", "sort": "left"}, '`sort`: the value is not one of "up" or "down"'),
        ({"query": "a", "where": {"id": "b"}}, '`where.id`: the value does not match "^a"'),
        ({"query": "a", "limti": 3}, "it takes no `limti`; did you mean `limit`?"),
        ({"query": "a", "zzz": 3}, "it takes no `zzz`."),
    ],
)
def test_arguments_that_do_not_match_the_schema_are_refused_by_member_in_words(arguments, part):
    for check in (guard().check, lambda of, given: guard().arguments(of, json.dumps(given).encode())):
        with pytest.raises(ToolFault) as caught:
            check(tool(), arguments)
        assert caught.value.fault is Fault.BAD_ARGUMENTS
        assert part in caught.value.message


def test_a_value_that_is_wrong_is_never_repeated():
    one_of = {"type": "object", "properties": {"a": {"oneOf": [{"type": "integer"}, {"const": 1}, {"maxLength": 2}]}}}
    for schema, arguments in (
        (SCHEMA, {"query": "a", "limit": "hunter2"}),
        (SCHEMA, {"query": "a", "sort": "hunter2"}),
        (SCHEMA, {"query": "a", "where": {"id": "hunter2"}}),
        (one_of, {"a": "hunter2"}),
        ({"type": "object", "properties": {"a": {"not": {"type": "string"}}}}, {"a": "hunter2"}),
        ({"type": "object", "properties": {"a": {"uniqueItems": True}}}, {"a": ["hunter2", "hunter2"]}),
        ({"type": "object", "properties": {"a": {"contains": {"const": 1}}}}, {"a": ["hunter2"]}),
        ({"type": "object", "properties": {"a": False}}, {"a": "hunter2"}),
    ):
        assert "hunter2" not in refusal(json.dumps(arguments).encode(), tool(schema)).message


def test_a_name_that_somebody_chose_to_confuse_is_shown_as_it_is():
    message = refusal('{"query":"a","li\u202emit":1}'.encode()).message
    assert "li<U+202E>mit" in message
    assert len(refusal(json.dumps({"query": "a", "x" * 3000: 1}).encode()).message) <= 400


def test_what_is_wrong_below_branches_is_told_for_as_much_as_can_be_told_in_no_time():
    wrong = {"type": "array", "items": {"type": "integer"}}
    branches = tool({"type": "object", "properties": {"a": {"anyOf": [wrong, wrong, wrong]}}})
    told = settings(upstream(trusted=True))
    assert "`a`: the value is not valid" in refusal(json.dumps({"a": ["x"] * 10}).encode(), branches, told).message
    large = json.dumps({"a": ["x"] * 50_000}).encode()
    assert refusal(large, branches, told).message.endswith("cannot be used: they do not match its schema.")
    assert "`a[0]`" in refusal(large, tool({"type": "object", "properties": {"a": wrong}}), told).message


def test_parsed_arguments_are_held_to_the_same_bounds():
    deep = []
    for _ in range(9):
        deep = [deep]
    for arguments, part in (
        ({"query": "x" * 5000}, "at most 4096"),
        ({"query": deep}, "deeper than 8"),
        ({"query": "\ud800"}, "written as JSON"),
    ):
        with pytest.raises(ToolFault, match=part):
            guard().check(tool(), arguments)


def test_a_schema_that_looks_often_checks_less():
    intricate = {"type": "object", "properties": {"a": {"allOf": [{"pattern": "b$"}] * 18}}}
    told = settings(upstream(trusted=True), limits=Limits())
    message = refusal(json.dumps({"a": "x" * 500_000}).encode(), tool(intricate), told).message
    assert "so intricate that at most" in message
    assert guard(told).arguments(tool(), json.dumps({"query": "x" * 500_000}).encode())


@pytest.mark.parametrize("where", ["query", "nested", "name"])
def test_arguments_that_hold_a_secret_do_not_leave(where):
    arguments = {"query": {"query": f"curl -H {GITHUB}"}, "nested": {"x": [{"y": GITHUB}]}, "name": {GITHUB: 1}}[where]
    fault = refusal(json.dumps(arguments).encode(), tool({"type": "object"}))
    assert fault.fault is Fault.NOT_ALLOWED
    assert "holds a GitHub token" in fault.message
    assert GITHUB not in fault.message
    off = settings(upstream(trusted=True), trust=Trust(secrets=False))
    assert guard(off).arguments(tool({"type": "object"}), json.dumps(arguments).encode()) == arguments


def test_secrets_in_results_are_blacked_out_wherever_they_stand():
    result = {
        "content": [
            {"type": "text", "text": f"token={GITHUB}."},
            {"type": "resource", "resource": {"uri": "x", "text": GITHUB}},
        ],
        "structuredContent": {"a": [GITHUB]},
    }
    cleaned = guard().result(tool(), result)
    assert GITHUB not in json.dumps(cleaned)
    assert text(cleaned) == "token=[GitHub token removed]."
    assert cleaned["structuredContent"] == {"a": ["[GitHub token removed]"]}


def test_a_result_is_marked_as_untrusted_and_its_own_marks_are_not_believed():
    result = {
        **block("hi"),
        "isError": True,
        "structuredContent": {"a": 1},
        "_meta": {"x": 1, UNTRUSTED: False, "turnwise/x": 2},
    }
    cleaned = guard().result(tool(), result)
    assert cleaned == {**result, "_meta": {"x": 1, UNTRUSTED: True}}
    assert result["_meta"][UNTRUSTED] is False, "what came is left as it is"
    assert guard().result(tool(), {"content": [], "_meta": 3})["_meta"] == {UNTRUSTED: True}


def test_what_is_hidden_in_a_result_is_taken_out_and_what_people_write_stays():
    hidden = "a\u200bb\u202ec\U000e0041d\x00e\x1b[31mf\x1b]0;title\x07g\u2066h\ufeff\u200di"
    assert text(guard().result(tool(), block(hidden))) == "abcdefghi"
    assert text(guard().result(tool(), block("a\x1b[2J\x1b]0;title\x07b\x08\x7fc\x1bMd"))) == "abcd"
    for plain in ("naïve\n\ttext\r\n", "می‌خواهم", "👨‍👩‍👧 ❤️ 1️⃣", "क्‍ष", "日本語", "<!-- a page -->"):
        assert text(guard().result(tool(), block(plain))) == plain


def test_bytes_and_opaque_state_are_left_alone():
    data = "QUtJQQ==" + "\u200b"
    result = {
        "content": [{"type": "image", "data": data, "mimeType": "image/png\u200b"}],
        "requestState": GITHUB + "\u200b",
        "resultType": "input_required",
    }
    cleaned = guard().result(tool(), result)
    assert cleaned["content"][0] == {"type": "image", "data": data, "mimeType": "image/png"}
    assert cleaned["requestState"] == GITHUB + "\u200b"


def test_half_a_character_in_a_result_is_replaced():
    assert text(guard().result(tool(), block("a\ud800b"))) == "a?b"


@pytest.mark.parametrize("letter", ["x", "é", '"', "\n", "👍"])
def test_a_result_that_is_too_large_keeps_its_beginning_and_says_so(letter):
    cleaned = guard().result(
        tool(), {"content": [{"type": "text", "text": "first"}, {"type": "text", "text": letter * 100_000}]}
    )
    first, cut, marker = (part["text"] for part in cleaned["content"])
    assert first == "first"
    assert set(cut) == {letter}
    assert marker.startswith("[cut: the result has ")
    size = len(msgspec.json.encode(cleaned))
    assert 1400 < size <= 2048
    assert cleaned["_meta"][CUT] > 100_000


def test_what_cannot_be_cut_is_left_out_and_what_follows_too():
    image = {"type": "image", "data": "A" * 9000, "mimeType": "image/png"}
    cleaned = guard().result(tool(), {"content": [{"type": "text", "text": "a"}, image, {"type": "text", "text": "b"}]})
    assert [part["type"] for part in cleaned["content"]] == ["text", "text"]
    assert cleaned["content"][1]["text"].startswith("[cut: ")
    assert "isError" not in cleaned


def test_a_result_without_room_for_its_structured_content_is_an_error():
    result = {**block("short"), "structuredContent": {"a": "x" * 9000}}
    cleaned = guard().result(tool(), result)
    assert "structuredContent" not in cleaned
    assert cleaned["isError"] is True
    assert text(cleaned) == "short"


def test_a_result_of_which_nothing_can_be_kept_is_a_fault():
    with pytest.raises(ToolFault, match="at most 2048") as caught:
        guard().result(tool(), {"content": [], "other": "x" * 9000})
    assert caught.value.fault is Fault.TOO_LARGE
    deep = []
    for _ in range(30):
        deep = [deep]
    with pytest.raises(ToolFault, match="deeper than 8"):
        guard().result(tool(), {"content": [], "structuredContent": {"a": deep}})


@pytest.mark.parametrize(
    "result", [{}, {"content": None}, {"content": "x"}, {"content": [3, None, "x", {}]}, {"content": [{"type": []}]}]
)
def test_a_result_that_is_no_result_is_bounded_all_the_same(result):
    assert guard().result(tool(), result)["_meta"] == {UNTRUSTED: True}
    cut = guard().result(tool(), {**result, "_meta": {"x": "é" * 3000}})
    assert cut["_meta"][CUT] > 6000
    assert len(msgspec.json.encode(cut)) <= 2048


def test_a_tool_whose_definition_changed_is_checked_by_the_one_that_was_approved():
    known = guard()
    first, second = tool(), tool({"type": "object", "required": ["other"]})
    known.check(first, {"query": "a"})
    with pytest.raises(ToolFault, match="`other` is missing"):
        known.check(second, {"query": "a"})
    known.check(first, {"query": "a"})
