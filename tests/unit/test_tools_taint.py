"""Which prompts hold what tools or other places brought, or may."""

import pytest
from tests.unit.tool_streams import (
    CHAT,
    MESSAGES,
    RESPONSES,
    arguments_event,
    body,
    chunk,
    hear,
    input_delta,
    item,
    piece,
    tool_use,
)

from turnwise.tools_gateway.messages import Announced

CALLS = {
    CHAT: [chunk(piece('{"x":1}', name="f", call_id="a"))],
    MESSAGES: [tool_use("f"), input_delta("{}")],
    RESPONSES: [item("added"), arguments_event("delta", "{}")],
}
PATHS = (CHAT, MESSAGES, RESPONSES)
PICTURE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}


def is_tainted(path, *turns, **fields):
    given = {**body(path), **fields}
    member = "input" if path == RESPONSES else "messages"
    (told,) = hear(path, *CALLS[path], given={**given, member: [*given[member], *turns]}).of(Announced)
    return told.is_tainted


def user(*blocks, **fields):
    return {"role": "user", "content": list(blocks), **fields}


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


@pytest.mark.parametrize("path", PATHS)
def test_a_question_and_an_answer_are_plain(path):
    assert not is_tainted(path)
    assert not is_tainted(path, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "x" * 20_000})
    assert not is_tainted(path, user({"type": "text", "text": 'it has a "tool_result" and a "web_search_call"'}))


@pytest.mark.parametrize(
    ("path", "turn"),
    [
        (CHAT, {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {}}]}),
        (CHAT, user({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}})),
        (CHAT, user("a bare text")),
        (MESSAGES, user(PICTURE, {"type": "document", "source": {"type": "text", "data": "x"}})),
        (MESSAGES, assistant({"type": "thinking", "thinking": "x"}, {"type": "tool_use", "id": "t", "name": "f", "input": {}})),
        (RESPONSES, {"type": "message", **user({"type": "input_text", "text": "x"})}),
        (RESPONSES, {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "zz"}),
        (RESPONSES, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}),
        (RESPONSES, user({"type": "input_image", "image_url": "data:image/png;base64,AAAA"})),
    ],
)
def test_what_holds_all_that_it_brings_is_plain(path, turn):
    assert not is_tainted(path, turn)


@pytest.mark.parametrize(
    ("path", "turn"),
    [
        (CHAT, {"role": "tool", "tool_call_id": "c", "content": "18C"}),
        (CHAT, {"role": "function", "name": "f", "content": "18C"}),
        (CHAT, {"role": "nobody", "content": "18C"}),
        (CHAT, user({"type": "tool_result", "content": "18C"})),
        (CHAT, user({"type": "image_url", "image_url": {"url": "https://x/a.png"}})),
        (CHAT, user({"type": "file", "file": {"file_id": "f"}})),
        (CHAT, user({"text": "of no type"})),
        (CHAT, {"role": "user", "content": {"type": "text"}}),
        (MESSAGES, user({"type": "tool_result", "tool_use_id": "t"})),
        (MESSAGES, user({"type": "text", "text": "see"}, {"type": "tool_result", "tool_use_id": "t"})),
        (MESSAGES, user({"type": "search_result", "source": "https://x", "title": "t", "content": []})),
        (MESSAGES, user({"type": "document", "source": {"type": "url", "url": "https://x"}})),
        (MESSAGES, user({"type": "document", "source": {"type": "file", "file_id": "f"}})),
        (MESSAGES, user({"type": "document"})),
        (MESSAGES, user({"type": "container_upload", "file_id": "f"})),
        (MESSAGES, assistant({"type": "server_tool_use", "id": "t", "name": "web_search", "input": {}})),
        (MESSAGES, assistant({"type": "web_search_tool_result", "tool_use_id": "t", "content": []})),
        (MESSAGES, assistant({"type": "code_execution_tool_result", "tool_use_id": "t", "content": {}})),
        (MESSAGES, assistant({"type": "mcp_tool_result", "tool_use_id": "t", "content": []})),
        (RESPONSES, {"id": "fc_1"}),
        (RESPONSES, {"id": "fc_1", "role": "assistant"}),
        (RESPONSES, {"type": "item_reference", "id": "fc_1"}),
        (RESPONSES, {"type": "message", "role": "tool", "content": "18C"}),
        (RESPONSES, user({"type": "input_file", "file_url": "https://x"})),
        (RESPONSES, user({"type": "input_image", "file_id": "f"})),
        *(
            (RESPONSES, {"type": kind, "id": "i", "call_id": "c", "output": "18C"})
            for kind in (
                "function_call_output", "custom_tool_call_output", "computer_call_output", "local_shell_call_output",
                "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call",
                "mcp_list_tools", "mcp_approval_response", "tool_search_output", "compaction", "what_comes_next",
            )
        ),
    ],
)  # fmt: skip
def test_what_is_not_known_to_be_plain_taints(path, turn):
    assert is_tainted(path, turn)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"documents": [{"text": "x"}]}),
        (CHAT, {"web_search_options": {}}),
        (CHAT, {"tools": [*body(CHAT)["tools"], {"type": "web_search"}]}),
        (MESSAGES, {"container": "c1"}),
        (MESSAGES, {"mcp_servers": [{"type": "url", "url": "https://x", "name": "x"}]}),
        (MESSAGES, {"system": [{"type": "search_result", "content": []}]}),
        (MESSAGES, {"tools": [*body(MESSAGES)["tools"], {"type": "web_search_20250305", "name": "web_search"}]}),
        (RESPONSES, {"previous_response_id": "resp_1"}),
        (RESPONSES, {"conversation": "conv_1"}),
        (RESPONSES, {"conversation": {"id": "conv_1"}}),
        (RESPONSES, {"prompt": {"id": "pmpt_1"}}),
        (RESPONSES, {"previous_input_messages": [{"role": "user", "content": "x"}]}),
        (RESPONSES, {"tools": [*body(RESPONSES)["tools"], {"type": "mcp", "server_label": "x"}]}),
    ],
)
def test_what_the_replica_keeps_fetches_or_runs_taints(path, fields):
    assert is_tainted(path, **fields)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        (CHAT, {"tool_choice": "required", "chat_template_kwargs": {"enable_thinking": False}, "documents": None}),
        (CHAT, {"temperature": 0.5, "metadata": {"a": "b"}, "reasoning_effort": "low"}),
        (MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 1024}, "container": None, "max_tokens": 100}),
        (MESSAGES, {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}),
        (RESPONSES, {"instructions": "be brief", "reasoning": {"effort": "low"}, "prompt": None, "conversation": None}),
        (RESPONSES, {"tools": [*body(RESPONSES)["tools"], {"type": "custom", "name": "shell"}]}),
    ],
)
def test_what_only_says_how_to_answer_does_not_taint(path, fields):
    assert not is_tainted(path, **fields)


def test_a_bare_text_is_plain():
    (told,) = hear(RESPONSES, *CALLS[RESPONSES], given={**body(RESPONSES), "input": "do it"}).of(Announced)
    assert not told.is_tainted
