"""A smolagents ToolCallingAgent, which sends tool results as text and ends by calling `final_answer`: `--stream`."""

import contextlib
import sys

import errand
from smolagents import LogLevel, OpenAIServerModel, ToolCallingAgent, tool


def run(is_stream):
    model = OpenAIServerModel(errand.MODEL, api_base=f"{errand.BASE_URL}/v1", api_key=errand.API_KEY)
    agent = ToolCallingAgent(
        tools=[tool(errand.get_weather)],
        model=model,
        instructions=errand.INSTRUCTIONS,
        stream_outputs=is_stream,
        verbosity_level=LogLevel.OFF,
    )
    return agent.run(errand.GOAL)


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # a streaming agent draws what it does
        answer = run(errand.options("stream").is_stream)
    errand.report(answer)
