"""The openai SDK on chat completions: `--stream` for its stream helper, `--async` for its asynchronous client."""

import asyncio
import json

import errand
from openai import AsyncOpenAI, OpenAI

SETUP = {"base_url": f"{errand.BASE_URL}/v1", "api_key": errand.API_KEY}
FUNCTION = {"name": "get_weather", "description": "Tell today's weather.", "parameters": errand.PARAMETERS, "strict": True}
CALL = {"model": errand.MODEL, "tools": [{"type": "function", "function": FUNCTION}]}


def conversation():
    return [{"role": "system", "content": errand.INSTRUCTIONS}, {"role": "user", "content": errand.GOAL}]


def follow(messages, message):
    """Add an answer and what its tools returned; say whether it asked for any."""
    messages.append(message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"}))
    for call in message.tool_calls or ():
        result = errand.get_weather(**json.loads(call.function.arguments))
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    return bool(message.tool_calls)


def run(is_stream):
    messages = conversation()
    with OpenAI(**SETUP) as client:
        while True:
            if is_stream:
                with client.chat.completions.stream(messages=messages, **CALL) as stream:
                    completion = stream.until_done().get_final_completion()
            else:
                completion = client.chat.completions.create(messages=messages, **CALL)
            message = completion.choices[0].message
            if not follow(messages, message):
                return message.content


async def run_async(is_stream):
    messages = conversation()
    async with AsyncOpenAI(**SETUP) as client:
        while True:
            if is_stream:
                async with client.chat.completions.stream(messages=messages, **CALL) as stream:
                    completion = await stream.get_final_completion()
            else:
                completion = await client.chat.completions.create(messages=messages, **CALL)
            message = completion.choices[0].message
            if not follow(messages, message):
                return message.content


if __name__ == "__main__":
    chosen = errand.options("stream", "async")
    errand.report(asyncio.run(run_async(chosen.is_stream)) if chosen.is_async else run(chosen.is_stream))
