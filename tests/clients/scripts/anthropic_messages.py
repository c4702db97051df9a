"""The anthropic SDK on messages, with cache marks that move as its documentation advises: `--stream`, `--async`."""

import asyncio

import errand
from anthropic import Anthropic, AsyncAnthropic

SETUP = {"base_url": errand.BASE_URL, "api_key": errand.API_KEY}
MARK = {"cache_control": {"type": "ephemeral"}}
CALL = {
    "model": errand.MODEL,
    "max_tokens": 1024,
    "system": [{"type": "text", "text": errand.INSTRUCTIONS, **MARK}],
    "tools": [{"name": "get_weather", "description": "Tell today's weather.", "input_schema": errand.PARAMETERS}],
}


def conversation():
    return [{"role": "user", "content": [{"type": "text", "text": errand.GOAL, **MARK}]}]


def follow(messages, message):
    """Add an answer and what its tools returned, the mark on the newest block only; say whether it asked for any."""
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": errand.get_weather(**block.input)}
        for block in message.content
        if block.type == "tool_use"
    ]
    if not results:
        return False
    for block in messages[-1]["content"]:
        block.pop("cache_control", None)
    results[-1] |= MARK
    said = [block.model_dump(exclude_none=True) for block in message.content]
    messages += [{"role": "assistant", "content": said}, {"role": "user", "content": results}]
    return True


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def run(is_stream):
    messages = conversation()
    with Anthropic(**SETUP) as client:
        while True:
            if is_stream:
                with client.messages.stream(messages=messages, **CALL) as stream:
                    message = stream.get_final_message()
            else:
                message = client.messages.create(messages=messages, **CALL)
            if not follow(messages, message):
                return text_of(message)


async def run_async(is_stream):
    messages = conversation()
    async with AsyncAnthropic(**SETUP) as client:
        while True:
            if is_stream:
                async with client.messages.stream(messages=messages, **CALL) as stream:
                    message = await stream.get_final_message()
            else:
                message = await client.messages.create(messages=messages, **CALL)
            if not follow(messages, message):
                return text_of(message)


if __name__ == "__main__":
    chosen = errand.options("stream", "async")
    errand.report(asyncio.run(run_async(chosen.is_stream)) if chosen.is_async else run(chosen.is_stream))
