"""The OpenAI Agents SDK, on responses (its default) or chat completions: `--dialect`, `--stream`."""

import asyncio

import errand
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool
from openai import AsyncOpenAI

MODELS = {"responses": OpenAIResponsesModel, "chat": OpenAIChatCompletionsModel}


async def run(dialect, is_stream):
    async with AsyncOpenAI(base_url=f"{errand.BASE_URL}/v1", api_key=errand.API_KEY) as client:
        agent = Agent(
            name="planner",
            instructions=errand.INSTRUCTIONS,
            model=MODELS[dialect](errand.MODEL, client),
            tools=[function_tool(errand.get_weather)],
        )
        if not is_stream:
            return (await Runner.run(agent, errand.GOAL)).final_output
        running = Runner.run_streamed(agent, errand.GOAL)
        async for _event in running.stream_events():
            pass
        return running.final_output


if __name__ == "__main__":
    chosen = errand.options("stream", dialects=tuple(MODELS))
    errand.report(asyncio.run(run(chosen.dialect, chosen.is_stream)))
