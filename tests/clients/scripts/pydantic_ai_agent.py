"""Pydantic AI in each of the three dialects that it speaks: `--dialect`, `--stream`."""

import asyncio

import errand
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


def model(dialect):
    if dialect == "messages":
        return AnthropicModel(errand.MODEL, provider=AnthropicProvider(base_url=errand.BASE_URL, api_key=errand.API_KEY))
    provider = OpenAIProvider(base_url=f"{errand.BASE_URL}/v1", api_key=errand.API_KEY)
    kinds = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}
    return kinds[dialect](errand.MODEL, provider=provider)


async def run(dialect, is_stream):
    agent = Agent(model(dialect), instructions=errand.INSTRUCTIONS, tools=[errand.get_weather])
    if not is_stream:
        return (await agent.run(errand.GOAL)).output
    async with agent.run_stream(errand.GOAL) as running:
        return await running.get_output()


if __name__ == "__main__":
    chosen = errand.options("stream", dialects=("chat", "responses", "messages"))
    errand.report(asyncio.run(run(chosen.dialect, chosen.is_stream)))
