"""The openai SDK on responses: `--stream`, `--async`, and `--previous` to leave the conversation with the replica."""

import asyncio
import json

import errand
from openai import AsyncOpenAI, OpenAI

SETUP = {"base_url": f"{errand.BASE_URL}/v1", "api_key": errand.API_KEY}
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Tell today's weather.",
    "parameters": errand.PARAMETERS,
    "strict": True,
}
CALL = {"model": errand.MODEL, "tools": [TOOL], "instructions": errand.INSTRUCTIONS}


class Conversation:
    """What the next request holds: everything so far, or only what is new since the response that it names."""

    def __init__(self, is_held_by_replica):
        self.is_held_by_replica = is_held_by_replica
        self.request = {**CALL, "input": [{"role": "user", "content": errand.GOAL}], "store": is_held_by_replica}

    def follow(self, response):
        """Add an answer and what its tools returned; say whether it asked for any."""
        results = [
            {
                "type": "function_call_output",
                "call_id": item.call_id,
                "output": errand.get_weather(**json.loads(item.arguments)),
            }
            for item in response.output
            if item.type == "function_call"
        ]
        if self.is_held_by_replica:
            self.request |= {"input": results, "previous_response_id": response.id}
        else:
            said = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in response.output]
            self.request["input"] += said + results
        return bool(results)


def run(is_stream, talk):
    with OpenAI(**SETUP) as client:
        while True:
            if is_stream:
                with client.responses.stream(**talk.request) as stream:
                    response = stream.until_done().get_final_response()
            else:
                response = client.responses.create(**talk.request)
            if not talk.follow(response):
                return response.output_text


async def run_async(is_stream, talk):
    async with AsyncOpenAI(**SETUP) as client:
        while True:
            if is_stream:
                async with client.responses.stream(**talk.request) as stream:
                    response = await stream.get_final_response()
            else:
                response = await client.responses.create(**talk.request)
            if not talk.follow(response):
                return response.output_text


if __name__ == "__main__":
    chosen = errand.options("stream", "async", "previous")
    talk = Conversation(chosen.is_previous)
    errand.report(asyncio.run(run_async(chosen.is_stream, talk)) if chosen.is_async else run(chosen.is_stream, talk))
