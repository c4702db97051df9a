"""The anthropic SDK's tool runner, which asks for message threads first and must be told properly that there are none."""

import errand
from anthropic import Anthropic, beta_tool


def run(is_stream):
    with Anthropic(base_url=errand.BASE_URL, api_key=errand.API_KEY) as client:
        runner = client.beta.messages.tool_runner(
            model=errand.MODEL,
            max_tokens=1024,
            system=errand.INSTRUCTIONS,
            messages=[{"role": "user", "content": errand.GOAL}],
            tools=[beta_tool(errand.get_weather)],
            stream=is_stream,
        )
        answers = [turn.get_final_message() if is_stream else turn for turn in runner]
    return "".join(block.text for block in answers[-1].content if block.type == "text")


if __name__ == "__main__":
    errand.report(run(errand.options("stream").is_stream))
