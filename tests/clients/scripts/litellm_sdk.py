"""The LiteLLM SDK through three of its providers: `--dialect`, `--stream`."""

import json

import errand
import litellm

PROVIDERS = {
    "openai": ("openai", f"{errand.BASE_URL}/v1"),
    "hosted_vllm": ("hosted_vllm", f"{errand.BASE_URL}/v1"),
    "messages": ("anthropic", errand.BASE_URL),
}
FUNCTION = {"name": "get_weather", "description": "Tell today's weather.", "parameters": errand.PARAMETERS}


def run(dialect, is_stream):
    provider, api_base = PROVIDERS[dialect]
    messages = [{"role": "system", "content": errand.INSTRUCTIONS}, {"role": "user", "content": errand.GOAL}]
    while True:
        answer = litellm.completion(
            model=f"{provider}/{errand.MODEL}",
            api_base=api_base,
            api_key=errand.API_KEY,
            messages=messages,
            tools=[{"type": "function", "function": FUNCTION}],
            stream=is_stream,
        )
        message = (litellm.stream_chunk_builder(list(answer)) if is_stream else answer).choices[0].message
        if not message.tool_calls:
            return message.content
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls:
            result = errand.get_weather(**json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})


if __name__ == "__main__":
    chosen = errand.options("stream", dialects=tuple(PROVIDERS))
    errand.report(run(chosen.dialect, chosen.is_stream))
