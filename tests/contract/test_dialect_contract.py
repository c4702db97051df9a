"""What the proxy relies on in the messages and responses of every engine; no more is asserted than all of them do."""

import json
import secrets

import pytest


def conversation(words=200):
    """System text and a question that no earlier prompt began with."""
    return " ".join(secrets.token_hex(2) for _ in range(words)), "What does it say?"


async def chat_usage(engine, system, question):
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return (await engine.chat(messages, max_tokens=1))["usage"]


def messages_body(engine, system, question, **fields):
    user = [{"role": "user", "content": question}]
    return {"model": engine.model, "system": system, "messages": user, "max_tokens": 5, **fields}


def responses_body(engine, system, question, **fields):
    return {"model": engine.model, "instructions": system, "input": question, "max_output_tokens": 5, **fields}


def whole_input(usage):
    """All prompt tokens of Anthropic's usage."""
    return sum(usage.get(name) or 0 for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"))


async def test_a_message_has_its_content_reason_and_usage(engine):
    answer = (await engine.post("/v1/messages", messages_body(engine, *conversation(20)))).json()
    assert (answer["type"], answer["role"]) == ("message", "assistant")
    assert answer["content"]
    assert answer["stop_reason"] in {"end_turn", "max_tokens"}
    assert 1 <= answer["usage"]["output_tokens"] <= 5


async def test_a_message_stream_runs_from_start_to_stop(engine):
    events = [json.loads(event) for event in await engine.stream("/v1/messages", messages_body(engine, *conversation(20)))]
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert kinds.count("content_block_start") == kinds.count("content_block_stop")
    assert events[0]["message"]["id"]
    assert events[-2]["delta"]["stop_reason"] in {"end_turn", "max_tokens"}
    assert whole_input(events[-2]["usage"]) == events[0]["message"]["usage"]["input_tokens"]


async def test_a_message_and_its_count_have_the_tokens_of_the_same_chat(engine):
    text = conversation()
    expected = (await chat_usage(engine, *text))["prompt_tokens"]
    body = messages_body(engine, *text)
    answer = (await engine.post("/v1/messages", body)).json()
    del body["max_tokens"]
    counted = (await engine.post("/v1/messages/count_tokens", body)).json()
    assert whole_input(answer["usage"]) == expected
    assert counted["input_tokens"] == expected


async def test_one_prompt_is_cached_once_for_every_api(engine):
    if not engine.is_direct:
        pytest.skip("a proxy may send each API's call elsewhere")
    text = conversation()
    usage = await chat_usage(engine, *text)
    blocks = (usage["prompt_tokens"] - 1) // engine.block_size * engine.block_size
    message = (await engine.post("/v1/messages", messages_body(engine, *text))).json()
    response = (await engine.post("/v1/responses", responses_body(engine, *text))).json()
    assert message["usage"]["cache_read_input_tokens"] == blocks
    assert response["usage"]["input_tokens_details"]["cached_tokens"] == blocks


async def test_a_message_for_an_unknown_model_is_a_404_in_the_apis_shape(engine):
    answer = await engine.post("/v1/messages", messages_body(engine, *conversation(3), model="no-such-model"))
    assert (answer.status_code, answer.json()["type"]) == (404, "error")
    assert "no-such-model" in answer.json()["error"]["message"]


async def test_a_response_has_its_output_status_and_usage(engine):
    answer = (await engine.post("/v1/responses", responses_body(engine, *conversation(20)))).json()
    assert (answer["object"], answer["id"][:5]) == ("response", "resp_")
    assert answer["status"] in {"completed", "incomplete"}
    assert answer["usage"]["total_tokens"] == answer["usage"]["input_tokens"] + answer["usage"]["output_tokens"]
    assert 1 <= answer["usage"]["output_tokens"] <= 5


async def test_a_response_stream_is_numbered_and_runs_from_created_to_completed(engine):
    events = [json.loads(event) for event in await engine.stream("/v1/responses", responses_body(engine, *conversation(20)))]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["id"] == events[0]["response"]["id"]
    said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
    assert all(part["text"] == said for item in events[-1]["response"]["output"] for part in item.get("content") or ())


async def test_what_was_never_stored_is_a_404(engine):
    body = responses_body(engine, *conversation(3), previous_response_id="resp_0123456789abcdef")
    continued = await engine.post("/v1/responses", body)
    read = await engine.http.get(f"{engine.base_url}/v1/responses/resp_0123456789abcdef")
    cancelled = await engine.post("/v1/responses/resp_0123456789abcdef/cancel", b"")
    for answer in (continued, read, cancelled):
        assert answer.status_code == 404
        assert "resp_0123456789abcdef" in answer.json()["error"]["message"]
