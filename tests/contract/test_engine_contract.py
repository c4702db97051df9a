"""What the proxy relies on in every engine; the embedded one and real vLLM pass the same tests."""

import asyncio
import json
import secrets

import pytest

from turnwise.engines.vllm import ZmqEventSource
from turnwise.events import BlocksCleared, BlocksStored

PATIENCE_S = 60.0
VOCABULARY_FROM, VOCABULARY_SIZE = 100, 3000


def tokens(count):
    """Token ids that no earlier prompt began with, within any model's vocabulary."""
    return [VOCABULARY_FROM + secrets.randbelow(VOCABULARY_SIZE) for _ in range(count)]


def conversation(words=200):
    text = " ".join(secrets.token_hex(2) for _ in range(words))
    return [{"role": "system", "content": text}, {"role": "user", "content": "What does it say?"}]


def cached(answer):
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


async def test_models_are_listed(engine):
    listed = (await engine.http.get(f"{engine.base_url}/v1/models")).json()
    assert listed["object"] == "list"
    assert engine.model in [card["id"] for card in listed["data"]]


async def test_a_chat_answer_has_its_message_reason_and_usage(engine):
    answer = await engine.chat(conversation(), max_tokens=5, ignore_eos=True)
    (choice,) = answer["choices"]
    assert answer["object"] == "chat.completion"
    assert choice["message"]["role"] == "assistant"
    assert choice["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 5
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + 5


async def test_a_chat_stream_opens_with_the_role_and_ends_with_done(engine):
    events = await engine.stream("/v1/chat/completions", {"messages": conversation(), "max_tokens": 5, "ignore_eos": True})
    assert events[-1] == b"[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_a_stream_with_include_usage_tells_it_in_a_last_chunk_without_choices(engine):
    body = {"messages": conversation(), "max_tokens": 5, "ignore_eos": True, "stream_options": {"include_usage": True}}
    events = await engine.stream("/v1/chat/completions", body)
    last = json.loads(events[-2])
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == 5
    assert last["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


async def test_a_completions_stream_carries_text(engine):
    events = await engine.stream("/v1/completions", {"prompt": tokens(20), "max_tokens": 5, "ignore_eos": True})
    assert events[-1] == b"[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_two_choices_are_given_where_two_were_asked_for(engine):
    answer = await engine.chat(conversation(), n=2, max_tokens=5, ignore_eos=True)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    assert answer["usage"]["completion_tokens"] == 10


async def test_an_extended_conversation_reuses_all_full_blocks_of_its_earlier_prompt(engine):
    messages = conversation()
    first = await engine.chat(messages)
    reply = {"role": "assistant", "content": first["choices"][0]["message"]["content"] or ""}
    second = await engine.chat([*messages, reply, {"role": "user", "content": "And then?"}])
    assert cached(first) == 0
    assert cached(second) >= first["usage"]["prompt_tokens"] // engine.block_size * engine.block_size


@pytest.mark.parametrize("extra", [-1, 0, 1])
async def test_a_repeated_prompt_is_cached_but_for_the_block_of_its_last_token(engine, extra):
    prompt = tokens(4 * engine.block_size + extra)
    first = await engine.complete(prompt)
    again = await engine.complete(prompt)
    assert cached(first) == 0
    assert cached(again) == (len(prompt) - 1) // engine.block_size * engine.block_size


async def test_cache_salt_isolates(engine):
    prompt, salt = tokens(4 * engine.block_size), secrets.token_hex(8)
    await engine.complete(prompt)
    assert cached(await engine.complete(prompt, cache_salt=salt)) == 0
    assert cached(await engine.complete(prompt, cache_salt=salt)) > 0


@pytest.mark.parametrize("body", [b'{"messages": [', b"[]", b'{"messages": "text"}', b'{"messages": []}'])
async def test_a_body_that_cannot_be_served_is_a_400_in_the_apis_shape(engine, body):
    answer = await engine.post("/v1/chat/completions", body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"]
    assert {"type", "param", "code"} <= set(error)


async def test_an_unknown_model_is_a_404(engine):
    answer = await engine.post("/v1/chat/completions", {"model": "no-such-model", "messages": conversation(3)})
    assert answer.status_code == 404
    assert "no-such-model" in answer.json()["error"]["message"]


async def test_the_next_call_on_the_connection_works_after_a_refused_one(engine):
    await engine.post("/v1/chat/completions", b"{")
    assert (await engine.chat(conversation(3)))["choices"]


async def test_a_client_that_leaves_ends_its_call(engine):
    before = await engine.metric("vllm:generation_tokens_total")
    body = {"model": engine.model, "prompt": tokens(20), "max_tokens": 4000, "ignore_eos": True, "stream": True}
    async with engine.http.stream("POST", f"{engine.base_url}/v1/completions", json=body) as answer:
        await anext(answer.aiter_bytes())
    async with asyncio.timeout(PATIENCE_S):
        while await engine.metric("vllm:num_requests_running"):
            pass
    assert await engine.metric("vllm:generation_tokens_total") - before < 4000


async def test_a_client_that_leaves_before_a_whole_answer_ends_its_call(engine):
    before = await engine.metric("vllm:generation_tokens_total")
    body = {"model": engine.model, "prompt": tokens(20), "max_tokens": 4000, "ignore_eos": True}
    asked = asyncio.create_task(engine.post("/v1/completions", body))
    async with asyncio.timeout(PATIENCE_S):
        while not await engine.metric("vllm:num_requests_running"):
            pass
        asked.cancel()
        while await engine.metric("vllm:num_requests_running"):
            pass
    assert asked.cancelled()
    assert await engine.metric("vllm:generation_tokens_total") - before < 4000


async def test_metrics_carry_the_names_that_the_proxy_reads(engine):
    await engine.complete(tokens(20))
    lines = await engine.metrics()
    for name in (
        "vllm:num_requests_running",
        "vllm:num_requests_waiting",
        "vllm:kv_cache_usage_perc",
        "vllm:prefix_cache_queries_total",
        "vllm:prefix_cache_hits_total",
        "vllm:cache_config_info",
        "vllm:time_to_first_token_seconds_count",
    ):
        assert any(line.startswith(f"{name}{{") for line in lines), name


async def test_event_batches_are_numbered_without_gaps(engine):
    for _ in range(3):
        await engine.complete(tokens(3 * engine.block_size))
    for batches in await engine.replay():
        sequences = [batch.sequence for batch in batches]
        assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


async def test_a_replay_begins_where_it_was_asked_to(engine):
    for _ in range(3):
        await engine.complete(tokens(3 * engine.block_size))
    for source, batches in zip(engine.sources, await engine.replay(), strict=True):
        start = batches[-1].sequence if batches else 0
        later = await ZmqEventSource(source, replay_timeout_s=PATIENCE_S).replay(start)
        assert later[:1] == batches[-1:]


async def test_a_subscriber_hears_of_what_is_stored(engine):
    if not engine.is_direct:
        pytest.skip("a proxy subscribes for itself")
    (source,) = engine.sources
    async with asyncio.timeout(PATIENCE_S), ZmqEventSource(source) as events:
        heard = asyncio.create_task(events.receive())
        while not heard.done():  # a subscription takes effect some time after it was made
            await engine.complete(tokens(2 * engine.block_size))
        batches = heard.result()
    assert all(event.block_size == engine.block_size for event in batches[0].events)


async def test_the_stamp_of_a_call_leads_to_the_whole_chain_of_its_prompt(engine):
    if not engine.is_direct:
        pytest.skip("a proxy stamps calls with ids of its own")
    prompt = tokens(5 * engine.block_size + 3)
    for extra in ([], tokens(2 * engine.block_size)):
        stamp = secrets.token_hex(8)
        usage = (await engine.complete(prompt + extra, stamp))["usage"]
        async with asyncio.timeout(PATIENCE_S):
            chain = []
            while len(chain) < usage["prompt_tokens"] // engine.block_size:
                chain = chain_of(await engine.stamped(stamp), stamp)


async def test_a_full_report_stamps_a_cached_prompt_again(engine):
    if not engine.is_direct:
        pytest.skip("a proxy stamps calls with ids of its own")
    prompt, stamp = tokens(4 * engine.block_size), secrets.token_hex(8)
    await engine.complete(prompt, "first")
    answer = await engine.complete(prompt, stamp, vllm_xargs={"kv_cache_report_mode": "full"})
    assert cached(answer) > 0
    async with asyncio.timeout(PATIENCE_S):
        events = await engine.stamped(stamp)
    assert any(event.parent is None for event in events if event.call_id == stamp)


async def test_a_full_report_names_the_reused_blocks_first_and_the_new_ones_behind_them(engine):
    if not engine.is_direct:
        pytest.skip("a proxy stamps calls with ids of its own")
    prompt, stamp = tokens(4 * engine.block_size), secrets.token_hex(8)
    await engine.complete(prompt, "first")
    longer = prompt + tokens(2 * engine.block_size)
    answer = await engine.complete(longer, stamp, vllm_xargs={"kv_cache_report_mode": "full"})
    async with asyncio.timeout(PATIENCE_S):
        stamped = []
        while sum(len(event.hashes) for event in stamped) < 6:
            stamped = [event for event in await engine.stamped(stamp) if event.call_id == stamp]
    reused, new = stamped[0], stamped[1]
    assert cached(answer) == len(reused.hashes) * engine.block_size
    assert (reused.parent, new.parent) == (None, reused.hashes[-1])


async def test_a_block_computed_beside_its_copy_is_told_of_again(engine):
    if not engine.is_direct:
        pytest.skip("a proxy stamps calls with ids of its own")
    prompt, stamps = tokens(4 * engine.block_size), [secrets.token_hex(8) for _ in range(2)]
    for stamp in stamps:
        await engine.complete(prompt, stamp)
    async with asyncio.timeout(PATIENCE_S):
        first, second = [next(event for event in await engine.stamped(stamp) if event.call_id == stamp) for stamp in stamps]
    # The last token of a prompt is always computed, and with it its block.
    assert second.hashes == first.hashes[3:]


async def test_a_reset_forgets_everything_and_is_told_of_with_the_next_call(engine):
    if not engine.is_direct:
        pytest.skip("a proxy resets nobody")
    prompt, stamp = tokens(4 * engine.block_size), secrets.token_hex(8)
    await engine.complete(prompt)
    async with asyncio.timeout(PATIENCE_S):
        while not (answer := await engine.post("/reset_prefix_cache", b"")).is_error and not answer.json()["success"]:
            pass  # a call that a client has left may hold its blocks a little longer
    if answer.status_code == 404:
        pytest.skip("this engine is not in development mode")
    (quiet,) = await engine.replay()
    assert cached(await engine.complete(prompt, stamp)) == 0
    async with asyncio.timeout(PATIENCE_S):
        await engine.stamped(stamp)
    (batches,) = await engine.replay()
    told = [batch for batch in batches if any(isinstance(event, BlocksCleared) for event in batch.events)][-1]
    kinds = [type(event) for event in told.events]
    assert told.sequence > quiet[-1].sequence
    assert kinds.index(BlocksCleared) < kinds.index(BlocksStored)
    assert [event.call_id for event in told.events if isinstance(event, BlocksStored)] == [stamp]


def chain_of(events, stamp):
    """The chain that ends in the last block stored under a stamp, walked by parents, last block first."""
    parents, last = {}, None
    for event in events:
        parents.update(zip(event.hashes, (event.parent, *event.hashes), strict=False))
        if event.call_id == stamp:
            last = event.hashes[-1]
    chain = []
    while last is not None:
        chain.append(last)
        last = parents[last]
    return chain
